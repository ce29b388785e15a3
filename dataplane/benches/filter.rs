//! Searches under filters: what is planned, what is found, how long it takes, from 0.1% to 50% of the points matching.
//!
//! Matching points lie anywhere (`random`), around the query (`near`) or far from it (`far`). Each search is timed as planned with
//! payload indexes and without, and as a comparison with every matching point, in turns. The first argument is the number of points
//! (default 100,000 of 128 dimensions, around 500 centres). Results also go to `target/bench/filter.json`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and prints what it found"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::payload_index::{FieldKind, PayloadSchema};
use brainy_dataplane::engine::{BuildOptions, Change, OpenOptions, PartitionState, Plan, Segment};
use brainy_dataplane::model::{
    Condition, FieldCondition, Filter, MatchValue, Point, PointId, Range, SearchRequest, Vectors,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const SIZE: usize = 128;
const CENTRES: usize = 500;
const QUERIES: usize = 100;
const SEED: u64 = 20_260_302;
/// Points of a thousand that match.
const PER_MILLE: [u32; 4] = [1, 10, 100, 500];

struct Data {
    points: Vec<Point>,
    queries: Vec<Vec<f32>>,
}

/// `random` is uniform in 0..1000; `place` is the rank of the first component of the vector, in 0..1000. Queries are near points of
/// low rank.
fn data(n: usize) -> Data {
    let mut rng = StdRng::seed_from_u64(SEED);
    let centres: Vec<Vec<f32>> = (0..CENTRES)
        .map(|_| (0..SIZE).map(|_| rng.random_range(-1.0f32..1.0)).collect())
        .collect();
    let vectors: Vec<Vec<f32>> = (0..n)
        .map(|_| {
            let centre = &centres[rng.random_range(0..CENTRES)];
            centre
                .iter()
                .map(|c| c + rng.random_range(-0.6f32..0.6))
                .collect()
        })
        .collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| vectors[*a][0].total_cmp(&vectors[*b][0]));
    let queries = (0..QUERIES)
        .map(|_| {
            let base = &vectors[order[rng.random_range(0..n / 10)]];
            base.iter()
                .map(|v| v + rng.random_range(-0.3f32..0.3))
                .collect()
        })
        .collect();
    let mut place = vec![0; n];
    for (rank, i) in order.into_iter().enumerate() {
        place[i] = rank * 1000 / n;
    }
    let points = vectors
        .into_iter()
        .zip(place)
        .enumerate()
        .map(|(i, (vector, place))| {
            let payload = json!({"random": rng.random_range(0..1000), "place": place});
            Point {
                id: PointId::Num(i as u64),
                vectors: Vectors::unnamed(vector),
                payload: payload.as_object().unwrap().clone(),
            }
        })
        .collect();
    Data { points, queries }
}

fn state(points: &[Point], dir: &Path) -> PartitionState {
    let schema = VectorSchema::unnamed(DenseParams::new(SIZE as u32, Distance::Euclid));
    let state = PartitionState::new(schema);
    let changes: Vec<Change> = points.iter().cloned().map(Change::Put).collect();
    state.apply(LogPosition::new(1, 1), &changes).unwrap();
    let frozen = state.freeze().unwrap();
    let options = BuildOptions {
        threads: 2,
        ..BuildOptions::default()
    };
    let meta = frozen.build(SegmentId::generate(1), dir, options).unwrap();
    let segment = Segment::open(dir, &meta, OpenOptions { resident: true }).unwrap();
    state
        .install(vec![Arc::new(segment)], frozen.position())
        .unwrap();
    state
}

fn filter(lie: &str, per_mille: u32) -> Filter {
    let bound = f64::from(per_mille);
    let (key, range) = match lie {
        "random" => (
            "random",
            Range {
                lt: Some(bound),
                ..Range::default()
            },
        ),
        "near" => (
            "place",
            Range {
                lt: Some(bound),
                ..Range::default()
            },
        ),
        _ => (
            "place",
            Range {
                gte: Some(1000.0 - bound),
                ..Range::default()
            },
        ),
    };
    Filter {
        must: vec![Condition::Field(FieldCondition {
            key: key.into(),
            test: MatchValue::Range(range),
        })],
        ..Filter::default()
    }
}

/// Median microseconds of the searches, and what they found.
fn run(state: &PartitionState, requests: &[SearchRequest]) -> (f64, Vec<Vec<PointId>>) {
    let mut times = Vec::new();
    let mut found = Vec::new();
    for request in requests {
        let began = Instant::now();
        let hits = state.search(request).unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e6);
        found.push(hits.iter().map(|h| h.record.id).collect());
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], found)
}

fn recall(exact: &[Vec<PointId>], found: &[Vec<PointId>]) -> f64 {
    let wanted: usize = exact.iter().map(Vec::len).sum();
    let hits =
        |(e, f): (&Vec<PointId>, &Vec<PointId>)| e.iter().filter(|id| f.contains(id)).count();
    exact.iter().zip(found).map(hits).sum::<usize>() as f64 / wanted as f64
}

fn describe(state: &PartitionState, request: &SearchRequest) -> String {
    let explained = state.explain(request).unwrap();
    let one = |e: &brainy_dataplane::engine::Explanation| match e.plan {
        Plan::Compare => format!("compare {}", e.candidates),
        Plan::Walk { budget, .. } => format!("walk, at most {budget}"),
    };
    explained.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn main() {
    // Cargo adds arguments of its own.
    let n: usize = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(100_000);
    let Data { points, queries } = data(n);
    let dir = tempfile::tempdir().unwrap();
    let state = state(&points, dir.path());
    let indexes = [
        ("random", FieldKind::Integer),
        ("place", FieldKind::Integer),
    ];
    let indexes = PayloadSchema::from_iter(indexes.map(|(f, k)| (f.to_owned(), k)));
    println!(
        "{n} points of {SIZE} dimensions, k = 10, {QUERIES} queries; medians in microseconds\n"
    );
    println!(
        "| matching | where | plan | recall@10 | indexed | not indexed | compare all matching |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut rows: Vec<Value> = Vec::new();
    for lie in ["random", "near", "far"] {
        for per_mille in PER_MILLE {
            let ask = |exact| {
                let of = |query: &Vec<f32>| SearchRequest {
                    filter: Some(filter(lie, per_mille)),
                    exact,
                    ..SearchRequest::new(query.clone(), 10)
                };
                queries.iter().map(of).collect::<Vec<_>>()
            };
            let (planned, exact) = (ask(false), ask(true));
            state.set_payload_schema(PayloadSchema::default());
            state.index_payloads().unwrap();
            let (plain_us, plain) = run(&state, &planned);
            state.set_payload_schema(indexes.clone());
            state.index_payloads().unwrap();
            let plan = describe(&state, &planned[0]);
            let (indexed_us, indexed) = run(&state, &planned);
            let (exact_us, truth) = run(&state, &exact);
            let (recall, plain_recall) = (recall(&truth, &indexed), recall(&truth, &plain));
            let percent = f64::from(per_mille) / 10.0;
            println!(
                "| {percent}% | {lie} | {plan} | {recall:.3} | {indexed_us:.0} | {plain_us:.0} | {exact_us:.0} |"
            );
            rows.push(json!({
                "points": n, "dimensions": SIZE, "selectivity": percent / 100.0, "matching": lie, "plan": plan,
                "recall_at_10": recall, "recall_at_10_not_indexed": plain_recall, "p50_us": indexed_us,
                "p50_us_not_indexed": plain_us, "p50_us_compare": exact_us,
            }));
        }
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("filter.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
    println!("\nwritten to {}", path.display());
}
