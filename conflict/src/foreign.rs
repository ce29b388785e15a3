//! Judging a state that another cluster wrote, before it is merged: it may be damaged, or made to do harm.
//!
//! What is refused no Brainy writes. Merging itself cannot fail on what is left, takes time that its size bounds, and leaves a state that
//! this build can store.

use crate::crdt::Fields;
use crate::hlc::{Clock, ClockDrift, Hlc};
use crate::siblings::Siblings;
use crate::state::{Inner, PointState, StateError};
use crate::value::Held;
use crate::vector_clock::VectorClock;

/// Most concurrent versions of a point: each is compared with each.
pub const MAX_SIBLINGS: usize = 256;
/// Most writers that a point can have seen.
pub const MAX_WRITERS: usize = 4096;
/// Most keys from a payload's top to a field.
pub const MAX_PATH: usize = 128;

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
    /// Whether this state, which another cluster wrote, may be merged at `now_ms`, milliseconds since 1970: it is whole, its
    /// sizes are within the limits, and no stamp in it is further ahead than clocks may be ([`Clock::MAX_DRIFT_MS`]).
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn check_foreign(&self, now_ms: u64) -> Result<(), ForeignError> {
        let latest = match &self.0 {
            Inner::Register(register) => {
                whole(&register.held)?;
                register.stamp.hlc
            }
            Inner::Siblings(all) => siblings(all)?,
            Inner::Fields(all) => fields(all)?,
        };
        let ahead_ms = latest.millis().saturating_sub(now_ms);
        if ahead_ms > Clock::MAX_DRIFT_MS {
            return Err(ForeignError::Clock(ClockDrift {
                ahead_ms,
                limit_ms: Clock::MAX_DRIFT_MS,
            }));
        }
        Ok(())
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

fn clock(clock: &VectorClock) -> Result<Hlc, StateError> {
    at_most("writers", clock.0.len(), MAX_WRITERS)?;
    Ok(clock.newest())
}

fn siblings(all: &Siblings) -> Result<Hlc, StateError> {
    at_most("concurrent versions", all.0.len(), MAX_SIBLINGS)?;
    let mut latest = Hlc::default();
    for version in &all.0 {
        whole(&version.held)?;
        latest = latest.max(clock(&version.seen)?).max(version.stamp.hlc);
    }
    Ok(latest)
}

fn fields(all: &Fields) -> Result<Hlc, StateError> {
    let mut latest = clock(&all.clock)?.max(all.alive.hlc).max(all.removed.hlc);
    for (stamp, held) in all.vectors.values() {
        whole(held)?;
        latest = latest.max(stamp.hlc);
    }
    all.each_field(|path, base, held, writers, newest| {
        at_most("keys in the path of a field", path.len(), MAX_PATH)?;
        at_most("writers of a field", writers, MAX_WRITERS)?;
        if path.is_empty() {
            return Err(damaged("a field has no name"));
        }
        whole(held)?;
        latest = latest.max(base.hlc).max(newest);
        Ok(())
    })?;
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Stamp, Value, Writer};
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
            let late = now - Clock::MAX_DRIFT_MS - 1;
            for state in [&put, &put.delete(stamp(now), None)] {
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
}
