//! The layers of a partition and snapshots of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use brainy_coordination::types::LogPosition;

use crate::engine::memtable::Memtable;
use crate::engine::segment::Segment;
use crate::model::{PointId, VectorSchema};

/// A row that was not superseded.
const NEVER: u64 = u64::MAX;

/// For each row of a segment, the tick from which on it is superseded: 8 bytes a row.
#[derive(Debug)]
pub(super) struct Dead {
    from: Vec<AtomicU64>,
    count: AtomicUsize,
}

/// A segment and which of its rows are superseded.
#[derive(Debug)]
pub(super) struct SegmentView {
    pub(super) segment: Arc<Segment>,
    /// Views that present the segment's fields in different schemas have it in common.
    pub(super) dead: Arc<Dead>,
}

impl SegmentView {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        let from = (0..segment.rows()).map(|_| AtomicU64::new(NEVER)).collect();
        let count = AtomicUsize::new(0);
        Self {
            segment,
            dead: Arc::new(Dead { from, count }),
        }
    }

    /// Whether the row is visible at `tick`.
    #[inline]
    pub(super) fn is_live(&self, row: u32, tick: u64) -> bool {
        tick < self.dead.from[row as usize].load(Ordering::Relaxed)
    }

    /// Whether some row may be superseded at some tick.
    pub(super) fn has_dead(&self) -> bool {
        self.dead.count.load(Ordering::Relaxed) > 0
    }

    /// Ends the row's life at `tick`, unless it ended before; whether it did now.
    pub(super) fn supersede(&self, row: u32, tick: u64) -> bool {
        let ended = self.dead.from[row as usize]
            .compare_exchange(NEVER, tick, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if ended {
            self.dead.count.fetch_add(1, Ordering::Relaxed);
        }
        ended
    }

    /// Ends the life of the id's row if its version is older than `version`.
    pub(super) fn supersede_older(&self, id: PointId, version: LogPosition, tick: u64) -> bool {
        match self.segment.find_row(id) {
            Some(row) => self.segment.version(row) < version && self.supersede(row, tick),
            None => false,
        }
    }

    /// Whether the id has a row that is not superseded.
    pub(super) fn has_live(&self, id: PointId) -> bool {
        self.segment
            .find_row(id)
            .is_some_and(|row| self.is_live(row, NEVER - 1))
    }

    /// Rows not superseded.
    pub(super) fn live(&self) -> usize {
        self.segment.rows() - self.dead.count.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.segment.memory_bytes() + self.dead.from.len() * size_of::<AtomicU64>()
    }
}

/// A set of layers. Which of a point's versions is visible follows from the tick alone, not from the order of layers.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) segments: Vec<Arc<SegmentView>>,
    /// Everything up to here is contained in the segments.
    pub(super) applied: LogPosition,
    /// Oldest first; no new slots.
    pub(super) frozen: Vec<Arc<Memtable>>,
    pub(super) active: Arc<Memtable>,
    /// What all layers present.
    pub(super) schema: Arc<VectorSchema>,
}

impl Layers {
    pub(super) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.frozen.iter().chain(std::iter::once(&self.active))
    }

    /// Whether the id has a live point at the newest tick.
    pub(super) fn has_live(&self, id: PointId) -> bool {
        self.memtables().any(|m| m.has_live(id)) || self.segments.iter().any(|s| s.has_live(id))
    }

    /// Ends the life of the id's point outside the active memtable.
    pub(super) fn supersede(&self, id: PointId, version: LogPosition, tick: u64) {
        // A point is live in one layer at most: the first that had it was the only one.
        if self.frozen.iter().rev().any(|m| m.supersede(id, tick)) {
            return;
        }
        let _ = self
            .segments
            .iter()
            .any(|s| s.supersede_older(id, version, tick));
    }
}

/// What one read sees.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) layers: Arc<Layers>,
    pub(super) tick: u64,
    pub(super) position: LogPosition,
}
