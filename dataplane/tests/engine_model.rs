//! The engine against a plain map: any sequence of writes, freezes, flushes, merges, reader-style installs and restarts
//! leaves the same points, counts, pages and exact search results as the map has. Points have any of a dense vector, a
//! list of them and a sparse one.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, SparseParams, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::distance::{normalise, score};
use brainy_dataplane::engine::payload_index::{FieldKind, PayloadSchema};
use brainy_dataplane::engine::{
    BuildOptions, Change, Frozen, OpenOptions, PartitionState, PointView, Segment,
};
use brainy_dataplane::model::{
    Condition, CountRequest, FieldCondition, Filter, MatchValue, MultiVector, PayloadSelector,
    Point, PointId, RetrieveRequest, Scalar, ScrollRequest, SearchRequest, SparseVector, Vector,
    VectorSelector, Vectors,
};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

const SIZE: usize = 3;

/// Components of each vector of a list.
const LIST_SIZE: usize = 2;

fn schema(measure: Distance) -> VectorSchema {
    let lists = DenseParams {
        multivector: true,
        ..DenseParams::new(LIST_SIZE as u32, measure)
    };
    VectorSchema {
        vectors: BTreeMap::from([
            (String::new(), DenseParams::new(SIZE as u32, measure)),
            ("list".to_owned(), lists),
        ]),
        sparse_vectors: BTreeMap::from([("terms".to_owned(), SparseParams::default())]),
        ..VectorSchema::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>),
    Fence,
    Freeze,
    /// Builds and installs the oldest frozen layer.
    Flush,
    /// Merges every n-th installed segment.
    Merge(usize),
    /// Begins a merge, applies what follows up to the next flush, then installs its result.
    MergeDuring(usize, Vec<Change>),
    /// A new process: opens the manifest's segments and replays the log after them.
    Restart,
    /// The field that all filters are on is indexed as this, or not at all.
    Index(Option<FieldKind>),
    /// A reader that stopped at a fraction of the log catches up by manifest, then by log.
    Reader(f64),
}

fn id(n: u64) -> PointId {
    if n.is_multiple_of(3) {
        PointId::Uuid(Uuid::from_u128(u128::from(n) << 64))
    } else {
        PointId::Num(n)
    }
}

fn floats(count: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((-4i8..4).prop_map(f32::from), count)
}

fn vectors() -> impl Strategy<Value = Vectors> {
    let list = (1usize..4)
        .prop_flat_map(|rows| floats(rows * LIST_SIZE))
        .prop_map(|data| MultiVector::from_flat(LIST_SIZE, data).unwrap());
    let terms = proptest::collection::btree_map(0u32..6, (1i8..4).prop_map(f32::from), 0..4);
    let terms = terms.prop_map(|pairs| {
        let (indices, values) = pairs.into_iter().unzip();
        SparseVector::new(indices, values).unwrap()
    });
    let often = proptest::option::weighted(0.85, floats(SIZE));
    (
        often,
        proptest::option::of(list),
        proptest::option::of(terms),
    )
        .prop_map(|(dense, list, terms)| {
            let dense = dense.map(|v| (String::new(), Vector::Dense(v)));
            let list = list.map(|v| ("list".to_owned(), Vector::Multi(v)));
            let terms = terms.map(|v| ("terms".to_owned(), Vector::Sparse(v)));
            dense.into_iter().chain(list).chain(terms).collect()
        })
}

fn change() -> impl Strategy<Value = Change> {
    let put = (0u64..24, vectors(), 0i64..4).prop_map(|(n, vectors, tag)| {
        Change::Put(Point {
            id: id(n),
            vectors,
            payload: json!({"tag": tag, "n": n}).as_object().unwrap().clone(),
        })
    });
    prop_oneof![3 => put, 1 => (0u64..24).prop_map(|n| Change::Delete(id(n)))]
}

