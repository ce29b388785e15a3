//! The assignment table: who is in the cluster and which partition each member owns and reads.
//!
//! The table says who *should* serve; the lease of a partition says who *may* write (see `lease`). A stale table
//! costs a redirect, never a lost write.
//!
//! # Invariants
//! - A partition has at most one owner here and at most one handoff under way.
//! - `epoch` grows with each change of membership or of a target (who is to own or read what); progress of a move that was
//!   announced (a handoff completed, a reader serving) does not change it.
//! - Transitions are idempotent: applied to a table that already contains them they change nothing and say so, as
//!   [`document::update`](crate::document::update) requires.
//!
//! Plans come from [`planner`](crate::planner), steps towards them from [`rebalance`](crate::rebalance).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::self_coordination::mandate::PlannerLease;
use crate::types::{InstanceId, PartitionId};

/// Virtual nodes a member of weight 1 has on the ring unless the table says otherwise.
pub const DEFAULT_VIRTUAL_NODES: u32 = 128;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves reads, owns nothing.
    Reader,
    /// Owns partitions.
    Writer,
    /// Both.
    Hybrid,
}

impl Role {
    /// Whether it may own partitions (write, delete).
    #[must_use]
    pub fn can_own(self) -> bool {
        matches!(self, Role::Writer | Role::Hybrid)
    }

    /// Whether it may be a reader of partitions that others own.
    #[must_use]
    pub fn can_read(self) -> bool {
        matches!(self, Role::Reader | Role::Hybrid)
    }
}

/// What is known about a member's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Takes its share.
    Active,
    /// Not ready, but expected back within the grace period: keeps what it has and gets nothing new.
    Unready,
    /// Leaves: gives everything away while it still serves.
    Draining,
    /// Its process is dead and will not be back soon, says whoever runs it.
    Gone,
}

impl MemberState {
    /// Whether a plan may leave partitions with the member.
    #[must_use]
    pub fn keeps(self) -> bool {
        matches!(self, MemberState::Active | MemberState::Unready)
    }
}

fn default_weight() -> f64 {
    1.0
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// What it does.
    pub role: Role,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What is known about its process.
    pub state: MemberState,
    /// Its capacity relative to the others, above 0.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Failure zone; readers of a partition go to different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Which life of the instance this is (the pod's uid, for example).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

impl Member {
    /// An active member of weight 1.
    #[must_use]
    pub fn new(role: Role, address: impl Into<String>) -> Self {
        Self {
            role,
            address: address.into(),
            state: MemberState::Active,
            weight: default_weight(),
            zone: None,
            incarnation: None,
        }
    }
}

/// Why a partition changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffReason {
    /// The owner flushes, seals and releases first (design rule 8).
    Planned,
    /// The owner is gone: the successor takes over at once.
    OwnerGone,
}

/// A partition on its way to another owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handoff {
    /// The owner to be.
    pub to: InstanceId,
    /// Why.
    pub reason: HandoffReason,
}

/// How far a reader of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderState {
    /// Fetches the partition's segments; gets no queries yet.
    Warming,
    /// Answers queries.
    Serving,
    /// Answers queries until those that replace it are warm, then goes.
    Retiring,
}

impl ReaderState {
    /// Whether queries may be sent to it.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, ReaderState::Serving | ReaderState::Retiring)
    }
}

/// One reader of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReaderSlot {
    /// Who.
    pub instance: InstanceId,
    /// How far it is.
    pub state: ReaderState,
}

/// Who serves one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionAssignment {
    /// Whoever should hold its lease; `None` while no member can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<InstanceId>,
    /// The move under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Handoff>,
    /// Its readers besides the owner, in order of instance name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<ReaderSlot>,
}

impl PartitionAssignment {
    /// The owner once the move under way, if any, is over.
    #[must_use]
    pub fn target_owner(&self) -> Option<&InstanceId> {
        self.handoff.as_ref().map(|h| &h.to).or(self.owner.as_ref())
    }

    /// The slot of `instance` among the readers.
    #[must_use]
    pub fn reader(&self, instance: &InstanceId) -> Option<&ReaderSlot> {
        self.readers.iter().find(|slot| slot.instance == *instance)
    }
}

