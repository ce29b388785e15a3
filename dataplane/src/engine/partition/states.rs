//! Points that several instances write: their states, and what is merged into them.
//!
//! A layer stores a point as any other, and beside it the rest of its state: what concurrent writes need to know. Deletions are kept
//! with their states, so that a write that comes late and did not see one brings nothing back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use brainy_conflict::{PointState, Policy, Writer};
use brainy_coordination::types::LogPosition;

use crate::engine::Change;
use crate::engine::error::EngineError;
use crate::engine::interrupt;
use crate::engine::memtable::Newest;
use crate::engine::merging::{self, state_error};
use crate::engine::payload;
use crate::engine::schema::prepare;
use crate::engine::segment::Entry;
use crate::engine::stored;
use crate::model::{
    Point, PointId, PointVersions, SiblingVersion, VectorSchema, VectorSelector, VersionContents,
};

use super::layers::Snapshot;
use super::{PartitionState, Prepared};

/// What becomes of a point, and its state if it was merged.
pub(super) struct Outcome {
    point: Option<Point>,
    state: Option<PointState>,
}

/// What is known of a point.
pub(crate) struct Known {
    pub(crate) state: PointState,
    /// Whether it was made up of a point without versions: no log contains it.
    pub(crate) made_up: bool,
}

impl Snapshot {
    /// The newest change of a point.
    pub(super) fn newest(&self, id: PointId) -> Result<Option<Outcome>, EngineError> {
        let layers = &self.layers;
        let memtables = std::iter::once(&layers.active).chain(layers.frozen.iter().rev());
        let mut found = memtables.filter_map(|memtable| memtable.newest(id, self.tick));
        if let Some(Newest { point, state }) = found.next() {
            let point = point.map(|p| {
                Ok::<_, EngineError>(Point {
                    id,
                    payload: payload::decode(&p.payload)?,
                    vectors: p.vectors,
                })
            });
            return outcome(point.transpose()?, state.as_deref()).map(Some);
        }
        let segments = layers.segments.iter().map(|view| &view.segment);
        let entries = segments.filter_map(|s| s.find(id).map(|entry| (s, entry)));
        let newest = entries.max_by_key(|(_, entry)| entry.version());
        let Some((segment, entry)) = newest else {
            return Ok(None);
        };
        match entry {
            Entry::Row(row, _) => {
                let vectors = segment.vectors(row);
                let vectors = stored::collect(segment.schema(), &vectors, &VectorSelector::All);
                let payload = segment.payload(row);
                interrupt::check_reads()?;
                let point = Point {
                    id,
                    payload: payload::decode(&payload)?,
                    vectors,
                };
                outcome(Some(point), segment.row_state(row)).map(Some)
            }
            Entry::Tombstone(_) => outcome(None, segment.tombstone_state(id)).map(Some),
        }
    }
}

fn outcome(point: Option<Point>, state: Option<&[u8]>) -> Result<Outcome, EngineError> {
    let state = state.map(PointState::decode).transpose();
    let state = state.map_err(|e| state_error(&e))?;
    let state = match (&point, state) {
        (Some(point), Some(state)) => Some(state.fill(merging::value_of(point)?)),
        (_, state) => state,
    };
    Ok(Outcome { point, state })
}

impl Outcome {
    /// What a merged state shows in a collection with this schema.
    pub(super) fn of(
        schema: &VectorSchema,
        id: PointId,
        state: PointState,
    ) -> Result<Self, EngineError> {
        let value = state.value();
        let point = value
            .map(|value| merging::point_of(id, value))
            .transpose()?;
        Ok(Self {
            point: point.map(|point| merging::fitting(schema, point)),
            state: Some(state),
        })
    }

    /// What a layer stores of it.
    pub(super) fn stored(
        self,
        schema: &VectorSchema,
    ) -> Result<(Option<Prepared>, Option<Vec<u8>>), EngineError> {
        let prepared = match self.point {
            None => None,
            Some(mut point) => {
                prepare(schema, &mut point.vectors)?;
                Some(Prepared {
                    payload: payload::encode(&point.payload)?,
                    vectors: point.vectors,
                })
            }
        };
        let state = self.state.map(|state| state.strip().encode()).transpose();
        Ok((prepared, state.map_err(|e| state_error(&e))?))
    }

    /// Its state under `policy` in the cluster `origin`: what was written where one instance writes, or under another policy, is older than
    /// everything concurrent.
    pub(super) fn into_state(
        self,
        id: PointId,
        policy: Policy,
        origin: Writer,
    ) -> Result<PointState, EngineError> {
        match (self.state, self.point) {
            (Some(state), _) if state.policy() == policy => Ok(state),
            (_, Some(point)) => merging::unversioned(policy, origin, &point),
            (Some(_) | None, None) => {
                tracing::debug!(%id, "a deletion without a version: what comes late may undo it");
                Ok(PointState::new(policy))
            }
        }
    }
}