/// The vectors as they are stored.
fn prepared(measure: Distance, vectors: &Vectors) -> Vectors {
    let mut vectors = vectors.clone();
    if measure == Distance::Cosine {
        for (_, vector) in vectors.iter_mut() {
            match vector {
                Vector::Dense(components) => normalise(components),
                Vector::Multi(list) => list.rows_mut().for_each(normalise),
                Vector::Sparse(_) => {}
            }
        }
    }
    vectors
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || proptest::collection::vec(change(), 0..8);
    prop_oneof![
        6 => changes().prop_map(Step::Write),
        1 => Just(Step::Fence),
        2 => Just(Step::Freeze),
        3 => Just(Step::Flush),
        2 => (1usize..4).prop_map(Step::Merge),
        1 => (1usize..4, changes()).prop_map(|(n, c)| Step::MergeDuring(n, c)),
        1 => Just(Step::Restart),
        1 => proptest::option::of(prop_oneof![Just(FieldKind::Integer), Just(FieldKind::Float)]).prop_map(Step::Index),
        1 => (0.0f64..1.0).prop_map(Step::Reader),
    ]
}

/// A partition as its owner keeps it: log, manifest, local files.
struct Owner {
    measure: Distance,
    dir: TempDir,
    state: PartitionState,
    frozen: Vec<Frozen>,
    /// The manifest: segments and the position that they contain.
    manifest: (Vec<Arc<Segment>>, LogPosition),
    log: Vec<(LogPosition, Vec<Change>)>,
    next: LogPosition,
    indexed: PayloadSchema,
    model: BTreeMap<PointId, Point>,
}

impl Owner {
    fn new(measure: Distance) -> Self {
        Self {
            measure,
            dir: tempfile::tempdir().unwrap(),
            state: PartitionState::new(schema(measure)),
            frozen: Vec::new(),
            manifest: (Vec::new(), LogPosition::default()),
            log: Vec::new(),
            next: LogPosition::new(1, 1),
            indexed: PayloadSchema::default(),
            model: BTreeMap::new(),
        }
    }

    fn segment_dir(&self, id: &SegmentId) -> std::path::PathBuf {
        self.dir.path().join(id.as_str())
    }

    fn write(&mut self, changes: &[Change]) {
        self.state.apply(self.next, changes).unwrap();
        self.log.push((self.next, changes.to_vec()));
        self.next = self.next.next();
        for change in changes {
            match change {
                Change::Put(point) => {
                    let mut point = point.clone();
                    point.vectors = prepared(self.measure, &point.vectors);
                    self.model.insert(point.id, point);
                }
                Change::Merge(id, _) => panic!("{id} is not merged here"),
                Change::Delete(id) => {
                    self.model.remove(id);
                }
            }
        }
    }

    fn open(&self, dir: &Path, meta: &brainy_coordination::partition::SegmentMeta) -> Arc<Segment> {
        Arc::new(Segment::open(dir, meta, OpenOptions { resident: true }).unwrap())
    }

    fn publish(&mut self, segments: Vec<Arc<Segment>>, applied: LogPosition) {
        self.state.install(segments.clone(), applied).unwrap();
        self.manifest = (segments, applied);
    }

    fn flush(&mut self) {
        if self.frozen.is_empty() {
            return;
        }
        let frozen = self.frozen.remove(0);
        let id = SegmentId::generate(1);
        let dir = self.segment_dir(&id);
        let meta = frozen.build(id, &dir, BuildOptions::default()).unwrap();
        let mut segments = self.manifest.0.clone();
        segments.push(self.open(&dir, &meta));
        self.publish(segments, frozen.position());
    }

    fn merge(&mut self, every: usize, during: Option<&[Change]>) {
        let inputs: Vec<SegmentId> = self
            .manifest
            .0
            .iter()
            .step_by(every)
            .map(|s| s.id().clone())
            .collect();
        let id = SegmentId::generate(1);
        let dir = self.segment_dir(&id);
        let merged = self
            .state
            .merge(&inputs, id, &dir, BuildOptions::default())
            .unwrap();
        if let Some(changes) = during {
            self.write(changes);
            self.frozen.extend(self.state.freeze());
            self.flush();
        }
        let mut segments: Vec<_> = self
            .manifest
            .0
            .iter()
            .filter(|s| !inputs.contains(s.id()))
            .cloned()
            .collect();
        segments.extend(merged.map(|meta| self.open(&dir, &meta)));
        let applied = self.manifest.1;
        self.publish(segments, applied);
    }

