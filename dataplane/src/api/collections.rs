//! Collections: list, create, look at, drop; payload indexes, which are not needed.

use axum::Router;
use axum::http::HeaderValue;
use axum::routing::{delete, get, put};
use brainy_coordination::manifest::check_collection_name;
use serde_json::json;

use super::AppState;
use super::body::Body;
use super::dto::collection::{CreateCollectionDto, CreateIndexDto, info_document};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use crate::error::ServiceError;
use crate::model::WriteReceipt;

/// Told to those who create or drop a payload index.
const INDEX_NOTICE: &str = "filters need no payload index here; nothing was changed";

pub(super) fn reads() -> Router<AppState> {
    Router::new()
        .route("/collections", get(list))
        .route("/collections/{name}", get(info))
        .route("/collections/{name}/exists", get(exists))
}

pub(super) fn changes() -> Router<AppState> {
    Router::new().route("/collections/{name}", put(create).delete(drop_collection))
}

/// Not changes: who may write points may create indexes in Qdrant too.
pub(super) fn indexes() -> Router<AppState> {
    Router::new()
        .route("/collections/{name}/index", put(create_index))
        .route("/collections/{name}/index/{field}", delete(delete_index))
}

async fn list(call: Call) -> Answer {
    let names = call.service.collections().await?;
    let collections: Vec<_> = names
        .into_iter()
        .map(|name| json!({"name": name}))
        .collect();
    call.ok(json!({"collections": collections}))
}

async fn info(call: Call, Path(name): Path<String>) -> Answer {
    let info = call.service.info(&name).await?;
    call.ok(info_document(&info))
}

async fn exists(call: Call, Path(name): Path<String>) -> Answer {
    let exists = match call.service.schema(&name).await {
        Ok(_) => true,
        Err(ServiceError::NoSuchCollection(_)) => false,
        Err(error) => return Err(error.into()),
    };
    call.ok(json!({"exists": exists}))
}

async fn create(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<CreateCollectionDto>,
) -> Answer {
    check_collection_name(&name).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let spec = dto.into_spec(&call.limits)?;
    call.service.create_collection(&name, spec).await?;
    call.ok(true)
}

async fn drop_collection(call: Call, Path(name): Path<String>) -> Answer {
    call.ok(call.service.drop_collection(&name).await?)
}

async fn create_index(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<CreateIndexDto>,
) -> Answer {
    dto.check()?;
    index_answer(&call, &name).await
}

async fn delete_index(call: Call, Path((name, _)): Path<(String, String)>) -> Answer {
    index_answer(&call, &name).await
}

/// Programs written for Qdrant create indexes as a matter of course, so this succeeds. `payload_schema` stays empty and a
/// header says that nothing was built.
async fn index_answer(call: &Call, name: &str) -> Answer {
    call.service.schema(name).await?;
    let mut response = call.ok(call.update_result(&WriteReceipt::default()))?;
    response
        .headers_mut()
        .insert("brainy-notice", HeaderValue::from_static(INDEX_NOTICE));
    Ok(response)
}
