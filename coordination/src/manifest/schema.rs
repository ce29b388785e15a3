//! What the vectors of a collection look like: names, sizes, how they are compared and how they are indexed.
//!
//! A point has any of the vectors of its collection, each under its name; the unnamed one has the name "". Sizes,
//! distances and kinds never change. Names can be added and dropped: every change of a schema has a number, its version, and
//! a vector knows the version that it came with. What was stored under a name before is not of the vector that has it now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most dimensions a dense vector can have.
pub const MAX_VECTOR_SIZE: u32 = 65_536;
/// Most vectors a collection can have, dense and sparse together.
pub const MAX_VECTORS: usize = 64;
/// Longest name of a vector, in characters.
pub const MAX_VECTOR_NAME: usize = 255;

/// A value of a schema that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, it must be {rule}")]
pub struct SchemaError {
    /// Path of the field.
    pub field: String,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub rule: String,
}

impl SchemaError {
    pub(super) fn new(
        field: impl Into<String>,
        value: impl ToString,
        rule: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            rule: rule.into(),
        }
    }
}

/// `value` is from `min` to `max`.
pub(super) fn in_range(
    field: impl Into<String>,
    value: u32,
    min: u32,
    max: u32,
) -> Result<(), SchemaError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SchemaError::new(
        field,
        value,
        format!("from {min} to {max}"),
    ))
}

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// Cosine similarity.
    Cosine,
    /// Dot product.
    Dot,
    /// Euclidean distance (L2).
    Euclid,
    /// Manhattan distance (L1).
    Manhattan,
}

/// Parameters of the HNSW graph (Malkov and Yashunin, 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HnswParams {
    /// Links of a node per layer.
    pub m: u32,
    /// Candidates looked at while a node is inserted.
    pub ef_construct: u32,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self {
            m: 16,
            ef_construct: 100,
        }
    }
}

/// Codes that searches compare in place of full vectors, which rank what they find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// None: searches compare full vectors.
    #[default]
    Disabled,
    /// 8 bits a dimension.
    Int8,
    /// 4 bits a dimension.
    Int4,
    /// 1 bit a dimension.
    Binary,
}

impl Quantization {
    /// Fewest dimensions at which codes are the default: shorter vectors are fetched from memory as fast as their codes.
    pub const DEFAULT_FROM: u32 = 64;

    /// What is chosen for vectors of `size` dimensions when the user does not say.
    #[must_use]
    pub fn default_for(size: u32) -> Self {
        if size >= Self::DEFAULT_FROM {
            Self::Int8
        } else {
            Self::Disabled
        }
    }
}

/// Dense vectors of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenseParams {
    /// Dimensions.
    pub size: u32,
    /// How two of them are compared.
    pub distance: Distance,
    /// Whether a point has a list of them. Two lists are compared by the sum, over the vectors of the query, of the best
    /// similarity to any of the point's (max-sim; Khattab and Zaharia, 2020, "ColBERT").
    #[serde(default)]
    pub multivector: bool,
    /// Their graph.
    #[serde(default)]
    pub hnsw: HnswParams,
    /// Their codes.
    #[serde(default)]
    pub quantization: Quantization,
    /// Version of the schema that they came with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl DenseParams {
    /// One vector a point, the default graph, no codes.
    #[must_use]
    pub fn new(size: u32, distance: Distance) -> Self {
        Self {
            size,
            distance,
            multivector: false,
            hnsw: HnswParams::default(),
            quantization: Quantization::Disabled,
            since: 0,
        }
    }

    /// Whether vectors of `other`, of the same name, can stand where vectors of `self` do; graphs and codes may differ.
    #[must_use]
    pub fn same_shape(&self, other: &Self) -> bool {
        (self.size, self.distance, self.multivector, self.since)
            == (other.size, other.distance, other.multivector, other.since)
    }

    fn validate(&self, field: &str) -> Result<(), SchemaError> {
        in_range(format!("{field}.size"), self.size, 1, MAX_VECTOR_SIZE)?;
        in_range(format!("{field}.hnsw.m"), self.hnsw.m, 2, 256)?;
        let ef = self.hnsw.ef_construct;
        in_range(format!("{field}.hnsw.ef_construct"), ef, 4, 10_000)?;
        if self.quantization == Quantization::Binary && self.distance == Distance::Manhattan {
            return Err(SchemaError::new(
                format!("{field}.quantization"),
                "binary",
                "scalar or disabled where the distance is Manhattan: one bit says nothing of it",
            ));
        }
        Ok(())
    }
}

/// Sparse vectors of one name, compared by their dot product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparseParams {
    /// Whether the query's values are multiplied by the inverse document frequency of their terms.
    #[serde(default)]
    pub idf: bool,
    /// Version of the schema that they came with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u64,
}

/// All vectors of a collection by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorSchema {
    /// Dense ones.
    #[serde(default)]
    pub vectors: BTreeMap<String, DenseParams>,
    /// Sparse ones; no name is in both.
    #[serde(default)]
    pub sparse_vectors: BTreeMap<String, SparseParams>,
    /// How often it was changed.
    #[serde(rename = "schema_version", default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

