//! Reads of points.

use brainy_coordination::manifest::Collection;

use super::body::Body;
use super::dto::points::Checks;
use super::dto::query::{
    Batch, CountDto, IntoPlan, QueryDto, RetrieveDto, Scroll, ScrollDto, SearchDto,
};
use super::dto::recommend::{DiscoverRequestDto, RecommendRequestDto};
use super::dto::records::{CountedDto, HitDto, HitsDto, PageDto, RecordDto};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use super::guard::Class;
use super::routes::Routes;
use super::run::{no_such_point, run};
use super::strict::Strict;
use crate::error::ServiceError;
use crate::model::{PayloadSelector, PointId, RetrieveRequest, VectorSelector};

pub(super) fn routes() -> Routes {
    Routes::new("Search", Class::Read)
        .post(
            "get_points",
            "/collections/{name}/points",
            retrieve,
            "Returns points by id; ids without a point are left out.",
        )
        .get(
            "get_point",
            "/collections/{name}/points/{id}",
            retrieve_one,
            "Returns one point with payload and vectors.",
        )
        .post(
            "scroll_points",
            "/collections/{name}/points/scroll",
            scroll,
            "Returns points that match a filter, a page at a time.",
        )
        .post(
            "count_points",
            "/collections/{name}/points/count",
            count,
            "Counts points that match a filter.",
        )
        .post(
            "query_points",
            "/collections/{name}/points/query",
            query,
            "Searches: by vectors, points and examples, and what was prefetched by fusion or formula.",
        )
        .post(
            "query_batch_points",
            "/collections/{name}/points/query/batch",
            query_batch,
            "Carries out several queries.",
        )
        .post(
            "recommend_points",
            "/collections/{name}/points/recommend",
            recommend,
            "Searches points like some examples and unlike others (the older form of a query).",
        )
        .post(
            "recommend_batch_points",
            "/collections/{name}/points/recommend/batch",
            recommend_batch,
            "Carries out several recommendations.",
        )
        .post(
            "discover_points",
            "/collections/{name}/points/discover",
            discover,
            "Searches points like a target on the right side of pairs (the older form of a query).",
        )
        .post(
            "discover_batch_points",
            "/collections/{name}/points/discover/batch",
            discover_batch,
            "Carries out several discoveries.",
        )
        .post(
            "search_points",
            "/collections/{name}/points/search",
            search,
            "Searches the nearest points (the older form of a query).",
        )
        .post(
            "search_batch_points",
            "/collections/{name}/points/search/batch",
            search_batch,
            "Carries out several searches.",
        )
}

async fn retrieve(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<RetrieveDto>,
) -> Answer<Vec<RecordDto>> {
    call.ok(points_by_id(&call, &name, dto).await?)
}

/// Points by id.
pub(super) async fn points_by_id(
    call: &Call,
    name: &str,
    dto: RetrieveDto,
) -> Result<Vec<RecordDto>, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    Strict::of(call, &collection)?;
    let request = dto.into_model(&collection.spec.schema, &call.limits)?;
    let records = call
        .service
        .retrieve(name, request, call.params.read.clone())
        .await?;
    Ok(records.into_iter().map(RecordDto::from).collect())
}

async fn retrieve_one(call: Call, Path((name, id)): Path<(String, String)>) -> Answer<RecordDto> {
    let id = PointId::parse(&id).map_err(|e| ApiError::bad_request(format!("path: {e}")))?;
    let request = RetrieveRequest {
        ids: vec![id],
        with_payload: PayloadSelector::All,
        with_vector: VectorSelector::All,
    };
    let records = call
        .service
        .retrieve(&name, request, call.params.read.clone())
        .await?;
    match records.into_iter().next() {
        Some(record) => call.ok(RecordDto::from(record)),
        None => Err(no_such_point(id).into()),
    }
}

async fn scroll(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<ScrollDto>,
) -> Answer<PageDto> {
    call.ok(page(&call, &name, dto).await?)
}

