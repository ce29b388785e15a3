//! A search as the layers of a partition carry it out.

use brainy_index::kernels::{FloatPair, kernels};
use brainy_index::vectors::padded;

use crate::model::{CodeUse, DenseParams, SearchRequest, SparseVector, Vector, VectorSchema};

use super::distance::{higher_is_better, measure, score};
use super::error::EngineError;
use super::filter::CompiledFilter;
use super::schema::{self, Field};
use super::stored::{RowVectors, SparseRef};

/// What rows are compared with.
#[derive(Debug)]
pub(crate) enum Target {
    /// The dense vectors of a field with one or, in a field of multi-vectors, several vectors.
    Dense {
        field: usize,
        params: DenseParams,
        /// Padded as stored ones are.
        vectors: Vec<Vec<f32>>,
        pair: FloatPair,
    },
    /// The sparse vectors of a field.
    Sparse { field: usize, vector: SparseVector },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Query<'q> {
    pub(crate) target: Target,
    pub(crate) limit: usize,
    pub(crate) ef: Option<usize>,
    pub(crate) exact: bool,
    pub(crate) codes: CodeUse,
    pub(crate) filter: Option<&'q CompiledFilter>,
}

impl<'q> Query<'q> {
    /// Checks the query's vector and brings it into the form of stored ones. A field of multi-vectors takes a single vector as
    /// a list of one.
    ///
    /// # Errors
    /// [`EngineError::Invalid`]: no such vector, or one that does not fit.
    pub(crate) fn new(
        schema: &VectorSchema,
        request: &SearchRequest,
        filter: Option<&'q CompiledFilter>,
    ) -> Result<Self, EngineError> {
        let name = &request.using;
        let field = schema::field(schema, name)?;
        let mut vector = request.vector.clone();
        if let (Field::Dense(_, params), Vector::Dense(data)) = (&field, &vector)
            && params.multivector
        {
            let list = crate::model::MultiVector::from_flat(data.len(), data.clone());
            vector = list
                .map_err(|e| EngineError::invalid("the query", e.to_string()))?
                .into();
        }
        schema::prepare_one(&field, name, &mut vector)?;
        let dense = |field, params: DenseParams, vectors: &mut dyn Iterator<Item = &[f32]>| {
            let size = params.size as usize;
            Target::Dense {
                field,
                params,
                vectors: vectors.map(|v| padded(v, size)).collect(),
                pair: kernels().pair(measure(params.distance)),
            }
        };
        let target = match (field, vector) {
            (Field::Dense(field, params), Vector::Dense(data)) => {
                dense(field, params, &mut std::iter::once(data.as_slice()))
            }
            (Field::Dense(field, params), Vector::Multi(list)) => {
                dense(field, params, &mut list.rows())
            }
            (Field::Sparse(field), Vector::Sparse(vector)) => Target::Sparse { field, vector },
            _ => {
                return Err(EngineError::invalid(
                    "the query",
                    "it is of another kind than the vectors it is compared with",
                ));
            }
        };
        Ok(Self {
            target,
            limit: request.limit,
            ef: request.ef,
            exact: request.exact,
            codes: request.codes,
            filter,
        })
    }

    /// Internal distance of a row: lower is nearer. None if the row has no such vector or, of a sparse one, no term of the
    /// query.
    pub(crate) fn distance(&self, row: &dyn RowVectors) -> Option<f32> {
        match &self.target {
            Target::Dense {
                field,
                vectors,
                pair,
                ..
            } => {
                let rows = row.dense(*field);
                (!rows.is_empty()).then(|| rows.distance(*pair, vectors))
            }
            Target::Sparse { field, vector } => {
                Some(0.0 - row.sparse(*field)?.dot(SparseRef::from(vector))?)
            }
        }
    }

    /// What users see for an internal distance; always finite.
    pub(crate) fn score(&self, distance: f32) -> f32 {
        match &self.target {
            Target::Dense {
                params, vectors, ..
            } => score(params.distance, vectors.len(), distance),
            Target::Sparse { .. } => 0.0 - distance,
        }
    }

    /// Whether a score is at least as good as the threshold.
    pub(crate) fn passes(&self, score: f32, threshold: f32) -> bool {
        let similarity = match &self.target {
            Target::Dense { params, .. } => higher_is_better(params.distance),
            Target::Sparse { .. } => true,
        };
        if similarity {
            score >= threshold
        } else {
            score <= threshold
        }
    }
}

/// Whether users see similarities (true) or distances (false) in a search of the vectors named `using`.
#[must_use]
pub fn is_similarity(schema: &VectorSchema, using: &str) -> bool {
    schema
        .vectors
        .get(using)
        .is_none_or(|params| higher_is_better(params.distance))
}
