//! A search as the layers of a partition carry it out.

use crate::model::{CodeUse, SearchQuery, SearchRequest, VectorSchema};

use super::distance::{higher_is_better, score};
use super::error::EngineError;
use super::filter::CompiledFilter;
use super::stored::RowVectors;
pub(crate) use super::target::Target;

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
    /// Checks the query's vectors and brings them into the form of stored ones.
    ///
    /// # Errors
    /// [`EngineError::Invalid`]: no such vector, one that does not fit, or a formula, which compares no vectors.
    pub(crate) fn new(
        schema: &VectorSchema,
        request: &SearchRequest,
        filter: Option<&'q CompiledFilter>,
    ) -> Result<Self, EngineError> {
        let using = &request.using;
        let target = match &request.query {
            SearchQuery::Nearest(vector) => Target::new(schema, using, vector.clone())?,
            SearchQuery::Objective(objective) => Target::several(schema, using, objective.clone())?,
            SearchQuery::Formula(_) => {
                return Err(EngineError::invalid(
                    "the query",
                    "a formula ranks what was found, it finds nothing",
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

    /// As [`Target::distance`].
    pub(crate) fn distance(&self, row: &dyn RowVectors) -> Option<f32> {
        self.target.distance(row)
    }

    /// What users see for an internal distance; always finite.
    pub(crate) fn score(&self, distance: f32) -> f32 {
        match &self.target {
            Target::Dense {
                params, vectors, ..
            } => score(params.distance, vectors.len(), distance),
            Target::Sparse { .. } | Target::Several(_) => 0.0 - distance,
        }
    }
}

/// Whether a higher score is better in the results of a search.
#[must_use]
pub fn is_similarity(schema: &VectorSchema, request: &SearchRequest) -> bool {
    match &request.query {
        SearchQuery::Nearest(_) => schema
            .vectors
            .get(&request.using)
            .is_none_or(|params| higher_is_better(params.distance)),
        SearchQuery::Objective(_) | SearchQuery::Formula(_) => true,
    }
}

/// Whether a score in the results of a search is at least as good as the threshold.
pub(crate) fn passes(similarity: bool, score: f32, threshold: f32) -> bool {
    if similarity {
        score >= threshold
    } else {
        score <= threshold
    }
}
