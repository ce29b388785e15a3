//! Data and requests that indexes of this kind stumble over: rows of very different lengths, far small clusters, copies, signed
//! zeros, mass deletions, ties, and no rows at all.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use brainy_index::dense::{BuildOptions, GraphBuilder, Index, Params, Reuse, Search, scan};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::vectors::Vectors;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const K: usize = 10;

/// Rows of nearly normally distributed components.
fn normal(seed: u64, rows: usize, dim: usize) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut component = || (0..6).map(|_| rng.random_range(-0.7f32..0.7)).sum();
    (0..rows)
        .map(|_| (0..dim).map(|_| component()).collect())
        .collect()
}

fn vectors(rows: &[Vec<f32>]) -> Vectors {
    Vectors::from_rows(rows[0].len(), rows.iter().map(Vec::as_slice)).unwrap()
}

fn params(measure: Measure, quantization: Option<Quantization>) -> Params {
    Params {
        measure,
        m: 8,
        ef_construct: 60,
        quantization,
    }
}

fn build(vectors: &Vectors, measure: Measure, quantization: Option<Quantization>) -> Index {
    Index::build(
        vectors,
        &params(measure, quantization),
        BuildOptions::default(),
    )
    .unwrap()
}

/// Share of the distances found that are among the ten smallest.
fn recall(
    index: &Index,
    vectors: &Vectors,
    measure: Measure,
    queries: &[Vec<f32>],
    ef: usize,
) -> f64 {
    let mut hits = 0;
    for query in queries {
        let exact = scan(vectors, measure, query, K, 0..vectors.len() as u32);
        let farthest = exact.last().unwrap().distance;
        let found = index.search(vectors, query, &Search::new(K, ef), None);
        let keys: HashSet<u32> = found.iter().map(|near| near.key).collect();
        assert_eq!(keys.len(), found.len(), "a row twice");
        hits += found.iter().filter(|n| n.distance <= farthest).count();
    }
    hits as f64 / (queries.len() * K) as f64
}

#[test]
fn a_few_long_rows_are_found_by_dot_product() {
    for builder in [GraphBuilder::Native, GraphBuilder::HnswRs] {
        for factor in [1.0, 4.0, 10_000.0] {
            let mut rows = normal(1, 3000, 48);
            for row in rows.iter_mut().step_by(100) {
                row.iter_mut().for_each(|x| *x *= factor);
            }
            let vectors = vectors(&rows);
            let options = BuildOptions {
                threads: 1,
                graph: builder,
            };
            let index = Index::build(&vectors, &params(Measure::Dot, None), options).unwrap();
            let recall = recall(&index, &vectors, Measure::Dot, &normal(2, 40, 48), 150);
            assert!(
                recall >= 0.85,
                "{builder:?}, {factor} times as long: {recall}"
            );
        }
    }
}

#[test]
fn a_far_cluster_is_found_with_and_without_codes() {
    for (one_in, sigmas) in [
        (100, 20.0),
        (100, 100.0),
        (20, 20.0),
        (20, 1000.0),
        (2, 500.0),
    ] {
        let offset = |row: &mut Vec<f32>| row.iter_mut().for_each(|x| *x += sigmas);
        let mut rows = normal(3, 4000, 40);
        rows.iter_mut().step_by(one_in).for_each(offset);
        let mut queries = normal(4, 40, 40);
        queries.iter_mut().take(20).for_each(offset);
        let vectors = vectors(&rows);
        for kind in [None, Some(Quantization::Int8), Some(Quantization::Int4)] {
            let index = build(&vectors, Measure::Euclid, kind);
            for queries in [&queries[..20], &queries[20..]] {
                let recall = recall(&index, &vectors, Measure::Euclid, queries, 100);
                assert!(
                    recall >= 0.9,
                    "1 in {one_in} at {sigmas}, {kind:?} (kept {:?}): {recall}",
                    index.quantization()
                );
            }
        }
    }
}

#[test]
fn walks_over_codes_are_as_wide_as_what_is_compared_again() {
    let rows = normal(5, 3000, 64);
    let vectors = vectors(&rows);
    let index = build(&vectors, Measure::Euclid, Some(Quantization::Int8));
    // Without widening, a walk of width 10 finds 10 rows by codes, and comparing them again changes nothing.
    let recall = recall(&index, &vectors, Measure::Euclid, &normal(6, 40, 64), 10);
    let wide = Search {
        rescore: brainy_index::dense::Rescore::Times(20.0),
        ..Search::new(K, 10)
    };
    let mut hits = 0;
    for query in &normal(6, 40, 64) {
        let exact = scan(&vectors, Measure::Euclid, query, K, 0..3000);
        let found = index.search(&vectors, query, &wide, None);
        hits += found.iter().filter(|n| exact.contains(n)).count();
    }
    let widened = hits as f64 / 400.0;
    assert!(
        widened > recall + 0.05 && widened >= 0.9,
        "{recall} becomes {widened}"
    );
}

