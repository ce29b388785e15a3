//! Who the pods are.

use brainy_crds::{BrainyCluster, WorkloadIdentity};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;

use super::{BuildError, labels};

/// What EKS reads to let a ServiceAccount assume a role.
const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

/// Name of the pods' ServiceAccount: an existing one that the spec names, or the cluster's own.
pub(super) fn name(cluster: &BrainyCluster) -> String {
    existing(cluster).map_or_else(|| cluster.name_any(), ToOwned::to_owned)
}

/// Whether the pods get their credentials through their ServiceAccount.
pub(super) fn is_workload_identity(cluster: &BrainyCluster) -> bool {
    identity(cluster).is_some()
}

/// The ServiceAccount of the cluster, which has no rights in Kubernetes; `None` if the spec names an existing one.
pub(super) fn service_account(
    cluster: &BrainyCluster,
) -> Result<Option<ServiceAccount>, BuildError> {
    if existing(cluster).is_some() {
        return Ok(None);
    }
    let mut metadata = labels::metadata(cluster, cluster.name_any(), labels::of_cluster(cluster))?;
    if let Some(identity) = identity(cluster) {
        let mut annotations = identity.service_account_annotations.clone();
        if let Some(arn) = &identity.role_arn {
            annotations.insert(ROLE_ARN.to_owned(), arn.clone());
        }
        metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    }
    Ok(Some(ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }))
}

fn identity(cluster: &BrainyCluster) -> Option<&WorkloadIdentity> {
    let credentials = cluster.spec.storage.credentials.as_ref()?;
    credentials.workload_identity.as_ref()
}

fn existing(cluster: &BrainyCluster) -> Option<&str> {
    identity(cluster)?.service_account_name.as_deref()
}
