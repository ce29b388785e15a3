//! Reads.

use std::collections::HashSet;

use serde::Deserialize;

use super::filter::FilterDto;
use super::select::{WithPayload, WithVector, check_names};
use super::vector::{QueryInput, SearchVector, VectorInput};
use super::{Given, at_most, in_range, refuse};
use crate::error::ServiceError;
use crate::model::{
    CodeUse, Condition, CountRequest, Filter, PayloadSelector, PointId, RetrieveRequest,
    ScrollRequest, SearchRequest, Vector, VectorSchema,
};
use crate::service::Limits;

/// Results when the request does not say how many.
const DEFAULT_LIMIT: usize = 10;

/// Most candidates per result that codes may be asked for.
const MAX_OVERSAMPLING: f32 = 100.0;

/// A batch of queries may ask for this many times as many results as one query.
const BATCH_RESULTS: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SearchParamsDto {
    hnsw_ef: Option<usize>,
    exact: Option<bool>,
    idf: Given,
    quantization: Option<QuantizationDto>,
    // What is not indexed yet is small here, and Qdrant looks at small parts also when this is set.
    #[serde(rename = "indexed_only")]
    _indexed_only: Option<bool>,
    // Another way to walk a graph under a filter.
    #[serde(rename = "acorn")]
    _acorn: Given,
}

/// Use of codes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QuantizationDto {
    ignore: Option<bool>,
    rescore: Option<bool>,
    oversampling: Option<f64>,
}

impl QuantizationDto {
    fn into_model(self) -> Result<CodeUse, ServiceError> {
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryDto {
    query: Option<QueryInput>,
    filter: Option<FilterDto>,
    params: Option<SearchParamsDto>,
    score_threshold: Option<f64>,
    limit: Option<usize>,
    offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayload>,
    using: Option<String>,
    prefetch: Given,
    lookup_from: Given,
    shard_key: Given,
}

/// Several queries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch<T> {
    searches: Vec<T>,
}

/// A query of the older search API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchDto {
    vector: SearchVector,
    filter: Option<FilterDto>,
    params: Option<SearchParamsDto>,
    score_threshold: Option<f64>,
    limit: usize,
    offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayload>,
    shard_key: Given,
}

/// A search, checked; its vector is perhaps still to be looked up.
#[derive(Debug)]
pub(crate) struct PlannedSearch {
    /// The request; its vector is empty while `like` is set.
    pub(crate) request: SearchRequest,
    /// The best results to leave out.
    pub(crate) offset: usize,
    /// Use the vector of this point, and leave the point out of the results.
    pub(crate) like: Option<PointId>,
}

impl PlannedSearch {
    /// Searches like the point that [`Self::like`] names, whose vector is `vector`.
    pub(crate) fn resolve(&mut self, id: PointId, vector: Vector) {
        self.request.vector = vector;
        let filter = self.request.filter.get_or_insert_default();
        filter.must_not.push(Condition::HasId(vec![id]));
        self.like = None;
    }
}

