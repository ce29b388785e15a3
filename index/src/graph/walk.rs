//! Walking a layer: best first (algorithm 2 of the paper), shared by building and searching.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::kernels;
use crate::near::{Near, TopK};

/// No link.
pub(crate) const NONE: u32 = u32::MAX;
/// Marks nodes of a pool whose links were followed.
const EXPANDED: u32 = 1 << 31;

/// Compares rows with what is searched for.
pub(crate) trait Scorer {
    /// Distances of `rows`, in their order; never NaN. `out` has the same length.
    fn distances(&self, rows: &[u32], out: &mut [f32]);

    /// Asks for what it will compare of a row, ahead of time.
    #[inline]
    fn prefetch(&self, _row: u32) {}
}

/// A layer of a graph, finished or under construction. Its nodes are numbered from 0.
pub(crate) trait Layer {
    /// Nodes.
    fn nodes(&self) -> usize;
    /// The row of a node.
    fn row(&self, node: u32) -> u32;
    /// Nodes that a node leads to.
    fn links(&self, node: u32) -> impl Iterator<Item = u32>;
    /// Asks for the links of a node ahead of time.
    fn prefetch(&self, node: u32);
}

/// The work area of a walk; reused, so that a search costs what it visits and not the size of the graph.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    visited: Visited,
    nodes: Vec<u32>,
    rows: Vec<u32>,
    distances: Vec<f32>,
    pool: Vec<Near>,
}

/// Which nodes were seen: those whose mark is that of the walk.
#[derive(Debug, Default)]
struct Visited {
    marks: Vec<u16>,
    walk: u16,
}

impl Visited {
    fn begin(&mut self, nodes: usize) {
        if self.marks.len() < nodes {
            self.marks.resize(nodes, 0);
        }
        self.walk = self.walk.wrapping_add(1);
        if self.walk == 0 {
            self.marks.fill(0);
            self.walk = 1;
        }
    }

    /// Marks a node; whether it was new.
    #[inline]
    fn insert(&mut self, node: u32) -> bool {
        let mark = &mut self.marks[node as usize];
        let new = *mark != self.walk;
        *mark = self.walk;
        new
    }
}

/// Asks the processor to load all of a list of links or of a code.
#[inline(always)]
pub(crate) fn prefetch<T>(list: &[T]) {
    for line in list.chunks(64 / size_of::<T>()) {
        kernels::prefetch(line);
    }
}

impl Scratch {
    /// Bytes that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.visited.marks.capacity()
            + 4 * (self.nodes.capacity() + self.rows.capacity() + self.distances.capacity())
            + size_of::<Near>() * self.pool.capacity()
    }

    /// Compares the links of `node` that were not seen yet; results are in `nodes` and `distances`.
    #[inline]
    fn compare_new_links(&mut self, layer: &impl Layer, scorer: &impl Scorer, node: u32) {
        self.nodes.clear();
        for link in layer.links(node) {
            if self.visited.insert(link) {
                scorer.prefetch(layer.row(link));
                self.nodes.push(link);
            }
        }
        self.compare(layer, scorer);
    }

    #[inline]
    fn compare(&mut self, layer: &impl Layer, scorer: &impl Scorer) {
        self.rows.clear();
        self.rows.extend(self.nodes.iter().map(|n| layer.row(*n)));
        self.distances.resize(self.nodes.len(), 0.0);
        scorer.distances(&self.rows, &mut self.distances);
    }

    /// Compares `nodes`, all of which count as seen from now on.
    fn begin(&mut self, layer: &impl Layer, scorer: &impl Scorer, nodes: &[u32]) {
        self.visited.begin(layer.nodes());
        self.nodes.clear();
        for node in nodes {
            if self.visited.insert(*node) {
                self.nodes.push(*node);
            }
        }
        self.compare(layer, scorer);
    }
}

/// Follows the steepest descent from `node`; returns the node where it ends.
pub(crate) fn descend(
    layer: &impl Layer,
    scorer: &impl Scorer,
    node: u32,
    scratch: &mut Scratch,
) -> u32 {
    scratch.begin(layer, scorer, &[node]);
    let mut best = Near {
        distance: scratch.distances[0],
        key: node,
    };
    loop {
        scratch.compare_new_links(layer, scorer, best.key);
        let links = scratch.nodes.iter().zip(&scratch.distances);
        let nearest = links.min_by(|a, b| a.1.total_cmp(b.1));
        match nearest {
            Some((node, distance)) if *distance < best.distance => {
                best = Near {
                    distance: *distance,
                    key: *node,
                };
            }
            _ => return best.key,
        }
    }
}

