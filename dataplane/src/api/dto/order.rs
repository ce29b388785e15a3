//! Orders other than that of distance: by a payload field, or at random.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde_json::Value;

use super::check_paths;
use crate::engine::filter::datetime;
use crate::engine::path::Path;
use crate::engine::payload_index::FieldKind;
use crate::error::ServiceError;
use crate::model::{FieldOrder, OrderValue, OrderedValues};

/// The name of a payload field, or `{"key": ..., "direction": ..., "start_from": ...}`.
#[derive(Debug, PartialEq)]
pub(crate) struct OrderByDto {
    pub(crate) key: String,
    pub(crate) direction: Option<DirectionDto>,
    pub(crate) start_from: Option<StartFromDto>,
}

/// Which values come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DirectionDto {
    /// The lowest.
    Asc,
    /// The highest.
    Desc,
}

/// Which points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SampleDto {
    /// Any, all equally likely.
    Random,
}

/// A number, or a text that reads as a date and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StartFromDto(pub(crate) OrderValue);

impl<'de> Deserialize<'de> for StartFromDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = StartFromDto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a date and time such as 2024-05-01T12:00:00Z")
            }
            fn visit_i64<E: Error>(self, n: i64) -> Result<StartFromDto, E> {
                Ok(StartFromDto(OrderValue::Int(n)))
            }
            fn visit_u64<E: Error>(self, n: u64) -> Result<StartFromDto, E> {
                Ok(StartFromDto(match i64::try_from(n) {
                    Ok(n) => OrderValue::Int(n),
                    Err(_) => OrderValue::Float(n as f64),
                }))
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<StartFromDto, E> {
                Ok(StartFromDto(OrderValue::Float(x)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<StartFromDto, E> {
                datetime::parse(text)
                    .map(|micros| StartFromDto(OrderValue::Int(micros)))
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(StartFromDto, "StartFrom", _generator => {
    "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
});

impl<'de> Deserialize<'de> for OrderByDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            key: String,
            direction: Option<DirectionDto>,
            start_from: Option<StartFromDto>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = OrderByDto;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a payload field or {\"key\": ...}")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<OrderByDto, E> {
                Ok(OrderByDto {
                    key: key.to_owned(),
                    direction: None,
                    start_from: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrderByDto, A::Error> {
                let Parts {
                    key,
                    direction,
                    start_from,
                } = Parts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OrderByDto {
                    key,
                    direction,
                    start_from,
                })
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(OrderByDto, "OrderBy", generator => {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["key"],
            "properties": {
                "key": {"type": "string"},
                "direction": generator.subschema_for::<Option<DirectionDto>>(),
                "start_from": generator.subschema_for::<Option<StartFromDto>>(),
            },
            "additionalProperties": false,
        },
    ],
});

impl OrderByDto {
    /// The order, which needs an index of the field that has its values in order, as in Qdrant. `indexes` are those of the
    /// collection.
    pub(crate) fn into_model(
        self,
        indexes: &BTreeMap<String, Value>,
    ) -> Result<FieldOrder, ServiceError> {
        let Self {
            key,
            direction,
            start_from,
        } = self;
        check_paths("order_by.key", [&key])?;
        let in_order = |schema: &Value| match FieldKind::of(schema)? {
            FieldKind::Integer if schema.get("range") != Some(&Value::Bool(false)) => {
                Some(OrderedValues::Integers)
            }
            FieldKind::Float => Some(OrderedValues::Numbers),
            FieldKind::Datetime => Some(OrderedValues::Dates),
            _ => None,
        };
        let values = index_of(indexes, &key)
            .and_then(in_order)
            .ok_or_else(|| {
                ServiceError::BadRequest(format!(
                    "No range index for `order_by` key: `{}`. Create a payload index of type integer (with 'range'), float or \
                     datetime for it to use `order_by`",
                    key.chars().take(64).collect::<String>()
                ))
            })?;
        Ok(FieldOrder {
            key,
            values,
            descending: direction == Some(DirectionDto::Desc),
            start_from: start_from.map(|start| start.0),
        })
    }
}

/// What the manifest says of the index of the field at a path.
pub(crate) fn index_of<'i>(indexes: &'i BTreeMap<String, Value>, key: &str) -> Option<&'i Value> {
    let path = Path::parse(key).ok()?;
    let is_of = |field: &String| Path::parse(field).is_ok_and(|other| other == path);
    let found = indexes.iter().find(|(field, _)| is_of(field));
    found.map(|(_, schema)| schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ordered(by: Value, schema: Value) -> Result<FieldOrder, String> {
        let dto: OrderByDto = serde_json::from_value(by).map_err(|e| e.to_string())?;
        let indexes = BTreeMap::from([("a.b".to_owned(), schema)]);
        dto.into_model(&indexes).map_err(|e| e.to_string())
    }

    #[test]
    fn an_order_needs_an_index_in_order() {
        for (schema, values) in [
            (json!("integer"), Some(OrderedValues::Integers)),
            (
                json!({"type": "integer", "range": true}),
                Some(OrderedValues::Integers),
            ),
            (json!({"type": "integer", "range": false}), None),
            (
                json!({"type": "float", "on_disk": true}),
                Some(OrderedValues::Numbers),
            ),
            (json!("datetime"), Some(OrderedValues::Dates)),
            (json!("keyword"), None),
            (json!("bool"), None),
        ] {
            let order = ordered(json!("\"a\".b"), schema.clone());
            assert_eq!(order.ok().map(|o| o.values), values, "{schema}");
        }
        let error = ordered(json!("c"), json!("integer")).unwrap_err();
        assert!(error.contains("`order_by` key: `c`"), "{error}");
        assert!(ordered(json!("a["), json!("integer")).is_err());
    }

    #[test]
    fn starts_are_numbers_or_dates() {
        let start =
            |from: Value| ordered(json!({"key": "a.b", "start_from": from}), json!("float"));
        for (from, value) in [
            (json!(3), OrderValue::Int(3)),
            (json!(-3.5), OrderValue::Float(-3.5)),
            (json!("1970-01-01T00:00:01Z"), OrderValue::Int(1_000_000)),
        ] {
            assert_eq!(start(from).unwrap().start_from, Some(value));
        }
        assert!(start(json!("soon")).is_err());
        assert!(start(json!(true)).is_err());
        assert!(ordered(json!({"key": "a.b", "order": "asc"}), json!("float")).is_err());
        assert!(ordered(json!({"key": "a.b", "direction": "up"}), json!("float")).is_err());
    }
}
