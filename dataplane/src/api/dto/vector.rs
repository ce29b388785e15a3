//! What can stand where vectors are expected.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::document::Document;
use super::numbers::{Component, Number, Numbers};
use crate::api::vector;
use crate::engine::vector_names;
use crate::error::ServiceError;
use crate::model::{
    DenseParams, MultiVector, PointId, SparseVector, Vector, VectorSchema, Vectors,
};

/// Most components of all vectors of a multi-vector together.
const MAX_MULTI_COMPONENTS: usize = 1 << 20;

/// A vector, the id of a point that has one, or something that Brainy does not take.
#[derive(Debug, PartialEq)]
pub(crate) enum VectorInput {
    /// Components.
    Dense(Vec<f32>),
    /// A list of dense vectors.
    Multi(Vec<Vec<f32>>),
    /// Values at indices.
    Sparse(Vec<u32>, Vec<f32>),
    /// A point's id.
    Id(PointId),
    /// A text that is no id.
    Text(String),
    /// A text to be made into a vector.
    Document(Box<Document>),
    /// What it was instead.
    Refused(&'static str),
}

impl VectorInput {
    /// As [`Self::prepare`], of a query: a text has other weights there.
    pub(crate) fn prepare_query(
        self,
        schema: &VectorSchema,
        name: &str,
        place: &dyn Fn() -> String,
    ) -> Result<Vector, ServiceError> {
        match self {
            Self::Document(document) => {
                let (indices, values) = document.asked(place)?.into_parts();
                Self::Sparse(indices, values).prepare(schema, name, place)
            }
            other => other.prepare(schema, name, place),
        }
    }

    /// The vector as it is stored under `name`, checked; `place` is where it stood. Where lists of vectors are stored a single
    /// one is a list of one.
    pub(crate) fn prepare(
        self,
        schema: &VectorSchema,
        name: &str,
        place: &dyn Fn() -> String,
    ) -> Result<Vector, ServiceError> {
        let bad = |text: String| ServiceError::BadRequest(format!("{}: {text}", place()));
        let wrong = |given: &str, kind: &str| {
            Err(bad(format!(
                "{given} vector where '{name}' of the collection is {kind}"
            )))
        };
        let dense = schema.vectors.get(name);
        let sparse = schema.sparse_vectors.contains_key(name);
        match self {
            Self::Id(_) => return Err(bad("an id where a vector is needed".to_owned())),
            Self::Text(text) => {
                let text: String = text.chars().take(64).collect();
                return Err(bad(format!("'{text}' is neither a vector nor a point id")));
            }
            Self::Refused(what) => {
                return Err(ServiceError::Unsupported(format!(
                    "{what} (at {})",
                    place()
                )));
            }
            _ if dense.is_none() && !sparse => {
                let what = match name {
                    "" => "the collection has no unnamed vector".to_owned(),
                    name => format!(
                        "the collection has no vector '{}'",
                        name.chars().take(64).collect::<String>()
                    ),
                };
                return Err(bad(format!("{what}, {}", vector_names(schema))));
            }
            _ => {}
        }
        let input = match self {
            Self::Document(document) => {
                let (indices, values) = document.stored(place)?.into_parts();
                Self::Sparse(indices, values)
            }
            other => other,
        };
        match (input, dense) {
            (Self::Dense(mut row), Some(params)) => {
                vector::prepare(&mut row, params, place)?;
                if params.multivector {
                    return list(params, vec![row], place);
                }
                Ok(row.into())
            }
            (Self::Multi(mut rows), Some(params)) if params.multivector => {
                for (i, row) in rows.iter_mut().enumerate() {
                    vector::prepare(row, params, || format!("{}[{i}]", place()))?;
                }
                list(params, rows, place)
            }
            (Self::Sparse(indices, values), None) => SparseVector::new(indices, values)
                .map(Vector::Sparse)
                .map_err(|e| bad(e.to_string())),
            (Self::Dense(_), None) => wrong("a dense", "sparse"),
            (Self::Multi(_), None) => wrong("a list of dense vectors as", "sparse"),
            (Self::Multi(_), Some(_)) => wrong("a list of vectors as", "one dense vector"),
            (_, Some(_)) => wrong("a sparse", "dense"),
            (_, None) => Err(bad("a vector is needed".to_owned())),
        }
    }
}

fn list(
    params: &DenseParams,
    rows: Vec<Vec<f32>>,
    place: &dyn Fn() -> String,
) -> Result<Vector, ServiceError> {
    let most = MAX_MULTI_COMPONENTS / params.size as usize;
    if rows.len() > most.max(1) {
        return Err(ServiceError::BadRequest(format!(
            "{}: the multi-vector has {} vectors, at most {} are allowed at this dimension",
            place(),
            rows.len(),
            most.max(1)
        )));
    }
    MultiVector::new(&rows)
        .map(Vector::Multi)
        .map_err(|e| ServiceError::BadRequest(format!("{}: {e}", place())))
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

schema!(VectorInput, "VectorInput", generator => {
    "anyOf": [generator.subschema_for::<StoredVector>(), generator.subschema_for::<PointId>()],
});

/// A vector to be stored: not the id of a point.
pub(super) enum StoredVector {}

schema!(StoredVector, "Vector", generator => {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        {
            "type": "object",
            "required": ["indices", "values"],
            "properties": {
                "indices": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
                },
                "values": {"type": "array", "items": {"type": "number"}},
            },
            "additionalProperties": false,
        },
        generator.subschema_for::<Document>(),
    ],
});

