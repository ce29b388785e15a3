//! The older APIs for queries by examples.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Given;
use super::examples::{ContextDto, DiscoverDto, LookupDto, PairDto, RecommendDto, StrategyDto};
use super::filter::{FilterDto, OneOrMany};
use super::points::Checks;
use super::prefetch::Prefetches;
use super::query::{IntoPlan, Parts, SearchParamsDto};
use super::query_input::QueryInput;
use super::refuse;
use super::select::{WithPayload, WithVector};
use super::vector::VectorInput;
use crate::api::plan::Step;
use crate::error::ServiceError;

objects!(RecommendRequestDto, DiscoverRequestDto);

/// Points like some examples and unlike others.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RecommendRequestDto {
    pub(crate) positive: Option<Vec<VectorInput>>,
    pub(crate) negative: Option<Vec<VectorInput>>,
    pub(crate) strategy: Option<StrategyDto>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) limit: usize,
    pub(crate) offset: Option<usize>,
    pub(crate) with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) score_threshold: Option<f64>,
    pub(crate) using: Option<String>,
    pub(crate) lookup_from: Option<LookupDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

/// Points like a target, on the right side of pairs; without a target those on the right side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct DiscoverRequestDto {
    pub(crate) target: Option<VectorInput>,
    pub(crate) context: Option<Vec<PairDto>>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) limit: usize,
    pub(crate) offset: Option<usize>,
    pub(crate) with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) using: Option<String>,
    pub(crate) lookup_from: Option<LookupDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl IntoPlan for RecommendRequestDto {
    fn into_plan(self, checks: Checks<'_>) -> Result<Step, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let query = QueryInput::Recommend(RecommendDto {
            positive: self.positive,
            negative: self.negative,
            strategy: self.strategy,
        });
        Parts {
            query: Some(query),
            using: self.using,
            prefetch: Prefetches::default(),
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
            lookup_from: self.lookup_from,
        }
        .plan(None, checks)
    }
}

impl IntoPlan for DiscoverRequestDto {
    fn into_plan(self, checks: Checks<'_>) -> Result<Step, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let context: ContextDto = OneOrMany(self.context.unwrap_or_default());
        let query = match self.target {
            Some(target) => QueryInput::Discover(DiscoverDto { target, context }),
            None => QueryInput::Context(context),
        };
        Parts {
            query: Some(query),
            using: self.using,
            prefetch: Prefetches::default(),
            filter: self.filter,
            params: self.params,
            score_threshold: None,
            limit: self.limit,
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
            lookup_from: self.lookup_from,
        }
        .plan(None, checks)
    }
}