/// The `ef` nearest seen, sorted, and which of them were expanded: one array for what the paper keeps in two heaps.
struct Pool<'s> {
    entries: &'s mut Vec<Near>,
    ef: usize,
    /// Everything before it is expanded.
    next: usize,
}

impl Pool<'_> {
    #[inline]
    fn offer(&mut self, distance: f32, node: u32) {
        if self.entries.len() == self.ef {
            // Strictly nearer: many equally far nodes are not all walked through.
            if self
                .entries
                .last()
                .is_none_or(|last| distance >= last.distance)
            {
                return;
            }
            self.entries.pop();
        }
        let at = self
            .entries
            .partition_point(|entry| entry.distance <= distance);
        let entry = Near {
            distance,
            key: node,
        };
        self.entries.insert(at, entry);
        self.next = self.next.min(at);
    }

    /// The nearest that was not expanded; it counts as expanded from now on.
    #[inline]
    fn expand(&mut self) -> Option<u32> {
        let unexpanded = |entry: &Near| entry.key & EXPANDED == 0;
        self.next += self.entries[self.next..].iter().position(unexpanded)?;
        let node = self.entries[self.next].key;
        self.entries[self.next].key = node | EXPANDED;
        self.next += 1;
        Some(node)
    }

    /// What will probably be expanded next.
    #[inline]
    fn upcoming(&self) -> Option<u32> {
        let entry = self.entries.get(self.next)?;
        (entry.key & EXPANDED == 0).then_some(entry.key)
    }
}

/// The about `ef` nearest nodes that can be reached from `from`, nearest first. Nodes are below 2^31.
pub(crate) fn nearest(
    layer: &impl Layer,
    scorer: &impl Scorer,
    from: &[u32],
    ef: usize,
    scratch: &mut Scratch,
) -> Vec<Near> {
    scratch.begin(layer, scorer, from);
    let mut entries = std::mem::take(&mut scratch.pool);
    entries.clear();
    let mut pool = Pool {
        entries: &mut entries,
        ef: ef.max(1),
        next: 0,
    };
    for (node, distance) in scratch.nodes.iter().zip(&scratch.distances) {
        pool.offer(*distance, *node);
    }
    while let Some(node) = pool.expand() {
        if let Some(upcoming) = pool.upcoming() {
            layer.prefetch(upcoming);
        }
        scratch.compare_new_links(layer, scorer, node);
        for (node, distance) in scratch.nodes.iter().zip(&scratch.distances) {
            pool.offer(*distance, *node);
        }
    }
    let found = entries
        .iter()
        .map(|entry| Near {
            distance: entry.distance,
            key: entry.key & !EXPANDED,
        })
        .collect();
    scratch.pool = entries;
    found
}

/// The about `ef` nearest nodes whose rows `accept` lets through, nearest first; others are walked through. `None` if more
/// than `budget` nodes would have to be compared.
pub(crate) fn nearest_accepted(
    layer: &impl Layer,
    scorer: &impl Scorer,
    from: &[u32],
    ef: usize,
    accept: &dyn Fn(u32) -> bool,
    budget: usize,
    scratch: &mut Scratch,
) -> Option<Vec<Near>> {
    let mut found = TopK::new(ef.max(1));
    let mut frontier: BinaryHeap<Reverse<Near>> = BinaryHeap::new();
    let mut compared = 0;
    scratch.begin(layer, scorer, from);
    loop {
        compared += scratch.nodes.len();
        if compared > budget {
            return None;
        }
        for (node, distance) in scratch.nodes.iter().zip(&scratch.distances) {
            if !found.improves(*distance) {
                continue;
            }
            let near = Near {
                distance: *distance,
                key: *node,
            };
            frontier.push(Reverse(near));
            if accept(layer.row(*node)) {
                found.push(near);
            }
        }
        let Some(Reverse(near)) = frontier.pop() else {
            break;
        };
        if found.is_full() && !found.admits(near.distance) {
            break;
        }
        if let Some(Reverse(upcoming)) = frontier.peek() {
            layer.prefetch(upcoming.key);
        }
        scratch.compare_new_links(layer, scorer, near.key);
    }
    Some(found.into_sorted())
}
