//! Qdrant's gRPC API: another form of the same requests. Messages become the requests that JSON becomes (`convert`), and the
//! functions behind REST's handlers do the work, so both have the same checks, limits and errors.
//!
//! It is served beside REST on the same port, over HTTP/2, and alone on a port of its own. What REST has in headers is metadata
//! of the same names here.

mod asked;
mod collections;
mod convert;
mod guard;
mod health;
mod methods;
mod points;
mod proto;
mod server;
mod snapshots;
mod status;
mod write;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::post;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::pb::health_server::HealthServer;
use tower::Service;

use super::AppState;
use health::Health;
use proto::collections_server::CollectionsServer;
use proto::points_server::PointsServer;
use proto::qdrant_server::QdrantServer;
use proto::snapshots_server::SnapshotsServer;

/// The services; each request has its `Call` with it, from the guard.
#[derive(Clone, Copy, Debug)]
struct Api;

/// All services over `state`, to be merged into the routes of REST.
pub(super) fn services(state: AppState) -> Router {
    let guarded = Router::new()
        .route("/qdrant.Qdrant/{method}", post(server))
        .route("/qdrant.Collections/{method}", post(collections))
        .route("/qdrant.Points/{method}", post(points))
        .route("/qdrant.Snapshots/{method}", post(snapshots))
        .route_layer(from_fn_with_state(state.clone(), guard::guard));
    Router::new()
        .merge(guarded)
        // Open, as REST's probes are.
        .route("/grpc.health.v1.Health/{method}", post(health))
        .layer(from_fn_with_state(state.clone(), guard::observe))
        .with_state(state)
}

/// The services alone.
pub(super) fn router(state: AppState) -> Router {
    Router::new()
        .fallback(guard::no_such_service)
        .with_state(state.clone())
        .merge(services(state))
}

async fn server(State(state): State<AppState>, request: Request) -> Response {
    let server = QdrantServer::new(Api)
        .accept_compressed(Gzip)
        .max_decoding_message_size(state.service.limits().max_request_bytes);
    answer(server, request).await
}

async fn collections(State(state): State<AppState>, request: Request) -> Response {
    let server = CollectionsServer::new(Api)
        .accept_compressed(Gzip)
        .max_decoding_message_size(state.service.limits().max_request_bytes);
    answer(server, request).await
}

async fn points(State(state): State<AppState>, request: Request) -> Response {
    let server = PointsServer::new(Api)
        .accept_compressed(Gzip)
        .max_decoding_message_size(state.service.limits().max_request_bytes);
    answer(server, request).await
}

async fn snapshots(State(state): State<AppState>, request: Request) -> Response {
    let server = SnapshotsServer::new(Api)
        .accept_compressed(Gzip)
        .max_decoding_message_size(state.service.limits().max_request_bytes);
    answer(server, request).await
}

async fn health(State(state): State<AppState>, request: Request) -> Response {
    answer(HealthServer::new(Health(state.service)), request).await
}

async fn answer<S>(mut server: S, request: Request) -> Response
where
    S: Service<Request, Response = http::Response<tonic::body::Body>, Error = Infallible>,
{
    match server.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}
