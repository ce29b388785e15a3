//! The dense index as its users see it: what is found, by every measure and kind of code, under filters, after merges, after
//! being stored; and what damaged bytes do.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use brainy_index::IndexError;
use brainy_index::dense::{
    BuildOptions, GraphBuilder, Index, Params, Parts, Rescore, Reuse, Search, scan,
};
use brainy_index::measure::Measure;
use brainy_index::quantize::Quantization;
use brainy_index::storage::Storage;
use brainy_index::vectors::Vectors;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const DIM: usize = 40;
const K: usize = 10;

const KINDS: [Option<Quantization>; 4] = [
    None,
    Some(Quantization::Int8),
    Some(Quantization::Int4),
    Some(Quantization::Binary),
];

/// Points around 40 centres, as embeddings are; of unit length if the measure wants that.
fn clustered(seed: u64, rows: usize, measure: Measure) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut centres = StdRng::seed_from_u64(1);
    let centres: Vec<Vec<f32>> = (0..40)
        .map(|_| {
            (0..DIM)
                .map(|_| centres.random_range(-1.0f32..1.0))
                .collect()
        })
        .collect();
    (0..rows)
        .map(|_| {
            let centre = &centres[rng.random_range(0..40)];
            let mut row: Vec<f32> = centre
                .iter()
                .map(|x| x + rng.random_range(-0.6f32..0.6))
                .collect();
            if measure == Measure::Cosine {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x /= length);
            }
            row
        })
        .collect()
}

fn vectors(rows: &[Vec<f32>]) -> Vectors {
    Vectors::from_rows(rows[0].len(), rows.iter().map(Vec::as_slice)).unwrap()
}

fn params(measure: Measure, quantization: Option<Quantization>) -> Params {
    Params {
        measure,
        m: 16,
        ef_construct: 100,
        quantization,
    }
}

fn supported(measure: Measure, quantization: Option<Quantization>) -> bool {
    (measure, quantization) != (Measure::Manhattan, Some(Quantization::Binary))
}

/// Recall@10 against a scan, of rows that `accept` lets through.
fn recall(
    index: &Index,
    vectors: &Vectors,
    measure: Measure,
    queries: &[Vec<f32>],
    search: &Search,
    accept: Option<&dyn Fn(u32) -> bool>,
) -> f64 {
    let mut hits = 0;
    let mut wanted = 0;
    for query in queries {
        let rows = (0..vectors.len() as u32).filter(|row| accept.is_none_or(|a| a(*row)));
        let exact: HashSet<u32> = scan(vectors, measure, query, K, rows)
            .iter()
            .map(|n| n.key)
            .collect();
        let found = index.search(vectors, query, search, accept);
        assert!(found.len() <= K);
        assert!(found.is_sorted_by(|a, b| (a.distance, a.key) < (b.distance, b.key)));
        assert!(found.iter().all(|n| accept.is_none_or(|a| a(n.key))));
        wanted += exact.len();
        hits += found.iter().filter(|n| exact.contains(&n.key)).count();
    }
    hits as f64 / wanted as f64
}

#[test]
fn every_measure_and_kind_of_code_finds_the_nearest_with_exact_distances() {
    for measure in Measure::ALL {
        let rows = clustered(2, 4000, measure);
        let queries = clustered(3, 50, measure);
        let vectors = vectors(&rows);
        for quantization in KINDS {
            if !supported(measure, quantization) {
                let error = Index::build(
                    &vectors,
                    &params(measure, quantization),
                    BuildOptions::default(),
                );
                assert!(error.unwrap_err().to_string().contains("Manhattan"));
                continue;
            }
            let options = BuildOptions {
                threads: 2,
                ..BuildOptions::default()
            };
            let index = Index::build(&vectors, &params(measure, quantization), options).unwrap();
            assert_eq!(index.quantization(), quantization);
            let search = Search::new(K, 128);
            let recall = recall(&index, &vectors, measure, &queries, &search, None);
            let least = if quantization == Some(Quantization::Binary) {
                0.85
            } else {
                0.97
            };
            assert!(
                recall >= least,
                "{measure:?} {quantization:?}: recall {recall}"
            );
            for query in &queries[..5] {
                let exact = scan(&vectors, measure, query, K, 0..4000);
                let found = index.search(&vectors, query, &search, None);
                let same = exact.iter().find(|n| n.key == found[0].key);
                assert!(same.is_none_or(|n| n.distance == found[0].distance));
                // A scan by codes compares the ranks in question again.
                let by_codes = index.scan(&vectors, query, &search, 0..4000);
                assert_eq!(by_codes.len(), K);
            }
        }
    }
}

