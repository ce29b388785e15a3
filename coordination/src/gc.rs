//! Garbage collection of one partition, by its owner.
//!
//! What may go, and when:
//! - *Log slots* up to the manifest's `applied`, a grace period after this collector first saw the manifest pass them,
//!   except fences and the newest object of every epoch. `applied` only grows, so a collector that was paused and
//!   deposed deletes nothing that a successor needs.
//! - *Objects beyond a fence*, which are never replayed, go with the slots before it.
//! - *Objects that cannot be read* stay if they lie where a fence may be.
//! - *Segments* that neither the manifest nor a snapshot names, a grace period after this collector first saw them unnamed, and
//!   only those built under its own or an earlier epoch (the epoch is in the name): a successor's segment that is
//!   uploaded but not published yet is out of reach of a paused collector. Its own unpublished segments it is told of.
//!
//! The grace period is what readers rely on ([`crate::replica::Replica::catch_up`]) and it is measured on the
//! collector's own monotonic clock; a restarted collector waits again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::keys;
use crate::partition::PartitionManifest;
use crate::snapshot::PinReader;
use crate::store::StoreError;
use crate::store::retry::Store;
use crate::types::{LogPosition, PartitionId, SegmentId};
use crate::wal::{Slot, WalError, read_slot};

/// Why a collection stopped early; what it did until then stands.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The last object of an epoch could not be read to see whether it is a fence.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The manifest or a snapshot could not be read.
    #[error(transparent)]
    Document(#[from] crate::document::DocumentError),
}

/// What one collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Log slots.
    pub slots: usize,
    /// Objects of segments.
    pub segment_objects: usize,
}

/// Collects for one owner of one partition.
#[derive(Debug)]
pub struct Collector {
    store: Store,
    partition: PartitionId,
    epoch: u64,
    grace: Duration,
    pins: PinReader,
    /// Positions that the manifest had passed, with the moment we first knew it; ascending.
    passed: Vec<(Instant, LogPosition)>,
    /// Segments that nothing named, with the moment we first saw it.
    unnamed: BTreeMap<SegmentId, Instant>,
    /// Every slot up to here is gone already, apart from what stays for good.
    swept: Option<LogPosition>,
    /// Segments that only a snapshot keeps, at the last collection.
    held: usize,
    /// Whether the last collection left nothing to a later one.
    settled: bool,
}

impl Collector {
    /// A collector for the owner of `epoch`. `grace` is the cluster's, the same for its readers.
    #[must_use]
    pub fn new(store: Store, partition: PartitionId, epoch: u64, grace: Duration) -> Self {
        Self {
            pins: PinReader::new(store.clone()),
            store,
            partition,
            epoch,
            grace,
            passed: Vec::new(),
            unnamed: BTreeMap::new(),
            swept: None,
            held: 0,
            settled: false,
        }
    }

    /// The same collector, with what `pins` has read of snapshots already.
    #[must_use]
    pub fn with_pins(self, pins: PinReader) -> Self {
        Self { pins, ..self }
    }

    /// Whether the last collection left nothing that a later one could remove while the manifest stays as it is, except what processes
    /// that were replaced long ago may still upload.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Removes what may go now. `building` are segments of this owner that are not published yet, also those whose
    /// publication had no clear answer, until a later one succeeds: it may still arrive.
    ///
    /// # Errors
    /// The store's; the next call goes on.
    pub async fn collect(&mut self, building: &BTreeSet<SegmentId>) -> Result<Collected, GcError> {
        let key = keys::partition_manifest(&self.partition);
        let Some(manifest) = crate::document::load::<PartitionManifest>(&self.store, &key).await?
        else {
            return Ok(Collected::default());
        };
        if manifest.epoch > self.epoch {
            // Deposed: the successor collects.
            return Ok(Collected::default());
        }
        self.settled = false;
        let slots = self.collect_log(manifest.applied).await?;
        let segment_objects = self.collect_segments(building).await?;
        let swept = self.swept.is_some_and(|swept| swept >= manifest.applied);
        self.settled = swept && self.unnamed.is_empty() && self.held == 0;
        Ok(Collected {
            slots,
            segment_objects,
        })
    }

