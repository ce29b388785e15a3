//! What another cluster may bring, and what it may not.

use brainy_conflict::{Blob, Clock, Hlc, PointState, Policy, Stamp, Value, VectorClock, Writer};
use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::LogPosition;
use serde_json::json;

use super::*;
use crate::engine::resolve::PointView;
use crate::model::Vector;

const NOW: u64 = 1_000_000;

fn partition() -> PartitionState {
    PartitionState::new(VectorSchema::unnamed(DenseParams::new(2, Distance::Dot)))
}

fn value(vector: Vec<f32>) -> Value {
    let bytes = rmp_serde::to_vec(&Vector::from(vector)).unwrap();
    Value {
        payload: json!({"a": 1}).as_object().unwrap().clone(),
        vectors: [(String::new(), Blob(bytes.into()))].into(),
    }
}

fn stamp(millis: u64) -> Stamp {
    Stamp {
        hlc: Hlc::at(millis),
        writer: Writer(9),
    }
}

fn put(policy: Policy, vector: Vec<f32>, millis: u64) -> PointState {
    PointState::new(policy).put(&value(vector), stamp(millis), None)
}

#[test]
fn what_is_new_is_merged_once_and_after_that_changes_nothing() {
    for policy in Policy::ALL {
        let state = partition();
        let id = PointId::Num(1);
        let theirs = put(policy, vec![1.0, 2.0], NOW);
        let change = state.incoming(id, &theirs, policy, NOW).unwrap().unwrap();
        state.apply(LogPosition::new(1, 1), &[change]).unwrap();
        assert!(state.get(id).unwrap().is_some());
        assert_eq!(state.incoming(id, &theirs, policy, NOW).unwrap(), None);
        let gone = theirs.delete(stamp(NOW + 1), None);
        let change = state.incoming(id, &gone, policy, NOW).unwrap().unwrap();
        state.apply(LogPosition::new(1, 2), &[change]).unwrap();
        assert!(state.get(id).unwrap().is_none());
        // What comes late brings nothing back.
        assert_eq!(state.incoming(id, &theirs, policy, NOW).unwrap(), None);
        assert_eq!(state.incoming(id, &gone, policy, NOW).unwrap(), None);
    }
}

#[test]
fn what_could_not_be_applied_or_is_of_another_time_or_policy_is_refused() {
    let (state, id) = (partition(), PointId::Num(1));
    let policy = Policy::LastWriteWins;
    let refused = |theirs: &PointState| {
        let refused = state.incoming(id, theirs, policy, NOW).unwrap_err();
        refused.to_string()
    };
    let late = put(policy, vec![1.0, 2.0], NOW + Clock::MAX_DRIFT_MS / 2 + 1);
    assert!(refused(&late).contains("NTP"));
    let infinite = put(policy, vec![1.0, f32::INFINITY], NOW);
    assert!(refused(&infinite).contains("finite"));
    let other = put(Policy::Crdt, vec![1.0, 2.0], NOW);
    assert!(refused(&other).contains("crdt"));
    let mut broken = value(vec![1.0, 2.0]);
    let blob = Blob(vec![0xc1].into());
    broken.vectors.insert(String::new(), blob);
    let broken = PointState::new(policy).put(&broken, stamp(NOW), None);
    assert!(refused(&broken).contains("vector"));
    assert!(refused(&put(policy, vec![1.0, 2.0], NOW).strip()).contains("not with it"));
}

#[test]
fn vectors_of_another_size_are_left_out_as_in_a_replay() {
    let (state, id) = (partition(), PointId::Num(1));
    let policy = Policy::LastWriteWins;
    let theirs = put(policy, vec![1.0, 2.0, 3.0], NOW);
    let change = state.incoming(id, &theirs, policy, NOW).unwrap().unwrap();
    state.apply(LogPosition::new(1, 1), &[change]).unwrap();
    let point = state.get(id).unwrap().unwrap();
    assert_eq!(point.vectors.iter().count(), 0);
    assert_eq!(point.payload["a"], 1);
}

#[test]
fn points_without_versions_of_two_clusters_are_two_versions() {
    let policy = Policy::VectorClock;
    let id = PointId::Num(1);
    let point = |x: f32| crate::model::Point {
        id,
        vectors: crate::model::Vectors::unnamed(vec![x, 0.0]),
        payload: Default::default(),
    };
    let cluster = |origin: u64, x: f32| {
        let state = partition().of_cluster(Writer(origin));
        let put = Change::Put(point(x));
        state.apply(LogPosition::new(1, 1), &[put]).unwrap();
        state
    };
    let (a, b) = (cluster(1, 1.0), cluster(2, 2.0));
    for (from, to) in [(&a, &b), (&b, &a), (&a, &b)] {
        let theirs = from.point_state(id, policy).unwrap();
        let at = LogPosition::new(1, to.position().seq + 1);
        if let Some(change) = to.incoming(id, &theirs, policy, NOW).unwrap() {
            to.apply(at, &[change]).unwrap();
        }
    }
    let states = [&a, &b].map(|c| c.point_state(id, policy).unwrap());
    assert_eq!(states[0], states[1]);
    assert_eq!(states[0].siblings().len(), 1, "neither is lost");
}

