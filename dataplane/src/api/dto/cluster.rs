//! What Qdrant's API says of nodes and of the places of partitions, which it calls peers and shards.
//!
//! Peers are numbers there: 53 bits of a hash of the instance's name, which JavaScript reads exactly.

use std::collections::BTreeMap;

use brainy_coordination::types::InstanceId;
use schemars::JsonSchema;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::service::{ClusterState, Placements};

/// An instance's number.
pub(crate) fn peer_id(instance: &InstanceId) -> u64 {
    xxh3_64(instance.as_str().as_bytes()) >> 11
}

/// The nodes. Brainy has no consensus: what it says of one is what stands in its place, the assignment table, which changes by
/// compare-and-swap.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum ClusterDto {
    /// A node that is by itself.
    Disabled,
    /// Several.
    Enabled {
        peer_id: u64,
        peers: BTreeMap<u64, PeerDto>,
        raft_info: RaftDto,
        consensus_thread_status: ConsensusDto,
        message_send_failures: BTreeMap<String, ()>,
    },
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PeerDto {
    pub(crate) uri: String,
}

/// The assignment table in the words of a consensus.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RaftDto {
    pub(crate) term: u64,
    pub(crate) commit: u64,
    pub(crate) pending_operations: usize,
    pub(crate) leader: Option<u64>,
    pub(crate) role: Option<String>,
    pub(crate) is_voter: bool,
}

/// When this node last read the table: now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConsensusDto {
    pub(crate) consensus_thread_status: &'static str,
    pub(crate) last_update: String,
}

impl ClusterDto {
    pub(crate) fn new(state: &ClusterState, now: String) -> Self {
        if state.members.is_empty() {
            return Self::Disabled;
        }
        let peer = |(instance, address): (&InstanceId, &String)| {
            let uri = format!("http://{address}/");
            (peer_id(instance), PeerDto { uri })
        };
        Self::Enabled {
            peer_id: peer_id(&state.me),
            peers: state.members.iter().map(peer).collect(),
            raft_info: RaftDto {
                term: state.ring_epoch,
                commit: state.version,
                pending_operations: state.moving,
                leader: None,
                role: None,
                // Every node may change the table.
                is_voter: true,
            },
            consensus_thread_status: ConsensusDto {
                consensus_thread_status: "working",
                last_update: now,
            },
            message_send_failures: BTreeMap::new(),
        }
    }
}

/// Where the partitions of a collection are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CollectionClusterDto {
    pub(crate) peer_id: u64,
    pub(crate) shard_count: u32,
    pub(crate) local_shards: Vec<LocalShardDto>,
    pub(crate) remote_shards: Vec<RemoteShardDto>,
    pub(crate) shard_transfers: Vec<TransferDto>,
}

/// One at the node that answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalShardDto {
    pub(crate) shard_id: u32,
    pub(crate) points_count: u64,
    pub(crate) state: &'static str,
}

/// One at another node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemoteShardDto {
    pub(crate) shard_id: u32,
    pub(crate) peer_id: u64,
    pub(crate) state: &'static str,
}

/// A move under way.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TransferDto {
    pub(crate) shard_id: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) sync: bool,
}

impl CollectionClusterDto {
    pub(crate) fn new(all: &Placements) -> Self {
        let state = |serving| if serving { "Active" } else { "Initializing" };
        let (local, remote): (Vec<_>, Vec<_>) =
            all.placements.iter().partition(|p| p.member == all.me);
        Self {
            peer_id: peer_id(&all.me),
            shard_count: all.partitions,
            local_shards: local
                .into_iter()
                .map(|p| LocalShardDto {
                    shard_id: p.partition,
                    points_count: p.points.unwrap_or(0),
                    state: state(p.serving),
                })
                .collect(),
            remote_shards: remote
                .into_iter()
                .map(|p| RemoteShardDto {
                    shard_id: p.partition,
                    peer_id: peer_id(&p.member),
                    state: state(p.serving),
                })
                .collect(),
            // What nobody had is loaded from the bucket, not moved.
            shard_transfers: all
                .moves
                .iter()
                .filter_map(|(partition, from, to)| {
                    Some(TransferDto {
                        shard_id: *partition,
                        from: peer_id(from.as_ref()?),
                        to: peer_id(to),
                        sync: false,
                    })
                })
                .collect(),
        }
    }
}

/// What is known of the service without asking other nodes, and without names of what users keep: figures are under
/// `/metrics`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TelemetryDto {
    pub(crate) id: String,
    pub(crate) app: AppDto,
    pub(crate) collections: CollectionsFiguresDto,
    pub(crate) cluster: ClusterFiguresDto,
}

/// The program.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AppDto {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) startup: String,
}

/// How many collections there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CollectionsFiguresDto {
    pub(crate) number_of_collections: usize,
}

/// Whether there are several nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClusterFiguresDto {
    pub(crate) enabled: bool,
}

/// What does not get on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct IssuesDto {
    pub(crate) issues: Vec<IssueDto>,
}

/// A partition of this node that does not get on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct IssueDto {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) solution: &'static str,
}

/// Quotas, of which there are none to configure.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct QuotasDto {
    pub(crate) config: QuotaConfigDto,
    pub(crate) usage: QuotaUsageDto,
}

/// Whether there are quotas.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct QuotaConfigDto {
    pub(crate) enabled: bool,
}

/// What is used of them.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct QuotaUsageDto {
    pub(crate) resident_memory_percent: Option<u32>,
    pub(crate) disk_usage_percent: Option<u32>,
}