    fn replay(&self, state: &PartitionState, until: usize) {
        for (position, changes) in &self.log[..until] {
            state.apply(*position, changes).unwrap();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(changes) => self.write(changes),
            Step::Fence => {
                self.next = self.next.next_epoch();
                self.state.set_position(self.next);
                self.next = self.next.next();
            }
            Step::Freeze => self.frozen.extend(self.state.freeze()),
            Step::Flush => self.flush(),
            Step::Merge(every) => self.merge(*every, None),
            Step::MergeDuring(every, changes) => self.merge(*every, Some(changes)),
            Step::Restart => {
                self.frozen.clear();
                self.state =
                    PartitionState::with_payload_schema(schema(self.measure), self.indexed.clone());
                self.state
                    .install(self.manifest.0.clone(), self.manifest.1)
                    .unwrap();
                self.replay(&self.state, self.log.len());
            }
            Step::Index(kind) => {
                self.indexed = indexed(*kind);
                self.state.set_payload_schema(self.indexed.clone());
                self.state.index_payloads().unwrap();
                let fields: Vec<String> = self.state.indexed_fields().into_keys().collect();
                let expected = kind.filter(|_| !self.state.segments().is_empty());
                assert_eq!(fields, expected.map_or(vec![], |_| vec!["tag".to_owned()]));
            }
            Step::Reader(share) => {
                let reader =
                    PartitionState::with_payload_schema(schema(self.measure), self.indexed.clone());
                self.replay(&reader, (self.log.len() as f64 * share) as usize);
                reader
                    .install(self.manifest.0.clone(), self.manifest.1)
                    .unwrap();
                self.replay(&reader, self.log.len());
                check(&reader, &self.model, self.measure);
            }
        }
    }
}

fn indexed(kind: Option<FieldKind>) -> PayloadSchema {
    kind.map(|kind| ("tag".to_owned(), kind))
        .into_iter()
        .collect()
}

fn tagged(tag: i64) -> Filter {
    Filter {
        must: vec![Condition::Field(FieldCondition {
            key: "tag".into(),
            test: MatchValue::Value(Scalar::Int(tag)),
        })],
        ..Filter::default()
    }
}

fn has_tag(point: &Point, tag: i64) -> bool {
    point.payload["tag"] == json!(tag)
}

fn check(state: &PartitionState, model: &BTreeMap<PointId, Point>, measure: Distance) {
    for n in 0..24 {
        assert_eq!(
            state.get(id(n)).unwrap().as_ref(),
            model.get(&id(n)),
            "point {n}"
        );
    }
    assert_eq!(state.stats().points, model.len());
    let ids: Vec<PointId> = (0..24).rev().map(id).collect();
    let request = RetrieveRequest {
        ids: ids.clone(),
        with_payload: PayloadSelector::None,
        with_vector: VectorSelector::None,
    };
    let retrieved: Vec<_> = state
        .retrieve(&request)
        .unwrap()
        .iter()
        .map(|r| r.id)
        .collect();
    let expected: Vec<_> = ids
        .into_iter()
        .filter(|id| model.contains_key(id))
        .collect();
    assert_eq!(retrieved, expected);
    for tag in [None, Some(1), Some(3)] {
        let filter = tag.map(tagged);
        let expected: Vec<&Point> = model
            .values()
            .filter(|p| tag.is_none_or(|t| has_tag(p, t)))
            .collect();
        assert_eq!(
            state
                .count(&CountRequest {
                    filter: filter.clone()
                })
                .unwrap(),
            expected.len()
        );
        if let Some(filter) = &filter {
            let ids: Vec<_> = expected.iter().map(|p| p.id).collect();
            assert_eq!(state.matching(filter).unwrap(), ids);
        }
        let mut scrolled = Vec::new();
        let mut offset = None;
        loop {
            let page = state
                .scroll(&ScrollRequest {
                    filter: filter.clone(),
                    limit: 5,
                    offset,
                    with_payload: PayloadSelector::All,
                    with_vector: VectorSelector::All,
                })
                .unwrap();
            assert!(page.records.len() <= 5);
            scrolled.extend(page.records);
            offset = page.next;
            if offset.is_none() {
                break;
            }
        }
        assert_eq!(scrolled.len(), expected.len());
        for (record, point) in scrolled.iter().zip(&expected) {
            assert_eq!(
                (record.id, record.payload.as_ref(), record.vectors.as_ref()),
                (point.id, Some(&point.payload), Some(&point.vectors))
            );
        }
        check_searches(state, &expected, filter, measure);
    }
}

