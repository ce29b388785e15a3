//! The desired state of a cluster.

mod access;
mod common;
mod distribution;
mod image;
mod nats;
mod operations;
mod roles;
mod shared_config;
mod storage;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use access::{ApiKeyEntries, ApiKeysSecretRef, ApiKeysSpec, ServiceSpec, ServiceType, TlsSpec};
pub use common::SecretName;
pub use distribution::{
    ConflictResolution, ConsistencyLevel, ConsistencySpec, CoordinationMethod, CoordinationSpec,
    PartitioningSpec, RebalanceSpec,
};
pub use image::{ImageSpec, PullPolicy};
pub use nats::{NatsSecretKeys, NatsSecretRef};
pub use operations::{
    DeletionPolicy, MonitoringSpec, ServiceMonitorSpec, ToggledObject, UpdateStrategySpec,
    UpdateType,
};
pub use roles::{CacheVolume, PodMetadata, PodTemplateSpec, Role, RoleSpec, SchedulingSpec};
pub use shared_config::{LogLevel, SharedConfigSpec};
pub use storage::{
    StorageCredentials, StorageSecretKeys, StorageSecretRef, StorageSpec, WorkloadIdentity,
};

use crate::rules::{Constraint, Findings};
use crate::status::BrainyClusterStatus;

// Pods are named `<name>-<role>-<ordinal>` and carry the label `controller-revision-hash: <name>-<role>-<10 characters>`, which
// may have 63: 40 for the name leave room for both and for the names of Services.
const NAME: Constraint = Constraint::cel(
    "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must be at most 40 lower case letters, digits and dashes, begin with a letter and end with a letter or digit",
    "choose a name like search-prod; Services and pods are named after it",
);
const NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const NAME_MAX_LENGTH: usize = 40;

const SOMEBODY_WRITES: Constraint = Constraint::cel(
    "self.stopped || self.writers.replicas + self.hybrids.replicas > 0",
    "a running cluster needs at least one writer or hybrid, or nothing accepts writes",
    "set writers.replicas or hybrids.replicas to 1 or more, or stopped to true",
)
.at(".writers.replicas");
const NONE_IS_ALONE: Constraint = Constraint::cel(
    "self.coordination.method != 'none' || self.stopped || \
     self.writers.replicas + self.readers.replicas + self.hybrids.replicas == 1",
    "coordination.method none is for exactly one instance",
    "set hybrids.replicas to 1 and writers.replicas and readers.replicas to 0, or use the method s3-polling",
)
.at(".coordination.method");
const CONFLICT_RESOLUTION_IMMUTABLE: Constraint = Constraint::cel(
    "self == oldSelf",
    "conflictResolution cannot change, stored points carry what their method needs",
    "create a new BrainyCluster with the other method and copy the data into it",
);
const CONFLICTS_NEED_WRITERS: Constraint = Constraint::cel(
    "self.multiWriter || self.conflictResolution == 'last-write-wins'",
    "conflictResolution vector-clock and crdt are for clusters with several writers a partition",
    "set multiWriter to true, or conflictResolution to last-write-wins",
)
.at(".conflictResolution");
const ONLY_HYBRIDS: Constraint = Constraint::cel(
    "!self.multiWriter || self.writers.replicas + self.readers.replicas == 0",
    "multiWriter is for hybrids alone, every instance then reads and writes all partitions",
    "set writers.replicas and readers.replicas to 0 and hybrids.replicas to 1 or more",
)
.at(".multiWriter");
// While one instance knows of lanes and another does not, what is in a lane waits for an owner that does.
const MULTI_WRITER_STAYS: Constraint = Constraint::cel(
    "self.multiWriter == oldSelf.multiWriter || (self.multiWriter && self.stopped && oldSelf.stopped)",
    "multiWriter can be turned on only while the cluster is stopped, and never be turned off",
    "set it back; to turn it on, set stopped to true, then multiWriter to true, then stopped to false",
)
.at(".multiWriter");

