//! Distances between points of a sample.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::FilterDto;
use super::points::Checks;
use super::select::check_names;
use super::{Given, in_range, refuse};
use crate::error::ServiceError;
use crate::model::{Condition, Filter, PointId};

objects!(MatrixDto);

/// Points in the sample when the request does not say how many.
const DEFAULT_SAMPLE: usize = 10;
/// Neighbours of each when the request does not say how many.
const DEFAULT_LIMIT: usize = 3;

/// Which points, and how many neighbours of each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct MatrixDto {
    pub(crate) filter: Option<FilterDto>,
    /// Points chosen at random.
    pub(crate) sample: Option<usize>,
    /// Nearest neighbours of each in the sample.
    pub(crate) limit: Option<usize>,
    pub(crate) using: Option<String>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

/// A [`MatrixDto`], checked.
pub(crate) struct Matrix {
    /// Points that match and have such a vector.
    pub(crate) filter: Filter,
    pub(crate) sample: usize,
    pub(crate) limit: usize,
    pub(crate) using: String,
}

impl MatrixDto {
    pub(crate) fn into_model(self, checks: Checks<'_>) -> Result<Matrix, ServiceError> {
        let Checks { schema, limits, .. } = checks;
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let using = self.using.unwrap_or_default();
        check_names("using", std::slice::from_ref(&using), schema)?;
        let sample = self.sample.unwrap_or(DEFAULT_SAMPLE);
        in_range("sample", sample, 2, limits.max_search_limit)?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        in_range("limit", limit, 1, limits.max_search_limit)?;
        let mut must = vec![Condition::HasVector(using.clone())];
        if let Some(filter) = self.filter {
            let filter = filter.into_model(limits.max_batch_points)?;
            must.push(Condition::Filter(Box::new(filter)));
        }
        Ok(Matrix {
            filter: Filter {
                must,
                ..Filter::default()
            },
            sample,
            limit,
            using,
        })
    }
}

/// Two points and how near they are.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PairDto {
    pub(crate) a: PointId,
    pub(crate) b: PointId,
    pub(crate) score: f32,
}

/// A matrix as pairs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PairsDto {
    pub(crate) pairs: Vec<PairDto>,
}

/// A matrix as rows, columns and values: entry `i` is at row `offsets_row[i]` and column `offsets_col[i]`.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct OffsetsDto {
    pub(crate) offsets_row: Vec<u64>,
    pub(crate) offsets_col: Vec<u64>,
    pub(crate) scores: Vec<f32>,
    /// The points of rows and columns.
    pub(crate) ids: Vec<PointId>,
}
