//! Reads.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::examples::LookupDto;
use super::filter::FilterDto;
use super::order::OrderByDto;
pub(crate) use super::parts::Parts;
use super::points::Checks;
use super::prefetch::Prefetches;
use super::query_input::QueryInput;
use super::select::{WithPayload, WithVector};
use super::vector::SearchVector;
use super::{Given, at_most, in_range, refuse};
use crate::api::plan::Step;
use crate::error::ServiceError;
use crate::model::{
    CodeUse, CountRequest, Filter, ListOrder, ListRequest, PayloadSelector, PointId,
    RetrieveRequest, ScrollRequest, VectorSchema,
};
use crate::service::Limits;

objects!(
    SearchParamsDto,
    IdfCorpusDto,
    QuantizationDto,
    QueryDto,
    SearchDto,
    RetrieveDto,
    ScrollDto,
    CountDto
);

/// Results when the request does not say how many.
pub(super) const DEFAULT_LIMIT: usize = 10;

/// Most candidates per result that codes may be asked for.
const MAX_OVERSAMPLING: f32 = 100.0;

/// Most prefetches of one query, those inside others counted.
const MAX_PREFETCHES: usize = 64;
/// Most levels of prefetches.
const MAX_DEPTH: usize = 8;

/// A batch of queries may ask for this many times as many results as one query.
const BATCH_RESULTS: usize = 100;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub(crate) struct SearchParamsDto {
    pub(crate) hnsw_ef: Option<usize>,
    pub(crate) exact: Option<bool>,
    pub(crate) idf: Option<IdfDto>,
    pub(crate) quantization: Option<QuantizationDto>,
    // What is not indexed yet is small here, and Qdrant looks at small parts also when this is set.
    #[serde(rename = "indexed_only")]
    pub(crate) _indexed_only: Option<bool>,
    // Another way to walk a graph under a filter.
    #[serde(rename = "acorn")]
    pub(crate) _acorn: Given,
}

/// Which points decide how rare a term is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum IdfDto {
    /// All, by name.
    Scope(IdfScopeDto),
    /// Some.
    Corpus(IdfCorpusDto),
}

/// See [`IdfDto`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdfScopeDto {
    Global,
}

/// See [`IdfDto`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct IdfCorpusDto {
    pub(crate) corpus: FilterDto,
}

impl IdfDto {
    pub(super) fn into_model(self, limits: &Limits) -> Result<Option<Filter>, ServiceError> {
        match self {
            Self::Scope(IdfScopeDto::Global) => Ok(None),
            Self::Corpus(IdfCorpusDto { corpus }) => {
                filter(Some(corpus), limits).map_err(|e| e.within("params.idf.corpus"))
            }
        }
    }
}

/// Use of codes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", default, deny_unknown_fields)]
#[schemars(rename = "QuantizationSearchParams")]
pub(crate) struct QuantizationDto {
    pub(crate) ignore: Option<bool>,
    pub(crate) rescore: Option<bool>,
    pub(crate) oversampling: Option<f64>,
}

impl QuantizationDto {
    pub(super) fn into_model(self) -> Result<CodeUse, ServiceError> {
        let oversampling = self.oversampling.map(|x| x as f32);
        if oversampling.is_some_and(|x| !(1.0..=MAX_OVERSAMPLING).contains(&x)) {
            return Err(ServiceError::BadRequest(format!(
                "params.quantization.oversampling must be from 1 to {MAX_OVERSAMPLING}"
            )));
        }
        Ok(CodeUse {
            ignore: self.ignore.unwrap_or(false),
            rescore: self.rescore,
            oversampling,
        })
    }
}

/// A query of the universal query API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct QueryDto {
    pub(crate) query: Option<QueryInput>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) using: Option<String>,
    #[serde(default)]
    pub(crate) prefetch: Prefetches,
    pub(crate) lookup_from: Option<LookupDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

/// Several queries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Batch")]
pub(crate) struct Batch<T> {
    pub(crate) searches: Vec<T>,
}

/// A query of the older search API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct SearchDto {
    pub(crate) vector: SearchVector,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    pub(crate) limit: usize,
    pub(crate) offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

