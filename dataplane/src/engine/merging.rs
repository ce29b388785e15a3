//! Turning what a user asked for into what is merged, where several instances write to a partition at once.
//!
//! An operation is resolved as anywhere ([`super::resolve()`]), against the partition as this instance knows it and this instance's own
//! writes that are not merged there yet. The outcome is compared with that state and becomes what the write adds to it, stamped by this
//! instance's clock. So conditions, filters and `insert_only` hold at the instance that took the write, when it took it; what another one
//! writes at the same time is merged by the cluster's policy.

use std::collections::BTreeMap;

use brainy_conflict::{
    Blob, Clock, ClockDrift, FieldError, FieldOp, Hlc, PointState, Policy, Stamp, StateError,
    Value, VectorClock, Writer,
};

use crate::model::{Filter, Point, PointId, Vector, VectorSchema, Vectors, WriteOp};

use super::change::{Change, Delta};
use super::error::EngineError;
use super::filter::CompiledFilter;
use super::partition::PartitionState;
use super::path::{Path, Step};
use super::resolve::{PointView, resolve, select};
use super::schema::check;

/// Why a write is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StageError {
    /// It cannot be carried out as asked, or the partition cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// This instance's clock is behind what it builds on.
    #[error(transparent)]
    Clock(#[from] ClockDrift),
    /// A field that is no counter or set.
    #[error("point {id}: {error}")]
    Field {
        /// Of which point.
        id: PointId,
        /// Why.
        error: FieldError,
    },
}

/// One instance's writes to one partition.
#[derive(Debug)]
pub struct LaneWriter {
    policy: Policy,
    clock: Clock,
    /// What the partition's state may not contain yet, by the ticket under which it was staged.
    pending: BTreeMap<PointId, Vec<(u64, PointState)>>,
}

/// The partition and this instance's writes.
struct View<'a> {
    base: &'a PartitionState,
    writer: &'a LaneWriter,
}

/// What a write builds on.
struct Before {
    state: PointState,
    /// The part of it that is in no log: what the point was before it had versions.
    unlogged: Option<PointState>,
}

impl Before {
    /// What `delta` has to say to whoever only reads the log.
    fn told(self, delta: PointState) -> Result<PointState, EngineError> {
        match self.unlogged {
            Some(unlogged) => unlogged.merge(delta).map_err(|e| state_error(&e)),
            None => Ok(delta),
        }
    }
}

impl View<'_> {
    fn before(&self, id: PointId) -> Result<Before, EngineError> {
        let known = self.base.known_state(id, self.writer.policy)?;
        let unlogged = known.made_up.then(|| known.state.clone());
        let mut state = known.state;
        for (_, delta) in self.writer.pending.get(&id).into_iter().flatten() {
            state = state.merge(delta.clone()).map_err(|e| state_error(&e))?;
        }
        Ok(Before { state, unlogged })
    }
}

