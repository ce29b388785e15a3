//! What holds for all policies, whatever is written where and however it travels.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use brainy_conflict::{Blob, Clock, FieldOp, Hlc, PointState, Policy, Value, Writer};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const WRITERS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Put(Value),
    Edit(Value),
    Delete,
    Adjust(FieldOp),
}

#[derive(Clone, Debug)]
enum Step {
    /// A writer writes, its wall clock off by so many milliseconds.
    Write(usize, u64, Op),
    /// A replica receives the next writes of a writer.
    Deliver(usize, usize, usize),
    /// A replica begins anew from what another one has stored.
    Copy(usize, usize),
}

/// A replica: its state and how much it has of each writer's log.
struct Replica {
    state: PointState,
    seen: [usize; WRITERS],
}

struct World {
    replicas: Vec<Replica>,
    clocks: Vec<Clock>,
    logs: Vec<Vec<PointState>>,
}

impl World {
    fn run(policy: Policy, steps: &[Step]) -> Self {
        let mut world = Self {
            replicas: (0..WRITERS)
                .map(|_| Replica {
                    state: PointState::new(policy),
                    seen: [0; WRITERS],
                })
                .collect(),
            clocks: (0..WRITERS)
                .map(|i| Clock::new(Writer::named(&format!("w{i}")), Clock::MAX_DRIFT_MS))
                .collect(),
            logs: vec![Vec::new(); WRITERS],
        };
        for (now, step) in (1_000_000u64..).zip(steps) {
            world.step(now, step);
        }
        world
    }

    fn step(&mut self, now: u64, step: &Step) {
        match step {
            Step::Write(writer, skew, op) => {
                let state = &self.replicas[*writer].state;
                let mut stamp = || {
                    let seen = state.newest();
                    self.clocks[*writer].tick(now + skew, seen).unwrap()
                };
                let delta = match op {
                    Op::Put(value) => state.put(value, stamp(), None),
                    Op::Edit(value) if state.exists() => state.edit(value, stamp(), None),
                    Op::Delete if state.exists() => state.delete(stamp(), None),
                    Op::Adjust(op) if state.exists() => {
                        match state.adjust(std::slice::from_ref(op), stamp()) {
                            Ok(delta) => delta,
                            Err(_) => return,
                        }
                    }
                    _ => return,
                };
                let log = &mut self.logs[*writer];
                log.push(delta.clone());
                let replica = &mut self.replicas[*writer];
                let before = replica.state.rank();
                replica.state = replica.state.clone().merge(delta).unwrap();
                replica.seen[*writer] = log.len();
                assert!(
                    replica.state.rank() > before,
                    "a write is newer than what it meets"
                );
            }
            Step::Deliver(to, from, count) => {
                let log = self.logs[*from].clone();
                // Some of what is there already comes again.
                let start = self.replicas[*to].seen[*from].saturating_sub(1);
                let end = (start + count).clamp(self.replicas[*to].seen[*from], log.len());
                for delta in &log[start..end] {
                    self.merge(*to, delta.clone());
                }
                self.replicas[*to].seen[*from] = end;
            }
            Step::Copy(to, from) => {
                let other = stored(&self.replicas[*from].state);
                let seen = self.replicas[*from].seen;
                self.merge(*to, other);
                for (own, other) in self.replicas[*to].seen.iter_mut().zip(seen) {
                    *own = other.max(*own);
                }
            }
        }
    }

    fn merge(&mut self, to: usize, other: PointState) {
        let replica = &mut self.replicas[to];
        let before = replica.state.clone();
        replica.state = before.clone().merge(other).unwrap();
        // Whether something changed is what the rank says.
        assert_eq!(
            replica.state.rank() == before.rank(),
            replica.state == before
        );
        assert!(replica.state.rank() >= before.rank());
    }

    fn settle(&mut self) -> &PointState {
        for to in 0..WRITERS {
            for from in 0..WRITERS {
                for delta in self.logs[from].clone() {
                    self.merge(to, delta);
                }
            }
        }
        let first = &self.replicas[0].state;
        for replica in &self.replicas[1..] {
            assert_eq!(&replica.state, first);
            assert_eq!(replica.state.value(), first.value());
        }
        first
    }
}

