//! From what queries have in common to plans.

use super::examples::{Examples, LookupDto};
use super::filter::FilterDto;
use super::in_range;
use super::order::SampleDto;
use super::points::Checks;
use super::prefetch::{PrefetchDto, Prefetches};
use super::query::{DEFAULT_LIMIT, SearchParamsDto, filter};
use super::query_input::{MmrDto, QueryInput};
use super::select::{WithPayload, WithVector, check_names};
use super::vector::VectorInput;
use crate::api::asked::{Asked, Location};
use crate::api::listing::PlannedList;
use crate::api::mmr::Mmr;
use crate::api::plan::{Finish, Fusion, PlannedFusion, PlannedSearch, Step, both};
use crate::error::ServiceError;
use crate::model::{
    Filter, ListOrder, ListRequest, PayloadSelector, SearchRequest, VectorSelector,
};
use crate::service::Limits;

/// Most comparisons of candidates with each other that one query with `mmr` makes.
const MAX_MMR_PAIRS: usize = 10_000_000;

/// What queries have in common, also those inside others.
pub(crate) struct Parts {
    pub(crate) query: Option<QueryInput>,
    pub(crate) using: Option<String>,
    pub(crate) prefetch: Prefetches,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) params: Option<SearchParamsDto>,
    pub(crate) score_threshold: Option<f64>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) with_vector: Option<WithVector>,
    pub(crate) with_payload: Option<WithPayload>,
    pub(crate) lookup_from: Option<LookupDto>,
}

impl From<PrefetchDto> for Parts {
    fn from(dto: PrefetchDto) -> Self {
        Self {
            query: dto.query,
            using: dto.using,
            prefetch: dto.prefetch,
            filter: dto.filter,
            params: dto.params,
            score_threshold: dto.score_threshold,
            limit: dto.limit.unwrap_or(DEFAULT_LIMIT),
            offset: 0,
            with_vector: None,
            with_payload: None,
            lookup_from: dto.lookup_from,
        }
    }
}

impl Parts {
    /// The query with what it prefetches; all of it keeps to `outer`, the filter around it.
    pub(super) fn plan(
        mut self,
        outer: Option<&Filter>,
        checks: Checks<'_>,
    ) -> Result<Step, ServiceError> {
        let prefetches = std::mem::take(&mut self.prefetch).0;
        let filter = both(outer, filter(self.filter.take(), checks.limits)?);
        let sources = prefetches.into_iter().enumerate().map(|(i, dto)| {
            let source = Self::from(dto).plan(filter.as_ref(), checks);
            source.map_err(|e| e.within(&format!("prefetch[{i}]")))
        });
        let sources: Vec<Step> = sources.collect::<Result<_, _>>()?;
        let search = |parts: Self, asked, sources| {
            let search = parts.search(asked, filter.clone(), checks)?;
            Ok(Step::Search(Box::new(search), sources))
        };
        let using = self.using.clone().unwrap_or_default();
        let examples = Examples::new(checks, &using);
        let place =
            |field: &'static str| move |e: ServiceError| e.within(&format!("query.{field}"));
        match self.query.take() {
            None if sources.is_empty() => self.listing(ListOrder::Id, filter, sources, checks),
            None => Err(ServiceError::BadRequest(
                "'query' is needed to make one list of what is prefetched".to_owned(),
            )),
            Some(QueryInput::Nearest(input, mmr)) => {
                let mut search = self.nearest(input, "query", filter, checks)?;
                if let Some(mmr) = mmr {
                    vary(&mut search, &mmr, checks.limits)?;
                }
                Ok(Step::Search(Box::new(search), sources))
            }
            Some(QueryInput::Recommend(dto)) => {
                check_names("using", std::slice::from_ref(&using), checks.schema)?;
                let asked = examples.recommend(dto).map_err(place("recommend"))?;
                search(self, asked, sources)
            }
            Some(QueryInput::Discover(dto)) => {
                check_names("using", std::slice::from_ref(&using), checks.schema)?;
                let asked = examples.discover(dto).map_err(place("discover"))?;
                search(self, asked, sources)
            }
            Some(QueryInput::Context(pairs)) => {
                check_names("using", std::slice::from_ref(&using), checks.schema)?;
                let asked = examples.context(pairs).map_err(place("context"))?;
                search(self, asked, sources)
            }
            Some(QueryInput::Feedback(dto)) => {
                check_names("using", std::slice::from_ref(&using), checks.schema)?;
                let asked = examples
                    .feedback(*dto)
                    .map_err(place("relevance_feedback"))?;
                search(self, asked, sources)
            }
            Some(QueryInput::Formula(_)) if sources.is_empty() => Err(ServiceError::BadRequest(
                "query: a formula needs results to rank, give 'prefetch'".to_owned(),
            )),
            Some(QueryInput::Formula(dto)) => {
                let formula = dto.into_model(checks.limits.max_batch_points);
                let formula = formula.map_err(place("formula"))?;
                search(self, Asked::Formula(Box::new(formula)), sources)
            }
            Some(QueryInput::Fusion(fusion)) => {
                let plan = self.fusion(fusion, sources.len(), checks)?;
                Ok(Step::Fuse(Box::new(plan), sources))
            }
            Some(QueryInput::OrderBy(by)) => {
                let order = by.into_model(checks.indexes)?;
                self.listing(ListOrder::Field(order), filter, sources, checks)
            }
            Some(QueryInput::Sample(SampleDto::Random)) => {
                self.listing(ListOrder::Random(rand::random()), filter, sources, checks)
            }
            Some(QueryInput::Refused(what)) => {
                Err(ServiceError::Unsupported(format!("{what} (at query)")))
            }
        }
    }