/// One of the two APIs' queries.
pub(crate) trait IntoPlan {
    /// Checks against schema and limits.
    fn into_plan(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<PlannedSearch, ServiceError>;
}

impl IntoPlan for QueryDto {
    fn into_plan(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<PlannedSearch, ServiceError> {
        refuse(&[
            ("prefetch", self.prefetch.is_some()),
            ("lookup_from", self.lookup_from.is_some()),
            ("shard_key", self.shard_key.is_some()),
        ])?;
        let Some(QueryInput(input)) = self.query else {
            return Err(ServiceError::Unsupported(
                "queries without 'query' (use points/scroll to list points)".to_owned(),
            ));
        };
        Parts {
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit.unwrap_or(DEFAULT_LIMIT),
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
        }
        .plan(
            input,
            self.using.unwrap_or_default(),
            "query",
            schema,
            limits,
        )
    }
}

impl IntoPlan for SearchDto {
    fn into_plan(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<PlannedSearch, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let SearchVector { name, input } = self.vector;
        Parts {
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: self.offset.unwrap_or(0),
            with_vector: self.with_vector,
            with_payload: self.with_payload,
        }
        .plan(input, name, "vector", schema, limits)
    }
}

impl<T: IntoPlan> Batch<T> {
    /// All queries, checked; and how many results they may have together.
    pub(crate) fn into_plans(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<Vec<PlannedSearch>, ServiceError> {
        at_most("'searches'", self.searches.len(), limits.max_batch_points)?;
        let plans = self.searches.into_iter().enumerate().map(|(i, search)| {
            search
                .into_plan(schema, limits)
                .map_err(|e| e.within(&format!("searches[{i}]")))
        });
        let plans: Vec<_> = plans.collect::<Result<_, _>>()?;
        let total = plans.iter().map(|p| p.request.limit).sum();
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

/// What both APIs have in common.
struct Parts {
    filter: Option<FilterDto>,
    params: Option<SearchParamsDto>,
    score_threshold: Option<f64>,
    limit: usize,
    offset: usize,
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayload>,
}

impl Parts {
    fn plan(
        self,
        input: VectorInput,
        using: String,
        place: &str,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<PlannedSearch, ServiceError> {
        let tuning = self.params.unwrap_or_default();
        refuse(&[("params.idf (sparse vectors)", tuning.idf.is_some())])?;
        check_names("using", std::slice::from_ref(&using), schema)?;
        in_range("limit", self.limit, 1, limits.max_search_limit)?;
        let end = self.limit.saturating_add(self.offset);
        in_range("limit + offset", end, 1, limits.max_search_limit)?;
        if let Some(ef) = tuning.hnsw_ef {
            in_range("params.hnsw_ef", ef, 1, limits.max_search_limit)?;
        }
        let score_threshold = self.score_threshold.map(|x| x as f32);
        if score_threshold.is_some_and(|x| !x.is_finite()) {
            return Err(ServiceError::BadRequest(format!(
                "score_threshold is out of range, from {:e} to {:e}",
                f32::MIN,
                f32::MAX
            )));
        }
        let (vector, like) = match input {
            VectorInput::Id(id) => (Vector::Dense(Vec::new()), Some(id)),
            other => (other.prepare(schema, &using, &|| place.to_owned())?, None),
        };
        Ok(PlannedSearch {
            request: SearchRequest {
                vector,
                using,
                filter: filter(self.filter, limits)?,
                limit: end,
                ef: tuning.hnsw_ef,
                exact: tuning.exact.unwrap_or(false),
                codes: tuning.quantization.unwrap_or_default().into_model()?,
                score_threshold,
                with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::None)?,
                with_vector: WithVector::wanted(self.with_vector, schema)?,
            },
            offset: self.offset,
            like,
        })
    }
}

fn filter(dto: Option<FilterDto>, limits: &Limits) -> Result<Option<Filter>, ServiceError> {
    dto.map(|f| f.into_model(limits.max_batch_points))
        .transpose()
}

/// Points by id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetrieveDto {
    ids: Vec<PointId>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Given,
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScrollDto {
    filter: Option<FilterDto>,
    limit: Option<usize>,
    offset: Option<PointId>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    order_by: Given,
    shard_key: Given,
}

impl ScrollDto {
    pub(crate) fn into_model(
        self,
        schema: &VectorSchema,
        limits: &Limits,
    ) -> Result<ScrollRequest, ServiceError> {
        refuse(&[
            ("order_by", self.order_by.is_some()),
            ("shard_key", self.shard_key.is_some()),
        ])?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        in_range("limit", limit, 1, limits.max_search_limit)?;
        Ok(ScrollRequest {
            filter: filter(self.filter, limits)?,
            limit,
            offset: self.offset,
            with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::All)?,
            with_vector: WithVector::wanted(self.with_vector, schema)?,
        })
    }
}

/// How many points.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountDto {
    filter: Option<FilterDto>,
    // Counts are always exact, which is also a good approximation.
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    shard_key: Given,
}

impl CountDto {
    pub(crate) fn into_model(self, limits: &Limits) -> Result<CountRequest, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        Ok(CountRequest {
            filter: filter(self.filter, limits)?,
        })
    }
}
