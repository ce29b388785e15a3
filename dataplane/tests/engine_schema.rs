//! Collections that gain and lose vectors while points are written, flushed, merged, loaded and replayed: whatever a partition
//! went through, it holds what a plain map holds.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise, like tests"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, SparseParams, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{
    BuildOptions, Change, EngineError, LogEntry, OpenOptions, PartitionState, PointView, Segment,
};
use brainy_dataplane::model::{Point, PointId, SearchRequest, SparseVector, Vector, Vectors};
use proptest::prelude::*;
use tempfile::TempDir;

const NAMES: [&str; 3] = ["a", "b", "c"];
const IDS: u64 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// Of each name whether the point gets a value.
    Put(u64, [bool; 3]),
    Delete(u64),
    /// Adds the name if it is not there; dense with so many dimensions or, for none, sparse.
    Add(usize, Option<u32>),
    Drop(usize),
    /// Other parameters of graphs and codes.
    Tune(u32),
    Flush,
    Merge,
    /// Starts from the segments and the log, knowing this version of the schema at first: the newest, or that of the segments.
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..IDS, any::<[bool; 3]>()).prop_map(|(id, has)| Step::Put(id, has)),
        1 => (0..IDS).prop_map(Step::Delete),
        3 => (0..3usize, prop_oneof![Just(None), (1..4u32).prop_map(Some)]).prop_map(|(n, k)| Step::Add(n, k)),
        2 => (0..3usize).prop_map(Step::Drop),
        1 => (4..40u32).prop_map(Step::Tune),
        3 => Just(Step::Flush),
        1 => Just(Step::Merge),
        2 => any::<bool>().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

struct Owner {
    dir: TempDir,
    schema: VectorSchema,
    state: PartitionState,
    segments: Vec<Arc<Segment>>,
    applied: LogPosition,
    log: Vec<(LogPosition, LogEntry)>,
    next: LogPosition,
    model: BTreeMap<PointId, Vectors>,
    /// Makes values differ.
    written: u32,
}

impl Owner {
    fn new() -> Self {
        let schema = VectorSchema {
            vectors: BTreeMap::from([("a".to_owned(), DenseParams::new(2, Distance::Dot))]),
            ..VectorSchema::default()
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: PartitionState::new(schema.clone()),
            schema,
            segments: Vec::new(),
            applied: LogPosition::default(),
            log: Vec::new(),
            next: LogPosition::new(1, 1),
            model: BTreeMap::new(),
            written: 0,
        }
    }

    fn vector(&self, name: &str) -> Option<Vector> {
        let value = self.written as f32;
        if let Some(params) = self.schema.vectors.get(name) {
            return Some(vec![value; params.size as usize].into());
        }
        self.schema.sparse_vectors.get(name)?;
        let sparse = SparseVector::new(vec![1, 1 + self.written % 3 + 1], vec![value, 1.0]);
        Some(sparse.unwrap().into())
    }

    fn write(&mut self, change: Change) {
        let entry = LogEntry {
            schema: self.schema.version,
            changes: vec![change],
        };
        self.state
            .replay(self.next, std::slice::from_ref(&entry))
            .unwrap();
        self.log.push((self.next, entry));
        self.next = self.next.next();
    }

    fn change_schema(&mut self, edit: impl FnOnce(&mut VectorSchema, u64)) {
        let before = self.schema.clone();
        edit(&mut self.schema, before.version + 1);
        if self.schema != before {
            self.schema.version = before.version + 1;
        }
        self.state.adopt_schema(&self.schema).unwrap();
        for vectors in self.model.values_mut() {
            let kept = std::mem::take(vectors).into_iter();
            *vectors = kept
                .filter(|(name, _)| self.schema.since(name).is_some())
                .collect();
        }
    }

    fn open(&self, meta: &brainy_coordination::partition::SegmentMeta) -> Arc<Segment> {
        let dir = self.dir.path().join(meta.id.as_str());
        Arc::new(Segment::open(&dir, meta, OpenOptions { resident: true }).unwrap())
    }

