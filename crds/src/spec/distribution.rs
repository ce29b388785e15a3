//! How data is partitioned, agreed on, read, merged and moved.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nats::{NATS_SECRET_ONLY_FOR_PUBSUB, NatsSecretRef};
use crate::duration::DurationString;
use crate::rules::{Constraint, Findings};

const POLL_INTERVAL: Constraint = Constraint::between(
    "50ms",
    "60s",
    "coordination.pollInterval must be between 50ms and 60s",
    "500ms suits most clusters; shorter costs more requests, longer delays what the nodes learn",
);
const HEARTBEAT_INTERVAL: Constraint = Constraint::between(
    "100ms",
    "5m",
    "coordination.heartbeatInterval must be between 100ms and 5m",
    "5s suits most clusters",
);
const LEASE_TTL: Constraint = Constraint::between(
    "1s",
    "15m",
    "coordination.leaseTtl must be between 1s and 15m",
    "20s suits most clusters; shorter fails over sooner, longer tolerates slower storage",
);
const TTL_COVERS_HEARTBEATS: Constraint = Constraint::cel(
    "duration(self.leaseTtl) >= duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval)",
    "coordination.leaseTtl must be at least three heartbeatIntervals, or one slow request loses the lease",
    "raise leaseTtl or lower heartbeatInterval",
)
.at(".leaseTtl");
const NATS_REQUIRED: Constraint = Constraint::cel(
    "self.method != 'pubsub' || has(self.natsUrl)",
    "coordination.method pubsub needs coordination.natsUrl",
    "set natsUrl, such as nats://nats.messaging.svc:4222, or choose s3-polling, which needs no other service",
)
.at(".natsUrl");
const NATS_ONLY_FOR_PUBSUB: Constraint = Constraint::cel(
    "self.method == 'pubsub' || !has(self.natsUrl)",
    "coordination.natsUrl has no effect unless coordination.method is pubsub",
    "remove natsUrl or set method to pubsub",
)
.at(".natsUrl");
const NATS_URL: Constraint = Constraint::matches(
    "^(nats|tls)://[A-Za-z0-9._-]+(:[0-9]{1,5})?$",
    "coordination.natsUrl must be a nats:// or tls:// URL of host and port, without user name and path",
    "write it like nats://nats.messaging.svc:4222",
);
const UNREADY_GRACE: Constraint = Constraint::between(
    "0s",
    "24h",
    "rebalance.unreadyGracePeriod must be between 0s and 24h",
    "2m lets a pod restart without moving its partitions",
);
const DRAIN_TIMEOUT: Constraint = Constraint::between(
    "10s",
    "24h",
    "rebalance.drainTimeout must be between 10s and 24h",
    "10m suits most clusters",
);

/// Into how many parts a collection is cut and how the parts spread over instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitioningSpec {
    /// Partitions of a collection that does not ask for a number itself, 1 to 4096. Default: 12. A change concerns collections
    /// created afterwards. A few per writer leave room to grow: a partition is the unit that moves.
    #[serde(default = "default_partitions_per_collection")]
    #[schemars(range(min = 1, max = 4096))]
    pub partitions_per_collection: i32,

    /// Points per member on the consistent-hash ring, 1 to 4096. Default: 128.
    #[serde(default = "default_virtual_nodes")]
    #[schemars(range(min = 1, max = 4096))]
    pub virtual_nodes: i32,

    /// How many readers serve each partition, 1 to 64; with fewer readers than that, all of them do. Default: 2.
    #[serde(default = "default_read_replicas")]
    #[schemars(range(min = 1, max = 64))]
    pub read_replicas: i32,
}

fn default_partitions_per_collection() -> i32 {
    12
}

fn default_virtual_nodes() -> i32 {
    128
}

fn default_read_replicas() -> i32 {
    2
}

impl Default for PartitioningSpec {
    fn default() -> Self {
        Self {
            partitions_per_collection: default_partitions_per_collection(),
            virtual_nodes: default_virtual_nodes(),
            read_replicas: default_read_replicas(),
        }
    }
}

