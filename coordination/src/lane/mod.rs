//! Lanes: how several instances write to one partition at a time.
//!
//! In a multi-writer cluster every instance has a log of its own for every partition, its *lane*, under the name
//! `{partition}_{instance}`. A lane is a partition to the lease, the log, the takeover, the owner and the collector: all of them are used as
//! they are. What a lane does not have is state. A write is acknowledged when it is durable in the lane of the instance that took it; no
//! other instance is asked, so none can hold it up.
//!
//! The partition's owner, chosen as in any cluster, copies what the lanes hold into the partition's log ([`Merger`]): the same bytes, under the same
//! request id. Everything else follows that one log, as with a single writer. So
//! - all replicas apply the same entries in the same order: they converge without anybody comparing anything;
//! - a request that a client repeated at another instance is in two lanes and is copied once, as its id is known;
//! - which of two concurrent writes wins is decided by the entries' own stamps where the state machine merges, not by the order of copying.
//!
//! # Order of publications
//!
//! A lane's slot may be removed only when its entries are in the partition's log. The order that guarantees it:
//! 1. the entries of lane slot `p`, and of all before it, are acknowledged by the partition's log;
//! 2. a [`Marker::Passed`] for `p` is written into the partition's log, after them;
//! 3. the lane's owner, which follows the partition's log, meets the marker and moves the lane's manifest to `p`;
//! 4. the collector removes the lane's slots up to `p`, a grace period later.
//!
//! A crash between any two leaves the earlier ones standing, and the next owner of the partition goes on from the last marker
//! that is in the log. What was copied beyond it is copied again: request ids and idempotent merging make that harmless.
//!
//! | failure | what happens |
//! |---|---|
//! | an instance dies | its acknowledged writes are in its lane, and are copied; the others' writes go on |
//! | the partition's owner dies | writes go on; they become visible when the next owner has copied them |
//! | it is only slow, and copies after it was deposed | its log is fenced: neither copies nor markers count |
//! | an instance goes for good | the owner takes its lane over, which fences it, copies the rest, writes [`Marker::Retired`] and forgets it |
//! | it was only slow | its next write meets the fence and is not acknowledged; when it is a member again it takes its lane over again |
//! | a lane's slot is damaged | that lane is not copied beyond it, and the error names the key; other lanes go on |
//!
//! # Finding lanes
//!
//! An instance takes the lease of its lane before it acknowledges anything, and no lease is ever removed before its collection is. So the leases
//! under [`keys::lane_locks`] are all lanes that can hold anything ([`discover`]). One that was retired is known by its manifest having
//! reached the end of its lease's epoch.

mod marker;
mod merger;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::watch;

pub use marker::Marker;
pub use merger::{Copied, MergeError, Merger, Merging};

use crate::document::{self, DocumentError};
use crate::keys;
use crate::lease::{self, LeaseState};
use crate::partition::PartitionManifest;
use crate::store::retry::Store;
use crate::types::{InstanceId, LogPosition, PartitionId};
use crate::wal::{Slot, WalError, read_slot};

/// Up to where each lane is contained in the partition's log, as far as that was applied here. Part of the state machine: it follows
/// from the log, and a manifest carries what it was at its `applied`.
#[derive(Debug, Default)]
pub struct Merged {
    history: Mutex<History>,
    now: watch::Sender<BTreeMap<InstanceId, LogPosition>>,
}

/// What the newest manifest said, and the markers met since.
#[derive(Debug)]
struct History {
    applied: LogPosition,
    at_applied: BTreeMap<InstanceId, LogPosition>,
    since: VecDeque<(LogPosition, Marker)>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            applied: PartitionManifest::default().applied,
            at_applied: BTreeMap::new(),
            since: VecDeque::new(),
        }
    }
}

impl History {
    fn up_to(&self, applied: LogPosition) -> BTreeMap<InstanceId, LogPosition> {
        let mut lanes = self.at_applied.clone();
        let since = self.since.iter();
        for (_, marker) in since.take_while(|(position, _)| *position <= applied) {
            marker.apply(&mut lanes);
        }
        lanes
    }
}

