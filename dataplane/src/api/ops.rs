//! Probes, metrics and the cluster's operations.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::Value;

use super::AppState;
use super::body::OptionalBody;
use super::describe::{OpenMetrics, Text};
use super::dto::described::{AnyObject, VersionDto};
use super::errors::ApiError;
use super::extract::{Call, Document, json_response};
use super::guard::Class;
use super::routes::Routes;

/// Version of Qdrant's API that this one follows. Clients compare it with their own and warn when the major versions differ
/// or the minor ones by more than one; Brainy's own version stands beside it.
pub(super) const QDRANT_API_VERSION: &str = "1.20.0";

/// Who answers.
pub(super) const TITLE: &str = "brainy - distributed vector database with Qdrant's API";

pub(super) fn routes() -> Routes {
    probes().merge(reads()).merge(changes())
}

fn probes() -> Routes {
    Routes::open("Service")
        .get("livez", "/livez", alive, "Tells that the process runs.")
        .get("healthz", "/healthz", alive, "Tells that the process runs.")
        .get(
            "readyz",
            "/readyz",
            ready,
            "Tells whether this node is to get requests.",
        )
        .get(
            "openapi",
            "/openapi.json",
            openapi,
            "This document: the API as OpenAPI 3.1.",
        )
}

fn reads() -> Routes {
    Routes::new("Service", Class::Read)
        .get("root", "/", version, "Names the version.")
        .get(
            "health",
            "/health",
            health,
            "Role, partitions and figures of this node.",
        )
        .get(
            "metrics",
            "/metrics",
            metrics,
            "Metrics of this node, in the text form of OpenMetrics.",
        )
        .get(
            "assignments",
            "/coordinate/assignments",
            assignments,
            "Which node owns and serves which partition.",
        )
        .get(
            "exchange",
            "/coordinate/exchange",
            exchange,
            "How the partitions that this node owns follow other clusters.",
        )
        .get(
            "configuration",
            "/sync/config",
            configuration,
            "Settings in force at this node and where they are from, the shared configuration, and its history.",
        )
}

fn changes() -> Routes {
    Routes::new("Service", Class::Change)
        .post(
            "rebalance",
            "/coordinate/rebalance",
            rebalance,
            "Plans now which node has which partition, and reports what changed.",
        )
        .post(
            "sync_config",
            "/sync/config",
            sync_config,
            "Publishes the shared configuration in place of a version, or looks at it now if the body is empty.",
        )
}

type Plain = Result<Document<AnyObject>, ApiError>;

async fn alive() -> Text {
    Text("alive\n".into_response())
}

async fn openapi(State(state): State<AppState>) -> Document<AnyObject> {
    Document::of_text(state.document)
}

async fn ready(State(state): State<AppState>) -> Text {
    Text(match state.service.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {missing}\n"),
        )
            .into_response(),
    })
}

async fn version() -> Result<Document<VersionDto>, ApiError> {
    json_response(&VersionDto {
        title: TITLE,
        version: QDRANT_API_VERSION,
        brainy: env!("CARGO_PKG_VERSION"),
    })
}

async fn health(call: Call) -> Plain {
    json_response(&AnyObject(call.service.health()))
}

async fn metrics(call: Call) -> OpenMetrics {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    OpenMetrics(([(header::CONTENT_TYPE, kind)], call.service.metrics()).into_response())
}

async fn assignments(call: Call) -> Plain {
    json_response(&AnyObject(call.service.assignments().await?))
}

async fn exchange(call: Call) -> Plain {
    json_response(&AnyObject(call.service.exchange()))
}

async fn rebalance(call: Call) -> Plain {
    json_response(&AnyObject(call.service.rebalance().await?))
}

async fn configuration(call: Call) -> Plain {
    json_response(&AnyObject(call.service.configuration().await?))
}

async fn sync_config(call: Call, OptionalBody(body): OptionalBody<Value>) -> Plain {
    json_response(&AnyObject(call.service.sync_config(body).await?))
}
