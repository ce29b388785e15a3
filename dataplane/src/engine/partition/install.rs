//! Replacing the segments: after a flush or a merge at the owner, after a new manifest at a reader.
//!
//! Comparing segments with each other and with the memtables happens without holding up reads or writes; only what was
//! written meanwhile is compared under the writer's lock.
//!
//! Rows of a segment that is installed already keep their marks: a row once superseded is superseded for good, as the newer
//! version can only move to a newer segment or be deleted. New marks on such rows (a reader that skipped part of the log)
//! take effect at the tick that publishes the new set, so that running reads see the old set unchanged.

use std::collections::HashMap;
use std::sync::Arc;

use brainy_coordination::types::LogPosition;

use crate::engine::error::EngineError;
use crate::engine::memtable::Memtable;
use crate::engine::segment::{Entry, Segment};

use super::PartitionState;
use super::layers::{Layers, SegmentView};

/// A view of the new set, and whether it is new.
struct Candidate {
    view: Arc<SegmentView>,
    fresh: bool,
}

impl PartitionState {
    /// Replaces the installed segments by `segments`, which contain exactly the log up to and including `applied`, and drops
    /// from memory what they contain. The state moves on to `applied` if it was behind.
    ///
    /// # Errors
    /// [`EngineError::StaleSegments`] if the set is older than the installed one, [`EngineError::Invalid`] if a segment is of
    /// another shape. Then nothing changed.
    pub fn install(
        &self,
        segments: Vec<Arc<Segment>>,
        applied: LogPosition,
    ) -> Result<(), EngineError> {
        let _installing = self.installing.lock();
        let before = self.snapshot();
        if applied < before.layers.applied {
            return Err(EngineError::StaleSegments {
                offered: applied,
                installed: before.layers.applied,
            });
        }
        let opened = segments.iter().map(|segment| segment.schema());
        if let Some(newest) = opened.max_by_key(|schema| schema.version) {
            self.adopt(&newest.clone())?;
        }
        let before = self.snapshot();
        // Whoever opened the segments did this already, unless the schema changed since.
        let schema = self.payload_schema();
        for segment in &segments {
            segment.index_payloads(&schema)?;
        }
        let candidates = candidates(segments, &before.layers)?;
        let late = compare_segments(&candidates);
        let mut done = HashMap::new();
        compare_memtables(&candidates, &before.layers, &mut done);

        let writer = self.writer.lock();
        let now = self.snapshot();
        compare_memtables(&candidates, &now.layers, &mut done);
        let tick = now.tick + 1;
        for (index, row) in late {
            candidates[index].view.supersede(row, tick);
        }
        let keep = |memtable: &Arc<Memtable>| after(memtable, applied);
        let active = keep(&now.layers.active)
            .unwrap_or_else(|| Arc::new(Memtable::new(Arc::clone(&before.layers.schema))));
        let layers = Layers {
            segments: candidates.into_iter().map(|c| c.view).collect(),
            applied,
            frozen: now.layers.frozen.iter().filter_map(keep).collect(),
            active,
            schema: Arc::clone(&before.layers.schema),
        };
        {
            let mut published = self.published.write();
            published.layers = Arc::new(layers);
            published.tick = tick;
            published.position = published.position.max(applied);
        }
        drop(writer);
        // Whoever changed the schema meanwhile has indexed the old set. What cannot be indexed is filtered by its payloads.
        if !Arc::ptr_eq(&schema, &self.payload_schema()) {
            let _unindexed = self.index_payloads();
        }
        // The old layers may be the last to hold large segments: they are freed here, under no lock that anybody waits for.
        drop((before, now));
        Ok(())
    }
}

/// Views of `segments` that present the schema of the layers that are installed.
fn candidates(
    segments: Vec<Arc<Segment>>,
    installed: &Layers,
) -> Result<Vec<Candidate>, EngineError> {
    let known: HashMap<_, _> = installed
        .segments
        .iter()
        .map(|view| (view.segment.id(), view))
        .collect();
    let candidate = |segment: Arc<Segment>| match known.get(segment.id()) {
        // The same rows; the segment may be opened anew, with or without its graph.
        Some(view) if view.segment.is_same(&segment) => Ok(Candidate {
            view: Arc::clone(view),
            fresh: false,
        }),
        _ => {
            let segment = match *segment.schema() == *installed.schema {
                true => segment,
                false => Arc::new(segment.present(&installed.schema)?),
            };
            Ok(Candidate {
                view: Arc::new(SegmentView::new(segment)),
                fresh: true,
            })
        }
    };
    segments.into_iter().map(candidate).collect()
}

/// The memtable without what is up to `applied`: itself, a copy of a part, or nothing.
fn after(memtable: &Arc<Memtable>, applied: LogPosition) -> Option<Arc<Memtable>> {
    if memtable.last() <= applied {
        return None;
    }
    let mut trim = false;
    memtable.versions_from(0, |_, version| trim |= version <= applied);
    Some(if trim {
        Arc::new(memtable.after(applied))
    } else {
        Arc::clone(memtable)
    })
}

/// Marks rows of fresh segments that other segments supersede; returns those of installed ones (index, row), which readers
/// still use.
fn compare_segments(candidates: &[Candidate]) -> Vec<(usize, u32)> {
    let mut late = Vec::new();
    for (i, a) in candidates.iter().enumerate() {
        for (j, b) in candidates.iter().enumerate().skip(i + 1) {
            if !a.fresh && !b.fresh {
                continue;
            }
            // Look the smaller one's ids up in the larger one.
            let a_is_smaller = entries(a) <= entries(b);
            let (small, large) = if a_is_smaller { (a, b) } else { (b, a) };
            for (id, entry) in small.view.segment.entries() {
                let Some(other) = large.view.segment.find(id) else {
                    continue;
                };
                // Equal versions are copies of one row: the set's later segment keeps it.
                let small_is_older = match entry.version().cmp(&other.version()) {
                    std::cmp::Ordering::Equal => a_is_smaller,
                    order => order.is_lt(),
                };
                let (loser, row) = if small_is_older {
                    (small, entry)
                } else {
                    (large, other)
                };
                if let Entry::Row(row, _) = row {
                    if loser.fresh {
                        loser.view.supersede(row, 0);
                    } else {
                        late.push((if small_is_older == a_is_smaller { i } else { j }, row));
                    }
                }
            }
        }
    }
    late
}

fn entries(candidate: &Candidate) -> usize {
    candidate.view.segment.rows() + candidate.view.segment.tombstones().len()
}

/// Marks rows of fresh segments that memtables supersede; `done` counts the slots that were compared already.
fn compare_memtables(
    candidates: &[Candidate],
    layers: &Layers,
    done: &mut HashMap<*const Memtable, usize>,
) {
    let fresh: Vec<&SegmentView> = candidates
        .iter()
        .filter(|c| c.fresh)
        .map(|c| c.view.as_ref())
        .collect();
    for memtable in layers.memtables() {
        let compared = done.entry(Arc::as_ptr(memtable)).or_insert(0);
        *compared = memtable.versions_from(*compared, |id, version| {
            for view in &fresh {
                view.supersede_older(id, version, 0);
            }
        });
    }
}
