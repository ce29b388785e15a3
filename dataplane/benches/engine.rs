//! The engine's search, on 4,000 real sentence embeddings of 384 dimensions (`examples/wordnet`).
//!
//! `make bench` runs it. Both graph builders are measured in the same run, and a search is measured through the graph of
//! each and by exact scan, so that figures are ratios of neighbours in time.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use brainy_coordination::manifest::{DenseParams, Distance, VectorSchema};
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_dataplane::engine::{
    BuildOptions, Change, GraphBuilder, OpenOptions, PartitionState, Segment,
};
use brainy_dataplane::model::{Point, PointId, SearchRequest, Vectors};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 384;

/// Rows of little-endian half floats, widened and of unit length.
fn rows(file: &str) -> Vec<Vec<f32>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/wordnet")
        .join(file);
    let bytes = std::fs::read(path).unwrap();
    let (halves, _) = bytes.as_chunks::<2>();
    let values: Vec<f32> = halves
        .iter()
        .map(|h| half(u16::from_le_bytes(*h)))
        .collect();
    values
        .chunks_exact(SIZE)
        .map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(|x| x / length).collect()
        })
        .collect()
}

/// IEEE 754 binary16; the data holds neither infinities nor NaN.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    sign * if exponent == 0 {
        fraction * 2f32.powi(-14)
    } else {
        (1.0 + fraction) * 2f32.powi(exponent - 15)
    }
}

/// One segment with a graph by `graph`, built and opened.
fn segment(vectors: &[Vec<f32>], graph: GraphBuilder) -> (PartitionState, tempfile::TempDir) {
    let params = DenseParams::new(SIZE as u32, Distance::Cosine);
    let state = PartitionState::new(VectorSchema::unnamed(params));
    let changes: Vec<Change> = vectors
        .iter()
        .enumerate()
        .map(|(i, vector)| {
            Change::Put(Point {
                id: PointId::Num(i as u64),
                vectors: Vectors::unnamed(vector.clone()),
                payload: serde_json::Map::new(),
            })
        })
        .collect();
    state.apply(LogPosition::new(1, 1), &changes).unwrap();
    let frozen = state.freeze().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = BuildOptions { threads: 1, graph };
    let meta = frozen
        .build(SegmentId::generate(1), dir.path(), options)
        .unwrap();
    let segment = Segment::open(dir.path(), &meta, OpenOptions { resident: true }).unwrap();
    state
        .install(vec![Arc::new(segment)], LogPosition::new(1, 1))
        .unwrap();
    (state, dir)
}

fn request(vector: &[f32], exact: bool) -> SearchRequest {
    SearchRequest {
        ef: Some(64),
        exact,
        ..SearchRequest::new(vector.to_vec(), 10)
    }
}

fn search(criterion: &mut Criterion) {
    let (base, queries) = (rows("base.f16"), rows("queries.f16"));
    let mut group = criterion.benchmark_group("search/4000x384/k10");
    group.throughput(Throughput::Elements(queries.len() as u64));
    for (name, graph) in [
        ("native", GraphBuilder::Native),
        ("hnsw_rs", GraphBuilder::HnswRs),
    ] {
        let (state, _dir) = segment(&base, graph);
        for (kind, exact) in [("graph", false), ("scan", true)] {
            let requests: Vec<_> = queries.iter().map(|q| request(q, exact)).collect();
            group.bench_function(format!("{name}/{kind}"), |bench| {
                bench.iter(|| {
                    for request in &requests {
                        black_box(state.search(request).unwrap());
                    }
                });
            });
        }
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let base: Vec<Vec<f32>> = rows("base.f16").into_iter().take(1000).collect();
    let mut group = criterion.benchmark_group("build/1000x384");
    group.sample_size(10);
    group.throughput(Throughput::Elements(base.len() as u64));
    for (name, graph) in [
        ("native", GraphBuilder::Native),
        ("hnsw_rs", GraphBuilder::HnswRs),
    ] {
        group.bench_function(name, |bench| bench.iter(|| segment(&base, graph)));
    }
    group.finish();
}

criterion_group!(benches, search, build);
criterion_main!(benches);