#[test]
fn both_builders_give_graphs_that_find_the_nearest() {
    let measure = Measure::Euclid;
    let vectors = vectors(&clustered(4, 3000, measure));
    let queries = clustered(5, 50, measure);
    for graph in [GraphBuilder::Native, GraphBuilder::HnswRs] {
        let options = BuildOptions { threads: 1, graph };
        let index = Index::build(&vectors, &params(measure, None), options).unwrap();
        let recall = recall(
            &index,
            &vectors,
            measure,
            &queries,
            &Search::new(K, 100),
            None,
        );
        assert!(recall >= 0.97, "{graph:?}: {recall}");
    }
}

#[test]
fn filtered_walks_keep_their_recall_and_end_when_their_budget_is_spent() {
    let measure = Measure::Cosine;
    let vectors = vectors(&clustered(6, 6000, measure));
    let queries = clustered(7, 30, measure);
    let index = Index::build(
        &vectors,
        &params(measure, Some(Quantization::Int8)),
        BuildOptions::default(),
    )
    .unwrap();
    for one_in in [2u32, 10, 100] {
        let accept = |row: u32| row.is_multiple_of(one_in);
        let search = Search::new(K, 64);
        let recall = recall(&index, &vectors, measure, &queries, &search, Some(&accept));
        assert!(recall >= 0.97, "1 in {one_in}: {recall}");
        let scanned = index.scan(
            &vectors,
            &queries[0],
            &search,
            (0..6000).filter(|r| accept(*r)),
        );
        let exact = scan(
            &vectors,
            measure,
            &queries[0],
            K,
            (0..6000).filter(|r| accept(*r)),
        );
        assert_eq!(scanned[0].key, exact[0].key);
    }
    let none = |_: u32| false;
    let bounded = Search {
        budget: 500,
        ..Search::new(K, 64)
    };
    assert!(
        index
            .search_within(&vectors, &queries[0], &bounded, Some(&none))
            .is_none()
    );
    assert_eq!(
        index
            .search(&vectors, &queries[0], &Search::new(K, 64), Some(&none))
            .len(),
        0
    );
}

#[test]
fn copies_are_found_even_if_the_first_of_them_is_gone() {
    let measure = Measure::Euclid;
    let mut rows = clustered(8, 1000, measure);
    for row in [10, 20, 30, 40] {
        rows[row] = rows[5].clone();
    }
    let vectors = vectors(&rows);
    let index = Index::build(
        &vectors,
        &params(measure, Some(Quantization::Int8)),
        BuildOptions::default(),
    )
    .unwrap();
    let search = Search::new(5, 50);
    let keys = |accept: Option<&dyn Fn(u32) -> bool>| -> Vec<u32> {
        let found = index.search(&vectors, &rows[5], &search, accept);
        found
            .iter()
            .filter(|n| n.distance == 0.0)
            .map(|n| n.key)
            .collect()
    };
    assert_eq!(keys(None), [5, 10, 20, 30, 40]);
    assert_eq!(keys(Some(&|row| row != 5 && row != 20)), [10, 30, 40]);
    assert_eq!(keys(Some(&|row| row == 30)), [30]);
}

#[test]
fn a_merge_keeps_the_recall_of_a_graph_built_anew() {
    let measure = Measure::Cosine;
    let old = clustered(9, 3000, measure);
    let old_index = Index::build(
        &vectors(&old),
        &params(measure, Some(Quantization::Int8)),
        BuildOptions::default(),
    )
    .unwrap();
    let fresh = clustered(10, 2000, measure);
    let mut rows = Vec::new();
    let mut moved = Vec::new();
    for (i, row) in old.iter().enumerate() {
        let kept = i % 4 != 0;
        moved.push(kept.then_some(rows.len() as u32));
        if kept {
            rows.push(row.clone());
        }
        rows.extend(fresh.get(i).cloned());
    }
    let merged = vectors(&rows);
    let queries = clustered(11, 60, measure);
    let search = Search::new(K, 64);
    let reuse = Reuse {
        index: &old_index,
        moved: &moved,
    };
    let params = params(measure, Some(Quantization::Int8));
    let of = |index: &Index| recall(index, &merged, measure, &queries, &search, None);
    let anew = of(&Index::build(&merged, &params, BuildOptions::default()).unwrap());
    let reused = of(&Index::merge(&merged, &params, BuildOptions::default(), reuse).unwrap());
    assert!(
        reused >= anew - 0.01 && reused >= 0.97,
        "reused {reused}, anew {anew}"
    );
}

