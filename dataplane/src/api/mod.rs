//! The HTTP API: Qdrant's public REST API, so that existing clients work unchanged, and Brainy's operations.
//!
//! The API parses, authenticates, validates and maps errors; a [`DataService`] routes, reads and writes. What a request goes
//! through: `guard::observe` (clock, panics, error bodies, metrics), `guard::guard` (key, query parameters
//! and headers, time-out), a handler (typed body, checks against schema and [`Limits`](crate::service::Limits)), the service.
//!
//! # Rules
//! - Nothing that changes the meaning of a request is ignored: parts of Qdrant's API that Brainy lacks are answered with 501
//!   by name, unknown fields with 400. Settings that only tune Qdrant's storage (`on_disk`, `optimizers_config`,
//!   `wal_config`, `replication_factor`, ...) are accepted without effect.
//! - Every error has the form `{"status":{"error":"..."},"time":seconds,"result":null}`.
//! - Handlers may be dropped at any await point (time-out, client gone): the service finishes or abandons on its own.
//!
//! # Additions to Qdrant's API
//! - `brainy-consistency: eventual | bounded:<ms> | strong` and `brainy-token: <token>` on reads; `consistency=majority|quorum|all`
//!   means strong, a number means the cluster's default (it counts replicas, which Brainy does not have).
//! - `brainy-request-id: <32 hex digits or UUID>` on writes: repeats are applied once. Every answer to a write carries it, also
//!   when the server chose it. Successful ones carry `brainy-token`.
//! - `GET /health`, `/coordinate/assignments`, `/coordinate/exchange`; `POST /coordinate/rebalance`, `/sync/config` answer plain documents.

mod aliases;
mod asked;
mod auth;
pub(crate) mod body;
mod browser;
mod clock;
mod cluster;
mod collections;
mod describe;
mod dto;
mod errors;
mod events;
mod existing;
mod extract;
mod facet;
mod grouping;
mod groups;
mod grpc;
mod guard;
mod listing;
mod matrix;
pub mod metrics;
mod mmr;
pub mod openapi;
mod ops;
mod plan;
mod points;
mod query;
mod routes;
mod run;
mod session;
mod snapshots;
mod strict;
mod unsupported;
pub mod vector;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use bytes::Bytes;

use crate::admission::ByteBudget;
use crate::service::DataService;

pub use auth::ApiKeys;
pub use browser::without_browsers;
use guard::Class;
use metrics::ApiMetrics;
use routes::Routes;

/// Settings of the API that are fixed for the life of the process.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Keys; without any the API is open to whoever reaches it.
    pub api_keys: ApiKeys,
    /// Where requests are counted; [`ApiMetrics::register`] makes one that is exported.
    pub metrics: ApiMetrics,
    /// Memory for bodies of requests.
    pub requests: ByteBudget,
}

/// What handlers and middleware share.
#[derive(Clone)]
struct AppState {
    service: Arc<dyn DataService>,
    keys: Arc<ApiKeys>,
    metrics: ApiMetrics,
    requests: ByteBudget,
    /// The OpenAPI document as text.
    document: Bytes,
}

/// All routes that do something; each with its documentation.
fn table() -> Routes {
    collections::routes()
        .merge(points::routes())
        .merge(query::routes())
        .merge(facet::routes())
        .merge(aliases::routes())
        .merge(cluster::routes())
        .merge(groups::routes())
        .merge(matrix::routes())
        .merge(ops::routes())
        .merge(events::routes())
        .merge(snapshots::routes())
        .merge(versions::reads())
        .merge(versions::writes())
}

/// The API over one service, with what its routers share.
#[derive(Clone)]
pub struct Routers {
    /// REST, and gRPC for those who speak HTTP/2.
    pub all: Router,
    /// gRPC alone.
    pub grpc: Router,
}

/// The whole API over `service`: REST and gRPC.
pub fn router(service: Arc<dyn DataService>, config: ApiConfig) -> Router {
    routers(service, config).all
}

/// As [`router`], and gRPC alone for a port of its own.
pub fn routers(service: Arc<dyn DataService>, config: ApiConfig) -> Routers {
    let table = table();
    let state = AppState {
        document: openapi::text(),
        service,
        keys: Arc::new(config.api_keys),
        metrics: config.metrics,
        requests: config.requests,
    };
    let guarded = from_fn_with_state((state.clone(), Class::Read), guard::guard);
    let rest = table
        .into_router(&state)
        .merge(unsupported::routes().route_layer(guarded))
        .fallback(guard::no_such_route)
        .method_not_allowed_fallback(guard::no_such_method)
        .layer(from_fn_with_state(state.clone(), guard::observe))
        .with_state(state.clone());
    Routers {
        all: rest.merge(grpc::services(state.clone())),
        grpc: grpc::router(state),
    }
}
