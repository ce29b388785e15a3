//! The JSON of Qdrant's REST API and its way into [`crate::model`]. Parsing is typed and strict; a field that Brainy cannot
//! honour is parsed only as far as to say so.

/// The JSON schema of a type whose `Deserialize` or `Serialize` is written by hand.
macro_rules! schema {
    ($type:ty, $name:literal, $generator:ident => $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", $name).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

/// Reads structs from objects only: what serde derives also takes a list of the fields in their order, and a list of nothing
/// but nulls where all of them are optional. The structs say `serde(remote = "Self")`, which keeps what is derived under their
/// own name.
macro_rules! objects {
    ($($type:ident),+) => { $(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> serde::de::Visitor<'de> for Object {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        $type::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    )+ };
}

pub(crate) mod alias;
pub(crate) mod cluster;
pub(crate) mod collection;
pub(crate) mod described;
pub(crate) mod document;
pub(crate) mod examples;
pub(crate) mod facet;
pub(crate) mod filter;
pub(crate) mod formula;
pub(crate) mod geo;
pub(crate) mod groups;
pub(crate) mod index;
pub(crate) mod matrix;
mod numbers;
pub(crate) mod order;
mod parts;
pub(crate) mod points;
pub(crate) mod prefetch;
pub(crate) mod query;
pub(crate) mod query_input;
pub(crate) mod recommend;
pub(crate) mod records;
mod schema;
pub(crate) mod select;
pub(crate) mod snapshots;
pub(crate) mod update;
pub(crate) mod vector;
pub(crate) mod versions;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::engine::path::Path;
use crate::error::ServiceError;

/// Whether a field was given (and not null), whatever it held.
pub(crate) type Given = Option<Anything>;

/// Any value, not kept.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Anything(pub(crate) IgnoredAny);

impl schemars::JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::default()
    }
}

/// The schema of a field that is refused unless it is null.
pub(crate) enum Refused {}

impl schemars::JsonSchema for Refused {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Refused".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "null",
            "description": "Brainy lacks this: other values are refused with 501.",
        })
    }
}

/// Says in a schema that exactly one of `fields`, with their JSON types, is given and not null.
pub(crate) fn exactly_one(schema: &mut schemars::Schema, fields: [(&str, &str); 2]) {
    let alternatives = [0, 1].map(|given| {
        let (name, kind) = fields[given];
        let (absent, _) = fields[1 - given];
        serde_json::json!({
            "required": [name],
            "properties": {name: {"type": kind}, absent: {"type": "null"}},
        })
    });
    schema.insert("oneOf".to_owned(), alternatives.into_iter().collect());
}

/// Exactly one of `points` and `filter`.
pub(crate) fn points_or_filter(schema: &mut schemars::Schema) {
    exactly_one(schema, [("points", "array"), ("filter", "object")]);
}

/// Refuses the first of `fields` that was given.
pub(crate) fn refuse(fields: &[(&str, bool)]) -> Result<(), ServiceError> {
    match fields.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(ServiceError::Unsupported((*name).to_owned())),
        None => Ok(()),
    }
}

/// `BadRequest` unless `value` is from `min` to `max`.
pub(crate) fn in_range(
    field: &str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), ServiceError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ServiceError::BadRequest(format!(
        "{field} is {value}, it must be from {min} to {max}"
    )))
}

/// `BadRequest` if there are more than `max`.
pub(crate) fn at_most(field: &str, count: usize, max: usize) -> Result<(), ServiceError> {
    if count <= max {
        return Ok(());
    }
    Err(ServiceError::BadRequest(format!(
        "{field} has {count} entries, at most {max} are allowed in one request"
    )))
}

/// `BadRequest` unless all of `paths` can be read as paths into a payload.
pub(crate) fn check_paths<'a>(
    field: &str,
    paths: impl IntoIterator<Item = &'a String>,
) -> Result<(), ServiceError> {
    for path in paths {
        Path::parse(path).map_err(|e| ServiceError::BadRequest(format!("{field}: {e}")))?;
    }
    Ok(())
}