impl VectorSchema {
    /// One dense vector without a name.
    #[must_use]
    pub fn unnamed(params: DenseParams) -> Self {
        Self {
            vectors: BTreeMap::from([(String::new(), params)]),
            ..Self::default()
        }
    }

    /// All names, dense ones first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let dense = self.vectors.keys();
        dense.chain(self.sparse_vectors.keys()).map(String::as_str)
    }

    /// Whether points of `other` can stand where points of `self` do; graphs, codes and weights may differ.
    #[must_use]
    pub fn same_shape(&self, other: &Self) -> bool {
        self.vectors.len() == other.vectors.len()
            && (self.vectors.iter().zip(&other.vectors))
                .all(|(a, b)| a.0 == b.0 && a.1.same_shape(b.1))
            && self.sparse_vectors.len() == other.sparse_vectors.len()
            && (self.sparse_vectors.iter().zip(&other.sparse_vectors))
                .all(|(a, b)| a.0 == b.0 && a.1.since == b.1.since)
    }

    /// Version of the schema that the vector `name` came with; none if there is no such vector.
    #[must_use]
    pub fn since(&self, name: &str) -> Option<u64> {
        let dense = self.vectors.get(name).map(|params| params.since);
        dense.or_else(|| self.sparse_vectors.get(name).map(|params| params.since))
    }

    /// Checks names and ranges.
    ///
    /// # Errors
    /// [`SchemaError`] with the first field that is out of range.
    pub fn validate(&self) -> Result<(), SchemaError> {
        let count = self.names().count();
        if count > MAX_VECTORS {
            return Err(SchemaError::new(
                "the number of vectors",
                count,
                format!("at most {MAX_VECTORS}"),
            ));
        }
        for name in self.names() {
            check_name(name)?;
        }
        if let Some(name) = (self.sparse_vectors.keys()).find(|n| self.vectors.contains_key(*n)) {
            return Err(SchemaError::new(
                "a name in sparse_vectors",
                format!("'{name}'"),
                "no name in vectors",
            ));
        }
        for (name, params) in &self.vectors {
            let field = match name.as_str() {
                "" => "vectors".to_owned(),
                name => format!("vectors.{name}"),
            };
            params.validate(&field)?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), SchemaError> {
    let visible = |c: char| c == ' ' || !(c.is_control() || c.is_whitespace());
    if name.chars().count() <= MAX_VECTOR_NAME && name.chars().all(visible) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(SchemaError::new(
        "a vector's name",
        format!("'{}'", shown.escape_debug()),
        format!("at most {MAX_VECTOR_NAME} visible characters"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(schema: &VectorSchema, words: &[&str]) {
        let text = schema.validate().unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        let good = DenseParams::new(4, Distance::Dot);
        VectorSchema::unnamed(good).validate().unwrap();
        VectorSchema::default().validate().unwrap();
        let named = |params| VectorSchema {
            vectors: BTreeMap::from([("title".to_owned(), params)]),
            ..VectorSchema::default()
        };
        refused(
            &named(DenseParams { size: 0, ..good }),
            &["vectors.title.size", "65536"],
        );
        let hnsw = HnswParams {
            m: 257,
            ..HnswParams::default()
        };
        refused(
            &named(DenseParams { hnsw, ..good }),
            &["vectors.title.hnsw.m is 257"],
        );
        let hnsw = HnswParams {
            ef_construct: 3,
            ..HnswParams::default()
        };
        refused(&named(DenseParams { hnsw, ..good }), &["ef_construct"]);
        let binary = DenseParams {
            distance: Distance::Manhattan,
            quantization: Quantization::Binary,
            ..good
        };
        refused(&named(binary), &["quantization", "Manhattan"]);
    }

    #[test]
    fn names_are_bounded_and_belong_to_one_vector() {
        let sparse = |names: &[String]| VectorSchema {
            sparse_vectors: names
                .iter()
                .map(|n| (n.clone(), SparseParams::default()))
                .collect(),
            ..VectorSchema::default()
        };
        sparse(&["Titel, kurz".to_owned(), "x".repeat(255)])
            .validate()
            .unwrap();
        refused(&sparse(&["x".repeat(256)]), &["255"]);
        refused(&sparse(&["a\nb".to_owned()]), &["a\\nb", "visible"]);
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        sparse(&many[..64]).validate().unwrap();
        refused(&sparse(&many), &["65", "64"]);
        let twice = VectorSchema {
            sparse_vectors: BTreeMap::from([(String::new(), SparseParams::default())]),
            ..VectorSchema::unnamed(DenseParams::new(1, Distance::Dot))
        };
        refused(&twice, &["sparse_vectors"]);
    }

    #[test]
    fn shapes_are_what_stored_points_have_in_common() {
        let a = DenseParams::new(4, Distance::Dot);
        let schema = VectorSchema::unnamed(a);
        let coded = DenseParams {
            quantization: Quantization::Int8,
            ..a
        };
        assert!(schema.same_shape(&VectorSchema::unnamed(coded)));
        let lists = DenseParams {
            multivector: true,
            ..a
        };
        assert!(!schema.same_shape(&VectorSchema::unnamed(lists)));
        assert!(!schema.same_shape(&VectorSchema::default()));
    }
}