/// One of the two APIs' queries.
pub(crate) trait IntoPlan {
    /// Checks against schema and limits.
    fn into_plan(self, checks: Checks<'_>) -> Result<Step, ServiceError>;
}

impl IntoPlan for QueryDto {
    fn into_plan(self, checks: Checks<'_>) -> Result<Step, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let (count, depth) = self.prefetch.size();
        at_most("'prefetch', with all inside,", count, MAX_PREFETCHES)?;
        in_range("the depth of 'prefetch'", depth, 0, MAX_DEPTH)?;
        Parts {
            query: self.query,
            using: self.using,
            prefetch: self.prefetch,
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit.unwrap_or(DEFAULT_LIMIT),
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
            lookup_from: self.lookup_from,
        }
        .plan(None, checks)
    }
}

impl IntoPlan for SearchDto {
    fn into_plan(self, checks: Checks<'_>) -> Result<Step, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let SearchVector { name, input } = self.vector;
        let parts = Parts {
            query: None,
            using: Some(name),
            prefetch: Prefetches::default(),
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
            lookup_from: None,
        };
        let search = parts.nearest(input, "vector", None, checks)?;
        Ok(Step::Search(Box::new(search), Vec::new()))
    }
}

impl<T: IntoPlan> Batch<T> {
    /// All queries, checked; and how many results they may have together.
    pub(crate) fn into_plans(self, checks: Checks<'_>) -> Result<Vec<Step>, ServiceError> {
        let limits = checks.limits;
        at_most("'searches'", self.searches.len(), limits.max_batch_points)?;
        let plans = self.searches.into_iter().enumerate().map(|(i, search)| {
            search
                .into_plan(checks)
                .map_err(|e| e.within(&format!("searches[{i}]")))
        });
        let plans: Vec<_> = plans.collect::<Result<_, _>>()?;
        let total = plans
            .iter()
            .map(Step::results)
            .fold(0, usize::saturating_add);
        let max = limits.max_search_limit.saturating_mul(BATCH_RESULTS);
        in_range(
            "the sum of all 'limit' and 'offset' in 'searches'",
            total,
            0,
            max,
        )?;
        Ok(plans)
    }
}

pub(super) fn filter(
    dto: Option<FilterDto>,
    limits: &Limits,
) -> Result<Option<Filter>, ServiceError> {
    dto.map(|f| f.into_model(limits.max_batch_points))
        .transpose()
}

/// Points by id.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RetrieveDto {
    pub(crate) ids: Vec<PointId>,
    pub(crate) with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl RetrieveDto {
    pub(crate) fn into_model(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<RetrieveRequest, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        at_most("'ids'", self.ids.len(), limits.max_batch_points)?;
        // Qdrant answers each point once, however often it is asked for.
        let mut seen = HashSet::with_capacity(self.ids.len());
        let mut ids = self.ids;
        ids.retain(|id| seen.insert(*id));
        Ok(RetrieveRequest {
            ids,
            with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::All)?,
            with_vector: WithVector::wanted(self.with_vector, schema)?,
        })
    }
}

/// A page of points.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct ScrollDto {
    pub(crate) filter: Option<FilterDto>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<PointId>,
    pub(crate) with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) order_by: Option<OrderByDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

/// A page of points.
pub(crate) enum Scroll {
    /// In the order of ids.
    ById(ScrollRequest),
    /// By a payload field.
    Ordered(ListRequest),
}

impl ScrollDto {
    pub(crate) fn into_model(self, checks: Checks<'_>) -> Result<Scroll, ServiceError> {
        let Checks {
            schema,
            limits,
            indexes,
        } = checks;
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        in_range("limit", limit, 1, limits.max_search_limit)?;
        let filter = filter(self.filter, limits)?;
        let with_payload = WithPayload::wanted(self.with_payload, PayloadSelector::All)?;
        let with_vector = WithVector::wanted(self.with_vector, schema)?;
        let Some(by) = self.order_by else {
            return Ok(Scroll::ById(ScrollRequest {
                filter,
                limit,
                offset: self.offset,
                with_payload,
                with_vector,
            }));
        };
        if self.offset.is_some() {
            return Err(ServiceError::BadRequest(
                "Cannot use an `offset` when using `order_by`: go on with `order_by.start_from` and a filter that excludes the \
                 ids that were seen with that value"
                    .to_owned(),
            ));
        }
        Ok(Scroll::Ordered(ListRequest {
            order: ListOrder::Field(by.into_model(indexes)?),
            filter,
            limit,
            with_payload,
            with_vector,
        }))
    }
}

/// How many points.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct CountDto {
    pub(crate) filter: Option<FilterDto>,
    // Counts are always exact, which is also a good approximation.
    #[serde(rename = "exact")]
    pub(crate) _exact: Option<bool>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl CountDto {
    pub(crate) fn into_model(self, limits: &Limits) -> Result<CountRequest, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        Ok(CountRequest {
            filter: filter(self.filter, limits)?,
        })
    }
}
