//! Which points, and which of their parts.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor, value};

use super::filter::FilterDto;
use super::{Given, at_most, check_paths, refuse};
use crate::engine::vector_names;
use crate::error::ServiceError;
use crate::model::{PayloadSelector, PointId, Selector, VectorSchema, VectorSelector};
use crate::service::Limits;

objects!(SelectorDto);

/// `true`, `false`, a list of paths, `{"include": [...]}` or `{"exclude": [...]}`.
#[derive(Debug)]
pub(crate) struct WithPayload(pub(crate) PayloadSelector);

impl WithPayload {
    /// What to return; `default` when the request does not say.
    pub(crate) fn wanted(
        selector: Option<Self>,
        default: PayloadSelector,
    ) -> Result<PayloadSelector, ServiceError> {
        let selector = selector.map_or(default, |s| s.0);
        if let PayloadSelector::Include(paths) | PayloadSelector::Exclude(paths) = &selector {
            check_paths("'with_payload'", paths)?;
        }
        Ok(selector)
    }
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            include: Option<Vec<String>>,
            exclude: Option<Vec<String>>,
        }
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = WithPayload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a list of payload paths, {\"include\": [...]} or {\"exclude\": [...]}")
            }
            fn visit_bool<E: Error>(self, all: bool) -> Result<WithPayload, E> {
                Ok(WithPayload(if all {
                    PayloadSelector::All
                } else {
                    PayloadSelector::None
                }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<WithPayload, A::Error> {
                Vec::deserialize(value::SeqAccessDeserializer::new(seq))
                    .map(|paths| WithPayload(PayloadSelector::Include(paths)))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<WithPayload, A::Error> {
                let parts = Parts::deserialize(value::MapAccessDeserializer::new(map))?;
                match (parts.include, parts.exclude) {
                    (Some(paths), None) => Ok(WithPayload(PayloadSelector::Include(paths))),
                    (None, Some(paths)) => Ok(WithPayload(PayloadSelector::Exclude(paths))),
                    _ => Err(A::Error::custom(
                        "exactly one of 'include' and 'exclude' is needed",
                    )),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(WithPayload, "WithPayload", generator => {
    "anyOf": [
        {"type": "boolean"},
        generator.subschema_for::<Vec<String>>(),
        {
            "type": "object",
            "required": ["include"],
            "properties": {"include": generator.subschema_for::<Vec<String>>(), "exclude": {"type": "null"}},
            "additionalProperties": false,
        },
        {
            "type": "object",
            "required": ["exclude"],
            "properties": {"exclude": generator.subschema_for::<Vec<String>>(), "include": {"type": "null"}},
            "additionalProperties": false,
        },
    ],
});

/// `true`, `false`, or a list of names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WithVector {
    /// All or none.
    All(bool),
    /// By name.
    Names(Vec<String>),
}

impl WithVector {
    /// Which vectors to return.
    pub(crate) fn wanted(
        selector: Option<Self>,
        schema: &VectorSchema,
    ) -> Result<VectorSelector, ServiceError> {
        Ok(match selector {
            None | Some(Self::All(false)) => VectorSelector::None,
            Some(Self::All(true)) => VectorSelector::All,
            Some(Self::Names(names)) if names.is_empty() => VectorSelector::None,
            Some(Self::Names(names)) => {
                check_names("with_vector", &names, schema)?;
                VectorSelector::Names(names)
            }
        })
    }
}

/// `BadRequest` unless the collection has vectors of all these names.
pub(crate) fn check_names(
    field: &str,
    names: &[String],
    schema: &VectorSchema,
) -> Result<(), ServiceError> {
    match names
        .iter()
        .find(|name| !schema.names().any(|n| n == *name))
    {
        None => Ok(()),
        Some(name) => Err(ServiceError::BadRequest(format!(
            "{field}: the collection has no vector '{}', {}",
            name.chars().take(64).collect::<String>(),
            vector_names(schema)
        ))),
    }
}

/// `points` or `filter`, of a delete and its kin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = super::points_or_filter)]
pub(crate) struct SelectorDto {
    pub(crate) points: Option<Vec<PointId>>,
    pub(crate) filter: Option<FilterDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl SelectorDto {
    pub(crate) fn into_model(self, limits: &Limits) -> Result<Selector, ServiceError> {
        selector(self.points, self.filter, &self.shard_key, limits)
    }
}

/// Exactly one of `points` and `filter`.
pub(crate) fn selector(
    points: Option<Vec<PointId>>,
    filter: Option<FilterDto>,
    shard_key: &Given,
    limits: &Limits,
) -> Result<Selector, ServiceError> {
    refuse(&[("shard_key", shard_key.is_some())])?;
    match (points, filter) {
        (Some(ids), None) => {
            at_most("'points'", ids.len(), limits.max_batch_points)?;
            Ok(Selector::Ids(ids))
        }
        (None, Some(filter)) => Ok(Selector::Filter(
            filter.into_model(limits.max_batch_points)?,
        )),
        _ => Err(ServiceError::BadRequest(
            "exactly one of 'points' and 'filter' is needed to say which points".to_owned(),
        )),
    }
}