pub(crate) struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = VectorInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a vector (an array of numbers, an array of such arrays, or indices and values) or a \
             point id",
        )
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<VectorInput, E> {
        Ok(VectorInput::Id(PointId::Num(n)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<VectorInput, E> {
        Ok(match uuid::Uuid::try_parse(text) {
            Ok(id) => VectorInput::Id(PointId::Uuid(id)),
            Err(_) => VectorInput::Text(text.to_owned()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VectorInput, A::Error> {
        let mut values = match seq.next_element()? {
            None => return Ok(VectorInput::Dense(Vec::new())),
            Some(Component::List(first)) => {
                let mut rows = vec![first];
                while let Some(row) = seq.next_element::<Numbers>()? {
                    rows.push(row.0);
                }
                return Ok(VectorInput::Multi(rows));
            }
            Some(Component::Number(x)) => {
                let mut values = Vec::with_capacity(256);
                values.push(x);
                values
            }
        };
        while let Some(Number(x)) = seq.next_element()? {
            values.push(x);
        }
        values.shrink_to_fit();
        Ok(VectorInput::Dense(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VectorInput, A::Error> {
        let mut fields = Fields::default();
        fields.read(map, |key, _| Err(A::Error::unknown_field(key, SPARSE)))?;
        fields.into_input()
    }
}

const SPARSE: &[&str] = &["indices", "values"];

/// Fields of an object that stands for a vector.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) indices: Option<Vec<u32>>,
    pub(crate) values: Option<Vec<f32>>,
    pub(crate) text: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) options: Option<serde_json::Value>,
    /// Something other than a text that a model is to make into a vector.
    pub(crate) inference: bool,
    /// A text with parameters of its search.
    pub(crate) search: bool,
}

impl Fields {
    /// Reads all fields; those that no vector has go to `other`.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        mut other: impl FnMut(&str, &mut A) -> Result<(), A::Error>,
    ) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "indices" => self.indices = Some(map.next_value()?),
                "values" => self.values = Some(map.next_value::<Numbers>()?.0),
                "text" => match map.next_value()? {
                    serde_json::Value::String(text) => self.text = Some(text),
                    _ => self.search = true,
                },
                "model" => self.model = Some(map.next_value()?),
                "options" => self.options = map.next_value()?,
                "image" | "object" => {
                    map.next_value::<IgnoredAny>()?;
                    self.inference = true;
                }
                key => other(key, &mut map)?,
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        let vector = self.indices.is_some() || self.values.is_some();
        let document = self.text.is_some() || self.model.is_some() || self.options.is_some();
        !vector && !document && !self.inference && !self.search
    }

    /// Whether it is a text to be searched for in payloads, which no model makes into a vector.
    pub(super) fn is_search(&self) -> bool {
        self.search || (self.text.is_some() && self.model.is_none())
    }

    pub(super) fn into_input<E: Error>(self) -> Result<VectorInput, E> {
        if self.inference {
            let what = "server-side inference of anything but texts";
            return Ok(VectorInput::Refused(what));
        }
        if let Some(text) = self.text {
            let model = self.model.ok_or_else(|| E::missing_field("model"))?;
            return Ok(VectorInput::Document(Box::new(Document {
                text,
                model,
                options: self.options,
            })));
        }
        if self.search {
            return Err(E::custom("'text' is not a text"));
        }
        let indices = self.indices.ok_or_else(|| E::missing_field("indices"))?;
        let values = self.values.ok_or_else(|| E::missing_field("values"))?;
        Ok(VectorInput::Sparse(indices, values))
    }
}

/// The vectors of a point: one without a name, or some by name.
#[derive(Debug, PartialEq)]
pub(crate) enum VectorsInput {
    /// Bare.
    One(VectorInput),
    /// `{"name": ...}`.
    Named(Vec<(String, VectorInput)>),
}

impl VectorsInput {
    /// The vectors as they are stored, checked; `place` is where they stood.
    pub(crate) fn prepare(
        self,
        schema: &VectorSchema,
        place: &dyn Fn() -> String,
    ) -> Result<Vectors, ServiceError> {
        match self {
            Self::One(input) => Ok(Vectors::unnamed(input.prepare(schema, "", place)?)),
            Self::Named(named) => named
                .into_iter()
                .map(|(name, input)| {
                    let place = || format!("{}['{name}']", place());
                    let vector = input.prepare(schema, &name, &place)?;
                    Ok((name, vector))
                })
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for VectorsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = VectorsInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector (an array of numbers) or vectors by name")
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<VectorsInput, E> {
                InputVisitor.visit_u64(n).map(VectorsInput::One)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<VectorsInput, E> {
                InputVisitor.visit_str(text).map(VectorsInput::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorsInput, A::Error> {
                InputVisitor.visit_seq(seq).map(VectorsInput::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorsInput, A::Error> {
                let mut named = Vec::new();
                while let Some(entry) = map.next_entry::<String, VectorInput>()? {
                    // What a text is to be made into a vector by stands beside it.
                    if entry.0 == "model" && matches!(entry.1, VectorInput::Text(_)) {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        let refused = VectorInput::Refused("server-side inference");
                        return Ok(VectorsInput::One(refused));
                    }
                    named.push(entry);
                }
                Ok(VectorsInput::Named(named))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(VectorsInput, "Vectors", generator => {
    "anyOf": [
        generator.subschema_for::<StoredVector>(),
        {"type": "object", "additionalProperties": generator.subschema_for::<StoredVector>()},
    ],
});

/// The vector of the older search API: bare, or `{"name": ..., "vector": ...}`.
#[derive(Debug)]
pub(crate) struct SearchVector {
    /// Which of each point's vectors it is compared with.
    pub(crate) name: String,
    /// The vector.
    pub(crate) input: VectorInput,
}

impl<'de> Deserialize<'de> for SearchVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SearchVisitor;
        impl<'de> Visitor<'de> for SearchVisitor {
            type Value = SearchVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector (an array of numbers) or {\"name\": ..., \"vector\": ...}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<SearchVector, A::Error> {
                let input = InputVisitor.visit_seq(seq)?;
                let name = String::new();
                Ok(SearchVector { name, input })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SearchVector, A::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Named {
                    name: String,
                    vector: VectorInput,
                }
                let named = Named::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(SearchVector {
                    name: named.name,
                    input: named.vector,
                })
            }
        }
        deserializer.deserialize_any(SearchVisitor)
    }
}

schema!(SearchVector, "SearchVector", generator => {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}},
        {
            "type": "object",
            "required": ["name", "vector"],
            "properties": {"name": {"type": "string"}, "vector": generator.subschema_for::<VectorInput>()},
            "additionalProperties": false,
        },
    ],
});