    /// Points in an order that needs no vector: `using`, `params` and `score_threshold` mean nothing to it.
    fn listing(
        self,
        order: ListOrder,
        filter: Option<Filter>,
        sources: Vec<Step>,
        checks: Checks<'_>,
    ) -> Result<Step, ServiceError> {
        let request = ListRequest {
            order,
            filter,
            limit: self.end(checks.limits)?,
            with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::None)?,
            with_vector: WithVector::wanted(self.with_vector, checks.schema)?,
        };
        let offset = self.offset;
        Ok(Step::List(
            Box::new(PlannedList { request, offset }),
            sources,
        ))
    }

    fn fusion(
        self,
        fusion: Fusion,
        sources: usize,
        checks: Checks<'_>,
    ) -> Result<PlannedFusion, ServiceError> {
        let bad = |text: String| Err(ServiceError::BadRequest(text));
        if sources == 0 {
            return bad("query: fusion needs results to fuse, give 'prefetch'".to_owned());
        }
        if let Fusion::Rrf { k, weights } = &fusion {
            if *k == 0 {
                return bad("query.rrf.k must be at least 1".to_owned());
            }
            if !weights.is_empty() && weights.len() != sources {
                let count = weights.len();
                return bad(format!(
                    "query.rrf.weights has {count} entries and 'prefetch' {sources}: they must be the same"
                ));
            }
            if let Some(weight) = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
                return bad(format!(
                    "query.rrf.weights has {weight}: weights are 0 or above"
                ));
            }
        }
        let score_threshold = self.threshold()?;
        Ok(PlannedFusion {
            fusion,
            limit: self.end(checks.limits)?,
            score_threshold,
            finish: Finish {
                offset: self.offset,
                fetch: Some((
                    WithPayload::wanted(self.with_payload, PayloadSelector::None)?,
                    WithVector::wanted(self.with_vector, checks.schema)?,
                )),
            },
        })
    }

    /// The limit with the offset, checked.
    fn end(&self, limits: &Limits) -> Result<usize, ServiceError> {
        in_range("limit", self.limit, 1, limits.max_search_limit)?;
        let end = self.limit.saturating_add(self.offset);
        in_range("limit + offset", end, 1, limits.max_search_limit)?;
        Ok(end)
    }

    fn threshold(&self) -> Result<Option<f32>, ServiceError> {
        let score_threshold = self.score_threshold.map(|x| x as f32);
        if score_threshold.is_some_and(|x| !x.is_finite()) {
            return Err(ServiceError::BadRequest(format!(
                "score_threshold is out of range, from {:e} to {:e}",
                f32::MIN,
                f32::MAX
            )));
        }
        Ok(score_threshold)
    }

    /// A search for what is nearest, whose own filter `outer` replaces if it was read already.
    pub(super) fn nearest(
        self,
        input: VectorInput,
        place: &str,
        outer: Option<Filter>,
        checks: Checks<'_>,
    ) -> Result<PlannedSearch, ServiceError> {
        let using = self.using.clone().unwrap_or_default();
        check_names("using", std::slice::from_ref(&using), checks.schema)?;
        let example = Examples::new(checks, &using).one(input, &|| place.to_owned())?;
        self.search(Asked::Nearest(example), outer, checks)
    }

    /// The search, whose own filter `outer` replaces if it was read already.
    fn search(
        mut self,
        asked: Asked,
        outer: Option<Filter>,
        checks: Checks<'_>,
    ) -> Result<PlannedSearch, ServiceError> {
        let Checks { schema, limits, .. } = checks;
        let tuning = self.params.take().unwrap_or_default();
        let using = self.using.take().unwrap_or_default();
        let limit = self.end(limits)?;
        if let Some(ef) = tuning.hnsw_ef {
            in_range("params.hnsw_ef", ef, 1, limits.max_search_limit)?;
        }
        let score_threshold = self.threshold()?;
        let lookup = match self.lookup_from.take() {
            None => Location {
                collection: None,
                vector: using.clone(),
            },
            Some(from) => {
                from.check()?;
                Location {
                    vector: from.vector.unwrap_or_else(|| using.clone()),
                    collection: Some(from.collection),
                }
            }
        };
        let idf_corpus = tuning.idf.map(|idf| idf.into_model(limits)).transpose()?;
        Ok(PlannedSearch {
            asked: Some(asked),
            lookup,
            mmr: None,
            request: SearchRequest {
                using,
                filter: both(outer.as_ref(), filter(self.filter.take(), limits)?),
                idf_corpus: idf_corpus.flatten(),
                ef: tuning.hnsw_ef,
                exact: tuning.exact.unwrap_or(false),
                codes: tuning.quantization.unwrap_or_default().into_model()?,
                score_threshold,
                with_payload: WithPayload::wanted(self.with_payload, PayloadSelector::None)?,
                with_vector: WithVector::wanted(self.with_vector, schema)?,
                ..SearchRequest::new(Vec::new(), limit)
            },
            finish: Finish {
                offset: self.offset,
                fetch: None,
            },
        })
    }
}

