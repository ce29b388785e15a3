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
        stride: size,
        measure: Distance::Euclid,
    }
}

const fn on(threads: usize, graph: GraphBuilder) -> BuildOptions {
    BuildOptions { threads, graph }
}

const BUILDERS: [GraphBuilder; 2] = [GraphBuilder::Native, GraphBuilder::HnswRs];

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
    for builder in BUILDERS {
        let words = || -> Vec<u32> {
            let graph = build(&rows(&data, 6), PARAMS, on(1, builder)).unwrap();
            graph.words().collect()
        };
        assert_eq!(words(), words(), "{builder:?}");
    }
}

#[test]
fn every_row_is_reachable_and_no_row_has_too_many_links() {
    // Clusters that are stored one after the other: the order that tears apart graphs which keep only the nearest links.
    let mut data = random(5, 3000, 4);
    for (row, v) in data.chunks_mut(4).enumerate() {
        v[0] += (row / 300) as f32 * 100.0;
    }
    for threads in [1, 3] {
        let graph = build(&rows(&data, 4), PARAMS, on(threads, GraphBuilder::Native)).unwrap();
        assert_eq!(reachable(&graph), 3000, "{threads} threads");
        for (i, layer) in graph.layers.iter().enumerate() {
            let most = if i == 0 { 16 } else { 8 };
            assert!((0..3000).all(|row| layer.links(row).len() <= most));
            assert!((0..3000).all(|row| !layer.links(row).contains(&row)));
        }
    }
}

#[test]
fn graphs_of_hnsw_rs_have_the_shape_of_native_ones() {
    for m in [2, 8, 256] {
        let data = random(23, 3000, 4);
        let params = HnswParams { m, ..PARAMS };
        let graph = build(&rows(&data, 4), params, on(1, GraphBuilder::HnswRs)).unwrap();
        let found = reachable(&graph);
        assert!(found > 2950, "m {m}: {found} rows can be reached");
        let m = m as usize;
        let mut nodes = 3000;
        for (i, layer) in graph.layers.iter().enumerate() {
            let most = if i == 0 { 2 * m } else { m };
            for row in 0..3000 {
                let links = layer.links(row);
                assert!(links.len() <= most && !links.contains(&row));
                // A link never leads out of its layer.
                assert!(i == 0 || links.iter().all(|l| layer.nodes.binary_search(l).is_ok()));
            }
            if i == 1 {
                nodes = layer.nodes.len();
            }
        }
        // One row in m is expected in layer 1.
        assert!(nodes < 2 * 3000 / m, "m {m}: {nodes} rows in layer 1");
    }
}

#[test]
fn identical_vectors_and_single_rows_are_no_special_case() {
    for (n, builder) in [1usize, 2, 600]
        .into_iter()
        .flat_map(|n| BUILDERS.map(|b| (n, b)))
    {
        let data = vec![1.0; n * 3];
        let graph = build(&rows(&data, 3), PARAMS, on(2, builder)).unwrap();
        let found = graph.search(&rows(&data, 3), &[1.0; 3], 10, &mut |_| true);
        assert_eq!(found.len(), n.min(10), "{builder:?}");
    }
}

#[test]
fn a_filtered_search_finds_only_and_enough_matching_rows() {
    let data = random(9, 2000, 8);
    let rows = rows(&data, 8);
    for builder in BUILDERS {
        let graph = build(&rows, PARAMS, on(1, builder)).unwrap();
        let found = graph.search(&rows, &data[..8], 20, &mut |row| row % 50 == 7);
        assert_eq!(found.len(), 20, "{builder:?}");
        assert!(found.iter().all(|n| n.key % 50 == 7));
        assert!(found.is_sorted());
        let none = graph.search(&rows, &data[..8], 20, &mut |_| false);
        assert!(none.is_empty());
    }
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
            stride: size,
            measure,
        };
        let params = HnswParams {
            m: 16,
            ef_construct: 100,
        };
        for builder in BUILDERS {
            let graph = build(&rows, params, on(2, builder)).unwrap();
            for every in [1, 2, 10, 100] {
                let recall = recall(&graph, &rows, every);
                println!("{builder:?}, {measure:?}, one row in {every}: recall {recall:.3}");
                assert!(
                    recall >= 0.95,
                    "{builder:?}, {measure:?}, one row in {every}: recall {recall}"
                );
            }
        }
    }
}

/// Share of the ten nearest of every 97th row that a search finds among one row in `every`.
fn recall(graph: &Graph, rows: &Rows<'_>, every: u32) -> f64 {
    let count = rows.len() as u32;
    let (mut hits, mut wanted) = (0, 0);
    for query in (0..count).step_by(97) {
        let vector = rows.row(query);
        let mut exact: Vec<Near<u32>> = (0..count)
            .filter(|row| row % every == 0)
            .map(|key| Near {
                distance: rows.to(vector, key),
                key,
            })
            .collect();
        exact.sort();
        exact.truncate(10);
        let found = graph.search(rows, vector, 100, &mut |row| row % every == 0);
        wanted += exact.len();
        hits += exact.iter().filter(|n| found.contains(n)).count();
    }
    hits as f64 / wanted as f64
}

#[test]
fn graphs_survive_storage_and_refuse_other_segments() {
    let data = random(1, 700, 5);
    for builder in BUILDERS {
        let graph = build(&rows(&data, 5), PARAMS, on(1, builder)).unwrap();
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
}

proptest! {
    /// Any words either are refused or give a graph that can be searched.
    #[test]
    fn altered_graphs_never_panic(at in 0usize..4000, value in prop_oneof![any::<u32>(), 0u32..130]) {
        let data = random(1, 128, 2);
        let rows = rows(&data, 2);
        let mut words: Vec<u32> = build(&rows, HnswParams { m: 4, ef_construct: 10 }, BuildOptions::default()).unwrap().words().collect();
        let at = at % words.len();
        words[at] = value;
        if let Ok(graph) = Graph::from_words(&words, 128) {
            let found = graph.search(&rows, &[0.0, 0.0], 10, &mut |_| true);
            prop_assert!(found.len() <= 10);
        }
    }
}
