//! Judging a state that another cluster wrote, before it is merged: it may be damaged, or made to do harm.
//!
//! What is refused no Brainy writes. Merging itself cannot fail on what is left, takes time that its size bounds, and leaves a state that
//! this build can store.

use serde_json::Value as Json;

use crate::crdt::Fields;
use crate::hlc::{Clock, ClockDrift, Stamp};
use crate::siblings::Siblings;
use crate::state::{Inner, PointState, StateError};
use crate::value::{Blob, Held, Value};
use crate::vector_clock::VectorClock;

/// Most concurrent versions of a point: each is compared with each.
pub const MAX_SIBLINGS: usize = 256;
/// Most writers that a point can have seen.
pub const MAX_WRITERS: usize = 4096;
/// Most keys from a payload's top to a field.
pub const MAX_PATH: usize = 128;
/// Deepest nesting of a payload, or of one field of it: decoders give up far below what they would be asked for otherwise.
pub const MAX_DEPTH: usize = 256;
/// How far stamps of another cluster may be ahead of the clock here: half of what is allowed to a write of this cluster, which is
/// stamped above what it builds on. So nothing that was merged makes writes here impossible.
pub const MAX_AHEAD_MS: u64 = Clock::MAX_DRIFT_MS / 2;

/// Why a state of another cluster is not merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// No Brainy wrote it so.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is from a time that is not here yet.
    #[error(transparent)]
    Clock(#[from] ClockDrift),
}

impl PointState {
    /// Whether this state, which another cluster wrote, may be merged at `now_ms`, milliseconds since 1970: it is
    /// [whole](Self::check_whole), and no stamp in it is further ahead than [`MAX_AHEAD_MS`].
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn check_foreign(&self, now_ms: u64) -> Result<(), ForeignError> {
        self.check_whole()?;
        let latest = match &self.0 {
            Inner::Register(register) => register.stamp.hlc,
            Inner::Siblings(all) => all.newest(),
            // Nothing in it is above its clock.
            Inner::Fields(all) => all.clock.newest(),
        };
        let ahead_ms = latest.millis().saturating_sub(now_ms);
        if ahead_ms > MAX_AHEAD_MS {
            return Err(ForeignError::Clock(ClockDrift {
                ahead_ms,
                limit_ms: MAX_AHEAD_MS,
            }));
        }
        Ok(())
    }

    /// Whether everything that it says is in it, within the limits, and under stamps that it says to have seen. What was merged of
    /// states that are so is so too, but may be beyond the limits.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check_whole(&self) -> Result<(), StateError> {
        match &self.0 {
            Inner::Register(register) => contents(&register.held),
            Inner::Siblings(all) => siblings(all),
            Inner::Fields(all) => fields(all),
        }
    }

    /// Every vector in it with its name, whether readers are shown it or not: a later write may bring it to light.
    #[must_use]
    pub fn held_vectors(&self) -> Vec<(&str, &Blob)> {
        match &self.0 {
            Inner::Register(register) => named(register.held.get()).collect(),
            Inner::Siblings(all) => {
                let all = all.0.iter();
                all.flat_map(|v| named(v.held.get())).collect()
            }
            Inner::Fields(all) => {
                let all = all.vectors.iter();
                all.filter_map(|(name, (_, held))| Some((name.as_str(), held.get()?)))
                    .collect()
            }
        }
    }
}

fn damaged(reason: impl Into<String>) -> StateError {
    StateError::Damaged(reason.into())
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), StateError> {
    if found <= limit {
        return Ok(());
    }
    Err(damaged(format!(
        "it has {found} {what}, the limit is {limit}"
    )))
}

/// What is only stored beside a point means nothing elsewhere.
fn whole<T>(held: &Held<T>) -> Result<(), StateError> {
    match held {
        Held::Shown => Err(damaged("it refers to contents that are not with it")),
        Held::Here(_) | Held::Gone => Ok(()),
    }
}