/// One page of points.
pub(super) async fn page(call: &Call, name: &str, dto: ScrollDto) -> Result<PageDto, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let read = call.params.read.clone();
    let request = dto.into_model(checks(call, &collection))?;
    if let Some(strict) = Strict::of(call, &collection)? {
        let (limit, filter) = match &request {
            Scroll::ById(request) => (request.limit, &request.filter),
            Scroll::Ordered(request) => (request.limit, &request.filter),
        };
        strict.read(Some(limit), filter.as_ref())?;
    }
    let request = match request {
        Scroll::ById(request) => request,
        Scroll::Ordered(request) => {
            let lists = call.service.list(name, vec![request], read).await?;
            let points = lists.into_iter().flatten();
            return Ok(PageDto {
                points: points.map(|p| RecordDto::from(p.record)).collect(),
                next_page_offset: None,
            });
        }
    };
    let page = call.service.scroll(name, request, read).await?;
    Ok(PageDto {
        points: page.records.into_iter().map(RecordDto::from).collect(),
        next_page_offset: page.next,
    })
}

async fn count(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<CountDto>,
) -> Answer<CountedDto> {
    let count = how_many(&call, &name, dto).await?;
    call.ok(CountedDto { count })
}

/// How many points there are.
pub(super) async fn how_many(call: &Call, name: &str, dto: CountDto) -> Result<u64, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let request = dto.into_model(&call.limits)?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.read(None, request.filter.as_ref())?;
    }
    call.service
        .count(name, request, call.params.read.clone())
        .await
}

async fn query(call: Call, Path(name): Path<String>, Body(dto): Body<QueryDto>) -> Answer<HitsDto> {
    let points = one(&call, &name, dto).await?;
    call.ok(HitsDto { points })
}

async fn query_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<QueryDto>>,
) -> Answer<Vec<HitsDto>> {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits
        .into_iter()
        .map(|points| HitsDto { points })
        .collect::<Vec<_>>())
}

async fn recommend(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<RecommendRequestDto>,
) -> Answer<Vec<HitDto>> {
    let hits = one(&call, &name, dto).await?;
    call.ok(hits)
}

async fn recommend_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<RecommendRequestDto>>,
) -> Answer<Vec<Vec<HitDto>>> {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits)
}

async fn discover(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<DiscoverRequestDto>,
) -> Answer<Vec<HitDto>> {
    let hits = one(&call, &name, dto).await?;
    call.ok(hits)
}

async fn discover_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<DiscoverRequestDto>>,
) -> Answer<Vec<Vec<HitDto>>> {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits)
}

async fn search(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SearchDto>,
) -> Answer<Vec<HitDto>> {
    let hits = one(&call, &name, dto).await?;
    call.ok(hits)
}

async fn search_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<SearchDto>>,
) -> Answer<Vec<Vec<HitDto>>> {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits)
}

/// The hits of one query.
pub(super) async fn one<T: IntoPlan>(
    call: &Call,
    name: &str,
    dto: T,
) -> Result<Vec<HitDto>, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let schema = &collection.spec.schema;
    let plan = dto.into_plan(checks(call, &collection))?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.query(&plan)?;
    }
    let answers = run(call, name, schema, vec![plan]).await?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

/// The hits of each of several queries.
pub(super) async fn many<T: IntoPlan>(
    call: &Call,
    name: &str,
    dto: Batch<T>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let schema = &collection.spec.schema;
    let plans = dto.into_plans(checks(call, &collection))?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.batch(plans.len())?;
        plans.iter().try_for_each(|plan| strict.query(plan))?;
    }
    run(call, name, schema, plans).await
}

pub(super) fn checks<'a>(call: &'a Call, collection: &'a Collection) -> Checks<'a> {
    Checks {
        schema: &collection.spec.schema,
        limits: &call.limits,
        indexes: &collection.payload_indexes,
    }
}