impl PartitionState {
    /// The state of a point in a partition that several instances write; points that were written before that have none of their
    /// own, and get one that is older than everything concurrent.
    ///
    /// # Errors
    /// A payload or state that does not decode.
    pub fn point_state(&self, id: PointId, policy: Policy) -> Result<PointState, EngineError> {
        Ok(self.known_state(id, policy)?.state)
    }

    /// As [`Self::point_state`], with where it comes from.
    ///
    /// # Errors
    /// A payload or state that does not decode.
    pub(crate) fn known_state(&self, id: PointId, policy: Policy) -> Result<Known, EngineError> {
        let Some(found) = self.snapshot().newest(id)? else {
            return Ok(Known {
                state: PointState::new(policy),
                made_up: false,
            });
        };
        let stored = found.state.as_ref();
        let made_up = found.point.is_some() && stored.is_none_or(|s| s.policy() != policy);
        let state = found.into_state(id, policy, self.origin)?;
        Ok(Known { state, made_up })
    }

    /// Versions of the points that were ever written here and whose deletions are not forgotten, in the order of the request.
    ///
    /// # Errors
    /// A payload or state that does not decode.
    pub fn versions(&self, ids: &[PointId]) -> Result<Vec<PointVersions>, EngineError> {
        let snapshot = self.snapshot();
        let mut all = Vec::new();
        for id in ids {
            let Some(found) = snapshot.newest(*id)? else {
                continue;
            };
            let policy = found.state.as_ref().map(PointState::policy);
            // What was written without a version is seen as what it counts as when versions are kept.
            let policy = policy.unwrap_or(Policy::VectorClock);
            let state = found.into_state(*id, policy, self.origin)?;
            let contents = |value| {
                let point = merging::point_of(*id, value)?;
                Ok::<_, EngineError>(VersionContents {
                    payload: point.payload,
                    vectors: point.vectors,
                })
            };
            let siblings = state.siblings().into_iter().map(|sibling| {
                Ok(SiblingVersion {
                    stamp: sibling.stamp.to_string(),
                    contents: sibling.value.map(contents).transpose()?,
                })
            });
            all.push(PointVersions {
                id: *id,
                shown: state.value().map(contents).transpose()?,
                siblings: siblings.collect::<Result<_, EngineError>>()?,
                context: state.context(),
            });
        }
        Ok(all)
    }

    /// From now on merges of segments forget deletions of merged points that were made before this time, in milliseconds since 1970. A
    /// write that was made before such a deletion and comes after it was forgotten brings the point back.
    pub fn forget_deletions_before(&self, millis: u64) {
        self.forget_before.fetch_max(millis, Ordering::Relaxed);
    }

    /// Whether a deletion with this state is kept although it hides nothing.
    pub(super) fn keeps_deletion(&self, state: Option<&[u8]>) -> Result<bool, EngineError> {
        let Some(state) = state else { return Ok(false) };
        let state = PointState::decode(state).map_err(|e| state_error(&e))?;
        Ok(state.newest().millis() >= self.forget_before.load(Ordering::Relaxed))
    }

    /// [`Self::replay`] of changes among which are merges.
    pub(super) fn merge_changes(
        &self,
        position: LogPosition,
        changes: &[Cow<'_, Change>],
    ) -> Result<(), EngineError> {
        let _writer = self.writer.lock();
        let snapshot = self.snapshot();
        if position <= snapshot.position {
            return Ok(());
        }
        let schema = Arc::clone(&snapshot.layers.schema);
        let mut outcomes: BTreeMap<PointId, Outcome> = BTreeMap::new();
        for change in changes {
            let id = change.id();
            let after = match change.as_ref() {
                Change::Put(point) => Outcome {
                    point: Some(point.clone()),
                    state: None,
                },
                Change::Delete(_) => Outcome {
                    point: None,
                    state: None,
                },
                Change::Merge(_, delta) => {
                    let delta = delta.decode()?;
                    let known = outcomes.remove(&id);
                    let before = match known {
                        Some(known) => Some(known),
                        None => snapshot.newest(id)?,
                    };
                    let policy = delta.policy();
                    let state = match before {
                        Some(before) => before.into_state(id, policy, self.origin)?,
                        None => PointState::new(policy),
                    };
                    let state = state.merge(delta).map_err(|e| state_error(&e))?;
                    Outcome::of(&schema, id, state)?
                }
            };
            outcomes.insert(id, after);
        }
        let mut ready = Vec::with_capacity(outcomes.len());
        for (id, outcome) in outcomes {
            let (prepared, state) = outcome.stored(&schema)?;
            ready.push((id, prepared, state));
        }
        let tick = snapshot.tick + 1;
        let layers = &snapshot.layers;
        for (id, prepared, state) in ready {
            let state = state.map(Vec::into_boxed_slice);
            layers.supersede(id, position, tick);
            match prepared {
                Some(Prepared { payload, vectors }) => {
                    let active = &layers.active;
                    active.put(id, position, tick, payload, &vectors, state);
                }
                None => layers.active.delete(id, position, tick, state),
            }
        }
        let mut published = self.published.write();
        published.tick = tick;
        published.position = position;
        Ok(())
    }
}
