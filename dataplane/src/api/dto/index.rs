//! Payload indexes.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::check_paths;
use crate::engine::payload_index::FieldKind;
use crate::error::ServiceError;

/// Longest path of an indexed field in bytes.
const MAX_FIELD: usize = 1024;

/// Parameters that tune Qdrant's storage or choose what Brainy's indexes all do.
const TUNING: &[&str] = &[
    "type",
    "on_disk",
    "memory",
    "enable_hnsw",
    "is_tenant",
    "is_principal",
    "lookup",
    "range",
    "prefix",
    "phrase_matching",
];

/// A payload index to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
            check_params(kind, params)?;
        }
        Ok((field_name, schema))
    }
}

/// Refuses what would change which points match.
fn check_params(kind: FieldKind, params: &Map<String, Value>) -> Result<(), ServiceError> {
    for (name, value) in params.iter().filter(|(_, value)| !value.is_null()) {
        let same_meaning = match name.as_str() {
            name if TUNING.contains(&name) => true,
            "tokenizer" => value == "word",
            "lowercase" => *value == true,
            "ascii_folding" => *value == false,
            "min_token_len" | "max_token_len" | "stopwords" | "stemmer" | "scoring" | "nested" => {
                false
            }
            _ => {
                return Err(bad(format!(
                    "field_schema of type {kind} has no parameter '{name}'"
                )));
            }
        };
        if !same_meaning {
            return Err(ServiceError::Unsupported(format!(
                "field_schema parameter '{name}' = {value} (words of an index are runs of letters and digits in lower case)"
            )));
        }
    }
    Ok(())
}

fn bad(text: String) -> ServiceError {
    ServiceError::BadRequest(text)
}
