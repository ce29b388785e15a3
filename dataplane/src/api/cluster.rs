//! Qdrant's reports about nodes, shards and the service.

use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::Value;

use super::clock::rfc3339;
use super::dto::cluster::{
    AppDto, ClusterDto, ClusterFiguresDto, CollectionClusterDto, CollectionsFiguresDto, IssueDto,
    IssuesDto, QuotasDto, TelemetryDto, peer_id,
};
use super::errors::Answer;
use super::extract::{Call, Path};
use super::guard::Class;
use super::routes::Routes;
use crate::error::ServiceError;

/// When the API was put together, which is when the process began to serve.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

pub(super) fn routes() -> Routes {
    LazyLock::force(&STARTED);
    Routes::new("Service", Class::Read)
        .get(
            "cluster_status",
            "/cluster",
            cluster,
            "The nodes, and how the assignment table stands.",
        )
        .get(
            "collection_cluster_info",
            "/collections/{name}/cluster",
            collection_cluster,
            "Where the partitions of a collection are.",
        )
        .get(
            "telemetry",
            "/telemetry",
            telemetry,
            "Version, start and size of the service.",
        )
        .get(
            "get_issues",
            "/issues",
            issues,
            "Partitions of this node that do not get on.",
        )
        .get(
            "get_quotas",
            "/quotas",
            quotas,
            "Quotas, of which there are none.",
        )
}

async fn cluster(call: Call) -> Answer<ClusterDto> {
    call.ok(nodes(&call).await?)
}

/// The nodes.
pub(super) async fn nodes(call: &Call) -> Result<ClusterDto, ServiceError> {
    let state = call.service.cluster().await?;
    Ok(ClusterDto::new(&state, rfc3339(SystemTime::now())))
}

async fn collection_cluster(call: Call, Path(name): Path<String>) -> Answer<CollectionClusterDto> {
    call.ok(places(&call, &name).await?)
}

/// Where the partitions of a collection are.
pub(super) async fn places(call: &Call, name: &str) -> Result<CollectionClusterDto, ServiceError> {
    let placements = call.service.placements(name).await?;
    Ok(CollectionClusterDto::new(&placements))
}

async fn telemetry(call: Call) -> Answer<TelemetryDto> {
    let state = call.service.cluster().await?;
    let number_of_collections = call.service.collections().await?.len();
    call.ok(TelemetryDto {
        id: format!("{:014x}", peer_id(&state.me)),
        app: AppDto {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            startup: rfc3339(*STARTED),
        },
        collections: CollectionsFiguresDto {
            number_of_collections,
        },
        cluster: ClusterFiguresDto {
            enabled: !state.members.is_empty(),
        },
    })
}

async fn issues(call: Call) -> Answer<IssuesDto> {
    let health = call.service.health();
    let partitions = health.get("partitions").and_then(Value::as_object);
    let troubled = partitions
        .into_iter()
        .flatten()
        .filter_map(|(name, state)| {
            Some(IssueDto {
                id: format!("partition/{name}"),
                description: state.get("trouble")?.as_str()?.to_owned(),
                solution: "see GET /health and the log of this node",
            })
        });
    call.ok(IssuesDto {
        issues: troubled.collect(),
    })
}

async fn quotas(call: Call) -> Answer<QuotasDto> {
    call.ok(QuotasDto::default())
}
