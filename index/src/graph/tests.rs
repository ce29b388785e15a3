use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::build::{Finder, Plan};
use super::reuse::Base;
use super::space::Space;
use super::walk::{Layer, Scorer};
use super::*;
use crate::measure::Measure;
use crate::vectors::Vectors;

const PLAN: Plan = Plan {
    m: 8,
    ef_construct: 60,
    threads: 1,
};

fn vectors(dim: usize, data: &[f32]) -> Vectors {
    Vectors::from_rows(dim, data.chunks_exact(dim)).unwrap()
}

fn random(seed: u64, rows: usize, dim: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..rows * dim)
        .map(|_| rng.random_range(-1.0f32..1.0))
        .collect()
}

/// Clusters that are stored one after the other: the order that tears apart graphs which keep only the nearest links.
fn clustered(seed: u64, rows: usize) -> Vec<f32> {
    let mut data = random(seed, rows, 4);
    for (row, v) in data.chunks_mut(4).enumerate() {
        v[0] += (row * 10 / rows) as f32 * 100.0;
    }
    data
}

struct Floats<'s>(&'s Space<'s>);

struct From<'s>(&'s Space<'s>, u32);

impl Scorer for From<'_> {
    fn distances(&self, rows: &[u32], out: &mut [f32]) {
        self.0.between_rows(self.1, rows, out);
    }
}

impl Finder for Floats<'_> {
    type Scorer<'f>
        = From<'f>
    where
        Self: 'f;
    fn from(&self, row: u32) -> From<'_> {
        From(self.0, row)
    }
}

fn native(vectors: &Vectors, plan: Plan) -> Graph {
    let space = Space::new(vectors, Measure::Euclid);
    build::build(&space, &Floats(&space), plan, duplicates::find(vectors)).unwrap()
}

fn by_hnsw_rs(vectors: &Vectors, plan: Plan) -> Graph {
    let space = Space::new(vectors, Measure::Euclid);
    hnsw_rs::build(&space, &Floats(&space), plan, duplicates::find(vectors)).unwrap()
}

/// Rows that lead to each other from the entry point, and copies of them.
fn reachable(graph: &Graph) -> usize {
    let mut row = graph.entry;
    for layer in (1..graph.layers()).rev() {
        row = graph.layer(layer).below(row);
    }
    let base = graph.layer(0);
    let mut seen = vec![false; graph.rows() as usize];
    let mut open = vec![row];
    let mut count = 0;
    while let Some(row) = open.pop() {
        if !std::mem::replace(&mut seen[row as usize], true) {
            count += 1 + graph.copies_of(row).len();
            open.extend(base.links(row));
        }
    }
    count
}

fn check_lists(graph: &Graph) {
    let mut above = u32::MAX;
    for i in 0..graph.layers() {
        let layer = graph.layer(i);
        let nodes = layer.nodes() as u32;
        assert!(nodes <= above, "layer {i} is larger than the one below");
        above = nodes;
        for node in 0..nodes {
            let links: Vec<u32> = layer.links(node).collect();
            let mut unique = links.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), links.len(), "a link twice");
            assert!(!links.contains(&node), "a link to itself");
            if i > 0 {
                let below = graph.layer(i - 1);
                assert_eq!(below.row(layer.below(node)), layer.row(node));
            }
        }
    }
}

#[test]
fn one_thread_builds_the_same_graph_twice() {
    let vectors = vectors(6, &random(3, 800, 6));
    for build in [native, by_hnsw_rs] {
        let (one, other) = (build(&vectors, PLAN), build(&vectors, PLAN));
        assert_eq!(one.as_bytes(), other.as_bytes());
    }
}

#[test]
fn every_row_is_reachable_and_lists_are_well_formed() {
    let vectors = vectors(4, &clustered(5, 3000));
    for threads in [1, 3] {
        for build in [native, by_hnsw_rs] {
            let graph = build(&vectors, Plan { threads, ..PLAN });
            assert_eq!(reachable(&graph), 3000, "{threads} threads");
            check_lists(&graph);
        }
    }
}

#[test]
fn a_graph_of_few_links_is_mended_until_every_row_is_reached() {
    let vectors = vectors(4, &clustered(6, 4000));
    let plan = Plan {
        m: 2,
        ef_construct: 4,
        threads: 2,
    };
    for build in [native, by_hnsw_rs] {
        assert_eq!(reachable(&build(&vectors, plan)), 4000);
    }
}

#[test]
fn many_copies_neither_hide_each_other_nor_the_rest() {
    // 1,000 copies of one vector and of another, among 1,000 different ones.
    let mut data = random(7, 3000, 4);
    for row in 0..2000 {
        let first = row % 2 * 4;
        data.copy_within(first..first + 4, row * 4);
    }
    let graph = native(&vectors(4, &data), PLAN);
    assert_eq!(reachable(&graph), 3000);
    assert_eq!(graph.copies_of(0).len(), 999);
    assert_eq!(graph.copies().count(), 1998);
    check_lists(&graph);
}

