//! Reads of points.

use axum::Router;
use axum::routing::{get, post};
use serde_json::json;

use super::AppState;
use super::body::Body;
use super::dto::query::{
    Batch, CountDto, IntoPlan, PlannedSearch, QueryDto, RetrieveDto, ScrollDto, SearchDto,
};
use super::dto::records::{HitDto, HitsDto, PageDto, RecordDto};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use crate::error::ServiceError;
use crate::model::{PayloadSelector, PointId, RetrieveRequest, VectorSelector};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/collections/{name}/points", post(retrieve))
        .route("/collections/{name}/points/{id}", get(retrieve_one))
        .route("/collections/{name}/points/scroll", post(scroll))
        .route("/collections/{name}/points/count", post(count))
        .route("/collections/{name}/points/query", post(query))
        .route("/collections/{name}/points/query/batch", post(query_batch))
        .route("/collections/{name}/points/search", post(search))
        .route(
            "/collections/{name}/points/search/batch",
            post(search_batch),
        )
}

async fn retrieve(call: Call, Path(name): Path<String>, Body(dto): Body<RetrieveDto>) -> Answer {
    let schema = call.service.schema(&name).await?;
    let request = dto.into_model(&schema.spec.schema, &call.limits)?;
    let records = call
        .service
        .retrieve(&name, request, call.params.read.clone())
        .await?;
    call.ok(records.into_iter().map(RecordDto::from).collect::<Vec<_>>())
}

async fn retrieve_one(call: Call, Path((name, id)): Path<(String, String)>) -> Answer {
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

async fn scroll(call: Call, Path(name): Path<String>, Body(dto): Body<ScrollDto>) -> Answer {
    let schema = call.service.schema(&name).await?;
    let request = dto.into_model(&schema.spec.schema, &call.limits)?;
    let page = call
        .service
        .scroll(&name, request, call.params.read.clone())
        .await?;
    call.ok(PageDto {
        points: page.records.into_iter().map(RecordDto::from).collect(),
        next_page_offset: page.next,
    })
}

async fn count(call: Call, Path(name): Path<String>, Body(dto): Body<CountDto>) -> Answer {
    let request = dto.into_model(&call.limits)?;
    let count = call
        .service
        .count(&name, request, call.params.read.clone())
        .await?;
    call.ok(json!({"count": count}))
}

async fn query(call: Call, Path(name): Path<String>, Body(dto): Body<QueryDto>) -> Answer {
    let points = one(&call, &name, dto).await?;
    call.ok(HitsDto { points })
}

async fn query_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<QueryDto>>,
) -> Answer {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits
        .into_iter()
        .map(|points| HitsDto { points })
        .collect::<Vec<_>>())
}

async fn search(call: Call, Path(name): Path<String>, Body(dto): Body<SearchDto>) -> Answer {
    let hits = one(&call, &name, dto).await?;
    call.ok(hits)
}

async fn search_batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<Batch<SearchDto>>,
) -> Answer {
    let hits = many(&call, &name, dto).await?;
    call.ok(hits)
}

async fn one<T: IntoPlan>(call: &Call, name: &str, dto: T) -> Result<Vec<HitDto>, ServiceError> {
    let schema = call.service.schema(name).await?;
    let plan = dto.into_plan(&schema.spec.schema, &call.limits)?;
    Ok(run(call, name, vec![plan]).await?.pop().unwrap_or_default())
}

async fn many<T: IntoPlan>(
    call: &Call,
    name: &str,
    dto: Batch<T>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    let schema = call.service.schema(name).await?;
    let plans = dto.into_plans(&schema.spec.schema, &call.limits)?;
    run(call, name, plans).await
}

async fn run(
    call: &Call,
    name: &str,
    mut plans: Vec<PlannedSearch>,
) -> Result<Vec<Vec<HitDto>>, ServiceError> {
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    look_up(call, name, &mut plans).await?;
    let (requests, offsets): (Vec<_>, Vec<_>) =
        plans.into_iter().map(|p| (p.request, p.offset)).unzip();
    let asked = requests.len();
    let answers = call
        .service
        .search(name, requests, call.params.read.clone())
        .await?;
    if answers.len() != asked {
        return Err(ServiceError::Internal(format!(
            "{asked} searches were answered with {} lists",
            answers.len()
        )));
    }
    let answers = answers.into_iter().zip(offsets);
    Ok(answers
        .map(|(hits, offset)| hits.into_iter().skip(offset).map(HitDto::from).collect())
        .collect())
}

/// Fetches the vectors of the points that queries name.
async fn look_up(call: &Call, name: &str, plans: &mut [PlannedSearch]) -> Result<(), ServiceError> {
    let mut ids: Vec<PointId> = plans.iter().filter_map(|p| p.like).collect();
    if ids.is_empty() {
        return Ok(());
    }
    ids.sort_unstable();
    ids.dedup();
    let asking = plans.iter().filter(|p| p.like.is_some());
    let mut names: Vec<String> = asking.map(|p| p.request.using.clone()).collect();
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
    for plan in plans {
        let Some(id) = plan.like else { continue };
        let at = records
            .binary_search_by_key(&id, |r| r.id)
            .map_err(|_| no_such_point(id))?;
        let using = &plan.request.using;
        let vectors = records[at].vectors.as_ref();
        let vector = vectors.and_then(|v| v.get(using)).ok_or_else(|| {
            ServiceError::BadRequest(format!(
                "query: the point with id {id} has no vector '{using}'"
            ))
        })?;
        plan.resolve(id, vector.clone());
    }
    Ok(())
}
