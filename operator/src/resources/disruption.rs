//! How many pods others may evict at once.

use brainy_crds::{BrainyCluster, Role};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{BuildError, labels};

/// One pod of a role may be evicted at a time. A single pod has no budget: it would block the drain of its node for good.
pub(super) fn budget(
    cluster: &BrainyCluster,
    role: Role,
    replicas: i32,
) -> Result<Option<PodDisruptionBudget>, BuildError> {
    if replicas < 2 {
        return Ok(None);
    }
    Ok(Some(PodDisruptionBudget {
        metadata: labels::metadata(
            cluster,
            cluster.role_name(role),
            labels::of_role(cluster, role),
        )?,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labels::selecting(labels::match_role(cluster, role))),
            // A pod that fails holds up no node; what it acknowledged is in the bucket.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }))
}