/// Internal distance, by definition.
fn distance(measure: Distance, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    match measure {
        Distance::Cosine | Distance::Dot => -pairs.map(|(x, y)| x * y).sum::<f32>(),
        Distance::Euclid => pairs.map(|(x, y)| (x - y).powi(2)).sum(),
        Distance::Manhattan => pairs.map(|(x, y)| (x - y).abs()).sum(),
    }
}

/// The score of a point for a query of the vectors `using`, by definition; none if it has no such vector.
fn expected_score(measure: Distance, using: &str, query: &Vector, point: &Point) -> Option<f32> {
    match (query, point.vectors.get(using)?) {
        (Vector::Dense(a), Vector::Dense(b)) => Some(score(measure, 1, distance(measure, a, b))),
        (Vector::Multi(query), Vector::Multi(list)) => {
            let nearest = query.rows().map(|q| {
                let distances = list.rows().map(|row| distance(measure, q, row));
                distances.fold(f32::INFINITY, f32::min)
            });
            Some(score(measure, query.rows().len(), nearest.sum()))
        }
        (Vector::Sparse(query), Vector::Sparse(vector)) => {
            let pairs = query.indices().iter().zip(query.values());
            let products: Vec<f32> = pairs
                .filter_map(|(index, value)| {
                    let at = vector.indices().binary_search(index).ok()?;
                    Some(value * vector.values()[at])
                })
                .collect();
            (!products.is_empty()).then(|| products.iter().sum())
        }
        (query, vector) => panic!("{query:?} {vector:?}"),
    }
}

fn check_searches(
    state: &PartitionState,
    points: &[&Point],
    filter: Option<Filter>,
    measure: Distance,
) {
    let list = MultiVector::from_flat(LIST_SIZE, vec![1.0, -2.0, 3.0, 0.5]).unwrap();
    let terms = SparseVector::new(vec![0, 2, 5], vec![1.0, 2.0, 0.5]).unwrap();
    for (using, query) in [
        ("", Vector::Dense(vec![1.0, -2.0, 0.5])),
        ("list", list.into()),
        ("terms", terms.into()),
    ] {
        let mut named = Vectors::default();
        named.insert(using, query);
        let query = prepared(measure, &named).remove(using).unwrap();
        let scores: BTreeMap<PointId, f32> = points
            .iter()
            .filter_map(|p| Some((p.id, expected_score(measure, using, &query, p)?)))
            .collect();
        let similarity = using == "terms" || matches!(measure, Distance::Cosine | Distance::Dot);
        let mut best: Vec<f32> = scores.values().copied().collect();
        best.sort_by(|a, b| {
            if similarity {
                b.total_cmp(a)
            } else {
                a.total_cmp(b)
            }
        });
        best.truncate(7);
        let request = SearchRequest {
            using: using.to_owned(),
            filter: filter.clone(),
            exact: true,
            ..SearchRequest::new(query, 7)
        };
        let found = state.search(&request).unwrap();
        assert_eq!(found.len(), best.len(), "'{using}'");
        // Sums in another order differ in the last bits.
        let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
        for (hit, best) in found.iter().zip(best) {
            assert!(near(hit.score, best), "'{using}': {hit:?}, {best}");
            let own = scores[&hit.record.id];
            assert!(near(hit.score, own), "'{using}': {hit:?}, {own}");
        }
        let mut ids: Vec<_> = found.iter().map(|hit| hit.record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), found.len(), "'{using}': a point was found twice");
    }
}

