//! Searches under filters with payload indexes: recall at every selectivity, whether matching rows lie anywhere or all in
//! one place, and the same answers as without indexes.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::payload_index::{FieldKind, PayloadSchema};
use brainy_dataplane::engine::{
    BuildOptions, Change, EngineError, OpenOptions, PartitionState, PointView, Segment,
};
use brainy_dataplane::model::{
    Condition, CountRequest, FieldCondition, Filter, MatchValue, PayloadSelector, Point, PointId,
    Range, Scalar, ScrollRequest, SearchRequest, Vector, VectorSelector, Vectors,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tempfile::TempDir;

const SIZE: usize = 24;
const SEED: u64 = 20_260_301;

/// Points around centres. `random` is uniform in 0..1000; `place` is where the first component of the vector lies in
/// the order of all of them, in 0..1000: rows with neighbouring values are neighbours. `tag` is rare, `note` not indexed.
fn points(n: usize) -> Vec<Point> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let centres: Vec<Vec<f32>> = (0..40)
        .map(|_| (0..SIZE).map(|_| rng.random_range(-1.0f32..1.0)).collect())
        .collect();
    let vectors: Vec<Vec<f32>> = (0..n)
        .map(|_| {
            let centre = &centres[rng.random_range(0..centres.len())];
            centre
                .iter()
                .map(|c| c + rng.random_range(-0.25f32..0.25))
                .collect()
        })
        .collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| vectors[*a][0].total_cmp(&vectors[*b][0]));
    let mut place = vec![0; n];
    for (rank, i) in order.into_iter().enumerate() {
        place[i] = rank * 1000 / n;
    }
    vectors
        .into_iter()
        .zip(place)
        .enumerate()
        .map(|(i, (vector, place))| Point {
            id: PointId::Num(i as u64),
            vectors: Vectors::unnamed(vector),
            payload: json!({
                "random": rng.random_range(0..1000), "place": place, "tag": format!("t{}", i % 500),
                "note": if i % 3 == 0 { "long" } else { "short" }
            })
            .as_object()
            .unwrap()
            .clone(),
        })
        .collect()
}

fn vector(point: &Point) -> &[f32] {
    match point.vectors.get("") {
        Some(Vector::Dense(vector)) => vector,
        other => panic!("{other:?}"),
    }
}

fn schema() -> PayloadSchema {
    let fields = [
        ("random", FieldKind::Integer),
        ("place", FieldKind::Float),
        ("tag", FieldKind::Keyword),
    ];
    fields.into_iter().map(|(f, k)| (f.to_owned(), k)).collect()
}

fn state(points: &[Point], schema: PayloadSchema) -> (PartitionState, SegmentMeta, TempDir) {
    let vectors = VectorSchema::unnamed(DenseParams::new(SIZE as u32, Distance::Euclid));
    let state = PartitionState::with_payload_schema(vectors, schema);
    let changes: Vec<Change> = points.iter().cloned().map(Change::Put).collect();
    state.apply(LogPosition::new(1, 1), &changes).unwrap();
    let frozen = state.freeze().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = BuildOptions {
        threads: 2,
        ..BuildOptions::default()
    };
    let meta = frozen
        .build(SegmentId::generate(1), dir.path(), options)
        .unwrap();
    let segment = Segment::open(dir.path(), &meta, OpenOptions { resident: true }).unwrap();
    state
        .install(vec![Arc::new(segment)], frozen.position())
        .unwrap();
    (state, meta, dir)
}

fn field(key: &str, test: MatchValue) -> Condition {
    Condition::Field(FieldCondition {
        key: key.into(),
        test,
    })
}

fn all(conditions: Vec<Condition>) -> Filter {
    Filter {
        must: conditions,
        ..Filter::default()
    }
}

fn below(key: &str, bound: f64) -> Filter {
    let range = Range {
        lt: Some(bound),
        ..Range::default()
    };
    all(vec![field(key, MatchValue::Range(range))])
}

fn search(state: &PartitionState, vector: &[f32], filter: &Filter, exact: bool) -> Vec<PointId> {
    let request = SearchRequest {
        filter: Some(filter.clone()),
        exact,
        ..SearchRequest::new(vector.to_vec(), 10)
    };
    let found = state.search(&request).unwrap();
    found.into_iter().map(|p| p.record.id).collect()
}

/// Over queries near some of `points`.
fn recall(state: &PartitionState, points: &[Point], filter: &Filter) -> f64 {
    let mut rng = StdRng::seed_from_u64(SEED + 1);
    let (mut hits, mut wanted) = (0, 0);
    for _ in 0..50 {
        let base = vector(&points[rng.random_range(0..points.len())]);
        let query: Vec<f32> = base
            .iter()
            .map(|v| v + rng.random_range(-0.1f32..0.1))
            .collect();
        let exact = search(state, &query, filter, true);
        let found = search(state, &query, filter, false);
        assert_eq!(found.len(), exact.len());
        wanted += exact.len();
        hits += exact.iter().filter(|id| found.contains(id)).count();
    }
    hits as f64 / wanted as f64
}

#[test]
fn recall_holds_at_every_selectivity_with_and_without_indexes() {
    let points = points(12_000);
    let (indexed, _, _dir) = state(&points, schema());
    assert_eq!(indexed.indexed_fields().len(), 3);
    let (plain, _, _other) = state(&points, PayloadSchema::default());
    for (state, name) in [(&indexed, "indexed"), (&plain, "plain")] {
        for key in ["random", "place"] {
            for per_mille in [1.0, 10.0, 100.0, 500.0] {
                let recall = recall(state, &points, &below(key, per_mille));
                println!("{name} {key} {per_mille} of 1000: recall {recall:.3} (seed {SEED})");
                assert!(
                    recall >= 0.95,
                    "{name} {key} {per_mille} of 1000: recall {recall} (seed {SEED})"
                );
            }
        }
    }
}

