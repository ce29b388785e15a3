//! Payload indexes.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::check_paths;
use crate::engine::payload_index::FieldKind;
use crate::engine::text::{ParamError, TextParams};
use crate::error::ServiceError;

objects!(CreateIndexDto);

/// Longest path of an indexed field in bytes.
const MAX_FIELD: usize = 1024;

/// Parameters that every kind of index has, which tune Qdrant's storage.
const TUNING: &[&str] = &["type", "on_disk", "memory", "enable_hnsw"];

/// A payload index to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct CreateIndexDto {
    pub(crate) field_name: String,
    pub(crate) field_schema: Option<Value>,
}

impl CreateIndexDto {
    /// The field and how it is indexed, as the manifest keeps it.
    pub(crate) fn into_model(self) -> Result<(String, Value), ServiceError> {
        let Self {
            field_name,
            field_schema,
        } = self;
        check_paths("field_name", [&field_name])?;
        if field_name.len() > MAX_FIELD {
            return Err(bad(format!(
                "field_name has {} bytes, at most {MAX_FIELD} are allowed",
                field_name.len()
            )));
        }
        let schema = field_schema.ok_or_else(|| {
            bad("field_schema is missing: it names the type of the field's values, such as \"keyword\"".into())
        })?;
        let kind = FieldKind::of(&schema).ok_or_else(|| {
            bad(format!(
                "field_schema '{}' is none of keyword, integer, float, bool, datetime, geo, text and uuid",
                schema.get("type").unwrap_or(&schema)
            ))
        })?;
        if let Value::Object(params) = &schema {
            check_params(kind, &schema, params)?;
        }
        Ok((field_name, schema))
    }
}

/// Parameters of a kind. Those that choose what Brainy's indexes all do (`lookup`, `range`, `prefix`, `phrase_matching`) and
/// those that tune Qdrant's storage are taken; what would change which points match is refused.
fn check_params(
    kind: FieldKind,
    schema: &Value,
    params: &Map<String, Value>,
) -> Result<(), ServiceError> {
    let own: &[&str] = match kind {
        FieldKind::Keyword => &["is_tenant", "prefix"],
        FieldKind::Uuid => &["is_tenant"],
        FieldKind::Integer => &["lookup", "range", "is_principal"],
        FieldKind::Float | FieldKind::Datetime => &["is_principal"],
        FieldKind::Text => &[
            "tokenizer",
            "min_token_len",
            "max_token_len",
            "lowercase",
            "ascii_folding",
            "stopwords",
            "stemmer",
            "phrase_matching",
        ],
        FieldKind::Bool | FieldKind::Geo => &[],
    };
    for (name, value) in params.iter().filter(|(_, value)| !value.is_null()) {
        let name = name.as_str();
        let lacking = name == "nested" || (name == "scoring" && kind == FieldKind::Text);
        if lacking && *value != Value::Bool(false) {
            return Err(ServiceError::Unsupported(format!(
                "field_schema parameter '{name}'"
            )));
        }
        if !lacking && !own.contains(&name) && !TUNING.contains(&name) {
            return Err(bad(format!(
                "field_schema of type {kind} has no parameter '{name}'"
            )));
        }
    }
    if kind == FieldKind::Text {
        TextParams::of(schema).map_err(|e| match e {
            ParamError::Bad(text) => bad(format!("field_schema: {text}")),
            ParamError::Unsupported(what) => {
                ServiceError::Unsupported(format!("field_schema parameter {what}"))
            }
        })?;
    }
    Ok(())
}

fn bad(text: String) -> ServiceError {
    ServiceError::BadRequest(text)
}
