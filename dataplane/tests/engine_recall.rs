//! Recall of searches that walk the graph, against exact ones, on clustered data.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{
    BuildOptions, Change, GraphBuilder, OpenOptions, PartitionState, Segment,
};
use brainy_dataplane::model::{
    Condition, FieldCondition, Filter, MatchValue, PayloadSelector, Point, PointId, Range,
    SearchRequest, Vector, VectorSelector, Vectors,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

const SIZE: usize = 24;
const SEED: u64 = 20_250_101;

/// `n` points around 40 centres, stored cluster by cluster; `share` is uniform in 0..1000, `cluster` is the centre.
fn points(n: usize) -> Vec<Point> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let centres: Vec<Vec<f32>> = (0..40)
        .map(|_| (0..SIZE).map(|_| rng.random_range(-1.0f32..1.0)).collect())
        .collect();
    (0..n)
        .map(|i| {
            let cluster = i * centres.len() / n;
            Point {
                id: PointId::Num(i as u64),
                vectors: Vectors::unnamed(
                    centres[cluster]
                        .iter()
                        .map(|c| c + rng.random_range(-0.25f32..0.25))
                        .collect::<Vec<_>>(),
                ),
                payload: json!({"share": rng.random_range(0..1000), "cluster": cluster})
                    .as_object()
                    .unwrap()
                    .clone(),
            }
        })
        .collect()
}

fn vector(point: &Point) -> &[f32] {
    match point.vectors.get("") {
        Some(Vector::Dense(vector)) => vector,
        other => panic!("{other:?}"),
    }
}

fn state(
    points: &[Point],
    measure: Distance,
    options: BuildOptions,
) -> (PartitionState, tempfile::TempDir) {
    let schema = VectorSchema::unnamed(DenseParams::new(SIZE as u32, measure));
    let state = PartitionState::new(schema);
    let changes: Vec<Change> = points.iter().cloned().map(Change::Put).collect();
    state.apply(LogPosition::new(1, 1), &changes).unwrap();
    let frozen = state.freeze().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let meta = frozen
        .build(SegmentId::generate(1), dir.path(), options)
        .unwrap();
    let segment = Segment::open(dir.path(), &meta, OpenOptions { resident: true }).unwrap();
    assert!(segment.has_graph());
    state
        .install(vec![Arc::new(segment)], frozen.position())
        .unwrap();
    assert_eq!(state.stats().indexed, points.len());
    (state, dir)
}

fn below(share: f64) -> Filter {
    Filter {
        must: vec![Condition::Field(FieldCondition {
            key: "share".into(),
            test: MatchValue::Range(Range {
                lt: Some(share * 1000.0),
                ..Range::default()
            }),
        })],
        ..Filter::default()
    }
}

fn request(vector: Vec<f32>, filter: Option<Filter>, exact: bool) -> SearchRequest {
    SearchRequest {
        filter,
        exact,
        ..SearchRequest::new(vector, 10)
    }
}

fn ids(state: &PartitionState, request: &SearchRequest) -> Vec<PointId> {
    state
        .search(request)
        .unwrap()
        .iter()
        .map(|p| p.record.id)
        .collect()
}

fn recall(
    state: &PartitionState,
    points: &[Point],
    filter: Option<&Filter>,
    ef: Option<usize>,
) -> f64 {
    let mut rng = StdRng::seed_from_u64(SEED + 1);
    let (mut hits, mut wanted) = (0, 0);
    for _ in 0..60 {
        let base = vector(&points[rng.random_range(0..points.len())]);
        let query: Vec<f32> = base
            .iter()
            .map(|v| v + rng.random_range(-0.1f32..0.1))
            .collect();
        let exact = ids(state, &request(query.clone(), filter.cloned(), true));
        let found = ids(
            state,
            &SearchRequest {
                ef,
                ..request(query, filter.cloned(), false)
            },
        );
        assert_eq!(found.len(), exact.len());
        wanted += exact.len();
        hits += exact.iter().filter(|id| found.contains(id)).count();
    }
    hits as f64 / wanted as f64
}

