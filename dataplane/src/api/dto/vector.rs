//! What can stand where a vector is expected.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::ServiceError;
use crate::model::{PointId, VectorParams};

/// A vector, the id of a point that has one, or something that Brainy does not take.
#[derive(Debug, PartialEq)]
pub(crate) enum VectorInput {
    /// Components.
    Dense(Vec<f32>),
    /// A point's id.
    Id(PointId),
    /// What it was instead.
    Refused(String),
}

impl VectorInput {
    /// The vector, checked and normalised; `place` is where it stood.
    pub(crate) fn prepare(
        self,
        params: &VectorParams,
        place: impl Fn() -> String,
    ) -> Result<Vec<f32>, ServiceError> {
        match self {
            VectorInput::Dense(vector) => crate::api::vector::prepare(vector, params, place),
            VectorInput::Id(_) => Err(ServiceError::BadRequest(format!(
                "{}: an id where a vector is needed",
                place()
            ))),
            VectorInput::Refused(what) => Err(ServiceError::Unsupported(format!(
                "{what} (at {})",
                place()
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = VectorInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector (an array of numbers) or a point id")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<VectorInput, E> {
        Ok(VectorInput::Id(PointId::Num(n)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<VectorInput, E> {
        uuid::Uuid::try_parse(text)
            .map(|id| VectorInput::Id(PointId::Uuid(id)))
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VectorInput, A::Error> {
        let mut values = Vec::with_capacity(256);
        while let Some(component) = seq.next_element()? {
            match component {
                // Beyond the range of 32 bits this becomes infinite, which the check against the schema refuses.
                Component::Number(x) => values.push(x as f32),
                Component::List => {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(VectorInput::Refused("multivectors".to_owned()));
                }
            }
        }
        values.shrink_to_fit();
        Ok(VectorInput::Dense(values))
    }

    /// `{"": [...]}` is the unnamed vector by its name; every other object is something else.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorInput, A::Error> {
        let mut input = None;
        while let Some(key) = map.next_key::<String>()? {
            if key.is_empty() && input.is_none() {
                input = Some(map.next_value()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            if !matches!(input, Some(VectorInput::Refused(_))) {
                input = Some(VectorInput::Refused(object_name(&key)));
            }
        }
        Ok(input.unwrap_or_else(|| VectorInput::Refused("points without a vector".to_owned())))
    }
}

fn object_name(key: &str) -> String {
    match key {
        "indices" | "values" => "sparse vectors".to_owned(),
        "text" | "image" | "object" | "model" | "options" => {
            "named vectors and server-side inference: send the one unnamed vector".to_owned()
        }
        _ => format!(
            "named vectors ('{}')",
            key.chars().take(64).collect::<String>()
        ),
    }
}

enum Component {
    Number(f64),
    List,
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ComponentVisitor;
        impl<'de> Visitor<'de> for ComponentVisitor {
            type Value = Component;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<Component, E> {
                Ok(Component::Number(x))
            }
            fn visit_u64<E: Error>(self, x: u64) -> Result<Component, E> {
                Ok(Component::Number(x as f64))
            }
            fn visit_i64<E: Error>(self, x: i64) -> Result<Component, E> {
                Ok(Component::Number(x as f64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Component, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Component::List)
            }
        }
        deserializer.deserialize_any(ComponentVisitor)
    }
}

/// What a query asks for: the nearest points to a vector or a point, or a kind of query that Brainy does not have.
#[derive(Debug, PartialEq)]
pub(crate) struct QueryInput(pub(crate) VectorInput);

const QUERY_KINDS: &[(&str, &str)] = &[
    ("recommend", "recommendation queries"),
    ("discover", "discovery queries"),
    ("context", "context queries"),
    ("order_by", "ordering by a payload field"),
    ("fusion", "fusion of prefetched results"),
    ("rrf", "fusion of prefetched results"),
    ("formula", "score formulas"),
    ("sample", "random samples"),
    ("relevance_feedback", "relevance feedback"),
    ("text", "text queries and server-side inference"),
    ("image", "server-side inference"),
    ("object", "server-side inference"),
    ("model", "server-side inference"),
    ("indices", "sparse vectors"),
    ("values", "sparse vectors"),
];

impl<'de> Deserialize<'de> for QueryInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QueryVisitor;
        impl<'de> Visitor<'de> for QueryVisitor {
            type Value = QueryInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, a point id or {\"nearest\": ...}")
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<QueryInput, E> {
                InputVisitor.visit_u64(n).map(QueryInput)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<QueryInput, E> {
                InputVisitor.visit_str(text).map(QueryInput)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryInput, A::Error> {
                InputVisitor.visit_seq(seq).map(QueryInput)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueryInput, A::Error> {
                let mut nearest = None;
                let mut refused = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "nearest" && nearest.is_none() {
                        nearest = Some(map.next_value::<VectorInput>()?);
                    } else if key == "mmr" {
                        if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                            refused = Some("maximal marginal relevance (mmr)");
                        }
                    } else if let Some((_, what)) = QUERY_KINDS.iter().find(|(k, _)| *k == key) {
                        map.next_value::<IgnoredAny>()?;
                        refused = refused.or(Some(what));
                    } else {
                        return Err(A::Error::unknown_field(&key, &["nearest"]));
                    }
                }
                match (refused, nearest) {
                    (Some(what), _) => Ok(QueryInput(VectorInput::Refused(what.to_owned()))),
                    (None, Some(input)) => Ok(QueryInput(input)),
                    (None, None) => Err(A::Error::missing_field("nearest")),
                }
            }
        }
        deserializer.deserialize_any(QueryVisitor)
    }
}

/// The vector of the older search API: bare, or `{"name": ..., "vector": ...}`.
#[derive(Debug)]
pub(crate) struct SearchVector(pub(crate) VectorInput);

impl<'de> Deserialize<'de> for SearchVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SearchVisitor;
        impl<'de> Visitor<'de> for SearchVisitor {
            type Value = SearchVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector (an array of numbers)")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<SearchVector, A::Error> {
                InputVisitor.visit_seq(seq).map(SearchVector)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SearchVector, A::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Named {
                    name: String,
                    vector: VectorInput,
                }
                let named = Named::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(SearchVector(if named.name.is_empty() {
                    named.vector
                } else {
                    VectorInput::Refused(object_name(&named.name))
                }))
            }
        }
        deserializer.deserialize_any(SearchVisitor)
    }
}
