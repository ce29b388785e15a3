//! Turning what a user asked for into what happens to single points.
//!
//! Payload operations and filters depend on the state they meet. They are evaluated once, by the owner of the partition,
//! against everything sequenced before them; the log then carries the outcome ([`Change`]). Ids that do not exist are
//! skipped by operations that modify points.

use std::collections::BTreeMap;

use crate::model::{
    Filter, Payload, Point, PointId, Selector, UpdateMode, VectorSchema, VectorUpdate, Vectors,
    WriteOp,
};

use super::change::Change;
use super::error::EngineError;
use super::filter::CompiledFilter;
use super::path::{self, Path};

/// A state that operations are evaluated against.
pub trait PointView {
    /// The point, if it exists.
    ///
    /// # Errors
    /// Those of reading it.
    fn get(&self, id: PointId) -> Result<Option<Point>, EngineError>;

    /// Ids of all points that match, in id order.
    ///
    /// # Errors
    /// An unreadable filter, or those of reading points.
    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, EngineError>;

    /// A filter as this state understands it.
    ///
    /// # Errors
    /// A filter that cannot be read.
    fn compile(&self, filter: &Filter) -> Result<CompiledFilter, EngineError> {
        CompiledFilter::new(filter)
    }
}

/// What `op` does to the points of `view`, at most one change a point.
///
/// # Errors
/// [`EngineError::Invalid`] for unreadable paths, or those of reading the view.
pub fn resolve(op: &WriteOp, view: &dyn PointView) -> Result<Vec<Change>, EngineError> {
    match op {
        WriteOp::Upsert(points) => {
            // The last of several versions in one request wins.
            let mut last: BTreeMap<PointId, &Point> = BTreeMap::new();
            for point in points {
                last.insert(point.id, point);
            }
            Ok(last.into_values().cloned().map(Change::Put).collect())
        }
        WriteOp::Delete(selector) => {
            let mut changes = Vec::new();
            for id in select(selector, view)? {
                if view.get(id)?.is_some() {
                    changes.push(Change::Delete(id));
                }
            }
            Ok(changes)
        }
        WriteOp::SetPayload {
            selector,
            payload,
            key,
        } => match key {
            None => edit(selector, view, |p| path::merge(p, payload)),
            Some(key) => {
                let key = Path::parse(key)?;
                edit(selector, view, |p| key.merge(p, payload))
            }
        },
        WriteOp::OverwritePayload { selector, payload } => {
            edit(selector, view, |p| p.clone_from(payload))
        }
        WriteOp::DeletePayload { selector, keys } => {
            let paths = keys
                .iter()
                .map(|k| Path::parse(k))
                .collect::<Result<Vec<_>, _>>()?;
            edit(selector, view, |p| {
                paths.iter().for_each(|path| path.remove(p))
            })
        }
        WriteOp::ClearPayload(selector) => edit(selector, view, Payload::clear),
        WriteOp::UpsertIf {
            points,
            mode,
            filter,
        } => upsert_if(points, *mode, filter.as_ref(), view),
        WriteOp::UpdateVectors(updates) => update_vectors(updates, None, view),
        WriteOp::UpdateVectorsIf { updates, filter } => update_vectors(updates, Some(filter), view),
        WriteOp::Adjust { .. } => Err(EngineError::invalid(
            "the operation",
            "counters and sets need --multi-writer and --conflict-resolution crdt",
        )),
        WriteOp::Seeing { .. } => Err(EngineError::invalid(
            "the context of the write",
            "contexts need --multi-writer and --conflict-resolution vector-clock",
        )),
        WriteOp::DeleteVectors { selector, names } => {
            let mut changes = Vec::new();
            for id in select(selector, view)? {
                if let Some(mut point) = view.get(id)? {
                    let before = point.vectors.len();
                    names
                        .iter()
                        .for_each(|name| drop(point.vectors.remove(name)));
                    if point.vectors.len() != before {
                        changes.push(Change::Put(point));
                    }
                }
            }
            Ok(changes)
        }
    }
}

/// Points one after the other: each sees what those before it left.
fn upsert_if(
    points: &[Point],
    mode: UpdateMode,
    filter: Option<&Filter>,
    view: &dyn PointView,
) -> Result<Vec<Change>, EngineError> {
    let filter = filter.map(|filter| view.compile(filter)).transpose()?;
    let mut written: BTreeMap<PointId, &Point> = BTreeMap::new();
    for point in points {
        let stored = match written.get(&point.id) {
            Some(_) => None,
            None => view.get(point.id)?,
        };
        let before = written.get(&point.id).copied().or(stored.as_ref());
        let write = match (before, mode) {
            (None, UpdateMode::UpdateOnly) | (Some(_), UpdateMode::InsertOnly) => false,
            (None, _) => true,
            (Some(before), _) => filter
                .as_ref()
                .is_none_or(|filter| filter.matches_point(before)),
        };
        if write {
            written.insert(point.id, point);
        }
    }
    Ok(written.into_values().cloned().map(Change::Put).collect())
}