fn named(value: Option<&Value>) -> impl Iterator<Item = (&str, &Blob)> {
    let vectors = value.into_iter().flat_map(|value| &value.vectors);
    vectors.map(|(name, blob)| (name.as_str(), blob))
}

fn contents(held: &Held<Value>) -> Result<(), StateError> {
    whole(held)?;
    let payload = held.get().map(|value| &value.payload);
    let values = payload.into_iter().flat_map(|payload| payload.values());
    for value in values {
        at_most("levels in its payload", 1 + depth(value), MAX_DEPTH)?;
    }
    Ok(())
}

/// How deep it nests; 1 for what contains nothing. No deeper than a decoder goes, so recursion is bounded.
fn depth(value: &Json) -> usize {
    let below = match value {
        Json::Array(items) => items.iter().map(depth).max(),
        Json::Object(map) => map.values().map(depth).max(),
        _ => None,
    };
    1 + below.unwrap_or_default()
}

fn clock(clock: &VectorClock) -> Result<(), StateError> {
    at_most("writers", clock.0.len(), MAX_WRITERS)
}

fn siblings(all: &Siblings) -> Result<(), StateError> {
    at_most("concurrent versions", all.0.len(), MAX_SIBLINGS)?;
    for version in &all.0 {
        contents(&version.held)?;
        clock(&version.seen)?;
        if version.seen.covers(version.stamp) {
            return Err(damaged("a version says to have replaced itself"));
        }
    }
    Ok(())
}

/// That the clock has seen the stamp: local writes are stamped above the clock, and would lose to what hides behind it.
fn seen(all: &Fields, stamp: Stamp) -> Result<(), StateError> {
    if stamp == Stamp::default() || all.clock.covers(stamp) {
        return Ok(());
    }
    Err(damaged(format!("its clock has not seen its stamp {stamp}")))
}

