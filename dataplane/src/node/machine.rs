//! The state machine of a partition: the engine fed by the log and by segments from the bucket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::lane::{Copied, Marker, Merged, Merging};
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::types::{LogPosition, PartitionId, SegmentId};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::cache::SegmentCache;
use crate::admission::{AdmissionMetrics, ByteBudget, Charge};
use crate::engine::change::{decode, encode};
use crate::engine::{
    Change, EngineError, Frozen, LogEntry, Overlay, PartitionState, check, resolve,
};
use crate::error::ServiceError;
use crate::model::WriteOp;

/// Bytes of writes that are not in a segment yet.
#[derive(Debug)]
pub(crate) struct WriteBudget {
    /// What all partitions of the node hold together, taken now and then.
    pub used: AtomicU64,
    /// What they may hold together: a part of the node's memory.
    pub limit: AtomicU64,
    /// How often that was too little: writes refused, buffers flushed early.
    pub pressed: AtomicU64,
    /// Writes that are not applied yet.
    pub queued: ByteBudget,
    /// Hot settings; hold the limit of one partition.
    pub settings: watch::Receiver<EffectiveConfig>,
    /// Counts what is refused.
    pub metrics: AdmissionMetrics,
}

/// Copies of a write that are in memory at a time: what came, what is routed, its changes, those that later writes see, and
/// the entry of the log.
const COPIES: u64 = 5;

impl WriteBudget {
    /// Takes the memory of a write until it is applied.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(crate) fn admit(&self, op: WriteOp) -> Result<Admitted, ServiceError> {
        let charge = self.queued.charge(op.memory_bytes() as u64 * COPIES)?;
        Ok(Admitted { op, charge })
    }
}

/// A write with the memory that it takes.
pub(crate) struct Admitted {
    op: WriteOp,
    charge: Charge,
}

impl Admitted {
    /// The write, and its memory.
    pub(super) fn into_parts(self) -> (WriteOp, Charge) {
        (self.op, self.charge)
    }
}

/// What the partition's log takes.
pub(crate) enum ToLog {
    /// A write, which becomes what it changes.
    Write(Admitted),
    /// An entry of a lane, or a marker: as it is.
    Copied(Bytes),
}

impl From<Copied> for ToLog {
    fn from(copied: Copied) -> Self {
        Self::Copied(copied.0)
    }
}

/// One partition's state on this node.
pub(super) struct PartitionMachine {
    partition: PartitionId,
    state: PartitionState,
    cache: Arc<SegmentCache>,
    resident: bool,
    staged: Mutex<Staged>,
    budget: Arc<WriteBudget>,
    /// How far the lanes are contained, in a cluster with several writers.
    merged: Merged,
    /// Write buffers that were closed but are not published yet, oldest first. They outlive a failed flush and a change
    /// of owner, because a manifest may only say that the log is applied up to a buffer if all before it are.
    pub(super) flushing: Mutex<VecDeque<Frozen>>,
    /// Segments that this node is building or has uploaded but not published: kept in the cache.
    pub(super) building: Mutex<BTreeSet<SegmentId>>,
    /// Up to where somebody wants the log in segments.
    flush_to: Mutex<LogPosition>,
    /// [`Self::flush_to`] grew.
    flush_asked: Notify,
    /// Segments were installed.
    installed: Notify,
}

#[derive(Default)]
struct Staged {
    overlay: Overlay,
    /// Version of the collection's vectors that what is pending has.
    schema: u64,
    tickets: BTreeMap<u64, Pending>,
}

/// A write that is logged and not applied.
struct Pending {
    changes: Vec<Change>,
    _charge: Charge,
}

impl PartitionMachine {
    /// An empty partition. `resident`: whether segments are opened for search.
    #[must_use]
    pub(super) fn new(
        partition: PartitionId,
        state: PartitionState,
        cache: Arc<SegmentCache>,
        resident: bool,
        budget: Arc<WriteBudget>,
    ) -> Self {
        Self {
            partition,
            state,
            cache,
            resident,
            staged: Mutex::default(),
            budget,
            merged: Merged::default(),
            flushing: Mutex::default(),
            building: Mutex::default(),
            flush_to: Mutex::default(),
            flush_asked: Notify::new(),
            installed: Notify::new(),
        }
    }

    /// Asks the owner's maintenance to bring the log up to `position` into segments, and waits until the manifest says so:
    /// for ever, if this node does not own the partition.
    pub(super) async fn flush_up_to(&self, position: LogPosition) {
        {
            let mut to = self.flush_to.lock();
            *to = position.max(*to);
        }
        self.flush_asked.notify_one();
        loop {
            let mut installed = std::pin::pin!(self.installed.notified());
            installed.as_mut().enable();
            if self.state.applied() >= position {
                return;
            }
            installed.await;
        }
    }

    /// Waits until somebody asks for a flush.
    pub(super) async fn flush_asked(&self) {
        self.flush_asked.notified().await;
    }

    /// Whether somebody waits for the log to come into segments.
    pub(super) fn must_flush(&self) -> bool {
        *self.flush_to.lock() > self.state.applied()
    }

    /// What is logged of an entry of a lane: all of it, if it can be applied now.
    fn stage_copy(&self, payload: Bytes) -> Result<Bytes, ServiceError> {
        if Marker::decode(&payload)
            .map_err(|e| ServiceError::Internal(e.to_string()))?
            .is_none()
        {
            self.check_budget()?;
            let entry = decode(&payload).map_err(|e| ServiceError::Internal(e.to_string()))?;
            if entry.schema > self.state.schema().version {
                return Err(ServiceError::Unavailable(
                    "the write has vectors that this instance has not heard of yet".to_owned(),
                ));
            }
        }
        Ok(payload)
    }

