//! The three roles that instances play, and the pods that play them.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::ByteQuantity;
use crate::rules::{Constraint, Findings};

const POSITIVE_MEMORY: Constraint = Constraint::cel(
    "quantity(string(self)).isGreaterThan(quantity('0'))",
    "memoryBudget must be more than zero",
    "write it like 2Gi, or remove it to use 80% of the memory limit",
);
const BUDGET_WITHIN_LIMIT: Constraint = Constraint::cel(
    "!has(self.memoryBudget) || !has(self.resources.limits) || !('memory' in self.resources.limits) || \
     quantity(string(self.memoryBudget)).compareTo(quantity(string(self.resources.limits['memory']))) <= 0",
    "memoryBudget must not exceed resources.limits.memory, the kernel would kill the process first",
    "lower memoryBudget, raise the limit, or remove memoryBudget to use 80% of the limit",
)
.at(".memoryBudget");
const POSITIVE_SIZE: Constraint = Constraint::cel(
    "quantity(string(self)).isGreaterThan(quantity('0'))",
    "cacheVolume.size must be more than zero",
    "write it like 100Gi",
);
const SIZE_GROWS: Constraint = Constraint::cel(
    "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
    "cacheVolume.size cannot shrink, Kubernetes only grows volumes",
    "keep the size; to shrink, remove cacheVolume, apply, and add it again: it holds a cache and no data",
)
.at(".size");
const STORAGE_CLASS_KEPT: Constraint = Constraint::cel(
    "has(self.storageClassName) == has(oldSelf.storageClassName) && \
     (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    "cacheVolume.storageClassName cannot change while the volume exists",
    "remove cacheVolume, apply, and add it again with the other class: it holds a cache and no data",
)
.at(".storageClassName");
const RESERVED_LABELS: Constraint = Constraint::cel(
    "self.all(key, !key.startsWith('brainy.io/') && !key.startsWith('app.kubernetes.io/'))",
    "labels under brainy.io/ and app.kubernetes.io/ are set by the operator, selectors depend on them",
    "use a prefix of your own, such as example.com/team",
);
const RESERVED_ANNOTATIONS: Constraint = Constraint::cel(
    "self.all(key, !key.startsWith('brainy.io/'))",
    "annotations under brainy.io/ are set by the operator",
    "use a prefix of your own, such as example.com/note",
);
const RESERVED_ENV: Constraint = Constraint::cel(
    "self.all(entry, !entry.name.startsWith('BRAINY_'))",
    "environment variables that begin with BRAINY_ are set by the operator",
    "use the field of the spec for that setting, such as spec.sharedConfig",
);

/// What an instance is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns partitions and accepts writes.
    Writer,
    /// Serves reads from its cache.
    Reader,
    /// Does both; writes only where it holds the lease.
    Hybrid,
}

impl Role {
    /// All roles, in the order in which people read them.
    pub const ALL: [Self; 3] = [Self::Writer, Self::Reader, Self::Hybrid];

    /// The role's name: `writer`, `reader` or `hybrid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Hybrid => "hybrid",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The instances of one role: how many, how big, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = BUDGET_WITHIN_LIMIT)]
pub struct RoleSpec {
    /// Number of instances, 0 to 256. Default: 1 where the role's block is written. Fewer writers or hybrids are drained before
    /// their pods go.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 256))]
    pub replicas: i32,

    /// CPU and memory requests and limits of each pod. Default: none; production wants a memory limit.
    #[serde(default)]
    pub resources: ResourceRequirements,

    /// Volume for the disk cache. It holds copies of what is in S3 and no data of its own. Absent: an emptyDir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_volume: Option<CacheVolume>,

    /// Memory that caches, indexes and write buffers may take together, such as `6Gi`. Absent: 80% of resources.limits.memory,
    /// or, without a limit, the data plane's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = POSITIVE_MEMORY)]
    pub memory_budget: Option<ByteQuantity>,

    /// Where the pods may run.
    #[serde(default)]
    pub scheduling: SchedulingSpec,