#[test]
fn what_nobody_is_shown_yet_has_to_be_storable_too() {
    let id = PointId::Num(1);
    let broken = |bytes: Vec<u8>| Value {
        vectors: [(String::new(), Blob(bytes.into()))].into(),
        ..value(vec![1.0, 2.0])
    };
    let garbage = broken(vec![0xc1]);
    let infinite = value(vec![f32::NAN, 1.0]);
    // Of a size that the collection may get one day.
    let later = value(vec![f32::NAN, 1.0, 2.0]);
    for bad in [&garbage, &infinite, &later] {
        // An edit of a point that does not exist here.
        let state = partition();
        let ghost = PointState::new(Policy::Crdt).edit(bad, stamp(NOW + 100), None);
        assert!(!ghost.exists());
        let refused = state.incoming(id, &ghost, Policy::Crdt, NOW);
        assert!(refused.unwrap_err().to_string().contains("vector"));
        // Fields behind a deletion, and a version behind the one that is shown.
        let gone = PointState::new(Policy::Crdt).delete(stamp(NOW), None);
        let hidden = gone.merge(ghost).unwrap();
        let refused = state.incoming(id, &hidden, Policy::Crdt, NOW);
        assert!(refused.unwrap_err().to_string().contains("vector"));
        let policy = Policy::VectorClock;
        let seen = VectorClock::default();
        let one = PointState::new(policy).put(bad, stamp(NOW), Some(&seen));
        let shown = PointState::new(policy).put(
            &value(vec![1.0, 2.0]),
            Stamp {
                hlc: Hlc::at(NOW + 1),
                writer: Writer(10),
            },
            Some(&seen),
        );
        let both = one.merge(shown).unwrap();
        assert_eq!(both.siblings().len(), 1);
        let refused = state.incoming(id, &both, policy, NOW).unwrap_err();
        assert!(refused.to_string().contains("vector"), "{refused}");
        assert_eq!(state.position().seq, 0);
    }
}

#[test]
fn what_was_here_without_versions_is_told_with_what_is_merged_into_it() {
    for policy in Policy::ALL {
        let (id, there) = (PointId::Num(1), partition().of_cluster(Writer(2)));
        let here = partition().of_cluster(Writer(1));
        let old = crate::model::Point {
            id,
            vectors: crate::model::Vectors::unnamed(vec![3.0, 4.0]),
            payload: json!({"old": 1}).as_object().unwrap().clone(),
        };
        here.apply(LogPosition::new(1, 1), &[Change::Put(old)])
            .unwrap();
        let theirs = put(policy, vec![1.0, 2.0], NOW);
        let delta = there.incoming(id, &theirs, policy, NOW).unwrap().unwrap();
        there.apply(LogPosition::new(1, 1), &[delta]).unwrap();
        let news = here.incoming(id, &theirs, policy, NOW).unwrap().unwrap();
        let Change::Merge(_, told) = &news else {
            panic!("{news:?}");
        };
        let back = there.incoming(id, &told.decode().unwrap(), policy, NOW);
        here.apply(LogPosition::new(1, 2), &[news]).unwrap();
        if let Some(back) = back.unwrap() {
            there.apply(LogPosition::new(1, 2), &[back]).unwrap();
        }
        let states = [&here, &there].map(|c| c.point_state(id, policy).unwrap());
        assert_eq!(states[0], states[1]);
        let shown = [&here, &there].map(|c| c.get(id).unwrap());
        assert_eq!(shown[0], shown[1]);
    }
}

#[test]
fn more_concurrent_versions_than_are_taken_are_refused_before_they_are_logged() {
    let (state, id, policy) = (partition(), PointId::Num(1), Policy::VectorClock);
    let many = |writers: std::ops::Range<u64>| {
        let one = |writer| {
            let by = Stamp {
                hlc: Hlc::at(NOW),
                writer: Writer(writer),
            };
            let seen = VectorClock::default();
            PointState::new(policy).put(&value(vec![1.0, 2.0]), by, Some(&seen))
        };
        let none = PointState::new(policy);
        writers.fold(none, |all, writer| all.merge(one(writer)).unwrap())
    };
    let change = state.incoming(id, &many(0..200), policy, NOW).unwrap();
    state
        .apply(LogPosition::new(1, 1), &[change.unwrap()])
        .unwrap();
    let refused = state.incoming(id, &many(200..300), policy, NOW);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("300 concurrent versions"), "{refused}");
}