/// Makes a search for the nearest one for varied ones of these.
fn vary(search: &mut PlannedSearch, dto: &MmrDto, limits: &Limits) -> Result<(), ServiceError> {
    let diversity = dto.diversity.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&diversity) {
        return Err(ServiceError::BadRequest(format!(
            "query.mmr.diversity is {diversity}, it must be from 0 to 1"
        )));
    }
    let limit = search.request.limit;
    let candidates = dto.candidates_limit.unwrap_or(limit);
    in_range(
        "query.mmr.candidates_limit",
        candidates,
        1,
        limits.max_search_limit,
    )?;
    let pairs = candidates.saturating_mul(limit.min(candidates));
    in_range(
        "query.mmr.candidates_limit times limit",
        pairs,
        1,
        MAX_MMR_PAIRS,
    )?;
    search.mmr = Some(Mmr {
        relevance: 1.0 - diversity,
        limit,
    });
    // Candidates come with the vectors that they are compared by; what was asked for is fetched of those that are chosen.
    let request = &mut search.request;
    request.limit = candidates;
    let payload = std::mem::replace(&mut request.with_payload, PayloadSelector::None);
    let own = VectorSelector::Names(vec![request.using.clone()]);
    let vectors = std::mem::replace(&mut request.with_vector, own);
    search.finish.fetch = Some((payload, vectors));
    Ok(())
}
