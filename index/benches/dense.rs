//! Building, merging and searching the dense index, on clustered vectors made here.
//!
//! Every kind of code is measured in the same run, and a merge that reuses a graph beside one that does not: figures are
//! ratios of neighbours in time.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use brainy_index::dense::{BuildOptions, Index, Params, Reuse, Search};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::vectors::Vectors;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const DIM: usize = 128;
const ROWS: usize = 10_000;

fn clustered(seed: u64, rows: usize) -> Vec<Vec<f32>> {
    let mut centres = StdRng::seed_from_u64(0);
    let centres: Vec<Vec<f32>> = (0..100)
        .map(|_| {
            (0..DIM)
                .map(|_| centres.random_range(-1.0f32..1.0))
                .collect()
        })
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let row = |_| {
        let centre = &centres[rng.random_range(0..centres.len())];
        let noise = centre.iter().map(|x| x + rng.random_range(-0.7f32..0.7));
        noise.collect()
    };
    (0..rows).map(row).collect()
}

fn vectors(rows: &[Vec<f32>]) -> Vectors {
    Vectors::from_rows(DIM, rows.iter().map(Vec::as_slice)).unwrap()
}

fn params(quantization: Option<Quantization>) -> Params {
    Params {
        measure: Measure::Euclid,
        m: 16,
        ef_construct: 100,
        quantization,
    }
}

fn search(c: &mut Criterion) {
    let rows = vectors(&clustered(1, ROWS));
    let queries = clustered(2, 200);
    let mut group = c.benchmark_group("search, 10,000 x 128, k 10, ef 64");
    group.throughput(Throughput::Elements(queries.len() as u64));
    let kinds = [None].into_iter().chain(Quantization::ALL.map(Some));
    for kind in kinds {
        let index = Index::build(&rows, &params(kind), BuildOptions::default()).unwrap();
        let name = kind.map_or("floats".to_owned(), |kind| format!("{kind:?}"));
        group.bench_function(name, |b| {
            b.iter(|| {
                for query in &queries {
                    black_box(index.search(&rows, query, &Search::new(10, 64), None));
                }
            });
        });
    }
    group.finish();
}

fn merge(c: &mut Criterion) {
    // Two segments of one size, of whose rows one in ten is gone.
    let (one, other) = (clustered(3, ROWS / 2), clustered(4, ROWS / 2));
    let kept: Vec<usize> = (0..one.len()).filter(|row| row % 10 != 0).collect();
    let mut moved = vec![None; one.len()];
    for (new, old) in kept.iter().enumerate() {
        moved[*old] = Some(new as u32);
    }
    let all: Vec<Vec<f32>> = kept
        .iter()
        .map(|row| one[*row].clone())
        .chain(other)
        .collect();
    let merged = vectors(&all);
    let params = params(Some(Quantization::Int8));
    let old = Index::build(&vectors(&one), &params, BuildOptions::default()).unwrap();
    let mut group = c.benchmark_group("merge 4,500 + 5,000 rows x 128");
    group.sample_size(10);
    group.bench_function("reusing a graph", |b| {
        b.iter(|| {
            let reuse = Reuse {
                index: &old,
                moved: &moved,
            };
            Index::merge(&merged, &params, BuildOptions::default(), reuse).unwrap()
        });
    });
    group.bench_function("anew", |b| {
        b.iter(|| Index::build(&merged, &params, BuildOptions::default()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, search, merge);
criterion_main!(benches);
