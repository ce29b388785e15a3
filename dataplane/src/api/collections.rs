//! Collections: list, create, look at, drop; their payload indexes.

use axum::Router;
use axum::routing::{delete, get, put};
use brainy_coordination::manifest::check_collection_name;
use serde_json::{Value, json};

use super::AppState;
use super::body::Body;
use super::dto::check_paths;
use super::dto::collection::{CreateCollectionDto, info_document};
use super::dto::index::CreateIndexDto;
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path};
use crate::error::ServiceError;
use crate::model::WriteReceipt;

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
    let (field, schema) = dto.into_model()?;
    set_index(&call, &name, &field, Some(schema)).await
}

async fn delete_index(call: Call, Path((name, field)): Path<(String, String)>) -> Answer {
    check_paths("field", [&field])?;
    set_index(&call, &name, &field, None).await
}

/// Filters have the same answers with and without an index, so nobody has to wait until it is built.
async fn set_index(call: &Call, name: &str, field: &str, schema: Option<Value>) -> Answer {
    call.service.set_payload_index(name, field, schema).await?;
    call.ok(call.update_result(&WriteReceipt::default()))
}
