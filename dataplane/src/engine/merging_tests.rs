use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;
use crate::engine::change::{decode, encode};
use crate::engine::{BuildOptions, OpenOptions, Segment};
use crate::model::{
    CountRequest, FieldChange, PayloadSelector, ScrollRequest, Selector, UpdateMode, VectorSelector,
};

fn schema() -> VectorSchema {
    VectorSchema::unnamed(DenseParams::new(2, Distance::Euclid))
}

/// Instances that write, the one log that their writes are copied into, and replicas of it.
struct World {
    policy: Policy,
    writers: Vec<LaneWriter>,
    /// Of each instance what it wrote and nobody copied yet.
    lanes: Vec<Vec<Vec<u8>>>,
    /// What each writer may have staged.
    staged: Vec<Vec<(u64, Vec<Change>)>>,
    log: Vec<Vec<u8>>,
    replicas: Vec<PartitionState>,
    dir: TempDir,
    segments: Vec<Arc<Segment>>,
    applied: LogPosition,
    now: u64,
    tickets: u64,
}

impl World {
    fn new(policy: Policy) -> Self {
        let names = ["a", "b"];
        Self {
            policy,
            writers: names
                .map(|name| LaneWriter::new(policy, Writer::named(name)))
                .into(),
            lanes: vec![Vec::new(); 2],
            staged: vec![Vec::new(); 2],
            log: Vec::new(),
            replicas: (0..2).map(|_| PartitionState::new(schema())).collect(),
            dir: tempfile::tempdir().unwrap(),
            segments: Vec::new(),
            applied: LogPosition::default(),
            now: 1_000_000,
            tickets: 0,
        }
    }

    fn write(&mut self, who: usize, op: &WriteOp) -> Result<(), StageError> {
        self.now += 1;
        self.tickets += 1;
        let base = &self.replicas[who];
        let changes = self.writers[who].stage(self.tickets, op, base, self.now)?;
        self.lanes[who].push(encode(base.schema().version, &changes).unwrap().to_vec());
        self.staged[who].push((self.tickets, changes));
        Ok(())
    }

    /// Copies the oldest entries of a lane into the log.
    fn copy(&mut self, who: usize, count: usize) {
        let count = count.min(self.lanes[who].len());
        self.log.extend(self.lanes[who].drain(..count));
    }

    /// A replica reads the log.
    fn follow(&mut self, who: usize) {
        let from = self.replicas[who].position().seq as usize;
        for (at, entry) in self.log.iter().enumerate().skip(from) {
            let position = LogPosition::new(1, at as u64 + 1);
            let entry = decode(entry).unwrap();
            self.replicas[who].replay(position, &[entry]).unwrap();
        }
    }

    /// Replica 0 owns the partition: it turns what it knows into a segment.
    fn flush(&mut self) {
        let Some(frozen) = self.replicas[0].freeze() else {
            return;
        };
        let id = SegmentId::generate(self.now);
        let dir = self.dir.path().join(id.as_str());
        let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
        self.now += 1;
        let open = OpenOptions { resident: true };
        self.segments
            .push(Arc::new(Segment::open(&dir, &meta, open).unwrap()));
        self.applied = frozen.position();
        self.install(0);
    }

    fn merge_segments(&mut self) {
        let inputs: Vec<_> = self.segments.iter().map(|s| s.id().clone()).collect();
        let id = SegmentId::generate(self.now);
        self.now += 1;
        let dir = self.dir.path().join(id.as_str());
        let options = BuildOptions::default();
        let meta = self.replicas[0].merge(&inputs, id, &dir, options).unwrap();
        let open = OpenOptions { resident: true };
        self.segments = meta
            .map(|meta| Arc::new(Segment::open(&dir, &meta, open).unwrap()))
            .into_iter()
            .collect();
        self.install(0);
    }

    fn install(&self, who: usize) {
        let replica = &self.replicas[who];
        replica
            .install(self.segments.clone(), self.applied)
            .unwrap();
    }