/// How instances learn of each other's facts. What is decided is decided by conditional writes in S3 under every method; the
/// method only sets how soon others hear of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = TTL_COVERS_HEARTBEATS, validation = NATS_REQUIRED, validation = NATS_ONLY_FOR_PUBSUB, validation = NATS_SECRET_ONLY_FOR_PUBSUB)]
pub struct CoordinationSpec {
    /// Method. Default: s3-polling, which needs no other service.
    #[serde(default)]
    pub method: CoordinationMethod,

    /// How often an instance reads the coordination objects in S3, 50ms to 60s. It stays on as the safety net of `websocket` and
    /// `pubsub`, whose messages are hints. Default: 500ms, which spreads configuration in under a second.
    #[serde(default = "default_poll_interval")]
    #[x_kube(validation = POLL_INTERVAL)]
    pub poll_interval: DurationString,

    /// How often an instance renews its heartbeat where no operator plans, 100ms to 5m. Default: 5s.
    #[serde(default = "default_heartbeat_interval")]
    #[x_kube(validation = HEARTBEAT_INTERVAL)]
    pub heartbeat_interval: DurationString,

    /// How long a heartbeat stands still before its instance is taken for dead where no operator plans, 1s to 15m and at least three
    /// heartbeatIntervals. It sets how soon writes resume after a crash; safety does not depend on it. Default: 20s.
    #[serde(default = "default_lease_ttl")]
    #[x_kube(validation = LEASE_TTL)]
    pub lease_ttl: DurationString,

    /// NATS server for the method `pubsub`, nats:// or tls://. Required there, refused elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = NATS_URL)]
    pub nats_url: Option<String>,

    /// Secret with what the NATS server asks for. Absent: the server lets everybody in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_secret_ref: Option<NatsSecretRef>,
}

/// How instances learn of each other's facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CoordinationMethod {
    /// No coordination; for a cluster of exactly one instance.
    None,
    /// Read the coordination objects in S3 at every pollInterval.
    #[default]
    S3Polling,
    /// Instances push hints to each other over WebSocket.
    Websocket,
    /// Instances push hints through NATS.
    Pubsub,
}

impl CoordinationMethod {
    /// The method as a manifest and a command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::S3Polling => "s3-polling",
            Self::Websocket => "websocket",
            Self::Pubsub => "pubsub",
        }
    }
}

fn default_poll_interval() -> DurationString {
    DurationString::of_millis(500)
}

fn default_heartbeat_interval() -> DurationString {
    DurationString::of_millis(5_000)
}

fn default_lease_ttl() -> DurationString {
    DurationString::of_millis(20_000)
}

impl Default for CoordinationSpec {
    fn default() -> Self {
        Self {
            method: CoordinationMethod::default(),
            poll_interval: default_poll_interval(),
            heartbeat_interval: default_heartbeat_interval(),
            lease_ttl: default_lease_ttl(),
            nats_url: None,
            nats_secret_ref: None,
        }
    }
}

impl CoordinationSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            method,
            poll_interval,
            heartbeat_interval,
            lease_ttl,
            nats_url,
            nats_secret_ref,
        } = self;
        findings.duration(
            &POLL_INTERVAL,
            &format!("{path}.pollInterval"),
            poll_interval,
        );
        findings.duration(
            &HEARTBEAT_INTERVAL,
            &format!("{path}.heartbeatInterval"),
            heartbeat_interval,
        );
        findings.duration(&LEASE_TTL, &format!("{path}.leaseTtl"), lease_ttl);
        findings.require(
            &TTL_COVERS_HEARTBEATS,
            path,
            lease_ttl.get() >= heartbeat_interval.get() * 3,
        );
        let pubsub = *method == CoordinationMethod::Pubsub;
        findings.require(&NATS_REQUIRED, path, !pubsub || nats_url.is_some());
        findings.require(&NATS_ONLY_FOR_PUBSUB, path, pubsub || nats_url.is_none());
        if let Some(url) = nats_url {
            findings.text(&NATS_URL, &format!("{path}.natsUrl"), url);
        }
        findings.require(
            &NATS_SECRET_ONLY_FOR_PUBSUB,
            path,
            pubsub || nats_secret_ref.is_none(),
        );
        if let Some(secret) = nats_secret_ref {
            secret.check(&format!("{path}.natsSecretRef"), findings);
        }
    }
}