/// Parameters of the consistent-hash ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingParams {
    /// Points on the ring of a member of weight 1.
    pub virtual_nodes: u32,
}

impl Default for RingParams {
    fn default() -> Self {
        Self {
            virtual_nodes: DEFAULT_VIRTUAL_NODES,
        }
    }
}

/// How the cluster spreads and moves partitions; kept in the table so that every node plans alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Readers a partition gets besides its owner, as far as there are members that read.
    pub read_replicas: u32,
    /// Planned handoffs under way at once; 0 announces no new ones.
    pub max_concurrent_moves: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            read_replicas: 1,
            max_concurrent_moves: 4,
        }
    }
}

/// The table's body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AssignmentTable {
    /// The ring that orders the members for each partition.
    #[serde(default)]
    pub ring: RingParams,
    /// How partitions are spread and moved.
    #[serde(default)]
    pub policy: Policy,
    /// Version of the cluster manifest whose partitions are listed. A process that knows an older manifest reads it again
    /// before it changes the table, so that it cannot remove a collection it has not heard of.
    #[serde(default)]
    pub manifest_version: u64,
    /// Grows with each change of membership or of a target.
    pub epoch: u64,
    /// Which of the nodes plans, in a cluster that coordinates itself; `None` where an orchestrator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner: Option<PlannerLease>,
    /// The members.
    #[serde(default)]
    pub members: BTreeMap<InstanceId, Member>,
    /// The partitions.
    #[serde(default)]
    pub partitions: BTreeMap<PartitionId, PartitionAssignment>,
}

impl Document for AssignmentTable {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "assignment table";
}

impl AssignmentTable {
    /// Records that `new_owner` has taken `partition` over. Returns whether the table changed.
    ///
    /// Applies when the move under way names `new_owner`, and when the partition has neither owner nor move. Otherwise the
    /// table says so already or wants something else: compare [`PartitionAssignment::owner`] afterwards.
    pub fn complete_handoff(&mut self, partition: &PartitionId, new_owner: &InstanceId) -> bool {
        let Some(entry) = self.partitions.get_mut(partition) else {
            return false;
        };
        match &entry.handoff {
            Some(handoff) if handoff.to == *new_owner => {
                entry.owner = Some(new_owner.clone());
                entry.handoff = None;
                true
            }
            None if entry.owner.is_none() => {
                entry.owner = Some(new_owner.clone());
                true
            }
            _ => false,
        }
    }

    /// Records that `instance` is warm for `partitions`. Returns whether the table changed. Partitions that do not list it
    /// as a reader are passed over.
    pub fn reader_serving<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a PartitionId>,
        instance: &InstanceId,
    ) -> bool {
        let mut changed = false;
        for partition in partitions {
            let slots = self.partitions.get_mut(partition).map(|p| &mut p.readers);
            for slot in slots.into_iter().flatten() {
                if slot.instance == *instance && slot.state == ReaderState::Warming {
                    slot.state = ReaderState::Serving;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Partitions that `instance` owns, ascending, also those on their way to another owner.
    pub fn owned_by(&self, instance: &InstanceId) -> impl Iterator<Item = &PartitionId> {
        self.partitions
            .iter()
            .filter(|(_, entry)| entry.owner.as_ref() == Some(instance))
            .map(|(partition, _)| partition)
    }

    /// Partitions on their way to `instance`, ascending, with the reason.
    pub fn pending_for(
        &self,
        instance: &InstanceId,
    ) -> impl Iterator<Item = (&PartitionId, HandoffReason)> {
        self.partitions.iter().filter_map(|(partition, entry)| {
            let handoff = entry.handoff.as_ref().filter(|h| h.to == *instance)?;
            Some((partition, handoff.reason))
        })
    }

    /// Partitions that `instance` reads, ascending, and how far it is with each.
    pub fn read_by(
        &self,
        instance: &InstanceId,
    ) -> impl Iterator<Item = (&PartitionId, ReaderState)> {
        self.partitions
            .iter()
            .filter_map(|(partition, entry)| Some((partition, entry.reader(instance)?.state)))
    }

    /// Where `instance` listens, `host:port`.
    #[must_use]
    pub fn address(&self, instance: &InstanceId) -> Option<&str> {
        self.members.get(instance).map(|m| m.address.as_str())
    }
}