#[test]
fn graph_searches_find_the_nearest_under_every_distance_and_selectivity() {
    let points = points(12_000);
    for measure in [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ] {
        let (state, _dir) = state(
            &points,
            measure,
            BuildOptions {
                threads: 2,
                ..BuildOptions::default()
            },
        );
        for share in [1.0, 0.5, 0.1, 0.01] {
            let filter = (share < 1.0).then(|| below(share));
            let recall = recall(&state, &points, filter.as_ref(), None);
            println!("{measure:?} share {share}: recall {recall:.3} (seed {SEED})");
            assert!(
                recall >= 0.95,
                "{measure:?} at share {share}: recall {recall} (seed {SEED})"
            );
        }
    }
}

#[test]
fn segments_of_hnsw_rs_are_opened_searched_and_filtered_like_native_ones() {
    let points = points(5_000);
    let options = BuildOptions {
        graph: GraphBuilder::HnswRs,
        ..BuildOptions::default()
    };
    for measure in [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ] {
        let (state, _dir) = state(&points, measure, options);
        // Loose filters and a narrow search: all of these are walks.
        for share in [1.0, 0.5] {
            let filter = (share < 1.0).then(|| below(share));
            let recall = recall(&state, &points, filter.as_ref(), Some(40));
            println!("{measure:?} share {share}: recall {recall:.3} (seed {SEED})");
            assert!(
                recall >= 0.95,
                "{measure:?} at share {share}: recall {recall} (seed {SEED})"
            );
        }
    }
}

#[test]
fn filters_that_exclude_the_neighbourhood_of_the_query_and_deleted_neighbours_keep_recall() {
    let points = points(8_000);
    let (state, _dir) = state(&points, Distance::Euclid, BuildOptions::default());
    // Narrow enough for a walk to be worth it although half of the points do not count.
    let narrow = Some(64);
    // Every query lies in a cluster of which nothing matches.
    let far = Filter {
        must: vec![Condition::Field(FieldCondition {
            key: "cluster".into(),
            test: MatchValue::Range(Range {
                gte: Some(20.0),
                ..Range::default()
            }),
        })],
        ..Filter::default()
    };
    let near: Vec<Point> = points[..4_000].to_vec();
    let found = recall(&state, &near, Some(&far), narrow);
    assert!(found >= 0.95, "recall {found} (seed {SEED})");
    // Half of the points go; the graph still leads through them.
    let gone: Vec<Change> = points
        .iter()
        .step_by(2)
        .map(|p| Change::Delete(p.id))
        .collect();
    state.apply(LogPosition::new(1, 2), &gone).unwrap();
    let found = recall(&state, &points, None, narrow);
    assert!(found >= 0.95, "recall {found} (seed {SEED})");
    let kept: Vec<Change> = points
        .iter()
        .skip(5)
        .map(|p| Change::Delete(p.id))
        .collect();
    state.apply(LogPosition::new(1, 3), &kept).unwrap();
    let left = ids(&state, &request(vector(&points[0]).to_vec(), None, false));
    assert_eq!(
        left.len(),
        2,
        "fewer points than asked for: all of them are found"
    );
}

#[test]
fn thresholds_limits_and_selections_shape_the_answer() {
    let points = points(2_000);
    let (state, _dir) = state(&points, Distance::Euclid, BuildOptions::default());
    let mut wanted = request(vector(&points[3]).to_vec(), None, false);
    wanted.with_payload = PayloadSelector::Include(vec!["cluster".into()]);
    wanted.with_vector = VectorSelector::All;
    let best = state.search(&wanted).unwrap();
    assert_eq!(best[0].record.id, points[3].id);
    assert_eq!(best[0].score, 0.0);
    assert_eq!(best[0].version, LogPosition::new(1, 1));
    assert_eq!(best[0].record.vectors.as_ref(), Some(&points[3].vectors));
    assert_eq!(
        serde_json::to_value(&best[0].record.payload).unwrap(),
        json!({"cluster": 0})
    );
    assert!(best.is_sorted_by(|a, b| a.score <= b.score));
    wanted.score_threshold = Some(best[4].score);
    assert_eq!(state.search(&wanted).unwrap().len(), 5);
    wanted.limit = usize::MAX;
    wanted.score_threshold = None;
    assert_eq!(state.search(&wanted).unwrap().len(), points.len());
    wanted.limit = 0;
    assert!(state.search(&wanted).unwrap().is_empty());
    let short = SearchRequest::new(vec![0.0; SIZE - 1], 1);
    assert!(state.search(&short).is_err());
}
