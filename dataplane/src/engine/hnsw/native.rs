//! The native builder (algorithms 1 and 4 of the paper).
//!
//! All rows are known, so their levels are drawn first and rows go in by falling level: the entry point never changes and
//! no lock guards it. Levels and order come from a hash of the row number: one thread gives the same graph every time, and
//! rows that are stored in an order that means something (ids by date, clusters one after the other) do not go in by it.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};

use brainy_coordination::manifest::HnswParams;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::engine::topk::Near;

use super::space::Space;
use super::walk::{Links, Scratch, search_layer};
use super::{Graph, Rows};

/// Highest level; the chance of drawing a higher one is m^-16.
const MAX_LEVEL: usize = 15;

/// Builds a graph on `threads` threads. Two or more give a slightly different graph each time.
///
/// `rows` is not empty.
pub(super) fn build(rows: &Rows<'_>, params: HnswParams, threads: usize) -> Graph {
    let space = Space::new(rows);
    let levels: Vec<u8> = (0..rows.len() as u32)
        .map(|row| level(row, params.m))
        .collect();
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by_cached_key(|row| (Reverse(levels[*row as usize]), hash(*row, 1)));
    let entry = order[0];
    let growing = Growing {
        nodes: levels
            .iter()
            .map(|level| RwLock::new(vec![Vec::new(); usize::from(*level) + 1]))
            .collect(),
    };
    let top = usize::from(levels[entry as usize]);
    let next = AtomicUsize::new(1);
    let work = || {
        let mut scratch = Scratch::default();
        while let Some(row) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            growing.insert(&space, params, *row, (entry, top), &mut scratch);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    Graph::pack(entry, growing.nodes.into_iter().map(RwLock::into_inner))
}

/// A number without pattern for every row.
pub(super) fn hash(row: u32, seed: u64) -> u64 {
    xxh3_64_with_seed(&row.to_le_bytes(), seed)
}

/// Level of a row: floor(-ln(u) / ln(m)) with u uniform in (0, 1].
fn level(row: u32, m: u32) -> u8 {
    let u = (hash(row, 0) as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    let level = -u.ln() / f64::from(m).ln();
    (level as usize).min(MAX_LEVEL) as u8
}

/// Links of every row, by layer.
struct Growing {
    nodes: Vec<RwLock<Vec<Vec<u32>>>>,
}

impl Links for Growing {
    fn copy_links(&self, layer: usize, row: u32, into: &mut Vec<u32>) {
        if let Some(links) = self.nodes[row as usize].read().get(layer) {
            into.extend_from_slice(links);
        }
    }
}

impl Growing {
    fn insert(
        &self,
        space: &Space<'_>,
        params: HnswParams,
        row: u32,
        (entry, top): (u32, usize),
        scratch: &mut Scratch,
    ) {
        let (m, ef) = (params.m as usize, params.ef_construct as usize);
        let to = |other| space.between(row, other);
        let level = self.nodes[row as usize].read().len() - 1;
        let mut from = vec![Near {
            distance: to(entry),
            key: entry,
        }];
        for layer in (0..=top).rev() {
            let width = if layer > level { 1 } else { ef };
            // Another thread may have linked to this row already: it is no neighbour of itself.
            let near = search_layer(
                self,
                layer,
                &to,
                &from,
                width,
                &mut |other| other != row,
                scratch,
            );
            if layer <= level {
                let chosen = choose(space, &near, m);
                let most = if layer == 0 { 2 * m } else { m };
                self.link(space, layer, row, &chosen, most);
                for other in chosen {
                    self.link(space, layer, other, &[row], most);
                }
            }
            if !near.is_empty() {
                from = near;
            }
        }
    }

    /// Adds links to a row; when it has too many, only the well-spread nearest stay.
    fn link(&self, space: &Space<'_>, layer: usize, row: u32, to: &[u32], most: usize) {
        let mut node = self.nodes[row as usize].write();
        let links = &mut node[layer];
        for other in to {
            if !links.contains(other) {
                links.push(*other);
            }
        }
        if links.len() > most {
            let mut near: Vec<Near<u32>> = links
                .iter()
                .map(|other| Near {
                    distance: space.between(row, *other),
                    key: *other,
                })
                .collect();
            near.sort_unstable();
            *links = choose(space, &near, most);
        }
    }
}

/// Up to `most` of `near` (nearest first), leaving out what is nearer to one already chosen than to the row itself
/// (algorithm 4): links lead in different directions, and clusters stay connected.
fn choose(space: &Space<'_>, near: &[Near<u32>], most: usize) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(most);
    for candidate in near {
        if chosen.len() >= most {
            break;
        }
        let spread = chosen
            .iter()
            .all(|other| space.between(candidate.key, *other) >= candidate.distance);
        if spread {
            chosen.push(candidate.key);
        }
    }
    chosen
}
