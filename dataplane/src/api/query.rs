//! Reads of points.

use std::collections::HashMap;

use brainy_coordination::manifest::Collection;
use futures::future::try_join_all;

use super::body::Body;
use super::dto::points::Checks;
use super::dto::query::{
    Batch, CountDto, IntoPlan, QueryDto, RetrieveDto, Scroll, ScrollDto, SearchDto,
};
use super::dto::records::{CountedDto, HitDto, HitsDto, PageDto, RecordDto};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use super::guard::Class;
use super::listing::list_ready;
use super::plan::{Finish, Step};
use super::routes::Routes;
use crate::error::ServiceError;
use crate::model::{
    PayloadSelector, PointId, Record, RetrieveRequest, ScoredPoint, VectorSchema, VectorSelector,
};

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
            "Searches: nearest points, and fusions of what was prefetched.",
        )
        .post(
            "query_batch_points",
            "/collections/{name}/points/query/batch",
            query_batch,
            "Carries out several queries.",
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
    let schema = call.service.schema(name).await?;
    let request = dto.into_model(&schema.spec.schema, &call.limits)?;
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

fn no_such_point(id: PointId) -> ServiceError {
    ServiceError::NotFound(format!("there is no point with id {id}"))
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
    let collection = call.service.schema(name).await?;
    let read = call.params.read.clone();
    let request = match dto.into_model(checks(call, &collection))? {
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
    let request = dto.into_model(&call.limits)?;
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
    let collection = call.service.schema(name).await?;
    let schema = &collection.spec.schema;
    let plan = dto.into_plan(checks(call, &collection))?;
    let answers = run(call, name, schema, vec![plan]).await?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

/// The hits of each of several queries.
pub(super) async fn many<T: IntoPlan>(
    call: &Call,
    name: &str,
    dto: Batch<T>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    let collection = call.service.schema(name).await?;
    let schema = &collection.spec.schema;
    let plans = dto.into_plans(checks(call, &collection))?;
    run(call, name, schema, plans).await
}

pub(super) fn checks<'a>(call: &'a Call, collection: &'a Collection) -> Checks<'a> {
    Checks {
        schema: &collection.spec.schema,
        limits: &call.limits,
        indexes: &collection.payload_indexes,
    }
}

async fn run(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    plans: Vec<Step>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    let lists = found(call, name, schema, plans).await?.into_iter();
    let hits = |list: Vec<ScoredPoint>| list.into_iter().map(HitDto::from).collect();
    Ok(lists.map(hits).collect())
}

/// Carries out queries: the searches of all of them that can run are one request, those that wait for them the next.
pub(super) async fn found(
    call: &Call,
    name: &str,
    schema: &VectorSchema,
    mut plans: Vec<Step>,
) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
    look_up(call, name, &mut plans).await?;
    let finishes: Vec<Finish> = plans.iter().map(Step::finish).collect();
    loop {
        plans.iter_mut().for_each(Step::reduce);
        if list_ready(call, name, &mut plans).await? {
            continue;
        }
        let mut ready = Vec::new();
        plans.iter_mut().for_each(|plan| plan.ready(&mut ready));
        if ready.is_empty() {
            break;
        }
        let requests: Vec<_> = ready.iter().filter_map(|step| step.request()).collect();
        let asked = requests.len();
        let answers = call
            .service
            .search(name, requests, call.params.read.clone())
            .await?;
        if answers.len() != asked || asked != ready.len() {
            return Err(ServiceError::Internal(format!(
                "{asked} searches were answered with {} lists",
                answers.len()
            )));
        }
        for (step, hits) in ready.into_iter().zip(answers) {
            step.done(schema, hits);
        }
    }
    let answers = plans.into_iter().zip(finishes).map(|(plan, finish)| {
        let hits = plan.into_hits().unwrap_or_default();
        complete(call, name, hits, finish)
    });
    try_join_all(answers).await
}

/// Leaves out the offset and fetches what was asked for of the other points; one that was deleted meanwhile is left out.
async fn complete(
    call: &Call,
    name: &str,
    hits: Vec<ScoredPoint>,
    finish: Finish,
) -> Result<Vec<ScoredPoint>, ServiceError> {
    let mut hits: Vec<ScoredPoint> = hits.into_iter().skip(finish.offset).collect();
    if let Some((with_payload, with_vector)) = finish.fetch.filter(|_| !hits.is_empty()) {
        let request = RetrieveRequest {
            ids: hits.iter().map(|hit| hit.record.id).collect(),
            with_payload,
            with_vector,
        };
        let records = call
            .service
            .retrieve(name, request, call.params.read.clone())
            .await?;
        let mut records: HashMap<PointId, Record> =
            records.into_iter().map(|r| (r.id, r)).collect();
        hits.retain_mut(|hit| match records.remove(&hit.record.id) {
            Some(record) => {
                hit.record = record;
                true
            }
            None => false,
        });
    }
    Ok(hits)
}

/// Fetches the vectors of the points that queries name.
pub(super) async fn look_up(
    call: &Call,
    name: &str,
    plans: &mut [Step],
) -> Result<(), ServiceError> {
    let mut searches = Vec::new();
    plans
        .iter_mut()
        .for_each(|plan| plan.searches(&mut searches));
    searches.retain(|search| search.like.is_some());
    if searches.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<PointId> = searches.iter().filter_map(|s| s.like).collect();
    ids.sort_unstable();
    ids.dedup();
    let using = searches.iter().map(|s| s.request.using.clone());
    let mut names: Vec<String> = using.collect();
    names.sort_unstable();
    names.dedup();
    let request = RetrieveRequest {
        ids,
        with_payload: PayloadSelector::None,
        with_vector: VectorSelector::Names(names),
    };
    let mut records = call
        .service
        .retrieve(name, request, call.params.read.clone())
        .await?;
    records.sort_unstable_by_key(|r| r.id);
    for search in searches {
        let Some(id) = search.like else { continue };
        let at = records
            .binary_search_by_key(&id, |r| r.id)
            .map_err(|_| no_such_point(id))?;
        let using = &search.request.using;
        let vectors = records[at].vectors.as_ref();
        let vector = vectors.and_then(|v| v.get(using)).ok_or_else(|| {
            ServiceError::BadRequest(format!(
                "query: the point with id {id} has no vector '{using}'"
            ))
        })?;
        search.resolve(id, vector.clone());
    }
    Ok(())
}
