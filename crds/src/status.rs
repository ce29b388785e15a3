//! The observed state of a cluster. Only the operator writes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::ConditionType;
use crate::spec::Role;

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrainyClusterStatus {
    /// Generation of the spec that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Progressing, Degraded, StorageReady, RingBalanced and Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Image that the pods run. While the spec names no tag or digest it is kept when the operator is upgraded, so that an
    /// upgrade of the operator rolls no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// URL of the data API inside the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// The writers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<RoleStatus>,

    /// The readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<RoleStatus>,

    /// The hybrids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hybrids: Option<RoleStatus>,

    /// Epoch of the ring in S3; it grows by one with every change of membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_epoch: Option<i64>,

    /// Version of the assignments object in S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignments_version: Option<i64>,

    /// Version of the shared configuration in S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<i64>,

    /// The partitions of all collections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionStatus>,

    /// Partitions of the fullest owner divided by the mean, with two decimals; `1.00` is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,

    /// Where each instance stands; while it leaves, how far its drain is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["instance".into()]))]
    pub instances: Vec<InstanceStatus>,
}

/// The instances of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleStatus {
    /// Instances that the spec asks for.
    pub desired: i32,

    /// Pods that exist, those that are being drained included.
    pub replicas: i32,

    /// Pods that serve their partitions.
    pub ready: i32,

    /// Label selector of the pods, for the scale subresource.
    pub selector: String,

    /// Ready and desired instances, such as `2/3`.
    pub summary: String,
}

impl RoleStatus {
    /// The status of a role, with its summary.
    pub fn new(desired: i32, replicas: i32, ready: i32, selector: String) -> Self {
        Self {
            desired,
            replicas,
            ready,
            selector,
            summary: format!("{ready}/{desired}"),
        }
    }
}

/// The partitions of all collections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// All of them.
    pub total: i32,

    /// On their way to another instance.
    pub moving: i32,

    /// Without an owner; writes to them fail until they have one.
    pub unassigned: i32,
}

/// Where one instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Name of the instance, which is its pod's.
    pub instance: String,

    /// What it is for.
    pub role: Role,

    /// Where it stands.
    pub phase: InstancePhase,

    /// Partitions that it owns or serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,

    /// What it is doing or waiting for, in words.
    #[serde(default)]
    pub message: String,
}

/// Where an instance stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum InstancePhase {
    /// Its pod is not running yet.
    Pending,
    /// Its pod runs and loads its partitions.
    Starting,
    /// It serves its partitions.
    Serving,
    /// It is unready and within unreadyGracePeriod: its partitions wait for it.
    Unready,
    /// It hands its partitions over.
    Draining,
    /// It owns nothing any more and may go.
    Drained,
    /// Its drain exceeded drainTimeout.
    Stuck,
    /// Its pod fails again and again.
    Failed,
}

impl BrainyClusterStatus {
    /// The status of a role, if it was observed.
    pub fn role(&self, role: Role) -> Option<&RoleStatus> {
        match role {
            Role::Writer => self.writers.as_ref(),
            Role::Reader => self.readers.as_ref(),
            Role::Hybrid => self.hybrids.as_ref(),
        }
    }

    /// A condition, if it was set.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.type_ == type_.as_str())
    }
}