    fn install(&mut self, segments: Vec<Arc<Segment>>) {
        self.state.install(segments.clone(), self.applied).unwrap();
        self.segments = segments;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(id, has) => {
                self.written += 1;
                let named = NAMES.iter().zip(has).filter(|(_, has)| **has);
                let vectors: Vectors = named
                    .filter_map(|(name, _)| Some(((*name).to_owned(), self.vector(name)?)))
                    .collect();
                let id = PointId::Num(*id);
                self.model.insert(id, vectors.clone());
                self.write(Change::Put(Point {
                    id,
                    vectors,
                    payload: serde_json::Map::new(),
                }));
            }
            Step::Delete(id) => {
                let id = PointId::Num(*id);
                self.model.remove(&id);
                self.write(Change::Delete(id));
            }
            Step::Add(name, kind) => self.change_schema(|schema, since| {
                let name = NAMES[*name].to_owned();
                if schema.since(&name).is_some() {
                    return;
                }
                match kind {
                    Some(size) => {
                        let params = DenseParams::new(*size, Distance::Dot);
                        schema.vectors.insert(name, DenseParams { since, ..params });
                    }
                    None => {
                        let params = SparseParams { since, idf: false };
                        schema.sparse_vectors.insert(name, params);
                    }
                }
            }),
            Step::Drop(name) => self.change_schema(|schema, _| {
                schema.vectors.remove(NAMES[*name]);
                schema.sparse_vectors.remove(NAMES[*name]);
            }),
            Step::Tune(m) => self.change_schema(|schema, _| {
                schema.vectors.values_mut().for_each(|p| p.hnsw.m = *m);
            }),
            Step::Flush => {
                let Some(frozen) = self.state.freeze() else {
                    return;
                };
                let id = SegmentId::generate(1);
                let dir = self.dir.path().join(id.as_str());
                let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
                let mut segments = self.segments.clone();
                segments.push(self.open(&meta));
                self.applied = frozen.position();
                self.install(segments);
            }
            Step::Merge => {
                let inputs: Vec<_> = self.segments.iter().map(|s| s.id().clone()).collect();
                if inputs.is_empty() {
                    return;
                }
                let id = SegmentId::generate(1);
                let dir = self.dir.path().join(id.as_str());
                let merged = self.state.merge(&inputs, id, &dir, BuildOptions::default());
                let merged = merged.unwrap().map(|meta| self.open(&meta));
                self.install(merged.into_iter().collect());
            }
            Step::Restart(newest) => {
                let first = VectorSchema {
                    version: 0,
                    ..Owner::new().schema
                };
                let known = if *newest { self.schema.clone() } else { first };
                self.state = PartitionState::new(known);
                let metas: Vec<_> = self.segments.iter().map(|s| s.meta().clone()).collect();
                let segments = metas.iter().map(|meta| self.open(meta)).collect();
                self.install(segments);
                for (position, entry) in &self.log {
                    let done = self.state.replay(*position, std::slice::from_ref(entry));
                    if let Err(EngineError::NewerSchema { .. }) = done {
                        // What a node does that has not heard of a change: it looks at the manifest, and goes on.
                        self.state.adopt_schema(&self.schema).unwrap();
                        self.state
                            .replay(*position, std::slice::from_ref(entry))
                            .unwrap();
                    } else {
                        done.unwrap();
                    }
                }
                self.state.adopt_schema(&self.schema).unwrap();
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(&*self.state.schema(), &self.schema);
        for id in (0..IDS).map(PointId::Num) {
            let found = self.state.get(id).unwrap().map(|point| point.vectors);
            prop_assert_eq!(found.as_ref(), self.model.get(&id), "point {}", id);
        }
        for name in NAMES {
            let having = self.model.iter().filter(|(_, v)| v.get(name).is_some());
            let expected: Vec<PointId> = having.map(|(id, _)| *id).collect();
            let Some(vector) = self.vector(name) else {
                let request = SearchRequest {
                    using: name.to_owned(),
                    ..SearchRequest::new(vec![0.0], 5)
                };
                prop_assert!(self.state.search(&request).is_err());
                continue;
            };
            let request = SearchRequest {
                using: name.to_owned(),
                exact: true,
                ..SearchRequest::new(vector, 100)
            };
            let hits = self.state.search(&request).unwrap();
            let mut found: Vec<PointId> = hits.iter().map(|hit| hit.record.id).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected, "vectors '{}'", name);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_holds_what_a_map_holds(steps in steps()) {
        let mut owner = Owner::new();
        for step in &steps {
            owner.step(step);
            owner.check()?;
        }
    }
}

#[test]
fn entries_of_a_schema_that_is_not_known_yet_wait() {
    let state = PartitionState::new(VectorSchema::default());
    let entry = LogEntry {
        schema: 1,
        changes: vec![Change::Delete(PointId::Num(1))],
    };
    let at = LogPosition::new(1, 1);
    let error = state.replay(at, std::slice::from_ref(&entry)).unwrap_err();
    assert!(error.to_string().contains("version 1"), "{error}");
    assert_eq!(state.position(), LogPosition::default());
    let newer = VectorSchema {
        version: 1,
        ..VectorSchema::default()
    };
    state.adopt_schema(&newer).unwrap();
    state.replay(at, &[entry]).unwrap();
    assert_eq!(state.position(), at);
}
