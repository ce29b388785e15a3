//! Who may talk to the cluster, and over what.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{SECRET_NAME, SecretName};
use crate::rules::{Constraint, Findings};

const KEYS_DIFFER: Constraint = Constraint::cel(
    "self.admin != self.readWrite && self.admin != self.readOnly && self.readWrite != self.readOnly",
    "apiKeys.secretRef.keys must name three different entries, or one key would carry another's rights",
    "give each of admin, readWrite and readOnly its own entry in the Secret",
);

const PORTS_DIFFER: Constraint = Constraint::cel(
    "self.port != self.grpcPort",
    "service.port and service.grpcPort are the same, and a Service can have a port only once",
    "choose another number for one of them; nodes serve gRPC on the data API's port as well",
);

/// API keys that requests must carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeysSpec {
    /// The Secret that holds the keys. A change of the Secret rolls the pods.
    pub secret_ref: ApiKeysSecretRef,
}

/// A Secret with API keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeysSecretRef {
    /// Name of the Secret, in the same namespace as the BrainyCluster.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = SECRET_NAME)]
    pub name: String,

    /// Which entries of the Secret hold which key. An entry that the Secret does not have grants nothing; `admin` must exist.
    #[serde(default)]
    pub keys: ApiKeyEntries,
}

/// The entries of the Secret that holds the API keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = KEYS_DIFFER)]
pub struct ApiKeyEntries {
    /// Entry with the key that may do everything, coordination and configuration included. Default: admin.
    #[serde(default = "default_admin")]
    #[schemars(length(min = 1, max = 253))]
    pub admin: String,

    /// Entry with the key that may read and write points. Default: readWrite.
    #[serde(default = "default_read_write")]
    #[schemars(length(min = 1, max = 253))]
    pub read_write: String,

    /// Entry with the key that may only read. Default: readOnly.
    #[serde(default = "default_read_only")]
    #[schemars(length(min = 1, max = 253))]
    pub read_only: String,
}

fn default_admin() -> String {
    "admin".to_owned()
}

fn default_read_write() -> String {
    "readWrite".to_owned()
}

fn default_read_only() -> String {
    "readOnly".to_owned()
}

impl Default for ApiKeyEntries {
    fn default() -> Self {
        Self {
            admin: default_admin(),
            read_write: default_read_write(),
            read_only: default_read_only(),
        }
    }
}

impl ApiKeysSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            secret_ref:
                ApiKeysSecretRef {
                    name,
                    keys:
                        ApiKeyEntries {
                            admin,
                            read_write,
                            read_only,
                        },
                },
        } = self;
        findings.text(&SECRET_NAME, &format!("{path}.secretRef.name"), name);
        findings.require(
            &KEYS_DIFFER,
            &format!("{path}.secretRef.keys"),
            admin != read_write && admin != read_only && read_write != read_only,
        );
    }
}

/// TLS on the data API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// Secret of type kubernetes.io/tls, with `tls.crt`, `tls.key` and, for a private authority, `ca.crt`; cert-manager writes
    /// such Secrets. A change of the Secret rolls the pods.
    pub secret_ref: SecretName,
}

impl TlsSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        findings.text(
            &SECRET_NAME,
            &format!("{path}.secretRef.name"),
            &self.secret_ref.name,
        );
    }
}

/// The Service that clients talk to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = PORTS_DIFFER)]
pub struct ServiceSpec {
    /// Type of the Service. Default: ClusterIP.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// Port of the data API, 1 to 65535. Default: 6333.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,

    /// Port of the same API over gRPC, 1 to 65535. Default: 6334.
    #[serde(default = "default_grpc_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub grpc_port: i32,

    /// Annotations of the Service, such as those that a cloud's load balancer reads. Default: none.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl ServiceSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        findings.require(&PORTS_DIFFER, path, self.port != self.grpc_port);
    }
}

/// Type of the Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached from inside the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// Reached through a port of every node.
    NodePort,
    /// Reached through a load balancer of the cloud.
    LoadBalancer,
}

impl ServiceType {
    /// The type as a Service's spec writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

fn default_port() -> i32 {
    6333
}

fn default_grpc_port() -> i32 {
    6334
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: default_port(),
            grpc_port: default_grpc_port(),
            annotations: BTreeMap::new(),
        }
    }
}