/// Of several updates of one point in a request, later ones win name by name. The filter sees the points before the request.
fn update_vectors(
    updates: &[VectorUpdate],
    filter: Option<&Filter>,
    view: &dyn PointView,
) -> Result<Vec<Change>, EngineError> {
    let filter = filter.map(|filter| view.compile(filter)).transpose()?;
    let mut merged: BTreeMap<PointId, Vectors> = BTreeMap::new();
    for update in updates {
        let vectors = merged.entry(update.id).or_default();
        for (name, vector) in update.vectors.iter() {
            vectors.insert(name, vector.clone());
        }
    }
    let mut changes = Vec::new();
    for (id, vectors) in merged {
        let Some(mut point) = view.get(id)? else {
            continue;
        };
        if filter.as_ref().is_some_and(|f| !f.matches_point(&point)) {
            continue;
        }
        let before = point.vectors.clone();
        for (name, vector) in vectors {
            point.vectors.insert(name, vector);
        }
        if point.vectors != before {
            changes.push(Change::Put(point));
        }
    }
    Ok(changes)
}

/// The points that a selector means, each once.
pub(super) fn select(
    selector: &Selector,
    view: &dyn PointView,
) -> Result<Vec<PointId>, EngineError> {
    match selector {
        Selector::Ids(ids) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            Ok(ids)
        }
        Selector::Filter(filter) => view.matching(filter),
    }
}

/// Edits the payloads of the selected points; points that the edit leaves as they are cost no log entry.
fn edit(
    selector: &Selector,
    view: &dyn PointView,
    change: impl Fn(&mut Payload),
) -> Result<Vec<Change>, EngineError> {
    let mut changes = Vec::new();
    for id in select(selector, view)? {
        if let Some(mut point) = view.get(id)? {
            let before = point.payload.clone();
            change(&mut point.payload);
            if point.payload != before {
                changes.push(Change::Put(point));
            }
        }
    }
    Ok(changes)
}

/// Changes that are sequenced but not yet applied, over a state: what the next operation must see.
///
/// Each entry carries the number of the batch that made it, so that applying an old batch does not uncover the state
/// below a newer, still pending one.
#[derive(Debug, Default)]
pub struct Overlay {
    pending: BTreeMap<PointId, (u64, Option<Point>)>,
}

impl Overlay {
    /// Adds the changes of batch `sequence`; numbers grow.
    pub fn add(&mut self, sequence: u64, changes: &[Change]) {
        for change in changes {
            let (id, point) = match change {
                Change::Put(point) => (point.id, Some(point.clone())),
                Change::Delete(id) => (*id, None),
                // Merges are staged by their writer ([`super::merging`]); here they meet nobody.
                Change::Merge(..) => continue,
            };
            self.pending.insert(id, (sequence, point));
        }
    }

    /// Drops what batch `sequence` added, now that the state below contains it.
    pub fn applied(&mut self, sequence: u64, changes: &[Change]) {
        for change in changes {
            let id = change.id();
            if self.pending.get(&id).is_some_and(|(s, _)| *s == sequence) {
                self.pending.remove(&id);
            }
        }
    }

    /// Takes vectors that the collection does not have any more, or has anew, out of what is pending; `written` is the version
    /// of the collection's vectors that it was staged with.
    pub(crate) fn forget_dropped(&mut self, schema: &VectorSchema, written: u64) {
        for (_, point) in self.pending.values_mut() {
            if let Some(point) = point {
                super::forget_dropped(schema, written, point);
            }
        }
    }

    /// Drops everything: the pending batches will never be applied.
    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// Points pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The overlay on top of `base`.
    #[must_use]
    pub fn over<'a>(&'a self, base: &'a dyn PointView) -> OverlayView<'a> {
        OverlayView {
            overlay: self,
            base,
        }
    }
}

/// An [`Overlay`] on a state.
pub struct OverlayView<'a> {
    overlay: &'a Overlay,
    base: &'a dyn PointView,
}

impl PointView for OverlayView<'_> {
    fn get(&self, id: PointId) -> Result<Option<Point>, EngineError> {
        match self.overlay.pending.get(&id) {
            Some((_, point)) => Ok(point.clone()),
            None => self.base.get(id),
        }
    }

    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, EngineError> {
        let compiled = self.compile(filter)?;
        let pending = &self.overlay.pending;
        let mut ids = self.base.matching(filter)?;
        ids.retain(|id| !pending.contains_key(id));
        ids.extend(pending.values().filter_map(|(_, point)| {
            let point = point.as_ref()?;
            compiled.matches_point(point).then_some(point.id)
        }));
        ids.sort_unstable();
        Ok(ids)
    }

    fn compile(&self, filter: &Filter) -> Result<CompiledFilter, EngineError> {
        self.base.compile(filter)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