    /// What is added to the pods.
    #[serde(default)]
    pub pod_template: PodTemplateSpec,
}

/// Volume of the disk cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = SIZE_GROWS, validation = STORAGE_CLASS_KEPT)]
pub struct CacheVolume {
    /// Size, such as `100Gi`. May grow, if the storage class can, and never shrinks.
    #[x_kube(validation = POSITIVE_SIZE)]
    pub size: ByteQuantity,

    /// StorageClass of the volume; local NVMe serves best. Absent: the Kubernetes cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Where pods may run; the fields are those of a pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingSpec {
    /// Labels that a node must have. Default: none.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods tolerate. Default: none.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,

    /// Affinity rules. Absent: pods of one role prefer different nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// How pods spread over zones and nodes. Default: none beyond the default affinity; zones need a constraint here.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// PriorityClass of the pods. Absent: the Kubernetes cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// Additions to the pods of a role. The operator's own labels, annotations and variables cannot be replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateSpec {
    /// Labels and annotations.
    #[serde(default)]
    pub metadata: PodMetadata,

    /// Environment variables of the container, at most 64; names that begin with `BRAINY_` are the operator's. Default: none.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = RESERVED_ENV)]
    pub env: Vec<EnvVar>,
}

/// Labels and annotations that are added to pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels, at most 64; not under `brainy.io/` or `app.kubernetes.io/`. Default: none.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = RESERVED_LABELS)]
    pub labels: BTreeMap<String, String>,

    /// Annotations, at most 64; not under `brainy.io/`. Default: none.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = RESERVED_ANNOTATIONS)]
    pub annotations: BTreeMap<String, String>,
}

fn default_replicas() -> i32 {
    1
}

impl Default for RoleSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            resources: ResourceRequirements::default(),
            cache_volume: None,
            memory_budget: None,
            scheduling: SchedulingSpec::default(),
            pod_template: PodTemplateSpec::default(),
        }
    }
}

impl RoleSpec {
    /// A role that nobody plays.
    pub fn absent() -> Self {
        Self {
            replicas: 0,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            replicas: _,
            resources,
            cache_volume,
            memory_budget,
            scheduling: _,
            pod_template,
        } = self;
        if let Some(budget) = memory_budget {
            findings.require(
                &POSITIVE_MEMORY,
                &format!("{path}.memoryBudget"),
                budget.bytes() > 0,
            );
            let limit = resources
                .limits
                .as_ref()
                .and_then(|limits| limits.get("memory"));
            if let Some(limit) = limit {
                // A limit that is no quantity was refused by the schema's pattern before.
                let fits = ByteQuantity::parse(&limit.0)
                    .is_ok_and(|limit| budget.bytes() <= limit.bytes());
                findings.require(&BUDGET_WITHIN_LIMIT, path, fits);
            }
        }
        if let Some(CacheVolume {
            size,
            storage_class_name: _,
        }) = cache_volume
        {
            findings.require(
                &POSITIVE_SIZE,
                &format!("{path}.cacheVolume.size"),
                size.bytes() > 0,
            );
        }
        let PodTemplateSpec {
            metadata:
                PodMetadata {
                    labels,
                    annotations,
                },
            env,
        } = pod_template;
        let at = format!("{path}.podTemplate");
        let reserved = |key: &String| key.starts_with("brainy.io/");
        findings.require(
            &RESERVED_LABELS,
            &format!("{at}.metadata.labels"),
            !labels
                .keys()
                .any(|key| reserved(key) || key.starts_with("app.kubernetes.io/")),
        );
        findings.require(
            &RESERVED_ANNOTATIONS,
            &format!("{at}.metadata.annotations"),
            !annotations.keys().any(reserved),
        );
        findings.require(
            &RESERVED_ENV,
            &format!("{at}.env"),
            !env.iter().any(|entry| entry.name.starts_with("BRAINY_")),
        );
    }

    pub(crate) fn check_update(&self, old: &Self, path: &str, findings: &mut Findings) {
        if let (Some(new), Some(old)) = (&self.cache_volume, &old.cache_volume) {
            let at = format!("{path}.cacheVolume");
            findings.require(&SIZE_GROWS, &at, new.size.bytes() >= old.size.bytes());
            findings.require(
                &STORAGE_CLASS_KEPT,
                &at,
                new.storage_class_name == old.storage_class_name,
            );
        }
    }
}