/// A Brainy cluster: a distributed vector database whose only durable state lives in S3.
///
/// Every field but `storage.bucket` has a default; `kubectl explain brainycluster.spec` shows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "brainy.io",
    version = "v1alpha1",
    kind = "BrainyCluster",
    plural = "brainyclusters",
    singular = "brainycluster",
    shortname = "bc",
    category = "brainy",
    namespaced,
    status = "BrainyClusterStatus",
    derive = "PartialEq",
    doc = "A distributed vector database whose only durable state lives in S3.",
    scale(
        spec_replicas_path = ".spec.readers.replicas",
        status_replicas_path = ".status.readers.replicas",
        label_selector_path = ".status.readers.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every partition is served"
    ),
    printcolumn(
        name = "Writers",
        type_ = "string",
        json_path = ".status.writers.summary",
        description = "Ready and desired writers"
    ),
    printcolumn(
        name = "Readers",
        type_ = "string",
        json_path = ".status.readers.summary",
        description = "Ready and desired readers"
    ),
    printcolumn(
        name = "Hybrids",
        type_ = "string",
        json_path = ".status.hybrids.summary",
        description = "Ready and desired hybrids",
        priority = 1
    ),
    printcolumn(
        name = "Partitions",
        type_ = "integer",
        json_path = ".status.partitions.total",
        description = "Partitions of all collections"
    ),
    printcolumn(
        name = "Moving",
        type_ = "integer",
        json_path = ".status.partitions.moving",
        description = "Partitions on their way to another instance"
    ),
    printcolumn(
        name = "Balance",
        type_ = "string",
        json_path = ".status.balance",
        description = "Load of the fullest writer over the mean, 1.00 is even",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the cluster is ready or not",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = NAME
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = SOMEBODY_WRITES, validation = NONE_IS_ALONE, validation = CONFLICTS_NEED_WRITERS, validation = ONLY_HYBRIDS, validation = MULTI_WRITER_STAYS)]
pub struct BrainyClusterSpec {
    /// Container image of the data plane. Default: the operator's own.
    #[serde(default)]
    pub image: ImageSpec,

    /// The S3 bucket that holds the cluster's only durable state.
    #[serde(default)]
    pub storage: StorageSpec,

    /// Instances that own partitions and accept writes. Default: 1.
    #[serde(default)]
    pub writers: RoleSpec,

    /// Instances that serve reads; a HorizontalPodAutoscaler may own their number through the scale subresource. None is allowed:
    /// reads then go to writers and hybrids, whose caches are smaller, so at least one reader or hybrid is recommended.
    /// Default: 1.
    #[serde(default)]
    pub readers: RoleSpec,

    /// Instances that do both, for small clusters. Default: 0.
    #[serde(default = "RoleSpec::absent")]
    pub hybrids: RoleSpec,

    /// Into how many partitions collections are cut and how these spread over instances.
    #[serde(default)]
    pub partitioning: PartitioningSpec,

    /// How instances learn of each other's facts.
    #[serde(default)]
    pub coordination: CoordinationSpec,

    /// What a read may miss when it does not say so itself.
    #[serde(default)]
    pub consistency: ConsistencySpec,

    /// Every instance takes writes for every partition, so that no crash and no move holds up writes at the others; costs a second
    /// PUT for each group of writes, and all instances hold all partitions. Only hybrids have a place in such a cluster. Turned on at
    /// creation or while the cluster is stopped, and never off. Default: false.
    #[serde(default)]
    pub multi_writer: bool,

    /// What becomes of two concurrent writes of a point; all but last-write-wins need multiWriter. Default: last-write-wins. It cannot
    /// change after creation.
    #[serde(default)]
    #[x_kube(validation = CONFLICT_RESOLUTION_IMMUTABLE)]
    pub conflict_resolution: ConflictResolution,

    /// How partitions move when members come and go.
    #[serde(default)]
    pub rebalance: RebalanceSpec,

    /// Settings that change without a restart.
    #[serde(default)]
    pub shared_config: SharedConfigSpec,

    /// API keys that requests must carry. Absent: requests are not authenticated, so keep the Service inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeysSpec>,

    /// TLS on the data API. Absent: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// The Service that clients talk to.
    #[serde(default)]
    pub service: ServiceSpec,

    /// Objects for the Prometheus operator.
    #[serde(default)]
    pub monitoring: MonitoringSpec,

    /// How pods are replaced.
    #[serde(default)]
    pub update_strategy: UpdateStrategySpec,

    /// What happens to the data in S3 when the BrainyCluster is deleted. Default: Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// The operator leaves everything as it is and only reports, for work by hand. Default: false.
    #[serde(default)]
    pub paused: bool,

    /// All instances are drained and removed; data stays in S3 and the replica counts stay in the spec. Default: false.
    #[serde(default)]
    pub stopped: bool,
}