#[test]
fn single_rows_and_rows_that_are_all_the_same_are_no_special_case() {
    for rows in [1, 2, 600] {
        let vectors = vectors(3, &vec![1.0; rows * 3]);
        for build in [native, by_hnsw_rs] {
            let graph = build(&vectors, PLAN);
            assert_eq!(reachable(&graph), rows);
        }
    }
}

#[test]
fn a_reused_graph_has_every_row_and_none_that_is_gone() {
    let old_data = clustered(8, 2000);
    let old = native(&vectors(4, &old_data), PLAN);
    // Every third row is gone, the others are spread among as many new ones.
    let mut data = Vec::new();
    let mut moved = Vec::new();
    let fresh = clustered(9, 2000);
    for (row, v) in old_data.chunks(4).enumerate() {
        moved.push((row % 3 != 0).then_some((data.len() / 4) as u32));
        if row % 3 != 0 {
            data.extend_from_slice(v);
        }
        data.extend_from_slice(&fresh[row * 4..row * 4 + 4]);
    }
    let vectors = vectors(4, &data);
    let space = Space::new(&vectors, Measure::Euclid);
    let base = Base {
        graph: &old,
        moved: &moved,
    };
    for threads in [1, 2] {
        let plan = Plan { threads, ..PLAN };
        let copies = duplicates::find(&vectors);
        let graph = reuse::build(&space, &Floats(&space), plan, copies, base).unwrap();
        assert_eq!(reachable(&graph), vectors.len());
        check_lists(&graph);
    }
}

#[test]
fn copies_take_the_place_of_a_row_that_is_gone() {
    let mut old_data = random(10, 1000, 4);
    // Rows 0, 1 and 2 are one vector; so will be the new row in front of all.
    old_data.copy_within(0..4, 4);
    old_data.copy_within(0..4, 8);
    let old = native(&vectors(4, &old_data), PLAN);
    let moved: Vec<Option<u32>> = (0..1000).map(|row| (row != 0).then_some(row)).collect();
    let vectors = vectors(4, &old_data);
    let space = Space::new(&vectors, Measure::Euclid);
    let base = Base {
        graph: &old,
        moved: &moved,
    };
    let copies = duplicates::find(&vectors);
    let graph = reuse::build(&space, &Floats(&space), PLAN, copies, base).unwrap();
    assert_eq!(reachable(&graph), 1000);
    assert_eq!(graph.copies_of(0), [1, 2]);
}

#[test]
fn nothing_is_left_of_a_graph_whose_rows_are_all_gone() {
    let old = native(&vectors(4, &random(11, 700, 4)), PLAN);
    let vectors = vectors(4, &random(12, 700, 4));
    let space = Space::new(&vectors, Measure::Euclid);
    let base = Base {
        graph: &old,
        moved: &vec![None; 700],
    };
    let graph = reuse::build(&space, &Floats(&space), PLAN, Vec::new(), base).unwrap();
    assert_eq!(graph.as_bytes(), native(&vectors, PLAN).as_bytes());
}

#[test]
fn stored_graphs_are_read_back_and_other_versions_refused_by_number() {
    let vectors = vectors(4, &clustered(13, 1500));
    let graph = native(&vectors, PLAN);
    let read = |bytes: &[u8]| Graph::open(Storage::copy_of(bytes).unwrap(), 1500);
    assert_eq!(read(graph.as_bytes()).unwrap().as_bytes(), graph.as_bytes());
    let mut newer = graph.as_bytes().to_vec();
    newer[0] = 9;
    let error = read(&newer).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
    let error = Graph::open(Storage::copy_of(graph.as_bytes()).unwrap(), 1499).unwrap_err();
    assert!(error.to_string().contains("1499"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever bytes are changed: an error, or a graph whose search ends within its bounds.
    #[test]
    fn damaged_graphs_are_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), 0..3u32), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let vectors = vectors(4, &clustered(14, 300));
        let space = Space::new(&vectors, Measure::Euclid);
        let mut words: Vec<u32> = bytemuck::cast_slice(native(&vectors, PLAN).as_bytes()).to_vec();
        for (at, value, kind) in changes {
            // Small values and places in the header are where a wrong number is most likely to be believed.
            let at = if kind == 2 { at.index(40) } else { at.index(words.len()) };
            words[at] = if kind == 0 { value } else { value % 320 };
        }
        if let Some(cut) = cut {
            words.truncate(cut.index(words.len()));
        }
        let storage = Storage::copy_of(bytemuck::cast_slice(&words)).unwrap();
        if let Ok(graph) = Graph::open(storage, 300) {
            let found = graph.search(&From(&space, 0), 10, None, usize::MAX).unwrap();
            prop_assert!(found.len() <= 10);
            for near in found {
                prop_assert!(graph.copies_of(near.key).iter().all(|row| *row < 300));
            }
        }
    }
}
