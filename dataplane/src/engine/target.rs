//! What rows are compared with.

use brainy_index::kernels::{FloatPair, kernels};
use brainy_index::vectors::{padded, stride};

use crate::model::{DenseParams, MultiVector, Objective, SparseVector, Vector, VectorSchema};

use super::distance::measure;
use super::error::EngineError;
use super::objective;
use super::schema::{self, Field};
use super::stored::{DenseRows, RowVectors, SparseRef};

/// See the module. All parts of one target are of one field.
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
    /// The vectors of a field with several examples.
    ///
    /// No graph is walked for it: every candidate is compared. A walk descends by the distance that the graph was built with; the
    /// value of an objective falls and rises along such a path (behind every negative example, at the border of every pair), so
    /// that a walk ends in the first of several hills and never knows. A comparison gives what the objective says, whatever the
    /// partitions.
    Several(Box<Objective<Target>>),
}

impl Target {
    /// A vector in the form of the stored ones of the name `using`. A field of multi-vectors takes a single vector as a list of
    /// one.
    ///
    /// # Errors
    /// [`EngineError::Invalid`]: no such field, or a vector that does not fit.
    pub(crate) fn new(
        schema: &VectorSchema,
        using: &str,
        mut vector: Vector,
    ) -> Result<Self, EngineError> {
        prepare(schema, using, &mut vector)?;
        let dense = |field, params: DenseParams, vectors: &mut dyn Iterator<Item = &[f32]>| {
            let size = params.size as usize;
            Target::Dense {
                field,
                params,
                vectors: vectors.map(|v| padded(v, size)).collect(),
                pair: kernels().pair(measure(params.distance)),
            }
        };
        Ok(match (schema::field(schema, using)?, vector) {
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
        })
    }

    /// Examples in the form of the stored vectors of the name `using`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn several(
        schema: &VectorSchema,
        using: &str,
        objective: Objective,
    ) -> Result<Self, EngineError> {
        let targets = objective.try_map(|vector| Self::new(schema, using, vector))?;
        Ok(Self::Several(Box::new(targets)))
    }

    /// Internal distance of a row: lower is better. None if the row has no such vector or, with one sparse vector, no term of it.
    pub(crate) fn distance(&self, row: &dyn RowVectors) -> Option<f32> {
        match self {
            Self::Dense { .. } => self.similarity(row).map(|s| -s),
            Self::Sparse { field, vector } => {
                Some(0.0 - row.sparse(*field)?.dot(SparseRef::from(vector))?)
            }
            Self::Several(objective) => {
                objective::value(objective, |target| target.similarity(row)).map(|value| -value)
            }
        }
    }

    /// Similarity of a row: higher is nearer, 0 where sparse vectors have no term in common. None if the row has no such vector.
    fn similarity(&self, row: &dyn RowVectors) -> Option<f32> {
        match self {
            Self::Dense {
                field,
                vectors,
                pair,
                ..
            } => {
                let rows = row.dense(*field);
                (!rows.is_empty()).then(|| -rows.distance(*pair, vectors))
            }
            Self::Sparse { field, vector } => {
                let dot = row.sparse(*field)?.dot(SparseRef::from(vector));
                Some(dot.unwrap_or(0.0))
            }
            Self::Several(objective) => {
                objective::value(objective, |target| target.similarity(row))
            }
        }
    }

    /// Similarity to another vector of the same field, as [`Self::similarity`] has it; 0 between what cannot be compared.
    pub(crate) fn similarity_to(&self, other: &Self) -> f32 {
        match (self, other) {
            (
                Self::Dense { vectors, pair, .. },
                Self::Dense {
                    vectors: rows,
                    params,
                    ..
                },
            ) => {
                let size = params.size as usize;
                match rows.as_slice() {
                    [row] => -DenseRows::new(row, size, stride(size)).distance(*pair, vectors),
                    rows => {
                        let data = rows.concat();
                        -DenseRows::new(&data, size, stride(size)).distance(*pair, vectors)
                    }
                }
            }
            (Self::Sparse { vector, .. }, Self::Sparse { vector: row, .. }) => {
                vector.dot(row).unwrap_or(0.0)
            }
            _ => 0.0,
        }
    }

    /// Calls `each` for all sparse vectors, of the field of that number.
    pub(crate) fn each_sparse<'t>(&'t self, each: &mut dyn FnMut(usize, &'t SparseVector)) {
        match self {
            Self::Dense { .. } => {}
            Self::Sparse { field, vector } => each(*field, vector),
            Self::Several(objective) => objective.for_each(&mut |target| target.each_sparse(each)),
        }
    }

    /// The same with `change` made to all sparse vectors.
    pub(crate) fn with_sparse(self, change: &dyn Fn(SparseVector) -> SparseVector) -> Self {
        match self {
            Self::Dense { .. } => self,
            Self::Sparse { field, vector } => Self::Sparse {
                field,
                vector: change(vector),
            },
            Self::Several(objective) => {
                let changed =
                    objective.try_map(|t| Ok::<_, std::convert::Infallible>(t.with_sparse(change)));
                match changed {
                    Ok(changed) => Self::Several(Box::new(changed)),
                    Err(never) => match never {},
                }
            }
        }
    }
}

/// Checks a vector against the field `using` and brings it into the form of stored ones: of unit length where the distance is
/// cosine, a list where lists are stored.
///
/// # Errors
/// [`EngineError::Invalid`]: no such field, or a vector that does not fit.
pub(crate) fn prepare(
    schema: &VectorSchema,
    using: &str,
    vector: &mut Vector,
) -> Result<(), EngineError> {
    let field = schema::field(schema, using)?;
    if let (Field::Dense(_, params), Vector::Dense(data)) = (&field, &*vector)
        && params.multivector
    {
        let list = MultiVector::from_flat(data.len(), data.clone());
        *vector = list
            .map_err(|e| EngineError::invalid("the query", e.to_string()))?
            .into();
    }
    schema::prepare_one(&field, using, vector)
}