impl Default for BrainyClusterSpec {
    fn default() -> Self {
        Self {
            image: ImageSpec::default(),
            storage: StorageSpec::default(),
            writers: RoleSpec::default(),
            readers: RoleSpec::default(),
            hybrids: RoleSpec::absent(),
            partitioning: PartitioningSpec::default(),
            coordination: CoordinationSpec::default(),
            consistency: ConsistencySpec::default(),
            multi_writer: false,
            conflict_resolution: ConflictResolution::default(),
            rebalance: RebalanceSpec::default(),
            shared_config: SharedConfigSpec::default(),
            api_keys: None,
            tls: None,
            service: ServiceSpec::default(),
            monitoring: MonitoringSpec::default(),
            update_strategy: UpdateStrategySpec::default(),
            deletion_policy: DeletionPolicy::default(),
            paused: false,
            stopped: false,
        }
    }
}

impl BrainyClusterSpec {
    /// The instances of a role.
    pub fn role(&self, role: Role) -> &RoleSpec {
        match role {
            Role::Writer => &self.writers,
            Role::Reader => &self.readers,
            Role::Hybrid => &self.hybrids,
        }
    }

    // Destructured without `..`: a new field does not compile until somebody decided what to check.
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            image,
            storage,
            writers,
            readers,
            hybrids,
            partitioning: _,
            coordination,
            consistency: _,
            multi_writer,
            conflict_resolution,
            rebalance,
            shared_config: _,
            api_keys,
            tls,
            service,
            monitoring,
            update_strategy,
            deletion_policy: _,
            paused: _,
            stopped,
        } = self;
        let writing = i64::from(writers.replicas) + i64::from(hybrids.replicas);
        let instances = writing + i64::from(readers.replicas);
        findings.require(&SOMEBODY_WRITES, path, *stopped || writing > 0);
        findings.require(
            &NONE_IS_ALONE,
            path,
            coordination.method != CoordinationMethod::None || *stopped || instances == 1,
        );
        findings.require(
            &CONFLICTS_NEED_WRITERS,
            path,
            *multi_writer || *conflict_resolution == ConflictResolution::LastWriteWins,
        );
        findings.require(
            &ONLY_HYBRIDS,
            path,
            !multi_writer || writers.replicas + readers.replicas == 0,
        );
        image.check(&format!("{path}.image"), findings);
        storage.check(&format!("{path}.storage"), findings);
        writers.check(&format!("{path}.writers"), findings);
        readers.check(&format!("{path}.readers"), findings);
        hybrids.check(&format!("{path}.hybrids"), findings);
        coordination.check(&format!("{path}.coordination"), findings);
        rebalance.check(&format!("{path}.rebalance"), findings);
        if let Some(api_keys) = api_keys {
            api_keys.check(&format!("{path}.apiKeys"), findings);
        }
        if let Some(tls) = tls {
            tls.check(&format!("{path}.tls"), findings);
        }
        service.check(&format!("{path}.service"), findings);
        monitoring.check(&format!("{path}.monitoring"), findings);
        update_strategy.check(&format!("{path}.updateStrategy"), findings);
    }

    pub(crate) fn check_update(&self, old: &Self, path: &str, findings: &mut Findings) {
        self.storage
            .check_update(&old.storage, &format!("{path}.storage"), findings);
        self.writers
            .check_update(&old.writers, &format!("{path}.writers"), findings);
        self.readers
            .check_update(&old.readers, &format!("{path}.readers"), findings);
        self.hybrids
            .check_update(&old.hybrids, &format!("{path}.hybrids"), findings);
        findings.require(
            &CONFLICT_RESOLUTION_IMMUTABLE,
            &format!("{path}.conflictResolution"),
            self.conflict_resolution == old.conflict_resolution,
        );
        findings.require(
            &MULTI_WRITER_STAYS,
            path,
            self.multi_writer == old.multi_writer
                || (self.multi_writer && self.stopped && old.stopped),
        );
    }
}

/// Checks the name that everything else is named after.
pub(crate) fn check_name(name: &str, findings: &mut Findings) {
    let holds = name.len() <= NAME_MAX_LENGTH
        && regex::Regex::new(NAME_PATTERN).is_ok_and(|p| p.is_match(name));
    // The API server blames the whole resource: a rule cannot point into metadata.
    findings.require(&NAME, "metadata.name", holds);
}
