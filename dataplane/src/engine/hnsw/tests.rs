use brainy_coordination::manifest::HnswParams;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const PARAMS: HnswParams = HnswParams {
    m: 8,
    ef_construct: 60,
};

fn random(seed: u64, rows: usize, size: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..rows * size)
        .map(|_| rng.random_range(-1.0f32..1.0))
        .collect()
}

fn rows(data: &[f32], size: usize) -> Rows<'_> {
    Rows {
        data,
        size,
        measure: Distance::Euclid,
    }
}

fn reachable(graph: &Graph) -> usize {
    let mut seen = vec![false; graph.rows as usize];
    let mut stack = vec![graph.entry];
    let mut count = 0;
    while let Some(row) = stack.pop() {
        if !std::mem::replace(&mut seen[row as usize], true) {
            count += 1;
            stack.extend(graph.layers.iter().flat_map(|l| l.links(row)));
        }
    }
    count
}

#[test]
fn one_thread_builds_the_same_graph_twice() {
    let data = random(3, 800, 6);
    let a = build(&rows(&data, 6), PARAMS, 1);
    let b = build(&rows(&data, 6), PARAMS, 1);
    assert_eq!(a.words().collect::<Vec<_>>(), b.words().collect::<Vec<_>>());
}

#[test]
fn every_row_is_reachable_and_no_row_has_too_many_links() {
    // Clusters that are stored one after the other: the order that tears apart graphs which keep only the nearest links.
    let mut data = random(5, 3000, 4);
    for (row, v) in data.chunks_mut(4).enumerate() {
        v[0] += (row / 300) as f32 * 100.0;
    }
    for threads in [1, 3] {
        let graph = build(&rows(&data, 4), PARAMS, threads);
        assert_eq!(reachable(&graph), 3000, "{threads} threads");
        for (i, layer) in graph.layers.iter().enumerate() {
            let most = if i == 0 { 16 } else { 8 };
            assert!((0..3000).all(|row| layer.links(row).len() <= most));
            assert!((0..3000).all(|row| !layer.links(row).contains(&row)));
        }
    }
}

#[test]
fn identical_vectors_and_single_rows_are_no_special_case() {
    for n in [1usize, 2, 600] {
        let data = vec![1.0; n * 3];
        let graph = build(&rows(&data, 3), PARAMS, 2);
        let found = graph.search(&rows(&data, 3), &[1.0; 3], 10, &mut |_| true);
        assert_eq!(found.len(), n.min(10));
    }
}

#[test]
fn a_filtered_search_finds_only_and_enough_matching_rows() {
    let data = random(9, 2000, 8);
    let rows = rows(&data, 8);
    let graph = build(&rows, PARAMS, 1);
    let found = graph.search(&rows, &data[..8], 20, &mut |row| row % 50 == 7);
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|n| n.key % 50 == 7));
    assert!(found.is_sorted());
    let none = graph.search(&rows, &data[..8], 20, &mut |_| false);
    assert!(none.is_empty());
}

#[test]
fn walks_find_the_nearest_matching_rows_whatever_the_measure_and_selectivity() {
    // Clusters of different lengths, so that the dot product prefers long vectors.
    let (size, count) = (12, 4000);
    let mut data = random(17, count, size);
    for (row, v) in data.chunks_mut(size).enumerate() {
        let (centre, length) = (row * 20 / count, 1.0 + (row % 7) as f32);
        v.iter_mut().enumerate().for_each(|(i, c)| {
            *c = length * (*c * 0.3 + ((centre * size + i) as f32).sin());
        });
    }
    for measure in [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ] {
        let mut data = data.clone();
        if measure == Distance::Cosine {
            data.chunks_mut(size)
                .for_each(crate::engine::distance::normalise);
        }
        let rows = Rows {
            data: &data,
            size,
            measure,
        };
        let graph = build(
            &rows,
            HnswParams {
                m: 16,
                ef_construct: 100,
            },
            2,
        );
        for every in [1, 2, 10, 100] {
            let (mut hits, mut wanted) = (0, 0);
            for query in (0..count as u32).step_by(97) {
                let vector = rows.row(query);
                let mut exact: Vec<Near<u32>> = (0..count as u32)
                    .filter(|row| row % every == 0)
                    .map(|key| Near {
                        distance: rows.to(vector, key),
                        key,
                    })
                    .collect();
                exact.sort();
                exact.truncate(10);
                let found = graph.search(&rows, vector, 100, &mut |row| row % every == 0);
                wanted += exact.len();
                hits += exact.iter().filter(|n| found.contains(n)).count();
            }
            let recall = hits as f64 / wanted as f64;
            println!("{measure:?}, one row in {every}: recall {recall:.3}");
            assert!(
                recall >= 0.95,
                "{measure:?}, one row in {every}: recall {recall}"
            );
        }
    }
}

#[test]
fn graphs_survive_storage_and_refuse_other_segments() {
    let data = random(1, 700, 5);
    let graph = build(&rows(&data, 5), PARAMS, 1);
    let words: Vec<u32> = graph.words().collect();
    let read = Graph::from_words(&words, 700).unwrap();
    assert_eq!(read.layers, graph.layers);
    assert!(Graph::from_words(&words, 699).is_err());
    for cut in [0, 1, 2, 3, 4, words.len() / 2, words.len() - 1] {
        assert!(Graph::from_words(&words[..cut], 700).is_err(), "{cut}");
    }
    let longer: Vec<u32> = words.iter().copied().chain([0]).collect();
    assert!(Graph::from_words(&longer, 700).is_err());
}

proptest! {
    /// Any words either are refused or give a graph that can be searched.
    #[test]
    fn altered_graphs_never_panic(at in 0usize..4000, value in prop_oneof![any::<u32>(), 0u32..130]) {
        let data = random(1, 128, 2);
        let rows = rows(&data, 2);
        let mut words: Vec<u32> = build(&rows, HnswParams { m: 4, ef_construct: 10 }, 1).words().collect();
        let at = at % words.len();
        words[at] = value;
        if let Ok(graph) = Graph::from_words(&words, 128) {
            let found = graph.search(&rows, &[0.0, 0.0], 10, &mut |_| true);
            prop_assert!(found.len() <= 10);
        }
    }
}
