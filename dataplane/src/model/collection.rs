//! What users say of a collection beside the shapes of its vectors, and how collections change.
//!
//! Settings travel in the cluster manifest, whose layer does not understand them ([`CollectionSpec::extra`]).
//!
//! [`CollectionSpec::extra`]: brainy_coordination::manifest::CollectionSpec::extra

use std::collections::BTreeMap;

use brainy_coordination::manifest::{Collection, SchemaError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    DenseParams, HnswParams, Payload, Quantization, SparseParams, StrictMode, VectorSchema,
};

/// Why a collection cannot be changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It has no vectors of this name and kind.
    #[error("{kind}: the collection has none named '{name}'")]
    NoSuchVector {
        /// Which kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// It has vectors of this name that are not those asked for.
    #[error(
        "the collection has vectors named '{0}' of another kind, size or distance. Choose another name or drop them first"
    )]
    NameTaken(String),
    /// What the manifest holds is not settings.
    #[error("the settings of the collection cannot be read: {0}")]
    Unreadable(String),
    /// A value is out of range.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// Parameters of graphs and codes, as far as the user gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// Links of a node per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub m: Option<u32>,
    /// Candidates looked at while a node is inserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<u32>,
    /// Codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

impl Tuning {
    /// All that `params` say.
    fn of(params: &DenseParams) -> Self {
        Self {
            m: Some(params.hnsw.m),
            ef_construct: Some(params.hnsw.ef_construct),
            quantization: Some(params.quantization),
        }
    }

    /// What is given here, and elsewhere what `other` gives.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            m: self.m.or(other.m),
            ef_construct: self.ef_construct.or(other.ef_construct),
            quantization: self.quantization.or(other.quantization),
        }
    }

    /// The parameters of the graph, where nothing was given the defaults.
    #[must_use]
    pub fn hnsw(&self) -> HnswParams {
        let defaults = HnswParams::default();
        HnswParams {
            m: self.m.unwrap_or(defaults.m),
            ef_construct: self.ef_construct.unwrap_or(defaults.ef_construct),
        }
    }

    /// The codes of vectors of `size` dimensions, where nothing was given the default.
    #[must_use]
    pub fn quantization(&self, size: u32) -> Quantization {
        self.quantization
            .unwrap_or_else(|| Quantization::default_for(size))
    }
}

/// Settings of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionSettings {
    /// Whatever the user wants to keep with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
    /// Limits of requests to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_mode: Option<StrictMode>,
    /// Graphs and codes of all its vectors.
    pub tuning: Tuning,
    /// What single vectors have of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vectors: BTreeMap<String, Tuning>,
}

impl CollectionSettings {
    /// Those of a collection. One that has none keeps the parameters that its vectors have: those of the first for all.
    ///
    /// # Errors
    /// [`ChangeError::Unreadable`].
    pub fn of(collection: &Collection) -> Result<Self, ChangeError> {
        if !collection.spec.extra.is_object() {
            let dense = &collection.spec.schema.vectors;
            let first = dense.values().next().map(Tuning::of).unwrap_or_default();
            let own = dense.iter().map(|(name, p)| (name.clone(), Tuning::of(p)));
            return Ok(Self {
                tuning: first,
                vectors: own.filter(|(_, tuning)| *tuning != first).collect(),
                ..Self::default()
            });
        }
        Self::deserialize(&collection.spec.extra)
            .map_err(|e| ChangeError::Unreadable(e.to_string()))
    }

    /// As the manifest keeps them.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Maps with texts as keys and numbers that JSON has: nothing here fails to become JSON.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Gives every dense vector of `schema` its parameters.
    pub fn tune(&self, schema: &mut VectorSchema) {
        for (name, params) in &mut schema.vectors {
            let own = self.vectors.get(name).copied().unwrap_or_default();
            let tuning = own.or(&self.tuning);
            params.hnsw = tuning.hnsw();
            params.quantization = tuning.quantization(params.size);
        }
    }
}

/// A vector to add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NewVector {
    /// A dense one, or a list of them.
    Dense(DenseParams),
    /// A sparse one.
    Sparse(SparseParams),
}

/// New parameters of one dense vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorPatch {
    /// Parameters of its graph: none changes nothing, one without values takes its own away.
    pub hnsw: Option<Tuning>,
    /// Its codes.
    pub quantization: Option<Quantization>,
}