/// The state as it comes back from where its contents are stored beside it.
fn stored(state: &PointState) -> PointState {
    let bytes = state.clone().strip().encode().unwrap();
    let stripped = PointState::decode(&bytes).unwrap();
    let back = match state.value() {
        Some(value) => stripped.fill(value),
        None => stripped,
    };
    assert_eq!(&back, state);
    back
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        (0i64..4).prop_map(Json::from),
        "[ab]".prop_map(Json::from),
        Just(json!([1, "a"])),
        Just(json!({})),
        Just(Json::Null),
        Just(json!(1.5)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        scalar(),
        proptest::collection::btree_map("[ab]", scalar(), 0..3).prop_map(|map| json!(map)),
    ];
    let payload = proptest::collection::btree_map("[abc]", field, 0..3);
    let vectors = proptest::collection::btree_map("[vw]", any::<u8>(), 0..3);
    (payload, vectors).prop_map(|(payload, vectors)| Value {
        payload: payload.into_iter().collect(),
        vectors: vectors
            .into_iter()
            .map(|(name, byte)| (name, Blob([byte].into())))
            .collect(),
    })
}

fn field_op() -> impl Strategy<Value = FieldOp> {
    let path = proptest::collection::vec("[abc]", 1..3);
    let elements = || {
        proptest::collection::vec(
            prop_oneof![Just(json!(1)), Just(json!("a")), Just(json!("z"))],
            1..3,
        )
    };
    (path, -3i64..4, elements(), 0..3).prop_map(|(path, by, elements, kind)| match kind {
        0 => FieldOp::Increment { path, by },
        1 => FieldOp::Add { path, elements },
        _ => FieldOp::Remove { path, elements },
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        2 => value().prop_map(Op::Put),
        3 => value().prop_map(Op::Edit),
        1 => Just(Op::Delete),
        4 => field_op().prop_map(Op::Adjust),
    ];
    let step = prop_oneof![
        4 => (0..WRITERS, 0u64..50, op).prop_map(|(w, skew, op)| Step::Write(w, skew, op)),
        3 => (0..WRITERS, 0..WRITERS, 0usize..4).prop_map(|(to, from, n)| Step::Deliver(to, from, n)),
        1 => (0..WRITERS, 0..WRITERS).prop_map(|(to, from)| Step::Copy(to, from)),
    ];
    proptest::collection::vec(step, 0..40)
}

fn policy() -> impl Strategy<Value = Policy> {
    proptest::sample::select(Policy::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn replicas_converge(policy in policy(), steps in steps()) {
        World::run(policy, &steps).settle();
    }

    /// In any order, any number of times, in any grouping.
    #[test]
    fn merging_is_a_join(policy in policy(), steps in steps(), order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let mut world = World::run(policy, &steps);
        let settled = world.settle().clone();
        let mut pieces: Vec<PointState> = world.logs.concat();
        pieces.extend(world.replicas.iter().map(|r| r.state.clone()));
        let merge = |a: &PointState, b: &PointState| a.clone().merge(b.clone()).unwrap();
        for three in order.chunks_exact(3) {
            let [a, b, c] = [0, 1, 2].map(|i| &pieces[three[i].index(pieces.len())]);
            prop_assert_eq!(merge(a, b), merge(b, a));
            prop_assert_eq!(merge(&merge(a, b), c), merge(a, &merge(b, c)));
            prop_assert_eq!(&merge(a, a), a);
        }
        let mut shuffled = PointState::new(policy);
        for at in &order {
            shuffled = merge(&shuffled, &pieces[at.index(pieces.len())]);
        }
        for delta in world.logs.concat().iter().rev() {
            shuffled = merge(&shuffled, delta);
        }
        prop_assert_eq!(shuffled, settled);
    }

    /// What every writer deleted after it saw everything stays deleted, whatever comes again.
    #[test]
    fn deletions_do_not_resurrect(policy in policy(), steps in steps()) {
        let mut world = World::run(policy, &steps);
        let settled = world.settle().clone();
        let stamp = world.clocks[0].tick(2_000_000, settled.newest()).unwrap();
        let deleted = settled.clone().merge(settled.delete(stamp, None)).unwrap();
        prop_assert!(!deleted.exists());
        prop_assert!(deleted.siblings().is_empty());
        let mut again = stored(&deleted);
        for delta in world.logs.concat() {
            again = again.merge(delta).unwrap();
        }
        prop_assert_eq!(again, deleted);
    }

    /// Every increment that no write of the field took back counts.
    #[test]
    fn counters_lose_nothing(adds in proptest::collection::vec((0..WRITERS, -5i64..6, 0usize..3), 0..20)) {
        let start = Value { payload: [("n".to_owned(), json!(10))].into_iter().collect(), ..Value::default() };
        let mut steps = vec![Step::Write(0, 0, Op::Put(start)), Step::Deliver(1, 0, 9), Step::Deliver(2, 0, 9)];
        for (writer, by, other) in &adds {
            steps.push(Step::Write(*writer, 0, Op::Adjust(FieldOp::Increment { path: vec!["n".into()], by: *by })));
            steps.push(Step::Deliver(*other, *writer, 2));
        }
        let mut world = World::run(Policy::Crdt, &steps);
        let value = world.settle().value().unwrap();
        prop_assert_eq!(&value.payload["n"], &json!(10 + adds.iter().map(|a| a.1).sum::<i64>()));
    }

    #[test]
    fn random_bytes_are_errors_or_states(kind in 0u8..3, mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        bytes.splice(0..0, [1, kind]);
        if let Ok(state) = PointState::decode(&bytes) {
            let _shown = (state.value(), state.rank(), state.siblings());
        }
    }
}

fn point(pairs: Json) -> Value {
    Value {
        payload: pairs.as_object().unwrap().clone(),
        vectors: BTreeMap::new(),
    }
}

struct Two {
    clocks: [Clock; 2],
    now: u64,
}

impl Two {
    fn new() -> Self {
        let clock = |name| Clock::new(Writer::named(name), Clock::MAX_DRIFT_MS);
        Self {
            clocks: [clock("a"), clock("b")],
            now: 1_000_000,
        }
    }

    fn stamp(&mut self, who: usize, seen: &PointState) -> brainy_conflict::Stamp {
        self.now += 1;
        self.clocks[who].tick(self.now, seen.newest()).unwrap()
    }
}

#[test]
fn concurrent_versions_stay_until_a_write_that_saw_them() {
    let mut two = Two::new();
    let base = PointState::new(Policy::VectorClock);
    let base = base.put(&point(json!({"v": 0})), two.stamp(0, &base), None);
    let merge = |a: &PointState, b: PointState| a.clone().merge(b).unwrap();
    let left = merge(
        &base,
        base.put(&point(json!({"v": 1})), two.stamp(0, &base), None),
    );
    let right = merge(
        &base,
        base.put(&point(json!({"v": 2})), two.stamp(1, &base), None),
    );
    let both = merge(&left, right.clone());
    assert_eq!(
        both.value().unwrap().payload["v"],
        2,
        "the later one is shown"
    );
    let siblings = both.siblings();
    assert_eq!(siblings.len(), 1, "what both replaced is gone");
    assert_eq!(siblings[0].value.as_ref().unwrap().payload["v"], 1);
    // Who saw only the left one replaces only that.
    let seen = left.context();
    let third = merge(
        &both,
        both.put(&point(json!({"v": 3})), two.stamp(0, &both), Some(&seen)),
    );
    assert_eq!(third.value().unwrap().payload["v"], 3);
    assert_eq!(third.siblings().len(), 1);
    let resolved = merge(
        &third,
        third.put(
            &point(json!({"v": 4})),
            two.stamp(1, &third),
            Some(&third.context()),
        ),
    );
    assert!(resolved.siblings().is_empty());
    assert_eq!(
        merge(&resolved, right),
        resolved,
        "what was resolved does not come back"
    );
}

#[test]
fn deletions_replace_what_they_saw() {
    let mut two = Two::new();
    let empty = PointState::new(Policy::VectorClock);
    let base = empty.put(&point(json!({"v": 0})), two.stamp(0, &empty), None);
    let edited = base.put(&point(json!({"v": 1})), two.stamp(1, &base), None);
    let deleted = base.delete(two.stamp(0, &base), None);
    let both = edited.merge(deleted).unwrap();
    assert_eq!(
        both.value().unwrap().payload["v"],
        1,
        "the write did not see the deletion"
    );
    assert_eq!(both.siblings().len(), 1);
    assert_eq!(both.siblings()[0].value, None);
}

#[test]
fn sets_keep_what_is_added_while_it_is_removed() {
    let mut two = Two::new();
    let empty = PointState::new(Policy::Crdt);
    let base = empty.put(
        &point(json!({"tags": ["x", "y"]})),
        two.stamp(0, &empty),
        None,
    );
    let tags = || vec!["tags".to_owned()];
    let ops = |add: &[&str], remove: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|t| json!(t)).collect();
        vec![
            FieldOp::Remove {
                path: tags(),
                elements: texts(remove),
            },
            FieldOp::Add {
                path: tags(),
                elements: texts(add),
            },
        ]
    };
    let left = base.adjust(&ops(&["x"], &[]), two.stamp(0, &base)).unwrap();
    let right = base
        .adjust(&ops(&["z"], &["x", "y"]), two.stamp(1, &base))
        .unwrap();
    let both = base.merge(left).unwrap().merge(right).unwrap();
    assert_eq!(both.value().unwrap().payload["tags"], json!(["x", "z"]));
    let without = both.adjust(&ops(&[], &["x"]), two.stamp(0, &both)).unwrap();
    let both = both.merge(without).unwrap();
    assert_eq!(both.value().unwrap().payload["tags"], json!(["z"]));
}

