//! The partition's owner copying what its lanes hold into the partition's log. The order of steps is argued in [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Marker, Merged, start, step};
use crate::document::{self, DocumentError};
use crate::keys;
use crate::lease::{self, Identity};
use crate::owner::{Owner, WriteError};
use crate::partition::{PartitionManifest, PublishError, publish};
use crate::replica::{Machine, MachineError, Replica};
use crate::store::retry::Store;
use crate::takeover::TakeoverError;
use crate::types::{InstanceId, LogPosition, Nonce, PartitionId};
use crate::wal::{Entry, Slot, WalError, read_slot};

/// Most slots of a lane that are copied before a marker is written.
const SLOTS_A_STEP: usize = 32;
/// Most copies that wait for the partition's log at once, of one lane.
const COPIES_AT_ONCE: usize = 128;
/// Pause before a copy is tried again that found too many writes waiting.
const FULL: Duration = Duration::from_millis(10);

/// An entry of a lane, or a marker, on its way into the partition's log: logged as it is.
#[derive(Clone, Debug)]
pub struct Copied(pub Bytes);

/// A state machine whose partition has lanes.
pub trait Merging: Machine<Request: From<Copied>> {
    /// How far each lane is contained.
    fn merged(&self) -> &Merged;
}

/// Why a lane could not be copied further. What was copied stands; the next round goes on.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The lane cannot be read.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Its lease or its manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It could not be fenced.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// It was taken over by somebody else meanwhile.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The partition's log takes nothing more from this owner.
    #[error("this process does not own the partition any more")]
    Deposed,
    /// The partition's log did not take it now.
    #[error("the partition's log does not take it now: {0}")]
    Later(String),
}

/// Copies for one owner of one partition.
pub struct Merger<M: Merging> {
    store: Store,
    partition: PartitionId,
    machine: Arc<M>,
    owner: Owner<M>,
    me: Identity,
    grace: Duration,
    /// Up to where a marker is in the log; what the machine knows comes later, and from there after a restart.
    passed: BTreeMap<InstanceId, LogPosition>,
}

impl<M: Merging> Merger<M> {
    /// A merger for `owner`, whose replica applies to `machine`. `grace` is the collector's.
    #[must_use]
    pub fn new(
        store: Store,
        partition: PartitionId,
        machine: Arc<M>,
        owner: Owner<M>,
        grace: Duration,
    ) -> Self {
        let me = owner.identity().clone();
        let passed = machine.merged().positions();
        Self {
            store,
            partition,
            machine,
            owner,
            me,
            grace,
            passed,
        }
    }

    /// Lanes that this merger has copied from.
    #[must_use]
    pub fn copied_from(&self) -> BTreeSet<InstanceId> {
        let mut all: BTreeSet<InstanceId> = self.machine.merged().positions().into_keys().collect();
        all.extend(self.passed.keys().cloned());
        all
    }

    /// Copies what `lanes` hold now, a bounded number of slots of each. Returns those in which more may wait, and why others
    /// could not be copied.
    pub async fn round(
        &mut self,
        lanes: &BTreeSet<InstanceId>,
    ) -> (BTreeSet<InstanceId>, BTreeMap<InstanceId, MergeError>) {
        let this = &*self;
        let steps = lanes.iter().map(|lane| async move {
            let done = this.advance(lane).await;
            (lane.clone(), done)
        });
        let mut more = BTreeSet::new();
        let mut errors = BTreeMap::new();
        for (lane, done) in futures::future::join_all(steps).await {
            match done {
                Ok(Step { at, slots }) => {
                    if slots == SLOTS_A_STEP {
                        more.insert(lane.clone());
                    }
                    self.passed.insert(lane, at);
                }
                Err(error) => {
                    errors.insert(lane, error);
                }
            }
        }
        (more, errors)
    }