fn fields(all: &Fields) -> Result<(), StateError> {
    clock(&all.clock)?;
    seen(all, all.alive)?;
    seen(all, all.removed)?;
    for (stamp, held) in all.vectors.values() {
        whole(held)?;
        seen(all, *stamp)?;
    }
    let newest = all.clock.newest();
    all.each_field(|path, field| {
        at_most("keys in the path of a field", path.len(), MAX_PATH)?;
        at_most("writers of a field", field.writers, MAX_WRITERS)?;
        if path.is_empty() {
            return Err(damaged("a field has no name"));
        }
        whole(field.register)?;
        let value = field.register.get();
        at_most("levels in a field", value.map_or(0, depth), MAX_DEPTH)?;
        // A change of a counter or set refers to a register that another write set, before it.
        if field.refers {
            if field.base.hlc > newest {
                return Err(damaged("a field is newer than its clock"));
            }
        } else {
            seen(all, field.base)?;
        }
        if field.newest > newest {
            return Err(damaged("an element of a set is newer than its clock"));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Hlc;
    use crate::{FieldOp, Policy, Writer};
    use serde_json::json;

    fn value() -> Value {
        let payload = json!({"a": {"b": 1}});
        Value {
            payload: payload.as_object().unwrap().clone(),
            ..Value::default()
        }
    }

    fn stamp(millis: u64) -> Stamp {
        Stamp {
            hlc: Hlc::at(millis),
            writer: Writer(7),
        }
    }

    #[test]
    fn writes_and_deletions_of_now_are_taken_and_those_of_tomorrow_are_not() {
        for policy in Policy::ALL {
            let now = 1_000_000;
            let put = PointState::new(policy).put(&value(), stamp(now), None);
            put.check_foreign(now).unwrap();
            put.delete(stamp(now + 1), None).check_foreign(now).unwrap();
            let late = now - MAX_AHEAD_MS - 1;
            for state in [&put, &put.delete(stamp(now + 1), None)] {
                let refused = state.check_foreign(late).unwrap_err();
                assert!(matches!(refused, ForeignError::Clock(_)), "{refused}");
            }
        }
    }

    #[test]
    fn what_is_stored_beside_a_point_is_not_taken_without_it() {
        for policy in [Policy::LastWriteWins, Policy::VectorClock] {
            let put = PointState::new(policy).put(&value(), stamp(5), None);
            let refused = put.strip().check_foreign(1000).unwrap_err();
            assert!(refused.to_string().contains("not with it"), "{refused}");
        }
    }

    #[test]
    fn paths_and_siblings_without_end_are_refused() {
        let mut deep = json!(1);
        for _ in 0..=MAX_PATH {
            deep = json!({ "k": deep });
        }
        let deep = Value {
            payload: deep.as_object().unwrap().clone(),
            ..Value::default()
        };
        let state = PointState::new(Policy::Crdt).put(&deep, stamp(5), None);
        let refused = state.check_foreign(1000).unwrap_err().to_string();
        assert!(refused.contains("keys in the path"), "{refused}");
        let mut many = PointState::new(Policy::VectorClock);
        for n in 0..=MAX_SIBLINGS as u64 {
            let one = PointState::new(Policy::VectorClock).put(
                &value(),
                Stamp {
                    hlc: Hlc::at(5),
                    writer: Writer(n),
                },
                Some(&VectorClock::default()),
            );
            many = many.merge(one).unwrap();
        }
        let refused = many.check_foreign(1000).unwrap_err().to_string();
        assert!(refused.contains("concurrent versions"), "{refused}");
    }
    #[test]
    fn what_a_clock_has_not_seen_is_refused() {
        let stamped = |millis: u64| {
            let state = PointState::new(Policy::Crdt).put(&value(), stamp(millis), None);
            let Inner::Fields(fields) = state.0 else {
                panic!("fields")
            };
            fields
        };
        let hidden: [fn(&mut Fields); 4] = [
            |f| f.clock = VectorClock::default(),
            |f| f.removed = stamp(900),
            |f| f.alive = stamp(900),
            |f| drop(f.vectors.insert("x".into(), (stamp(900), Held::Gone))),
        ];
        for hide in hidden {
            let mut fields = stamped(5);
            hide(&mut fields);
            let refused = PointState(Inner::Fields(fields)).check_foreign(1000);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("has not seen"), "{refused}");
        }
        let mut version = Siblings::one(stamp(5), VectorClock::default(), Held::Gone);
        version.0[0].seen.add(stamp(6));
        let refused = PointState(Inner::Siblings(version)).check_foreign(1000);
        assert!(refused.is_err(), "it replaces itself");
    }

    #[test]
    fn every_write_of_a_cluster_is_taken_by_another_and_so_is_what_they_come_to() {
        for policy in Policy::ALL {
            let other = |millis| Stamp {
                hlc: Hlc::at(millis),
                writer: Writer(8),
            };
            let mut state = PointState::new(policy).put(&value(), stamp(5), None);
            let changed = Value::default();
            let ops = [
                FieldOp::Increment {
                    path: vec!["a".into(), "b".into()],
                    by: 2,
                },
                FieldOp::Add {
                    path: vec!["set".into()],
                    elements: vec![json!("x")],
                },
                FieldOp::Remove {
                    path: vec!["set".into()],
                    elements: vec![json!("x")],
                },
            ];
            let mut deltas = vec![state.clone(), state.edit(&changed, other(6), None)];
            if policy == Policy::Crdt {
                deltas.push(state.adjust(&ops, other(7)).unwrap());
            }
            deltas.push(state.delete(other(8), None));
            for delta in deltas {
                delta.check_foreign(1000).unwrap();
                state = state.merge(delta).unwrap();
                state.check_foreign(1000).unwrap();
            }
        }
    }

    #[test]
    fn nesting_without_end_is_refused_wherever_it_is() {
        let mut deep = json!(1);
        for _ in 0..=MAX_DEPTH {
            deep = json!([deep]);
        }
        let mut value = value();
        value.payload.insert("deep".into(), deep);
        for policy in Policy::ALL {
            let state = PointState::new(policy).put(&value, stamp(5), None);
            let refused = state.check_foreign(1000).unwrap_err().to_string();
            assert!(refused.contains("levels in"), "{refused}");
        }
    }
}