/// A change of a collection. Segments that there are stay as they are until a merge; new ones are built as it says.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectionChange {
    /// New parameters.
    Patch(Box<CollectionPatch>),
    /// One more vector; repeating it changes nothing.
    AddVector {
        /// Its name.
        name: String,
        /// What it is.
        vector: NewVector,
    },
    /// A vector and all its values go.
    DropVector {
        /// Its name.
        name: String,
    },
}

/// New parameters of a collection; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionPatch {
    /// Graphs and codes of all vectors that have none of their own.
    pub tuning: Tuning,
    /// Of single dense vectors, by name.
    pub vectors: BTreeMap<String, VectorPatch>,
    /// Whether terms of sparse vectors have weights, by name.
    pub sparse_idf: BTreeMap<String, Option<bool>>,
    /// Limits of requests.
    pub strict_mode: Option<StrictMode>,
    /// Keys to set; those that are null go.
    pub metadata: Option<Payload>,
}

impl CollectionChange {
    /// Makes the change, again and again the same.
    ///
    /// # Errors
    /// [`ChangeError`]; then `collection` may be changed in part.
    pub fn apply(&self, collection: &mut Collection) -> Result<(), ChangeError> {
        let mut settings = CollectionSettings::of(collection)?;
        let schema = &mut collection.spec.schema;
        match self {
            Self::Patch(patch) => patch.apply(schema, &mut settings)?,
            Self::AddVector { name, vector } => add(schema, name, *vector)?,
            Self::DropVector { name } => {
                let dense = schema.vectors.remove(name).is_some();
                if !dense && schema.sparse_vectors.remove(name).is_none() {
                    let (kind, name) = ("vectors", name.clone());
                    return Err(ChangeError::NoSuchVector { kind, name });
                }
                settings.vectors.remove(name);
            }
        }
        settings.tune(schema);
        schema.validate()?;
        collection.spec.extra = settings.to_value();
        Ok(())
    }
}

fn add(schema: &mut VectorSchema, name: &str, vector: NewVector) -> Result<(), ChangeError> {
    let since = schema.version + 1;
    let dense = schema.vectors.get(name).copied();
    let sparse = schema.sparse_vectors.get(name).copied();
    let there = match (vector, dense, sparse) {
        (_, None, None) => false,
        (NewVector::Dense(new), Some(old), _) => old.same_shape(&DenseParams {
            since: old.since,
            ..new
        }),
        (NewVector::Sparse(new), _, Some(old)) => old.idf == new.idf,
        _ => return Err(ChangeError::NameTaken(name.to_owned())),
    };
    if there {
        return Ok(());
    }
    if dense.is_some() || sparse.is_some() {
        return Err(ChangeError::NameTaken(name.to_owned()));
    }
    match vector {
        NewVector::Dense(params) => {
            let params = DenseParams { since, ..params };
            schema.vectors.insert(name.to_owned(), params);
        }
        NewVector::Sparse(params) => {
            let params = SparseParams { since, ..params };
            schema.sparse_vectors.insert(name.to_owned(), params);
        }
    }
    Ok(())
}

impl CollectionPatch {
    fn apply(
        &self,
        schema: &mut VectorSchema,
        settings: &mut CollectionSettings,
    ) -> Result<(), ChangeError> {
        settings.tuning = self.tuning.or(&settings.tuning);
        for (name, patch) in &self.vectors {
            if !schema.vectors.contains_key(name) {
                let (kind, name) = ("dense vectors", name.clone());
                return Err(ChangeError::NoSuchVector { kind, name });
            }
            let own = settings.vectors.entry(name.clone()).or_default();
            if let Some(hnsw) = patch.hnsw {
                let given = hnsw != Tuning::default();
                let kept = if given { *own } else { Tuning::default() };
                own.m = hnsw.m.or(kept.m);
                own.ef_construct = hnsw.ef_construct.or(kept.ef_construct);
            }
            own.quantization = patch.quantization.or(own.quantization);
        }
        for (name, idf) in &self.sparse_idf {
            let Some(params) = schema.sparse_vectors.get_mut(name) else {
                let (kind, name) = ("sparse vectors", name.clone());
                return Err(ChangeError::NoSuchVector { kind, name });
            };
            params.idf = idf.unwrap_or(params.idf);
        }
        if let Some(changed) = &self.strict_mode {
            let before = settings.strict_mode.take().unwrap_or_default();
            settings.strict_mode = Some(changed.clone().or(before));
        }
        if let Some(changed) = &self.metadata {
            let metadata = settings.metadata.get_or_insert_default();
            for (key, value) in changed {
                if value.is_null() {
                    metadata.remove(key);
                } else {
                    metadata.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
