//! A partition as one process holds it: a state machine, how far it got in the log, and how fresh that is.
//!
//! Readers follow with it, a successor warms up with it, and an owner is one whose log it writes itself
//! ([`crate::takeover`], [`crate::owner`]).

mod heard;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::document::{self, DocumentError, Versioned};
use crate::keys;
use crate::partition::PartitionManifest;
use crate::requests::RequestTable;
use crate::store::retry::Store;
use crate::types::{LogPosition, PartitionId};
use crate::wal::{Entry, Slot, WalError, read_slot};

/// Most slots read at once while there is a backlog.
const READ_AHEAD: usize = 16;

/// What the log is applied to. State after a position is a function of the log up to it.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// A write as the owner receives it.
    type Request: Send + 'static;
    /// Why a request is not logged.
    type Rejection: Send + 'static;

    /// Makes the state contain at least `manifest.applied`, from its segments. Entries beyond it that were already
    /// applied stay.
    async fn load(&self, manifest: &PartitionManifest) -> Result<(), MachineError>;

    /// Applies the entries of slot `position`. Called in log order; a position that is contained already is ignored.
    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError>;

    /// Notes that the log up to `position` holds nothing more to apply.
    fn advance(&self, position: LogPosition);

    /// Turns a request into what is logged, seeing every request staged before it, and stages it under `ticket`.
    fn stage(&self, ticket: u64, request: Self::Request) -> Result<Bytes, Self::Rejection>;

    /// Forgets what was staged under tickets up to and including `ticket`: it is applied, or never will be.
    fn unstage(&self, ticket: u64);
}

/// Why a state machine cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MachineError(pub String);

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The state machine.
    #[error("partition {partition} at {position}: {error}")]
    Machine {
        /// Which.
        partition: PartitionId,
        /// Where.
        position: LogPosition,
        /// What.
        error: MachineError,
    },
}

impl ReplicaError {
    /// Whether trying again may help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ReplicaError::Wal(WalError::Store(e))
            | ReplicaError::Document(DocumentError::Store(e)) => e.is_transient(),
            ReplicaError::Document(DocumentError::Contended { .. }) => true,
            _ => false,
        }
    }
}

/// A state machine with its place in the log.
pub struct Replica<M> {
    pub(crate) store: Store,
    pub(crate) partition: PartitionId,
    pub(crate) machine: Arc<M>,
    pub(crate) position: LogPosition,
    pub(crate) requests: Arc<Mutex<RequestTable>>,
    pub(crate) manifest: Option<Versioned<PartitionManifest>>,
    manifest_read: Instant,
    gc_grace: Duration,
    caught_up: Option<Instant>,
    /// An epoch in which a slot was lost. If that was its fence, only a later epoch's log shows that it ended.
    lost_in: Option<u64>,
}

impl<M: Machine> Replica<M> {
    /// Loads what the manifest says, without reading the log yet. `gc_grace` is the cluster's, see [`crate::gc`].
    ///
    /// # Errors
    /// Store, manifest or state machine.
    pub async fn open(
        store: Store,
        partition: PartitionId,
        machine: Arc<M>,
        gc_grace: Duration,
    ) -> Result<Self, ReplicaError> {
        let mut replica = Self {
            store,
            partition,
            machine,
            position: PartitionManifest::default().applied,
            requests: Arc::default(),
            manifest: None,
            manifest_read: Instant::now(),
            gc_grace,
            caught_up: None,
            lost_in: None,
        };
        replica.refresh().await?;
        Ok(replica)
    }

    /// Up to where the log is applied.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Which partition.
    #[must_use]
    pub fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// The state machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    /// When the last [`Replica::catch_up`] that reached the end of the log began: everything acknowledged before that
    /// moment is applied.
    #[must_use]
    pub fn caught_up(&self) -> Option<Instant> {
        self.caught_up
    }

    /// When the last look at the manifest began.
    #[must_use]
    pub fn manifest_read(&self) -> Instant {
        self.manifest_read
    }

    /// Epoch in the manifest, 0 while there is none.
    #[must_use]
    pub fn manifest_epoch(&self) -> u64 {
        self.manifest.as_ref().map_or(0, |m| m.epoch)
    }

    /// Reads the manifest if it changed and loads its segments. Says whether it changed.
    ///
    /// # Errors
    /// Store, manifest or state machine.
    pub async fn refresh(&mut self) -> Result<bool, ReplicaError> {
        let key = keys::partition_manifest(&self.partition);
        let started = Instant::now();
        let newer: Option<Versioned<PartitionManifest>> = match &self.manifest {
            Some(known) => document::load_if_changed(&self.store, &key, &known.etag).await?,
            None => document::load(&self.store, &key).await?,
        };
        let changed = newer.is_some();
        if let Some(manifest) = newer {
            self.adopt(manifest).await?;
        }
        self.manifest_read = started;
        Ok(changed)
    }

