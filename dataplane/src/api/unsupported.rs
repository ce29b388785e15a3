//! Routes of Qdrant's API that Brainy does not have: each answers 501 and says what is missing.

use axum::Router;
use axum::routing::{any, patch};

use super::AppState;
use super::errors::ApiError;
use crate::error::ServiceError;

const ROUTES: &[(&str, &str)] = &[
    ("/aliases", "aliases"),
    ("/collections/aliases", "aliases"),
    ("/collections/{name}/aliases", "aliases"),
    (
        "/cluster",
        "Qdrant's cluster API (see GET /coordinate/assignments)",
    ),
    (
        "/cluster/{*rest}",
        "Qdrant's cluster API (see GET /coordinate/assignments)",
    ),
    (
        "/collections/{name}/cluster",
        "Qdrant's cluster API (see GET /coordinate/assignments)",
    ),
    ("/collections/{name}/shards", "shard keys"),
    (
        "/collections/{name}/shards/{*rest}",
        "shard keys and shard snapshots",
    ),
    ("/collections/{name}/snapshots", "Qdrant's snapshot API"),
    (
        "/collections/{name}/snapshots/{*rest}",
        "Qdrant's snapshot API",
    ),
    ("/snapshots", "Qdrant's snapshot API"),
    ("/snapshots/{*rest}", "Qdrant's snapshot API"),
    (
        "/collections/{name}/optimizations",
        "Qdrant's optimizer report",
    ),
    (
        "/collections/{name}/vectors/{vector}",
        "adding and dropping named vectors of a collection",
    ),
    ("/collections/{name}/points/query/groups", "grouped queries"),
    (
        "/collections/{name}/points/search/groups",
        "grouped queries",
    ),
    (
        "/collections/{name}/points/search/matrix/pairs",
        "distance matrices",
    ),
    (
        "/collections/{name}/points/search/matrix/offsets",
        "distance matrices",
    ),
    ("/collections/{name}/points/recommend", "recommendations"),
    (
        "/collections/{name}/points/recommend/{*rest}",
        "recommendations",
    ),
    ("/collections/{name}/points/discover", "discovery queries"),
    (
        "/collections/{name}/points/discover/{*rest}",
        "discovery queries",
    ),
    ("/issues", "Qdrant's issue reports"),
    ("/locks", "Qdrant's write locks"),
    ("/quotas", "Qdrant's quotas"),
    ("/telemetry", "Qdrant's telemetry (see GET /metrics)"),
];

pub(super) fn routes() -> Router<AppState> {
    let refuse = |what: &'static str| move || async move { refused(what) };
    ROUTES
        .iter()
        .fold(Router::new(), |router, (path, what)| {
            router.route(path, any(refuse(what)))
        })
        .route(
            "/collections/{name}",
            patch(refuse(
                "changing a collection's parameters (create a new collection and copy its points)",
            )),
        )
}

fn refused(what: &str) -> ApiError {
    ServiceError::Unsupported(what.to_owned()).into()
}