/// What a read may miss when it does not say so itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencySpec {
    /// Level of a read that names none. Default: strong, so that a program reads what it wrote. `sharedConfig.defaultConsistency`, where set, takes precedence and
    /// changes it without a restart.
    #[serde(default)]
    pub default: ConsistencyLevel,

    /// Oldest state that a `bounded` read may answer from, in milliseconds, 1 to 3600000. Default: 1000.
    #[serde(default = "default_bounded_staleness_ms")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub bounded_staleness_ms: i64,
}

/// What a read may miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsistencyLevel {
    /// Answers from what is cached.
    Eventual,
    /// Answers from a state refreshed within boundedStalenessMs.
    Bounded,
    /// Sees every write that was acknowledged before the read began; costs a request to S3 for each partition.
    #[default]
    Strong,
}

fn default_bounded_staleness_ms() -> i64 {
    1000
}

impl Default for ConsistencySpec {
    fn default() -> Self {
        Self {
            default: ConsistencyLevel::default(),
            bounded_staleness_ms: default_bounded_staleness_ms(),
        }
    }
}

/// What becomes of two concurrent writes of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictResolution {
    /// The later write is the point.
    #[default]
    LastWriteWins,
    /// Both are kept and the later one is shown, until a client resolves them.
    VectorClock,
    /// Payload fields and vectors merge one by one, as conflict-free replicated data types.
    Crdt,
}

impl ConflictResolution {
    /// The method as a manifest and a command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastWriteWins => "last-write-wins",
            Self::VectorClock => "vector-clock",
            Self::Crdt => "crdt",
        }
    }
}

/// How partitions move when members come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceSpec {
    /// How long an instance may be unready before its partitions move, 0s to 24h. Default: 2m.
    #[serde(default = "default_unready_grace_period")]
    #[x_kube(validation = UNREADY_GRACE)]
    pub unready_grace_period: DurationString,

    /// Partitions that may move at the same time, 1 to 256. Default: 4.
    #[serde(default = "default_max_concurrent_moves")]
    #[schemars(range(min = 1, max = 256))]
    pub max_concurrent_moves: i32,

    /// How long an instance may take to hand over its partitions before the status calls its drain stuck, 10s to 24h. The pod is
    /// kept even then, unless the annotation `brainy.io/allow-unsafe-scale-down: "true"` on the BrainyCluster says otherwise.
    /// Default: 10m.
    #[serde(default = "default_drain_timeout")]
    #[x_kube(validation = DRAIN_TIMEOUT)]
    pub drain_timeout: DurationString,
}

fn default_unready_grace_period() -> DurationString {
    DurationString::of_millis(120_000)
}

fn default_max_concurrent_moves() -> i32 {
    4
}

fn default_drain_timeout() -> DurationString {
    DurationString::of_millis(600_000)
}

impl Default for RebalanceSpec {
    fn default() -> Self {
        Self {
            unready_grace_period: default_unready_grace_period(),
            max_concurrent_moves: default_max_concurrent_moves(),
            drain_timeout: default_drain_timeout(),
        }
    }
}

impl RebalanceSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            unready_grace_period,
            max_concurrent_moves: _,
            drain_timeout,
        } = self;
        findings.duration(
            &UNREADY_GRACE,
            &format!("{path}.unreadyGracePeriod"),
            unready_grace_period,
        );
        findings.duration(
            &DRAIN_TIMEOUT,
            &format!("{path}.drainTimeout"),
            drain_timeout,
        );
    }
}
