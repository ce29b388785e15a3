//! The `BrainyCluster` custom resource: its spec and status as Rust types, defaults, validation rules, and the
//! CustomResourceDefinition that is generated from them.
//!
//! This crate knows nothing of S3 and talks to nobody. See `README.md` beside it.

mod conditions;
mod crd;
mod duration;
mod manifest;
mod names;
mod quantity;
mod reference;
mod rules;
// KubeSchema expands to a copy of each struct, with its visibility, inside a function: none of ours is unreachable.
#[allow(unreachable_pub)]
mod spec;
#[allow(unreachable_pub)]
mod status;
mod structural;
mod validate;

pub use conditions::{ConditionStatus, ConditionType, Finding, Reason, set_condition};
pub use crd::{crd, crd_yaml, schema};
pub use duration::{DURATION_MAX_LENGTH, DURATION_PATTERN, DurationString, InvalidDuration};
pub use manifest::{ManifestError, parse_manifest};
pub use names::{
    ADOPT_DATA, ALLOW_UNSAFE_SCALE_DOWN, CLUSTER_LABEL, DATA_FINALIZER, RESTARTED_AT, ROLE_LABEL,
    SKIP_DATA_DELETION,
};
pub use quantity::{ByteQuantity, InvalidQuantity, QUANTITY_MAX_LENGTH, QUANTITY_PATTERN};
pub use reference::reference;
pub use rules::FieldError;
pub use spec::{
    ApiKeyEntries, ApiKeysSecretRef, ApiKeysSpec, BrainyCluster, BrainyClusterSpec, CacheVolume,
    ConflictResolution, ConsistencyLevel, ConsistencySpec, CoordinationMethod, CoordinationSpec,
    DeletionPolicy, ImageSpec, LogLevel, MonitoringSpec, NatsSecretKeys, NatsSecretRef,
    PartitioningSpec, PodMetadata, PodTemplateSpec, PullPolicy, RebalanceSpec, Role, RoleSpec,
    SchedulingSpec, SecretName, ServiceMonitorSpec, ServiceSpec, ServiceType, SharedConfigSpec,
    StorageCredentials, StorageSecretKeys, StorageSecretRef, StorageSpec, TlsSpec, ToggledObject,
    UpdateStrategySpec, UpdateType, WorkloadIdentity,
};
pub use status::{BrainyClusterStatus, InstancePhase, InstanceStatus, PartitionStatus, RoleStatus};
pub use validate::{validate, validate_update};

/// Why the CustomResourceDefinition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The types and the form of a CustomResourceDefinition do not fit together.
    #[error(
        "the BrainyCluster definition cannot be converted: {0}; the types in crds/src need a structural schema"
    )]
    Definition(#[source] serde_json::Error),

    /// The derived definition carries no schema.
    #[error(
        "the BrainyCluster definition has no schema; the types in crds/src must derive KubeSchema"
    )]
    NoSchema,

    /// The definition cannot be written as YAML.
    #[error("the BrainyCluster definition cannot be written as YAML: {0}")]
    Yaml(#[source] serde_yaml::Error),
}
