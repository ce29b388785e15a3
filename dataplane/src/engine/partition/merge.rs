//! Merging segments into one.
//!
//! The result is the state at the manifest's `applied`: a row is dropped only if a *segment* holds a newer version or
//! deletion of it. What memtables know is newer than the manifest, and whoever loads the manifest first sees the state
//! without it. A tombstone is dropped when no other segment holds anything that it hides; one of a
//! point that several instances write also has to be as old as [`PartitionState::forget_deletions_before`] says, as writes that did
//! not see it may still come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::SegmentId;

use crate::engine::BuildOptions;
use crate::engine::error::EngineError;
use crate::engine::segment::{Entry, Segment, SegmentBuilder};
use crate::model::PointId;

use super::PartitionState;

impl PartitionState {
    /// Merges the installed segments `inputs` into a new one in `dir`, building its graphs as `options` say; blocks for as
    /// long as that takes. In the manifest it takes the place of `inputs`; if nothing of them is left, there is no
    /// new segment. Flushes and other merges may happen meanwhile.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a segment is not installed, or those of [`SegmentBuilder`].
    pub fn merge(
        &self,
        inputs: &[SegmentId],
        id: SegmentId,
        dir: &Path,
        options: BuildOptions,
    ) -> Result<Option<SegmentMeta>, EngineError> {
        let layers = self.snapshot().layers;
        let views = layers.segments.iter();
        let (merged, others): (Vec<_>, Vec<_>) = views
            .map(|view| Arc::clone(&view.segment))
            .partition(|segment| inputs.contains(segment.id()));
        if let Some(missing) = inputs
            .iter()
            .find(|id| !merged.iter().any(|s| s.id() == *id))
        {
            return Err(EngineError::invalid(
                format!("segment {missing}"),
                "it is not installed",
            ));
        }
        let mut builder = SegmentBuilder::merging(id, Arc::clone(&layers.schema), dir, &merged)?
            .with_payload_schema(&self.payload_schema())?;
        let mut newest = Newest::new(&merged);
        while let Some((id, source, entry)) = newest.next() {
            let elsewhere = others
                .iter()
                .filter_map(|other| other.find(id))
                .map(|e| e.version())
                .max();
            match entry {
                Entry::Row(row, version) if elsewhere.is_none_or(|other| other < version) => {
                    builder.push_row(&merged[source], row)?;
                }
                Entry::Tombstone(version)
                    if elsewhere.is_some_and(|other| other < version)
                        || (elsewhere.is_none()
                            && self.keeps_deletion(merged[source].tombstone_state(id))?) =>
                {
                    builder.push_tombstone(id, version)?;
                    builder.keep_tombstone_state(merged[source].tombstone_state(id));
                }
                Entry::Row(..) | Entry::Tombstone(_) => {}
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        builder.finish(options).map(Some)
    }
}

/// The newest entry of every id of several segments, in id order.
struct Newest<'s> {
    sources: Vec<Box<dyn Iterator<Item = (PointId, Entry)> + 's>>,
    /// The next entry of each source that has one.
    heads: BinaryHeap<Reverse<(PointId, usize)>>,
    entries: Vec<Option<Entry>>,
}

impl<'s> Newest<'s> {
    fn new(segments: &'s [Arc<Segment>]) -> Self {
        let mut newest = Self {
            sources: Vec::new(),
            heads: BinaryHeap::new(),
            entries: vec![None; segments.len()],
        };
        for (i, segment) in segments.iter().enumerate() {
            newest.sources.push(Box::new(segment.entries()));
            newest.advance(i);
        }
        newest
    }

    fn advance(&mut self, source: usize) {
        let next = self.sources[source].next();
        if let Some((id, _)) = next {
            self.heads.push(Reverse((id, source)));
        }
        self.entries[source] = next.map(|(_, entry)| entry);
    }

    fn next(&mut self) -> Option<(PointId, usize, Entry)> {
        let mut best: Option<(PointId, usize, Entry)> = None;
        while let Some(Reverse((id, source))) = self.heads.peek().copied() {
            if best.is_some_and(|(best_id, ..)| best_id != id) {
                break;
            }
            self.heads.pop();
            let entry = self.entries[source];
            self.advance(source);
            if let Some(entry) = entry
                && best.is_none_or(|(_, _, best)| best.version() < entry.version())
            {
                best = Some((id, source, entry));
            }
        }
        best
    }
}