    /// Makes `manifest`, or a newer one, the one this replica stands on.
    pub(crate) async fn adopt(
        &mut self,
        mut manifest: Versioned<PartitionManifest>,
    ) -> Result<(), ReplicaError> {
        let key = keys::partition_manifest(&self.partition);
        while let Err(error) = self.machine.load(&manifest).await {
            // Segments that were replaced and collected while they were loaded are none of a newer manifest's.
            match document::load_if_changed(&self.store, &key, &manifest.etag).await? {
                Some(newer) => manifest = newer,
                None => return Err(self.machine_error(manifest.applied, error)),
            }
        }
        if manifest.applied > self.position {
            // Everything in between was skipped, so what it would have taught us comes from the manifest too.
            self.position = manifest.applied;
            self.requests.lock().reset(&manifest.requests);
            self.machine.advance(self.position);
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Applies the log to its end: everything acknowledged before the call began is applied when it returns.
    ///
    /// One request when there is nothing new (design rule 7): a slot that is absent proves that nothing beyond it was
    /// acknowledged, because a successor fences that very slot first. Absent may also mean collected; the collector
    /// waits `gc_grace` after the manifest passed a slot, so an absent slot is trusted if the manifest was read within
    /// half of that, and otherwise only after reading the manifest again.
    ///
    /// The end is the first slot that any request of this call found absent, not the newest one there is: under steady
    /// writes the call does not chase the owner.
    ///
    /// # Errors
    /// The log is damaged or unreadable, or the store fails.
    pub async fn catch_up(&mut self) -> Result<(), ReplicaError> {
        let started = Instant::now();
        loop {
            let slot = read_slot(&self.store, &self.partition, self.position.next()).await?;
            if self.pass(slot).await? && !self.read_ahead().await? {
                continue;
            }
            if self.lost_in == Some(self.position.epoch) && self.later_epoch_began().await? {
                self.position = self.position.next_epoch();
                self.machine.advance(self.position);
                continue;
            }
            if self.manifest_read.elapsed() * 2 > self.gc_grace {
                let before = self.position;
                self.refresh().await?;
                if self.position != before {
                    continue;
                }
            }
            self.caught_up = Some(started);
            return Ok(());
        }
    }

    /// Applies what the following slots hold, more requests at a time the more there are. Says whether it met an absent
    /// slot; otherwise the epoch ended or the position jumped.
    async fn read_ahead(&mut self) -> Result<bool, ReplicaError> {
        let mut ahead = FuturesOrdered::new();
        let mut next = self.position;
        let mut width = 1;
        loop {
            while ahead.len() < width {
                next = next.next();
                let (store, partition, at) = (self.store.clone(), self.partition.clone(), next);
                ahead.push_back(async move { read_slot(&store, &partition, at).await });
            }
            width = (width * 2).min(READ_AHEAD);
            let Some(slot) = ahead.next().await else {
                return Ok(false);
            };
            let expected = self.position.next();
            if !self.pass(slot?).await? {
                return Ok(true);
            }
            if self.position != expected {
                return Ok(false);
            }
        }
    }

    /// [`Replica::take`], but a fence counts only if the manifest, read after it, has not passed it.
    ///
    /// A slot that was collected may be created again: by its first writer, with the same content, and by a successor
    /// that was paused since it saw the slot absent, with a fence. Who passes that fence skips what the slot had held.
    pub(crate) async fn pass(&mut self, slot: Slot) -> Result<bool, ReplicaError> {
        if slot == Slot::Fence {
            let before = self.position;
            self.refresh().await?;
            if self.position != before {
                return Ok(true);
            }
        }
        self.take(slot)
    }

    /// Whether the log of a later epoch holds anything, which proves that this one was fenced.
    async fn later_epoch_began(&self) -> Result<bool, ReplicaError> {
        let prefix = keys::wal_partition(&self.partition);
        let after = keys::wal_slot(
            &self.partition,
            LogPosition::new(self.position.epoch + 1, 0),
        );
        let page = self.store.list(&prefix, Some(&after), 1).await;
        Ok(!page.map_err(WalError::from)?.objects.is_empty())
    }

    /// Applies one slot, the one after the current position. Says whether there was one.
    fn take(&mut self, slot: Slot) -> Result<bool, ReplicaError> {
        let at = self.position.next();
        match slot {
            Slot::Absent => return Ok(false),
            Slot::Data(entries) => {
                self.machine
                    .apply(at, &entries)
                    .map_err(|error| self.machine_error(at, error))?;
                let mut requests = self.requests.lock();
                for entry in &entries {
                    requests.insert(entry.request, at);
                }
                self.position = at;
            }
            Slot::Fence => {
                self.position = at.next_epoch();
                self.machine.advance(self.position);
            }
            Slot::Lost => {
                tracing::error!(partition = %self.partition, position = %at, "a damaged log slot is skipped: its loss was accepted");
                self.lost_in = Some(at.epoch);
                self.position = at;
                self.machine.advance(at);
            }
        }
        Ok(true)
    }

    fn machine_error(&self, position: LogPosition, error: MachineError) -> ReplicaError {
        ReplicaError::Machine {
            partition: self.partition.clone(),
            position,
            error,
        }
    }
}