#[test]
fn recall_holds_where_nothing_near_the_query_matches() {
    let points = points(20_000);
    let (state, _, _dir) = state(&points, schema());
    let low: Vec<Point> = points
        .iter()
        .filter(|p| p.payload["place"].as_u64() < Some(200))
        .cloned()
        .collect();
    for per_mille in [999.0, 990.0, 900.0, 500.0] {
        let range = Range {
            gte: Some(per_mille),
            ..Range::default()
        };
        let far = all(vec![field("place", MatchValue::Range(range))]);
        let recall = recall(&state, &low, &far);
        println!("place from {per_mille} of 1000: recall {recall:.3} (seed {SEED})");
        assert!(
            recall >= 0.95,
            "place from {per_mille} of 1000: recall {recall} (seed {SEED})"
        );
    }
}

/// Filters on indexed fields, on others, and on both.
fn filters() -> Vec<Filter> {
    let tag = field("tag", MatchValue::Value(Scalar::Text("t7".into())));
    let note = field("note", MatchValue::Value(Scalar::Text("long".into())));
    let half = below("random", 500.0).must;
    vec![
        all(vec![tag.clone()]),
        all(vec![note.clone()]),
        all(vec![tag.clone(), note.clone()]),
        all([half.clone(), vec![note.clone()]].concat()),
        Filter {
            should: vec![tag.clone(), below("place", 20.0).must.remove(0)],
            must_not: half.clone(),
            ..Filter::default()
        },
        Filter {
            should: vec![tag.clone(), note],
            ..Filter::default()
        },
        Filter {
            must_not: vec![tag],
            ..Filter::default()
        },
        Filter::default(),
        below("random", -1.0),
    ]
}

#[test]
fn indexes_change_no_answer() {
    let points = points(3_000);
    let (indexed, _, _dir) = state(&points, schema());
    let (plain, _, _other) = state(&points, PayloadSchema::default());
    // Some of what the segments hold is hidden, and some points are not in a segment yet.
    let mut changes: Vec<Change> = (0..3_000)
        .step_by(7)
        .map(|n| Change::Delete(PointId::Num(n)))
        .collect();
    changes.extend((0..300).map(|i| {
        Change::Put(Point {
            id: PointId::Num(5_000 + i),
            ..points[i as usize].clone()
        })
    }));
    for state in [&indexed, &plain] {
        state.apply(LogPosition::new(1, 2), &changes).unwrap();
    }
    for filter in filters() {
        let ids = plain.matching(&filter).unwrap();
        assert_eq!(indexed.matching(&filter).unwrap(), ids, "{filter:?}");
        let count = CountRequest {
            filter: Some(filter.clone()),
        };
        assert_eq!(indexed.count(&count).unwrap(), ids.len(), "{filter:?}");
        let page = ScrollRequest {
            filter: Some(filter.clone()),
            limit: 7,
            offset: ids.get(3).copied(),
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::None,
        };
        assert_eq!(
            indexed.scroll(&page).unwrap(),
            plain.scroll(&page).unwrap(),
            "{filter:?}"
        );
        let query = vector(&points[40]);
        let exact = search(&plain, query, &filter, true);
        assert_eq!(search(&indexed, query, &filter, true), exact, "{filter:?}");
        assert!(exact.iter().all(|id| ids.contains(id)));
    }
}

#[test]
fn an_index_made_later_covers_what_is_there_and_survives_a_merge() {
    let points = points(1_000);
    let (state, meta, _dir) = state(&points, PayloadSchema::default());
    assert!(state.indexed_fields().is_empty());
    state.set_payload_schema(schema());
    state.index_payloads().unwrap();
    let named: BTreeSet<String> = state.indexed_fields().into_keys().collect();
    assert_eq!(named, ["place", "random", "tag"].map(String::from).into());
    assert_eq!(state.indexed_fields()["tag"], 1_000);
    let other = tempfile::tempdir().unwrap();
    let merged = state
        .merge(
            std::slice::from_ref(&meta.id),
            SegmentId::generate(1),
            other.path(),
            BuildOptions::default(),
        )
        .unwrap()
        .unwrap();
    assert!(merged.files.iter().any(|f| f.name == "payload_index.bin"));
    let opened = Segment::open(other.path(), &merged, OpenOptions { resident: false }).unwrap();
    assert_eq!(opened.indexed_fields().len(), 3);
    state.set_payload_schema(PayloadSchema::default());
    state.index_payloads().unwrap();
    assert!(state.indexed_fields().is_empty());
}

#[test]
fn a_damaged_index_is_an_error_that_names_its_file() {
    let (_state, meta, dir) = state(&points(600), schema());
    let path = dir.path().join("payload_index.bin");
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let error = Segment::open(dir.path(), &meta, OpenOptions { resident: true }).unwrap_err();
        assert!(
            matches!(&error, EngineError::Damaged { file, .. } if *file == path),
            "{error}"
        );
    }
    // Well checked-in bytes that are no index: the checksum fits, the contents do not.
    let mut meta = meta;
    let bytes = &good[..good.len() - 8];
    std::fs::write(&path, bytes).unwrap();
    let file = meta
        .files
        .iter_mut()
        .find(|f| f.name == "payload_index.bin")
        .unwrap();
    file.bytes = bytes.len() as u64;
    file.crc32c = crc32c::crc32c(bytes);
    let error = Segment::open(dir.path(), &meta, OpenOptions { resident: true }).unwrap_err();
    assert!(
        matches!(&error, EngineError::Damaged { file, .. } if *file == path),
        "{error}"
    );
}
