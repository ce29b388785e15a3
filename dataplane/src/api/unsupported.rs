//! Routes of Qdrant's API that Brainy does not have: each answers 501 and says what is missing.

use axum::Router;
use axum::routing::{any, delete, post, put};

use super::AppState;
use super::errors::ApiError;
use crate::error::ServiceError;

/// What the planner decides.
pub(super) const PLACES: &str =
    "changes of shards and peers (the planner places partitions, see POST /coordinate/rebalance)";

const ROUTES: &[(&str, &str)] = &[
    ("/cluster/{*rest}", PLACES),
    ("/collections/{name}/shards", "shard keys"),
    (
        "/collections/{name}/shards/{*rest}",
        "shard keys and shard snapshots",
    ),
    (
        "/collections/{name}/optimizations",
        "Qdrant's optimizer report",
    ),
    ("/locks", "Qdrant's write locks"),
];

pub(super) fn routes() -> Router<AppState> {
    let refuse = |what: &'static str| move || async move { refused(what) };
    let all = ROUTES.iter().fold(Router::new(), |router, (path, what)| {
        router.route(path, any(refuse(what)))
    });
    // Of these there is a way to read.
    all.route("/collections/{name}/cluster", post(refuse(PLACES)))
        .route(
            "/quotas",
            put(refuse(
                "quotas (every node has a memory budget from its start)",
            )),
        )
        .route(
            "/issues",
            delete(refuse("clearing issues (each goes when its cause does)")),
        )
}

fn refused(what: &str) -> ApiError {
    ServiceError::Unsupported(what.to_owned()).into()
}