    /// The engine.
    #[must_use]
    pub(super) fn state(&self) -> &PartitionState {
        &self.state
    }

    /// The cache its segments live in.
    #[must_use]
    pub(super) fn cache(&self) -> &Arc<SegmentCache> {
        &self.cache
    }

    pub(super) fn check_budget(&self) -> Result<(), ServiceError> {
        let here = self.state.stats().unflushed_bytes as u64;
        let limit_here = self.budget.settings.borrow().max_unflushed_bytes;
        let all = self.budget.used.load(Ordering::Relaxed);
        let limit = self.budget.limit.load(Ordering::Relaxed);
        let (used, limit, name) = if here >= limit_here {
            (here, limit_here, "maxUnflushedBytes of a partition")
        } else if all >= limit {
            self.budget.pressed.fetch_add(1, Ordering::Relaxed);
            (all, limit, "write buffers of the memory budget")
        } else {
            return Ok(());
        };
        self.budget.metrics.refused("write buffers");
        Err(ServiceError::Overloaded {
            reason: format!(
                "{used} bytes of writes wait to become segments, the limit is {limit} ({name})"
            ),
            retry_after_ms: 1000,
        })
    }
}

#[async_trait]
impl Machine for PartitionMachine {
    type Request = ToLog;
    type Rejection = ServiceError;

    async fn load(&self, manifest: &PartitionManifest) -> Result<(), MachineError> {
        let open: BTreeMap<SegmentId, _> = self
            .state
            .segments()
            .into_iter()
            .map(|s| (s.id().clone(), s))
            .collect();
        let payload_schema = self.state.payload_schema();
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for meta in &manifest.segments {
            let segment = match open.get(&meta.id) {
                Some(segment) => segment.clone(),
                None => self
                    .cache
                    .open_segment(&self.partition, meta, self.resident, &payload_schema)
                    .await
                    .map_err(machine_error)?,
            };
            segments.push(segment);
        }
        match self.state.install(segments, manifest.applied) {
            // Somebody installed a newer set meanwhile; this one has nothing to add.
            Err(EngineError::StaleSegments { .. }) => {}
            done => done.map_err(machine_error)?,
        }
        self.merged.load(manifest);
        let applied = self.state.applied();
        self.flushing.lock().retain(|f| f.position() > applied);
        let mut keep: BTreeSet<SegmentId> =
            manifest.segments.iter().map(|m| m.id.clone()).collect();
        keep.extend(self.building.lock().iter().cloned());
        self.cache.retain(&self.partition, &keep);
        self.installed.notify_waiters();
        Ok(())
    }

    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        let mut markers = Vec::new();
        let mut changes: Vec<LogEntry> = Vec::with_capacity(entries.len());
        for entry in entries {
            match Marker::decode(&entry.payload)? {
                Some(marker) => markers.push(marker),
                None => changes.push(decode(&entry.payload).map_err(machine_error)?),
            }
        }
        let before = self.state.stats().active_bytes;
        self.state
            .replay(position, &changes)
            .map_err(machine_error)?;
        // After what they speak of: who waits for a marker finds it applied.
        for marker in markers {
            self.merged.note(position, marker);
        }
        // Until the sum is taken again: what came in between must not be overlooked.
        let grown = self.state.stats().active_bytes.saturating_sub(before);
        self.budget.used.fetch_add(grown as u64, Ordering::Relaxed);
        Ok(())
    }

    fn advance(&self, position: LogPosition) {
        self.state.set_position(position);
    }

    fn stage(&self, ticket: u64, write: ToLog) -> Result<Bytes, ServiceError> {
        let Admitted { op, charge } = match write {
            ToLog::Write(admitted) => admitted,
            ToLog::Copied(payload) => return self.stage_copy(payload),
        };
        self.check_budget()?;
        let mut staged = self.staged.lock();
        let schema = self.state.schema();
        if staged.schema != schema.version {
            let before = std::mem::replace(&mut staged.schema, schema.version);
            staged.overlay.forget_dropped(&schema, before);
        }
        let refused = |e: EngineError| match e {
            // What the write changes could not be read.
            EngineError::Io { .. } => ServiceError::Unavailable(e.to_string()),
            e => ServiceError::BadRequest(e.to_string()),
        };
        let changes = resolve(&op, &staged.overlay.over(&self.state)).map_err(refused)?;
        for change in &changes {
            if let Change::Put(point) = change {
                check(&schema, &point.vectors).map_err(refused)?;
            }
        }
        let payload =
            encode(schema.version, &changes).map_err(|e| ServiceError::Internal(e.to_string()))?;
        staged.overlay.add(ticket, &changes);
        let pending = Pending {
            changes,
            _charge: charge,
        };
        staged.tickets.insert(ticket, pending);
        Ok(payload)
    }

    fn unstage(&self, ticket: u64) {
        let mut staged = self.staged.lock();
        let later = staged.tickets.split_off(&(ticket + 1));
        let done = std::mem::replace(&mut staged.tickets, later);
        for (sequence, pending) in done {
            staged.overlay.applied(sequence, &pending.changes);
        }
    }
}

impl Merging for PartitionMachine {
    fn merged(&self) -> &Merged {
        &self.merged
    }
}

fn machine_error(error: impl std::fmt::Display) -> MachineError {
    MachineError(error.to_string())
}
