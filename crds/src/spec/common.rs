//! Pieces that several parts of the spec share.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::rules::Constraint;

/// Secrets are named like DNS subdomains (RFC 1123); no reference leaves the cluster's own namespace.
pub(crate) const SECRET_NAME: Constraint = Constraint::matches(
    "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    "must be the name of a Secret: lower case letters, digits, dashes and dots",
    "name a Secret in the same namespace as the BrainyCluster",
);

/// A Secret in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Name of the Secret, in the same namespace as the BrainyCluster.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = SECRET_NAME)]
    pub name: String,
}