    fn settle(&mut self) {
        for who in 0..2 {
            self.copy(who, usize::MAX);
        }
        for who in 0..2 {
            self.follow(who);
            for (ticket, changes) in self.staged[who].drain(..) {
                self.writers[who].forget(ticket, &changes);
            }
            assert!(self.writers[who].pending.is_empty());
        }
    }

    fn state(&self, who: usize, id: u64) -> PointState {
        let state = self.replicas[who].point_state(PointId::Num(id), self.policy);
        state.unwrap()
    }

    fn payload(&self, who: usize, id: u64) -> Option<Json> {
        let point = self.replicas[who].get(PointId::Num(id)).unwrap();
        point.map(|p| Json::Object(p.payload))
    }
}

fn upsert(id: u64, payload: Json) -> WriteOp {
    WriteOp::Upsert(vec![Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![id as f32, 1.0]),
        payload: payload.as_object().unwrap().clone(),
    }])
}

fn ids(id: u64) -> Selector {
    Selector::Ids(vec![PointId::Num(id)])
}

fn set(id: u64, payload: Json) -> WriteOp {
    WriteOp::SetPayload {
        selector: ids(id),
        payload: payload.as_object().unwrap().clone(),
        key: None,
    }
}

fn increment(id: u64, by: i64) -> WriteOp {
    WriteOp::Adjust {
        selector: ids(id),
        ops: vec![FieldChange::Increment {
            path: "n".into(),
            by,
        }],
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, WriteOp),
    Copy(usize, usize),
    Follow(usize),
    Flush,
    Merge,
    Install,
    /// A replica begins anew from the segments.
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = (0u64..3, 0i64..5, 0..6).prop_map(|(id, n, kind)| match kind {
        0 | 1 => upsert(id, json!({"n": n})),
        2 => set(id, json!({"n": n, "m": {"x": n}})),
        3 => WriteOp::Delete(ids(id)),
        4 => WriteOp::UpsertIf {
            points: match upsert(id, json!({"first": n})) {
                WriteOp::Upsert(points) => points,
                _ => Vec::new(),
            },
            mode: UpdateMode::InsertOnly,
            filter: None,
        },
        _ => increment(id, n),
    });
    let step = prop_oneof![
        6 => (0..2usize, op).prop_map(|(who, op)| Step::Write(who, op)),
        3 => (0..2usize, 1..4usize).prop_map(|(who, n)| Step::Copy(who, n)),
        3 => (0..2usize).prop_map(Step::Follow),
        1 => Just(Step::Flush),
        1 => Just(Step::Merge),
        1 => Just(Step::Install),
        1 => (0..2usize).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is flushed, merged, loaded and replayed meanwhile, replicas end up with the states that merging all writes gives, and
    /// show what those say.
    #[test]
    fn replicas_hold_what_merging_all_writes_gives(
        policy in proptest::sample::select(Policy::ALL.to_vec()),
        steps in steps(),
    ) {
        let mut world = World::new(policy);
        for step in &steps {
            match step {
                Step::Write(who, op) => match world.write(*who, op) {
                    Ok(()) | Err(StageError::Field { .. }) => {}
                    Err(error) => panic!("{error}"),
                },
                Step::Copy(who, count) => world.copy(*who, *count),
                Step::Follow(who) => world.follow(*who),
                Step::Flush => world.flush(),
                Step::Merge => world.merge_segments(),
                Step::Install => world.install(1),
                Step::Restart(who) => {
                    world.replicas[*who] = PartitionState::new(schema());
                    world.install(*who);
                }
            }
        }
        world.settle();
        let mut expected: BTreeMap<PointId, PointState> = BTreeMap::new();
        for entry in &world.log {
            for change in decode(entry).unwrap().changes {
                let Change::Merge(id, delta) = change else { panic!("{change:?}") };
                let before = expected.remove(&id).unwrap_or_else(|| PointState::new(policy));
                expected.insert(id, before.merge(delta.decode().unwrap()).unwrap());
            }
        }
        let live: Vec<PointId> = expected.iter().filter(|(_, s)| s.exists()).map(|(id, _)| *id).collect();
        for replica in &world.replicas {
            for (id, state) in &expected {
                prop_assert_eq!(&replica.point_state(*id, policy).unwrap(), state);
                let shown = state.value().map(|value| point_of(*id, value).unwrap());
                prop_assert_eq!(replica.get(*id).unwrap(), shown);
            }
            prop_assert_eq!(replica.count(&CountRequest { filter: None }).unwrap(), live.len());
            let page = replica.scroll(&ScrollRequest {
                filter: None,
                limit: 10,
                offset: None,
                with_payload: PayloadSelector::None,
                with_vector: VectorSelector::None,
            });
            let shown: Vec<PointId> = page.unwrap().records.iter().map(|r| r.id).collect();
            prop_assert_eq!(&shown, &live);
        }
    }
}

#[test]
fn an_instance_builds_on_its_own_writes_before_they_are_merged() {
    let mut world = World::new(Policy::Crdt);
    world.write(0, &upsert(1, json!({"n": 5}))).unwrap();
    world.write(0, &increment(1, 2)).unwrap();
    world.write(0, &increment(1, 3)).unwrap();
    assert_eq!(world.writers[0].pending[&PointId::Num(1)].len(), 3);
    world.settle();
    world.write(1, &increment(1, 10)).unwrap();
    world.write(0, &increment(1, 100)).unwrap();
    world.settle();
    for who in 0..2 {
        assert_eq!(world.payload(who, 1), Some(json!({"n": 120})));
    }
}

#[test]
fn what_is_found_in_the_log_after_a_restart_is_built_on() {
    let mut world = World::new(Policy::Crdt);
    world.write(0, &upsert(1, json!({"n": 0}))).unwrap();
    world.write(0, &increment(1, 2)).unwrap();
    world.writers[0] = LaneWriter::new(Policy::Crdt, Writer::named("a"));
    for ((ticket, _), entry) in world.staged[0].iter().zip(&world.lanes[0]) {
        let found = decode(entry).unwrap();
        world.writers[0].found(*ticket, &found.changes).unwrap();
    }
    world.write(0, &increment(1, 3)).unwrap();
    world.settle();
    assert_eq!(world.payload(1, 1), Some(json!({"n": 5})));
}

#[test]
fn a_write_that_will_never_be_logged_is_forgotten() {
    let mut world = World::new(Policy::Crdt);
    world.write(0, &upsert(1, json!({"n": 0}))).unwrap();
    world.settle();
    world.write(0, &increment(1, 7)).unwrap();
    world.lanes[0].clear();
    for (ticket, changes) in world.staged[0].drain(..) {
        world.writers[0].forget(ticket, &changes);
    }
    world.write(0, &increment(1, 1)).unwrap();
    world.settle();
    assert_eq!(world.payload(0, 1), Some(json!({"n": 1})));
}

#[test]
fn a_write_with_the_context_of_a_read_resolves_what_it_saw() {
    let mut world = World::new(Policy::VectorClock);
    world.write(0, &upsert(1, json!({"v": "a"}))).unwrap();
    world.write(1, &upsert(1, json!({"v": "b"}))).unwrap();
    world.settle();
    let state = world.state(0, 1);
    assert_eq!(state, world.state(1, 1));
    assert_eq!(world.payload(0, 1), Some(json!({"v": "b"})));
    assert_eq!(state.siblings().len(), 1);
    let context = state.context();
    let seeing = |op| WriteOp::Seeing {
        context: context.clone(),
        op: Box::new(op),
    };
    let two = WriteOp::Delete(Selector::Ids(vec![PointId::Num(1), PointId::Num(2)]));
    world.write(0, &upsert(2, json!({}))).unwrap();
    let error = world.write(0, &seeing(two)).unwrap_err().to_string();
    assert!(error.contains("the write changes 2"), "{error}");
    world
        .write(0, &seeing(upsert(1, json!({"v": "both"}))))
        .unwrap();
    world.settle();
    assert!(world.state(1, 1).siblings().is_empty());
    assert_eq!(world.payload(1, 1), Some(json!({"v": "both"})));
}

#[test]
fn deletions_outlive_merges_of_segments_until_they_are_old() {
    let mut world = World::new(Policy::LastWriteWins);
    world.write(0, &upsert(1, json!({"v": 1}))).unwrap();
    world.settle();
    // The other instance writes what nobody copies for a long time.
    world.write(1, &set(1, json!({"v": 2}))).unwrap();
    world.write(0, &WriteOp::Delete(ids(1))).unwrap();
    world.copy(0, 1);
    world.follow(0);
    world.flush();
    world.merge_segments();
    assert_eq!(
        world.segments[0].meta().tombstones,
        1,
        "kept for late writes"
    );
    world.settle();
    assert_eq!(world.payload(0, 1), None, "the deletion was later");
    world.flush();
    world.replicas[0].forget_deletions_before(world.now + 1);
    world.merge_segments();
    assert!(world.segments.is_empty());
    assert_eq!(world.state(0, 1), PointState::new(Policy::LastWriteWins));
}

#[test]
fn points_from_before_several_instances_wrote_are_older_than_all() {
    for policy in Policy::ALL {
        let mut world = World::new(policy);
        let WriteOp::Upsert(points) = upsert(1, json!({"n": 4, "old": true})) else {
            panic!("an upsert");
        };
        let puts: Vec<Change> = points.into_iter().map(Change::Put).collect();
        world.log.push(encode(0, &puts).unwrap().to_vec());
        world.settle();
        world.flush();
        world.write(1, &set(1, json!({"n": 5}))).unwrap();
        world.settle();
        for who in 0..2 {
            assert_eq!(world.payload(who, 1), Some(json!({"n": 5, "old": true})));
            assert!(world.state(who, 1).siblings().is_empty());
        }
    }
}

#[test]
fn another_cluster_that_reads_only_merges_comes_to_the_same() {
    for policy in Policy::ALL {
        let ops = [
            set(1, json!({"n": 5})),
            upsert(1, json!({"new": 1})),
            WriteOp::Delete(ids(1)),
            increment(1, 3),
        ];
        let ops = ops.into_iter();
        for op in ops.take(if policy == Policy::Crdt { 4 } else { 3 }) {
            let mut world = World::new(policy);
            let WriteOp::Upsert(points) = upsert(1, json!({"n": 4, "old": true})) else {
                panic!("an upsert");
            };
            let puts: Vec<Change> = points.into_iter().map(Change::Put).collect();
            world.log.push(encode(0, &puts).unwrap().to_vec());
            world.settle();
            world.write(1, &op).unwrap();
            world.settle();
            let other = PartitionState::new(schema()).of_cluster(Writer(77));
            for entry in &world.log {
                for change in decode(entry).unwrap().changes {
                    let Change::Merge(id, delta) = change else {
                        continue;
                    };
                    let delta = delta.decode().unwrap();
                    let news = other.incoming(id, &delta, policy, world.now).unwrap();
                    let at = LogPosition::new(1, other.position().seq + 1);
                    other.apply(at, &[news.unwrap()]).unwrap();
                }
            }
            let theirs = other.point_state(PointId::Num(1), policy).unwrap();
            assert_eq!(theirs, world.state(0, 1), "{policy} {op:?}");
            let shown = other.get(PointId::Num(1)).unwrap();
            assert_eq!(shown, world.replicas[0].get(PointId::Num(1)).unwrap());
        }
    }
}

#[test]
fn what_a_policy_lacks_is_refused_by_name() {
    let mut world = World::new(Policy::LastWriteWins);
    world.write(0, &upsert(1, json!({"n": 4}))).unwrap();
    let error = world.write(0, &increment(1, 1)).unwrap_err().to_string();
    assert!(error.contains("--conflict-resolution crdt"), "{error}");
    let seeing = WriteOp::Seeing {
        context: VectorClock::default(),
        op: Box::new(upsert(1, json!({}))),
    };
    let error = world.write(0, &seeing).unwrap_err().to_string();
    assert!(error.contains("vector-clock"), "{error}");
    let error = resolve(&seeing, &world.replicas[0])
        .unwrap_err()
        .to_string();
    assert!(error.contains("--multi-writer"), "{error}");
}