#[test]
fn rows_that_differ_in_the_sign_of_zeros_only_are_copies() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut rows = normal(8, 3000, 16);
    for row in rows.iter_mut().step_by(4) {
        row.iter_mut()
            .for_each(|x| *x = if rng.random_bool(0.5) { 0.0 } else { -0.0 });
    }
    let vectors = vectors(&rows);
    let index = build(&vectors, Measure::Euclid, None);
    let recall = recall(&index, &vectors, Measure::Euclid, &normal(9, 50, 16), 64);
    assert!(recall >= 0.95, "{recall}");
    let zeros = index.search(&vectors, &[0.0; 16], &Search::new(750, 750), None);
    assert!(zeros.iter().all(|near| near.distance == 0.0));
    assert_eq!(zeros.len(), 750);
}

#[test]
fn merges_keep_every_row_however_many_are_gone() {
    let measure = Measure::Euclid;
    let old = normal(10, 3000, 16);
    let old_vectors = vectors(&old);
    let old_index = build(&old_vectors, measure, Some(Quantization::Int8));
    let queries = normal(11, 40, 16);
    for one_in in [1, 2, 4, 30, 100] {
        let kept: Vec<usize> = (0..old.len()).step_by(one_in).collect();
        let mut moved = vec![None; old.len()];
        for (new, row) in kept.iter().enumerate() {
            moved[*row] = Some(new as u32);
        }
        let rows: Vec<Vec<f32>> = kept.iter().map(|row| old[*row].clone()).collect();
        let vectors = vectors(&rows);
        let reuse = Reuse {
            index: &old_index,
            moved: &moved,
        };
        let params = params(measure, Some(Quantization::Int8));
        let merged = Index::merge(&vectors, &params, BuildOptions::default(), reuse).unwrap();
        let anew = build(&vectors, measure, Some(Quantization::Int8));
        let of = |index: &Index| recall(index, &vectors, measure, &queries, 64);
        assert!(of(&merged) >= of(&anew) - 0.02, "1 in {one_in}");
        let all = merged.search(&vectors, &queries[0], &Search::new(rows.len(), 64), None);
        assert_eq!(all.len(), rows.len(), "1 in {one_in}");
    }
}

#[test]
fn the_rows_of_upper_layers_may_all_be_gone() {
    // Whatever the layers, some of these cuts take the highest with them.
    let measure = Measure::Euclid;
    let old = normal(12, 1000, 8);
    let index = build(&vectors(&old), measure, None);
    for gone in 0..1000usize {
        if gone % 10 != 0 && gone > 300 {
            continue;
        }
        let kept: Vec<usize> = (0..1000).filter(|row| row / 3 != gone / 3).collect();
        let mut moved = vec![None; 1000];
        for (new, row) in kept.iter().enumerate() {
            moved[*row] = Some(new as u32);
        }
        let rows: Vec<Vec<f32>> = kept.iter().map(|row| old[*row].clone()).collect();
        let vectors = vectors(&rows);
        let reuse = Reuse {
            index: &index,
            moved: &moved,
        };
        let merged = Index::merge(
            &vectors,
            &params(measure, None),
            BuildOptions::default(),
            reuse,
        );
        let found = merged
            .unwrap()
            .search(&vectors, &rows[0], &Search::new(1, 64), None);
        assert_eq!(found[0].key, 0);
    }
}

#[test]
fn ties_come_by_row_and_any_k_is_answered() {
    let unit = |i: usize| (0..20).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
    let mut rows: Vec<Vec<f32>> = (0..20).map(unit).collect();
    rows.push(unit(3));
    let vectors = vectors(&rows);
    for kind in [None, Some(Quantization::Int8)] {
        let index = build(&vectors, Measure::Euclid, kind);
        let found = index.search(&vectors, &[0.0; 20], &Search::new(5, 50), None);
        assert!(found.is_sorted_by(|a, b| a < b));
        let all = index.search(&vectors, &[0.0; 20], &Search::new(usize::MAX, 50), None);
        let keys: Vec<u32> = all.iter().map(|near| near.key).collect();
        assert_eq!(keys, (0..21).collect::<Vec<u32>>(), "{kind:?}");
        assert_eq!(
            index
                .search(&vectors, &[0.0; 20], &Search::new(0, 0), None)
                .len(),
            0
        );
    }
}

#[test]
fn no_rows_are_no_special_case_for_a_scan() {
    let empty = Vectors::builder(3, 0).unwrap().finish();
    assert!(scan(&empty, Measure::Dot, &[1.0; 3], 5, 0..0).is_empty());
}