#[test]
fn rescoring_makes_distances_exact_and_can_be_left_out() {
    let measure = Measure::Euclid;
    let rows = clustered(12, 2000, measure);
    let vectors = vectors(&rows);
    let index = Index::build(
        &vectors,
        &params(measure, Some(Quantization::Int4)),
        BuildOptions::default(),
    )
    .unwrap();
    let query = &clustered(13, 1, measure)[0];
    let search = |rescore| Search {
        rescore,
        ..Search::new(K, 100)
    };
    let exact = |row: u32| scan(&vectors, measure, query, 1, std::iter::once(row))[0].distance;
    for rescore in [Rescore::Default, Rescore::Times(0.1), Rescore::Times(5.0)] {
        let found = index.search(&vectors, query, &search(rescore), None);
        assert!(
            found.iter().all(|n| n.distance == exact(n.key)),
            "{rescore:?}"
        );
    }
    let rough = index.search(&vectors, query, &search(Rescore::Off), None);
    assert!(rough.iter().any(|n| n.distance != exact(n.key)));
    let ignored = Search {
        ignore_codes: true,
        ..search(Rescore::Off)
    };
    let found = index.search(&vectors, query, &ignored, None);
    assert!(found.iter().all(|n| n.distance == exact(n.key)));
}

#[test]
fn parts_are_read_back_and_answer_alike() {
    let measure = Measure::Dot;
    let vectors = vectors(&clustered(14, 1500, measure));
    let queries = clustered(15, 10, measure);
    for quantization in KINDS {
        let index = Index::build(
            &vectors,
            &params(measure, quantization),
            BuildOptions::default(),
        )
        .unwrap();
        let parts = index.parts();
        let copy = |bytes: &[u8]| Storage::copy_of(bytes).unwrap();
        let read = Parts {
            graph: copy(parts.graph),
            codes: parts.codes.map(copy),
        };
        let read = Index::open(read, 1500, DIM, measure).unwrap();
        assert_eq!(read.quantization(), quantization);
        assert_eq!(read.memory_bytes(), index.memory_bytes());
        for query in &queries {
            let search = Search::new(K, 64);
            assert_eq!(
                index.search(&vectors, query, &search, None),
                read.search(&vectors, query, &search, None)
            );
        }
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let vectors = vectors(&clustered(16, 600, Measure::Dot));
    let cases = [
        (
            Params {
                m: 1,
                ..params(Measure::Dot, None)
            },
            "m is 1",
        ),
        (
            Params {
                m: 257,
                ..params(Measure::Dot, None)
            },
            "m is 257",
        ),
        (
            Params {
                ef_construct: 3,
                ..params(Measure::Dot, None)
            },
            "ef_construct is 3",
        ),
    ];
    for (params, text) in cases {
        let error = Index::build(&vectors, &params, BuildOptions::default()).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    let empty = Vectors::builder(3, 0).unwrap().finish();
    let error = Index::build(&empty, &params(Measure::Dot, None), BuildOptions::default());
    assert!(matches!(
        error,
        Err(IndexError::Parameter {
            what: "the number of rows",
            ..
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_codes_are_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let measure = Measure::Euclid;
        let rows = clustered(17, 64, measure);
        let vectors = vectors(&rows);
        let index = Index::build(&vectors, &params(measure, Some(Quantization::Int8)), BuildOptions::default()).unwrap();
        let parts = index.parts();
        let mut codes = parts.codes.unwrap_or_default().to_vec();
        for (at, value, head) in changes {
            let at = if head { at.index(200) } else { at.index(codes.len()) };
            codes[at] = value;
        }
        if let Some(cut) = cut {
            codes.truncate(cut.index(codes.len()));
        }
        let read = Parts {
            graph: Storage::copy_of(parts.graph).unwrap(),
            codes: Some(Storage::copy_of(&codes).unwrap()),
        };
        if let Ok(index) = Index::open(read, 64, DIM, measure) {
            let found = index.search(&vectors, &rows[0], &Search::new(K, 20), None);
            prop_assert!(found.iter().all(|n| n.distance.is_finite() && n.key < 64));
        }
    }
}
