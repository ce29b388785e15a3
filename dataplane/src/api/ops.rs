//! Probes, metrics and the cluster's operations.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::AppState;
use super::body::OptionalBody;
use super::errors::Answer;
use super::extract::{Call, json_response};

/// Version of Qdrant's API that this one follows. Clients compare it with their own and warn when the major versions differ
/// or the minor ones by more than one; Brainy's own version stands beside it.
const QDRANT_API_VERSION: &str = "1.20.0";

pub(super) fn probes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

pub(super) fn reads() -> Router<AppState> {
    Router::new()
        .route("/", get(version))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/coordinate/assignments", get(assignments))
}

pub(super) fn changes() -> Router<AppState> {
    Router::new()
        .route("/coordinate/rebalance", post(rebalance))
        .route("/sync/config", post(sync_config))
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(state): State<AppState>) -> Response {
    match state.service.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {missing}\n"),
        )
            .into_response(),
    }
}

async fn version() -> Answer {
    json_response(&json!({
        "title": "brainy - distributed vector database with Qdrant's REST API",
        "version": QDRANT_API_VERSION,
        "brainy": env!("CARGO_PKG_VERSION"),
    }))
}

async fn health(call: Call) -> Answer {
    json_response(&call.service.health())
}

async fn metrics(call: Call) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], call.service.metrics()).into_response()
}

async fn assignments(call: Call) -> Answer {
    json_response(&call.service.assignments().await?)
}

async fn rebalance(call: Call) -> Answer {
    json_response(&call.service.rebalance().await?)
}

async fn sync_config(call: Call, OptionalBody(body): OptionalBody<Value>) -> Answer {
    json_response(&call.service.sync_config(body).await?)
}