#[test]
fn fields_merge_one_by_one_and_edits_do_not_undo_deletions() {
    let mut two = Two::new();
    let empty = PointState::new(Policy::Crdt);
    let base = empty.put(
        &point(json!({"a": 1, "b": {"c": 1, "d": 1}})),
        two.stamp(0, &empty),
        None,
    );
    let left = base.edit(
        &point(json!({"a": 2, "b": {"c": 1}})),
        two.stamp(0, &base),
        None,
    );
    let right = base.edit(
        &point(json!({"a": 1, "b": {"c": 5, "d": 1}, "e": []})),
        two.stamp(1, &base),
        None,
    );
    let both = base
        .clone()
        .merge(left)
        .unwrap()
        .merge(right.clone())
        .unwrap();
    assert_eq!(
        Json::Object(both.value().unwrap().payload),
        json!({"a": 2, "b": {"c": 5}, "e": []})
    );
    let deleted = both
        .clone()
        .merge(both.delete(two.stamp(0, &both), None))
        .unwrap();
    let late = both.edit(&point(json!({"a": 9})), two.stamp(1, &both), None);
    let edited = deleted.clone().merge(late).unwrap();
    assert!(!edited.exists());
    // An upsert that did not know of the deletion is whole.
    let upsert = both.put(
        &point(json!({"a": 2, "b": {"c": 5}})),
        two.stamp(1, &both),
        None,
    );
    let whole = edited.merge(upsert).unwrap();
    assert_eq!(
        Json::Object(whole.value().unwrap().payload),
        json!({"a": 2, "b": {"c": 5}})
    );
}