impl Merged {
    /// The position of every lane that was ever copied from and not retired.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<InstanceId, LogPosition> {
        self.now.borrow().clone()
    }

    /// What a manifest that contains the log up to `applied`, which is not before that of the manifest loaded last, has to carry.
    #[must_use]
    pub fn up_to(&self, applied: LogPosition) -> BTreeMap<InstanceId, LogPosition> {
        self.history.lock().up_to(applied)
    }

    /// The position of one lane; `None` if nothing was copied from it yet, or it was retired.
    #[must_use]
    pub fn get(&self, lane: &InstanceId) -> Option<LogPosition> {
        self.now.borrow().get(lane).copied()
    }

    /// Woken at every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<InstanceId, LogPosition>> {
        self.now.subscribe()
    }

    /// Whether every lane of `ends` is contained up to there. One that was retired since is not: its end has to be looked up anew.
    #[must_use]
    pub fn contains(&self, ends: &BTreeMap<InstanceId, LogPosition>) -> bool {
        let merged = self.now.borrow();
        ends.iter()
            .all(|(lane, end)| merged.get(lane).is_some_and(|at| at >= end))
    }

    /// Goes on from what a manifest says, which the state contains.
    pub fn load(&self, manifest: &PartitionManifest) {
        let mut history = self.history.lock();
        if manifest.applied < history.applied {
            return;
        }
        history.applied = manifest.applied;
        history.at_applied.clone_from(&manifest.lanes);
        history
            .since
            .retain(|(position, _)| *position > manifest.applied);
        self.publish(&history);
    }

    /// Notes a marker that the log holds at `position`. To be called after the entries before it were applied, in log order; what is
    /// contained already changes nothing.
    pub fn note(&self, position: LogPosition, marker: Marker) {
        let mut history = self.history.lock();
        if position > history.applied {
            history.since.push_back((position, marker));
            self.publish(&history);
        }
    }

    fn publish(&self, history: &History) {
        let lanes = history.up_to(LogPosition::new(u64::MAX, u64::MAX));
        self.now.send_if_modified(|now| {
            let changed = *now != lanes;
            *now = lanes;
            changed
        });
    }
}

/// All lanes that may hold something that is not in the partition's log: those of `members`, those of `merged`, and those of
/// instances that took a lane's lease and were not retired since. One listing, and two requests for each lane that only the listing names.
///
/// # Errors
/// The store's, or an unreadable lease or manifest.
pub async fn discover(
    store: &Store,
    partition: &PartitionId,
    known: &BTreeSet<InstanceId>,
) -> Result<BTreeSet<InstanceId>, DocumentError> {
    let mut lanes = BTreeSet::new();
    for object in store.list_all(&keys::lane_locks(partition)).await? {
        let Some(instance) = keys::parse_lane_lock(partition, &object.key) else {
            continue;
        };
        if known.contains(&instance) || !is_retired(store, &partition.lane_of(&instance)).await? {
            lanes.insert(instance);
        }
    }
    Ok(lanes)
}

/// Whether the lane was fenced by its last lease's owner and is contained in the partition's log to its end.
async fn is_retired(store: &Store, lane: &PartitionId) -> Result<bool, DocumentError> {
    let Some(lease) = lease::load(store, lane).await? else {
        return Ok(false);
    };
    if lease.state == LeaseState::Held {
        return Ok(false);
    }
    let key = keys::partition_manifest(lane);
    let manifest = document::load::<PartitionManifest>(store, &key).await?;
    Ok(manifest
        .is_some_and(|m| m.epoch == lease.epoch && m.applied == LogPosition::new(lease.epoch, 0)))
}

/// Where each of `lanes` ends now: everything that was acknowledged before the call began lies before these positions. Lanes in which nothing
/// lies beyond `merged` are left out. One request a lane, and one more for each slot that is not merged yet.
///
/// `merged` must have been brought up to date with the partition's log so recently that nothing beyond it can have been collected:
/// within half of the collector's grace period.
///
/// # Errors
/// The store's, or a damaged slot.
pub async fn ends(
    store: &Store,
    partition: &PartitionId,
    lanes: &BTreeSet<InstanceId>,
    merged: &BTreeMap<InstanceId, LogPosition>,
) -> Result<BTreeMap<InstanceId, LogPosition>, WalError> {
    let ends = lanes.iter().map(|instance| async move {
        let lane = partition.lane_of(instance);
        let from = match merged.get(instance) {
            Some(at) => *at,
            None => start(store, &lane).await?,
        };
        let mut at = from;
        while let Some(after) = step(&read_slot(store, &lane, at.next()).await?, at) {
            at = after;
        }
        Ok::<_, WalError>((at > from).then(|| (instance.clone(), at)))
    });
    let ends = futures::future::try_join_all(ends).await?;
    Ok(ends.into_iter().flatten().collect())
}

/// Where a lane begins that nothing was copied from, or that comes back after it was retired.
async fn start(store: &Store, lane: &PartitionId) -> Result<LogPosition, WalError> {
    let key = keys::partition_manifest(lane);
    let manifest = document::load::<PartitionManifest>(store, &key).await;
    match manifest {
        Ok(found) => Ok(found.map_or(PartitionManifest::default().applied, |m| m.applied)),
        Err(DocumentError::Store(error)) => Err(error.into()),
        // An unreadable manifest: what it would have allowed to skip is read.
        Err(_) => Ok(PartitionManifest::default().applied),
    }
}

/// The position after the slot behind `at`, if there is one.
fn step(slot: &Slot, at: LogPosition) -> Option<LogPosition> {
    match slot {
        Slot::Absent => None,
        Slot::Fence => Some(at.next().next_epoch()),
        Slot::Data(_) | Slot::Lost => Some(at.next()),
    }
}