    async fn collect_log(&mut self, applied: LogPosition) -> Result<usize, GcError> {
        // After the manifest was read: grace counts from when we knew, however long the answer took.
        let now = Instant::now();
        if self.passed.last().is_none_or(|(_, p)| *p < applied) {
            self.passed.push((now, applied));
        }
        let ripe = self
            .passed
            .iter()
            .rev()
            .find(|(since, _)| now.duration_since(*since) >= self.grace)
            .map(|(_, position)| *position);
        let Some(limit) = ripe else {
            return Ok(0);
        };
        self.passed.retain(|(_, position)| *position >= limit);
        if self.swept.is_some_and(|swept| swept >= limit) {
            return Ok(0);
        }
        let mut slots: Vec<(LogPosition, String)> = Vec::new();
        for object in self
            .store
            .list_all(&keys::wal_partition(&self.partition))
            .await?
        {
            if let Some(position) = keys::parse_wal_slot(&object.key) {
                slots.push((position, object.key));
            }
        }
        let mut removed = 0;
        for (i, (position, key)) in slots.iter().enumerate() {
            let newest_of_epoch = slots
                .get(i + 1)
                .is_none_or(|(next, _)| next.epoch != position.epoch);
            if *position > limit || newest_of_epoch {
                continue;
            }
            // Beyond an epoch's fence lie at most the writes that were in flight; in front of them the fence itself.
            let near_end = slots
                .get(i + crate::takeover::MAX_IN_FLIGHT + 1)
                .is_none_or(|(later, _)| later.epoch != position.epoch);
            let closed_epoch = position.epoch < limit.epoch;
            if near_end && closed_epoch && self.may_be_fence(*position).await? {
                continue;
            }
            self.store.delete(key).await?;
            removed += 1;
        }
        self.swept = Some(limit);
        Ok(removed)
    }

    /// Whether the object at `position` is a fence, or damaged so that nobody can tell.
    async fn may_be_fence(&self, position: LogPosition) -> Result<bool, GcError> {
        match read_slot(&self.store, &self.partition, position).await {
            Ok(slot) => Ok(matches!(slot, Slot::Fence | Slot::Lost)),
            Err(WalError::Poisoned { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn collect_segments(&mut self, building: &BTreeSet<SegmentId>) -> Result<usize, GcError> {
        let prefix = keys::segments(&self.partition);
        let mut objects: BTreeMap<SegmentId, Vec<String>> = BTreeMap::new();
        for object in self.store.list_all(&prefix).await? {
            let name = object.key[prefix.len()..].split('/').next().unwrap_or("");
            // A name that is none of ours is nobody's business here.
            if let Ok(id) = SegmentId::new(name) {
                objects.entry(id).or_default().push(object.key);
            }
        }
        // Read after the listing: a segment published in between is named.
        let named = self.named_segments().await?;
        let mut candidates: BTreeSet<SegmentId> = objects
            .keys()
            .filter(|id| id.epoch().is_some_and(|e| e <= self.epoch))
            .filter(|id| !named.contains(*id) && !building.contains(*id))
            .cloned()
            .collect();
        self.held = 0;
        if !candidates.is_empty() {
            let before = candidates.len();
            // Read after the manifest: a snapshot that begins later reads a manifest without these ([`crate::snapshot`]).
            let pins = self.pins.of(&self.partition.collection).await?;
            candidates.retain(|id| !pins.hold(self.partition.index, id));
            self.held = before - candidates.len();
        }
        let now = Instant::now();
        self.unnamed.retain(|id, _| candidates.contains(id));
        for id in candidates {
            self.unnamed.entry(id).or_insert(now);
        }
        let ripe: Vec<SegmentId> = self
            .unnamed
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= self.grace)
            .map(|(id, _)| id.clone())
            .collect();
        let mut removed = 0;
        for id in ripe {
            for key in objects.remove(&id).unwrap_or_default() {
                self.store.delete(&key).await?;
                removed += 1;
            }
            self.unnamed.remove(&id);
        }
        Ok(removed)
    }

    async fn named_segments(&self) -> Result<BTreeSet<SegmentId>, GcError> {
        let key = keys::partition_manifest(&self.partition);
        let manifest: Option<crate::document::Versioned<PartitionManifest>> =
            crate::document::load(&self.store, &key).await?;
        Ok(manifest
            .map(|m| m.segments.iter().map(|s| s.id.clone()).collect())
            .unwrap_or_default())
    }
}
