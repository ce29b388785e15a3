//! Best-first search in one layer (algorithm 2 of the paper), shared by building and searching.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::topk::{Near, TopK};

/// Where links come from: the graph under construction or a finished one.
pub(super) trait Links {
    /// Appends the links of `row` in `layer`.
    fn copy_links(&self, layer: usize, row: u32, into: &mut Vec<u32>);
}

/// The work area of one search; reused, so that a search costs what it visits and not the size of the graph.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// One bit a row.
    seen: Vec<u64>,
    /// Rows whose bit is set.
    touched: Vec<u32>,
    links: Vec<u32>,
    frontier: BinaryHeap<Reverse<Near<u32>>>,
}

impl Scratch {
    /// Marks a row; whether it was new.
    fn see(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            return false;
        }
        self.seen[word] |= bit;
        self.touched.push(row);
        true
    }

    fn clear(&mut self) {
        for row in self.touched.drain(..) {
            self.seen[row as usize / 64] = 0;
        }
        self.frontier.clear();
    }
}

/// The `ef` nearest accepted rows reachable from `from`, nearest first. Rows that are not accepted are walked through.
pub(super) fn search_layer(
    links: &impl Links,
    layer: usize,
    to: &impl Fn(u32) -> f32,
    from: &[Near<u32>],
    ef: usize,
    accept: &mut dyn FnMut(u32) -> bool,
    scratch: &mut Scratch,
) -> Vec<Near<u32>> {
    let mut found = TopK::new(ef);
    for near in from {
        if scratch.see(near.key) {
            scratch.frontier.push(Reverse(*near));
            if accept(near.key) {
                found.push(*near);
            }
        }
    }
    while let Some(Reverse(nearest)) = scratch.frontier.pop() {
        if found.is_full() && !found.admits(nearest.distance) {
            break;
        }
        let mut neighbours = std::mem::take(&mut scratch.links);
        neighbours.clear();
        links.copy_links(layer, nearest.key, &mut neighbours);
        for &row in &neighbours {
            if !scratch.see(row) {
                continue;
            }
            let near = Near {
                distance: to(row),
                key: row,
            };
            // Strictly nearer: many equal vectors are not all walked through.
            if found.improves(near.distance) {
                scratch.frontier.push(Reverse(near));
                if accept(row) {
                    found.push(near);
                }
            }
        }
        scratch.links = neighbours;
    }
    scratch.clear();
    found.into_sorted()
}