    /// Fences the lane of an instance that is gone for good, copies the rest of it and forgets it. Each step can be repeated.
    ///
    /// # Errors
    /// [`MergeError`]; the lane stays known, and the next call goes on.
    pub async fn retire(&mut self, lane: &InstanceId) -> Result<(), MergeError> {
        let id = self.partition.lane_of(lane);
        let observed = lease::load(&self.store, &id).await?;
        if observed.is_none() {
            // It never acknowledged anything.
            self.passed.remove(lane);
            return Ok(());
        }
        let replica = Replica::open(
            self.store.clone(),
            id.clone(),
            Arc::new(Nothing),
            self.grace,
        );
        let mut replica = replica.await.map_err(TakeoverError::from)?;
        let ownership = replica.take_over(&self.me, observed.as_ref()).await?;
        let end = replica.position();
        loop {
            let Step { at, .. } = self.advance(lane).await?;
            self.passed.insert(lane.clone(), at);
            if at >= end {
                break;
            }
        }
        let known = document::load(&self.store, &keys::partition_manifest(&id)).await?;
        publish(&self.store, &id, ownership.epoch(), known, |m| {
            m.applied = m.applied.max(end);
        })
        .await?;
        self.log(Marker::Retired { lane: lane.clone() }).await?;
        self.passed.remove(lane);
        lease::release(&self.store, &id, &ownership.lease, end, None).await?;
        tracing::info!(partition = %self.partition, %lane, position = %end, "the lane of an instance that is gone is merged and forgotten");
        Ok(())
    }

    /// Copies the next slots of a lane and marks them.
    async fn advance(&self, lane: &InstanceId) -> Result<Step, MergeError> {
        let id = self.partition.lane_of(lane);
        let from = match self.passed.get(lane) {
            Some(at) => *at,
            None => start(&self.store, &id).await?,
        };
        let mut at = from;
        let mut slots = 0;
        let mut copies = Vec::new();
        while slots < SLOTS_A_STEP {
            let slot = read_slot(&self.store, &id, at.next()).await;
            let slot = match slot {
                // What lies before a damaged slot need not wait for it.
                Err(_) if slots > 0 => break,
                slot => slot?,
            };
            let Some(after) = step(&slot, at) else { break };
            match slot {
                Slot::Data(entries) => copies.extend(entries),
                Slot::Lost => {
                    tracing::error!(partition = %id, position = %at.next(), "a damaged log slot is skipped: its loss was accepted");
                }
                Slot::Fence | Slot::Absent => {}
            }
            at = after;
            slots += 1;
        }
        if at > from {
            let copies = stream::iter(copies).map(|entry| self.copy(entry));
            copies
                .buffered(COPIES_AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
            let lane = lane.clone();
            self.log(Marker::Passed { lane, at }).await?;
        }
        Ok(Step { at, slots })
    }

    async fn copy(&self, entry: Entry) -> Result<(), MergeError> {
        self.write(entry.request, &entry.payload).await
    }

    async fn log(&self, marker: Marker) -> Result<(), MergeError> {
        self.write(Nonce::random(), &marker.encode()).await
    }

    /// Writes into the partition's log, waiting for room among the writes that wait: starting the step over would fill it again.
    async fn write(&self, request: Nonce, payload: &Bytes) -> Result<(), MergeError> {
        loop {
            let body = Copied(payload.clone()).into();
            return match self.owner.write(request, body).await {
                Ok(_) => Ok(()),
                Err(WriteError::Overloaded) => {
                    tokio::time::sleep(FULL).await;
                    continue;
                }
                Err(WriteError::NotOwner) => Err(MergeError::Deposed),
                Err(WriteError::Rejected(_)) => Err(MergeError::Later(
                    "the state machine has no room for it".to_owned(),
                )),
                Err(WriteError::StoreFailed(error)) => Err(MergeError::Later(error.to_string())),
                Err(WriteError::Unknown(text)) => Err(MergeError::Later(text)),
            };
        }
    }
}

/// How far one lane got.
struct Step {
    at: LogPosition,
    slots: usize,
}

/// The state machine of a lane that is only fenced: it keeps nothing.
struct Nothing;

#[async_trait]
impl Machine for Nothing {
    type Request = std::convert::Infallible;
    type Rejection = std::convert::Infallible;

    async fn load(&self, _manifest: &PartitionManifest) -> Result<(), MachineError> {
        Ok(())
    }

    fn apply(&self, _position: LogPosition, _entries: &[Entry]) -> Result<(), MachineError> {
        Ok(())
    }

    fn advance(&self, _position: LogPosition) {}

    fn stage(&self, _ticket: u64, request: Self::Request) -> Result<Bytes, Self::Rejection> {
        match request {}
    }

    fn unstage(&self, _ticket: u64) {}
}