impl PointView for View<'_> {
    fn get(&self, id: PointId) -> Result<Option<Point>, EngineError> {
        if !self.writer.pending.contains_key(&id) {
            return self.base.get(id);
        }
        let value = self.before(id)?.state.value();
        let point = value.map(|value| point_of(id, value)).transpose()?;
        Ok(point.map(|point| fitting(&self.base.schema(), point)))
    }

    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, EngineError> {
        let compiled = self.compile(filter)?;
        let pending = &self.writer.pending;
        let mut ids = self.base.matching(filter)?;
        ids.retain(|id| !pending.contains_key(id));
        for id in pending.keys() {
            if self.get(*id)?.is_some_and(|p| compiled.matches_point(&p)) {
                ids.push(*id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn compile(&self, filter: &Filter) -> Result<CompiledFilter, EngineError> {
        self.base.compile(filter)
    }
}

impl LaneWriter {
    /// That of `writer`, which stands for one instance among all clusters that exchange, in a cluster that resolves conflicts by `policy`.
    #[must_use]
    pub fn new(policy: Policy, writer: Writer) -> Self {
        Self {
            policy,
            clock: Clock::new(writer, Clock::MAX_DRIFT_MS),
            pending: BTreeMap::new(),
        }
    }

    /// What `op` adds to the states of points, at most one change a point, staged under `ticket`. `now_ms` is the wall clock, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// [`StageError`]; then nothing is staged.
    pub fn stage(
        &mut self,
        ticket: u64,
        op: &WriteOp,
        base: &PartitionState,
        now_ms: u64,
    ) -> Result<Vec<Change>, StageError> {
        let (op, seen) = match op {
            WriteOp::Seeing { context, op } => (op.as_ref(), Some(context)),
            op => (op, None),
        };
        let written = self.resolved(op, seen, base, now_ms)?;
        let encoded = written
            .iter()
            .map(|(id, delta)| Ok(Change::Merge(*id, Delta::new(delta)?)))
            .collect::<Result<Vec<_>, EngineError>>()?;
        for (id, delta) in written {
            self.add(ticket, id, delta);
        }
        Ok(encoded)
    }

    fn resolved(
        &mut self,
        op: &WriteOp,
        seen: Option<&VectorClock>,
        base: &PartitionState,
        now_ms: u64,
    ) -> Result<Vec<(PointId, PointState)>, StageError> {
        let view = View { base, writer: self };
        let mut wanted: Vec<(Before, Change)> = Vec::new();
        let mut adjusted: Vec<(PointId, Before)> = Vec::new();
        let fields = match op {
            WriteOp::Adjust { selector, ops } => {
                for id in select(selector, &view)? {
                    let before = view.before(id)?;
                    if before.state.exists() {
                        adjusted.push((id, before));
                    }
                }
                field_ops(ops)?
            }
            op => {
                for change in resolve(op, &view)? {
                    if let Change::Put(point) = &change {
                        check(&base.schema(), &point.vectors)?;
                    }
                    wanted.push((view.before(change.id())?, change));
                }
                Vec::new()
            }
        };
        if seen.is_some() {
            self.may_see(wanted.len() + adjusted.len())?;
        }
        let states = wanted.iter().map(|(before, _)| &before.state);
        let states = states.chain(adjusted.iter().map(|(_, before)| &before.state));
        let newest = states.map(PointState::newest).max().unwrap_or_default();
        let newest = newest.max(seen.map(VectorClock::newest).unwrap_or_default());
        if wanted.is_empty() && adjusted.is_empty() {
            return Ok(Vec::new());
        }
        let stamp = self.clock.tick(now_ms, newest)?;
        let whole = matches!(op, WriteOp::Upsert(_) | WriteOp::UpsertIf { .. });
        let mut deltas = Vec::with_capacity(wanted.len() + adjusted.len());
        for (before, change) in wanted {
            let (id, state) = (change.id(), &before.state);
            let delta = match &change {
                Change::Put(point) if whole => state.put(&value_of(point)?, stamp, seen),
                Change::Put(point) => state.edit(&value_of(point)?, stamp, seen),
                Change::Delete(_) | Change::Merge(..) => state.delete(stamp, seen),
            };
            deltas.push((id, before.told(delta)?));
        }
        for (id, before) in adjusted {
            let delta = before.state.adjust(&fields, stamp);
            let delta = delta.map_err(|error| StageError::Field { id, error })?;
            deltas.push((id, before.told(delta)?));
        }
        Ok(deltas)
    }

    /// A context says what was seen of one point.
    fn may_see(&self, points: usize) -> Result<(), EngineError> {
        let bad = |reason: String| Err(EngineError::invalid("the context of the write", reason));
        match (self.policy, points) {
            (Policy::VectorClock, 0 | 1) => Ok(()),
            (Policy::VectorClock, points) => bad(format!(
                "it is that of one point, and the write changes {points}"
            )),
            (policy, _) => bad(format!(
                "only --conflict-resolution vector-clock has contexts, this cluster has {policy}"
            )),
        }
    }

    fn add(&mut self, ticket: u64, id: PointId, delta: PointState) {
        self.pending.entry(id).or_default().push((ticket, delta));
    }

    /// Takes note of a write of this instance that was found in its log: later ones build on it.
    ///
    /// # Errors
    /// One that does not decode.
    pub fn found(&mut self, ticket: u64, changes: &[Change]) -> Result<(), EngineError> {
        for change in changes {
            if let Change::Merge(id, delta) = change {
                self.add(ticket, *id, delta.decode()?);
            }
        }
        Ok(())
    }

    /// Forgets the changes of a ticket: the partition's state contains them, or they will never be in the log.
    pub fn forget(&mut self, ticket: u64, changes: &[Change]) {
        for change in changes {
            let id = change.id();
            if let Some(deltas) = self.pending.get_mut(&id) {
                deltas.retain(|(own, _)| *own != ticket);
                if deltas.is_empty() {
                    self.pending.remove(&id);
                }
            }
        }
    }
}

fn field_ops(ops: &[crate::model::FieldChange]) -> Result<Vec<FieldOp>, EngineError> {
    use crate::model::FieldChange;
    let parse = |text: &str| {
        let path = Path::parse(text)?;
        let rest = path.rest.into_iter().map(|step| match step {
            Step::Key(key) => Ok(key),
            Step::Each | Step::Index(_) => Err(EngineError::invalid(
                format!("path '{text}'"),
                "counters and sets are fields, not elements of lists",
            )),
        });
        std::iter::once(Ok(path.first))
            .chain(rest)
            .collect::<Result<Vec<String>, _>>()
    };
    let op = |op: &FieldChange| {
        Ok(match op {
            FieldChange::Increment { path, by } => FieldOp::Increment {
                path: parse(path)?,
                by: *by,
            },
            FieldChange::Add { path, elements } => FieldOp::Add {
                path: parse(path)?,
                elements: elements.clone(),
            },
            FieldChange::Remove { path, elements } => FieldOp::Remove {
                path: parse(path)?,
                elements: elements.clone(),
            },
        })
    };
    ops.iter().map(op).collect()
}

/// What the crate `conflict` sees of a point.
pub(crate) fn value_of(point: &Point) -> Result<Value, EngineError> {
    let vector = |(name, vector): (&str, &Vector)| {
        let bytes = rmp_serde::to_vec(vector).map_err(|e| EngineError::Encode {
            what: "vector of a version",
            reason: e.to_string(),
        })?;
        Ok::<_, EngineError>((name.to_owned(), Blob(bytes.into())))
    };
    Ok(Value {
        payload: point.payload.clone(),
        vectors: point.vectors.iter().map(vector).collect::<Result<_, _>>()?,
    })
}

/// The point that a value is.
pub(crate) fn point_of(id: PointId, value: Value) -> Result<Point, EngineError> {
    let mut vectors = Vectors::default();
    for (name, blob) in value.vectors {
        vectors.insert(name, vector_of(&blob)?);
    }
    Ok(Point {
        id,
        vectors,
        payload: value.payload,
    })
}

/// The vector in it.
pub(crate) fn vector_of(blob: &Blob) -> Result<Vector, EngineError> {
    rmp_serde::from_slice(&blob.0).map_err(|e| EngineError::Decode {
        what: "vector of a version",
        reason: e.to_string(),
    })
}

/// The state of a point that was written without one, in the cluster `origin`: before everything concurrent, and other than what another
/// cluster has without a state.
pub(crate) fn unversioned(
    policy: Policy,
    origin: Writer,
    point: &Point,
) -> Result<PointState, EngineError> {
    let first = Stamp {
        hlc: Hlc(1),
        writer: origin,
    };
    Ok(PointState::new(policy).put(&value_of(point)?, first, None))
}

/// The point without vectors that the collection does not have any more.
pub(crate) fn fitting(schema: &VectorSchema, mut point: Point) -> Point {
    if check(schema, &point.vectors).is_err() {
        let vectors = std::mem::take(&mut point.vectors).into_iter();
        let fits = |name: &str, vector: &Vector| {
            let mut one = Vectors::default();
            one.insert(name, vector.clone());
            check(schema, &one).is_ok()
        };
        point.vectors = vectors
            .filter(|(name, vector)| fits(name, vector))
            .collect();
    }
    point
}

pub(crate) fn state_error(error: &StateError) -> EngineError {
    EngineError::Decode {
        what: "version of a point",
        reason: error.to_string(),
    }
}

#[cfg(test)]
#[path = "merging_tests.rs"]
mod tests;