fn measures() -> impl Strategy<Value = Distance> {
    prop_oneof![
        Just(Distance::Cosine),
        Just(Distance::Dot),
        Just(Distance::Euclid),
        Just(Distance::Manhattan)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_equals_a_map(measure in measures(), steps in proptest::collection::vec(step(), 1..40)) {
        let mut owner = Owner::new(measure);
        for step in &steps {
            owner.step(step);
            check(&owner.state, &owner.model, owner.measure);
        }
        prop_assert!(owner.state.position() < owner.next);
    }

    /// Whoever loads the manifest sees exactly the log up to its position, whatever the owner knew beyond it.
    #[test]
    fn the_manifest_holds_exactly_its_part_of_the_log(steps in proptest::collection::vec(step(), 1..40)) {
        let mut owner = Owner::new(Distance::Euclid);
        for step in &steps {
            owner.step(step);
        }
        let loaded = PartitionState::new(schema(owner.measure));
        loaded.install(owner.manifest.0.clone(), owner.manifest.1).unwrap();
        let mut model = BTreeMap::new();
        for (position, changes) in &owner.log {
            if *position <= owner.manifest.1 {
                for change in changes {
                    match change {
                        Change::Put(p) => model.insert(p.id, p.clone()),
                        Change::Delete(id) => model.remove(id),
                        Change::Merge(id, _) => panic!("{id} is not merged here"),
                    };
                }
            }
        }
        check(&loaded, &model, owner.measure);
    }
}

#[test]
fn applying_twice_changes_nothing_and_vectors_that_do_not_fit_are_refused() {
    let mut owner = Owner::new(Distance::Euclid);
    let point = |v: Vec<f32>| {
        Change::Put(Point {
            id: id(1),
            vectors: Vectors::unnamed(v),
            payload: json!({"tag": 1}).as_object().unwrap().clone(),
        })
    };
    owner.write(&[point(vec![1.0; SIZE])]);
    owner
        .state
        .apply(LogPosition::new(1, 1), &[Change::Delete(id(1))])
        .unwrap();
    assert!(
        owner.state.get(id(1)).unwrap().is_some(),
        "position 1:1 was applied already"
    );
    for bad in [vec![1.0; SIZE + 1], vec![], vec![f32::NAN; SIZE]] {
        let changes = [Change::Delete(id(1)), point(bad)];
        assert!(owner.state.apply(LogPosition::new(1, 9), &changes).is_err());
    }
    check(&owner.state, &owner.model, owner.measure);
}

#[test]
fn merging_everything_leaves_no_tombstone_and_an_older_set_is_refused() {
    let mut owner = Owner::new(Distance::Dot);
    let put = |n: u64| {
        Change::Put(Point {
            id: id(n),
            vectors: Vectors::unnamed(vec![n as f32; SIZE]),
            payload: json!({"tag": 1}).as_object().unwrap().clone(),
        })
    };
    owner.write(&[put(1), put(2)]);
    owner.step(&Step::Freeze);
    owner.flush();
    let first = owner.manifest.clone();
    owner.write(&[Change::Delete(id(1))]);
    owner.step(&Step::Freeze);
    owner.flush();
    assert_eq!(
        owner
            .manifest
            .0
            .iter()
            .map(|s| s.meta().tombstones)
            .sum::<u64>(),
        1
    );
    owner.merge(1, None);
    let metas: Vec<_> = owner
        .manifest
        .0
        .iter()
        .map(|s| (s.meta().rows, s.meta().tombstones))
        .collect();
    assert_eq!(metas, [(1, 0)]);
    assert!(owner.state.install(first.0, first.1).is_err());
    owner.write(&[Change::Delete(id(2))]);
    owner.step(&Step::Freeze);
    owner.flush();
    owner.merge(1, None);
    assert!(
        owner.manifest.0.is_empty(),
        "nothing is left, so there is no segment"
    );
    check(&owner.state, &owner.model, owner.measure);
}
