//! What a node is told at start. Hot settings live in [`brainy_coordination::config`].

use std::path::PathBuf;
use std::time::Duration;

use brainy_conflict::Policy;
use brainy_coordination::assignment::Role;
use brainy_coordination::lease::Identity;
use brainy_coordination::store::retry::Store;

use super::{ExchangeConfig, SelfCoordination};
use crate::engine::BuildOptions;
use crate::events::nats::NatsOptions;
use crate::transport::ClientTls;

/// How nodes learn of changes. All of them poll the bucket besides: what is pushed makes them look earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coordination {
    /// Nothing is said: for one process.
    None,
    /// Requests to the other members when the assignments change; the rest is polled.
    #[default]
    S3Polling,
    /// All events, at once, over connections between the nodes ([`crate::events::websocket`]).
    WebSocket,
    /// All events, at once, by way of a NATS server ([`crate::events::nats`]).
    PubSub(NatsOptions),
}

/// Settings of one process that do not change while it runs.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Who this is.
    pub identity: Identity,
    /// `None`: standalone, the only node, coordinating with nobody.
    pub role: Option<Role>,
    /// How nodes plan among themselves; `None` where an orchestrator plans.
    pub self_coordination: Option<SelfCoordination>,
    /// Where other nodes reach this one, `host:port`.
    pub advertise: String,
    /// Local files: the segment cache, and in standalone the data itself.
    pub data_dir: PathBuf,
    /// The cluster's bucket and prefix.
    pub store: Store,
    /// Grace of the collector, the same on every node of the cluster.
    pub gc_grace: Duration,
    /// Partitions of a collection that does not ask for a number.
    pub partitions: u32,
    /// Memory that segments, write buffers and queues may take together, in bytes.
    pub memory_budget: u64,
    /// Local disk that segment files may take, in bytes; `None`: as much as there is. What has no room is read from the bucket.
    pub disk_budget: Option<u64>,
    /// Reads that search at a time; others wait.
    pub read_threads: usize,
    /// Whether every hybrid takes writes for every partition, into a lane of its own.
    pub multi_writer: bool,
    /// What becomes of concurrent writes, where there can be any.
    pub conflict_resolution: Policy,
    /// Clusters to exchange with; needs several writers.
    pub exchange: ExchangeConfig,
    /// How segments are built.
    pub build: BuildOptions,
    /// Key for requests between nodes; the admin key of the API.
    pub cluster_key: Option<String>,
    /// How other nodes are told of changes.
    pub coordination: Coordination,
    /// How requests between nodes go over TLS; `None`: in plain HTTP.
    pub tls: Option<ClientTls>,
}

impl NodeConfig {
    /// Whether this node serves searches, and so holds in memory what they walk.
    #[must_use]
    pub fn can_read(&self) -> bool {
        self.role.is_none_or(Role::can_read)
    }
}