#[test]
fn fields_of_other_kinds_are_refused_by_name() {
    let mut two = Two::new();
    let empty = PointState::new(Policy::Crdt);
    let base = empty.put(
        &point(json!({"text": "x", "list": [1], "deep": {"n": 1}})),
        two.stamp(0, &empty),
        None,
    );
    let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let increment = |text: &str| FieldOp::Increment {
        path: path(text),
        by: 1,
    };
    let add = |text: &str, element: Json| FieldOp::Add {
        path: path(text),
        elements: vec![element],
    };
    for (op, part) in [
        (increment("text"), "'text' is not a number"),
        (increment("text.n"), "'text.n' lies below"),
        (increment("deep"), "'deep' is not a number"),
        (add("deep.n", json!(1)), "'deep.n' is not a list"),
        (add("list", json!({})), "elements of a set"),
        (add("list", json!(0.5)), "elements of a set"),
    ] {
        let error = base
            .adjust(&[op], two.stamp(0, &base))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    let counter = PointState::new(Policy::LastWriteWins);
    let error = counter
        .adjust(&[increment("n")], two.stamp(0, &counter))
        .unwrap_err();
    assert!(error.to_string().contains("last-write-wins"), "{error}");
}

#[test]
fn states_of_another_policy_or_format_are_refused_by_name() {
    let states = Policy::ALL.map(PointState::new);
    for a in &states {
        for b in &states {
            let merged = a.clone().merge(b.clone());
            assert_eq!(merged.is_ok(), a.policy() == b.policy());
        }
        let mut bytes = a.encode().unwrap();
        assert_eq!(PointState::decode(&bytes).as_ref(), Ok(a));
        for cut in 0..bytes.len() {
            assert!(PointState::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes.push(0);
        assert!(PointState::decode(&bytes).is_err());
        bytes[0] = 7;
        let error = PointState::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("format 7"), "{error}");
    }
    assert_eq!(Hlc::at(5).millis(), 5);
}
