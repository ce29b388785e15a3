//! Building a graph (algorithms 1 and 4 of the paper), from nothing or on top of one that exists ([`super::reuse`]).
//!
//! All rows are known, so their levels are drawn first and rows go in by falling level: after the first one the entry point
//! never changes and no lock guards it. Levels and order come from a hash of the row number: one thread gives the same graph
//! every time, and rows that are stored in an order that means something (ids by date, clusters one after the other) do
//! not go in by it.
//!
//! Lists of links have a fixed place and are made of atomic words. Whoever changes a list holds the row's lock; whoever
//! walks holds none and may see a list half old and half new, which is a list of rows all the same.
//!
//! The walk may use approximate distances; what becomes a link is decided by exact ones.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::IndexError;
use crate::near::Near;

use super::space::Space;
use super::walk::{self, Layer, NONE, Scorer, Scratch};
use super::{Graph, MAX_LAYERS, Packing, cap};

/// Gives the distances of the walk that finds neighbours for a row.
pub(crate) trait Finder: Sync {
    /// Distances from one row.
    type Scorer<'f>: Scorer
    where
        Self: 'f;
    /// Distances from `row`.
    fn from(&self, row: u32) -> Self::Scorer<'_>;
}

/// How a graph is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) m: usize,
    pub(crate) ef_construct: usize,
    pub(crate) threads: usize,
}

/// A layer under construction.
#[derive(Debug)]
pub(super) struct Growing {
    /// Rows of this layer, ascending; empty in layer 0, which has all of them.
    pub(super) rows: Vec<u32>,
    pub(super) links: Vec<AtomicU32>,
    pub(super) cap: usize,
}

impl Growing {
    fn new(rows: Vec<u32>, nodes: usize, cap: usize) -> Self {
        Self {
            rows,
            links: (0..nodes * cap).map(|_| AtomicU32::new(NONE)).collect(),
            cap,
        }
    }

    /// Position of a row that is in this layer.
    pub(super) fn node(&self, row: u32) -> u32 {
        match self.rows.as_slice() {
            [] => row,
            rows => rows.binary_search(&row).unwrap_or(0) as u32,
        }
    }

    pub(super) fn list(&self, node: u32) -> &[AtomicU32] {
        &self.links[node as usize * self.cap..][..self.cap]
    }

    /// Replaces a list; the caller holds the lock, or is alone.
    pub(super) fn write(&self, node: u32, links: impl Iterator<Item = u32>) {
        let links = links.chain(std::iter::repeat(NONE));
        for (word, link) in self.list(node).iter().zip(links) {
            word.store(link, Ordering::Relaxed);
        }
    }
}

impl Layer for Growing {
    fn nodes(&self) -> usize {
        self.links.len() / self.cap
    }

    #[inline]
    fn row(&self, node: u32) -> u32 {
        match self.rows.as_slice() {
            [] => node,
            rows => rows[node as usize],
        }
    }

    #[inline]
    fn links(&self, node: u32) -> impl Iterator<Item = u32> {
        let words = self.list(node).iter();
        words
            .map(|word| word.load(Ordering::Relaxed))
            .take_while(|link| *link != NONE)
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        walk::prefetch(self.list(node));
    }
}

/// A graph under construction.
pub(super) struct Builder<'s> {
    space: &'s Space<'s>,
    plan: Plan,
    layers: Vec<Growing>,
    /// One a row; guards its lists in all layers.
    locks: Vec<Mutex<()>>,
    /// Highest layer and row where walks begin; none while the graph is empty.
    entry: Option<(usize, u32)>,
    copies: Vec<(u32, u32)>,
}

/// What a thread that inserts works with.
#[derive(Default)]
struct Work {
    scratch: Scratch,
    rows: Vec<u32>,
    distances: Vec<f32>,
    near: Vec<Near>,
}

/// A number without pattern for every row.
pub(crate) fn hash(row: u32, seed: u64) -> u64 {
    xxh3_64_with_seed(&row.to_le_bytes(), seed)
}

/// Level of a row: floor(-ln(u) / ln(m)) with u uniform in (0, 1].
pub(super) fn level(row: u32, m: usize) -> usize {
    let u = (hash(row, 0) as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    let level = -u.ln() / (m as f64).ln();
    (level as usize).min(MAX_LAYERS - 1)
}

/// Builds the graph of rows of which `copies` are left out.
pub(crate) fn build(
    space: &Space<'_>,
    finder: &impl Finder,
    plan: Plan,
    copies: Vec<(u32, u32)>,
) -> Result<Graph, IndexError> {
    let mut levels: Vec<Option<usize>> = (0..space.rows() as u32)
        .map(|row| Some(level(row, plan.m)))
        .collect();
    for (_, copy) in &copies {
        levels[*copy as usize] = None;
    }
    let mut builder = Builder::new(space, plan, &levels, copies);
    builder.insert_all(finder, &levels);
    builder.finish(finder)
}

impl<'s> Builder<'s> {
    /// Lists for rows of these levels, all empty; rows without a level are in no layer.
    pub(super) fn new(
        space: &'s Space<'s>,
        plan: Plan,
        levels: &[Option<usize>],
        copies: Vec<(u32, u32)>,
    ) -> Self {
        let top = levels.iter().flatten().copied().max().unwrap_or(0);
        let layers = (0..=top)
            .map(|layer| {
                if layer == 0 {
                    return Growing::new(Vec::new(), levels.len(), cap(plan.m, 0));
                }
                let in_layer = |row: &u32| levels[*row as usize].is_some_and(|l| l >= layer);
                let rows: Vec<u32> = (0..levels.len() as u32).filter(in_layer).collect();
                let nodes = rows.len();
                Growing::new(rows, nodes, cap(plan.m, layer))
            })
            .collect();
        Self {
            space,
            plan,
            layers,
            locks: levels.iter().map(|_| Mutex::new(())).collect(),
            entry: None,
            copies,
        }
    }

    pub(super) fn layers(&self) -> &[Growing] {
        &self.layers
    }

    /// Says where walks begin; links up to that layer are there.
    pub(super) fn set_entry(&mut self, layer: usize, row: u32) {
        self.entry = Some((layer, row));
    }

    /// Inserts the rows that have a level.
    pub(super) fn insert_all(&mut self, finder: &impl Finder, levels: &[Option<usize>]) {
        let mut order: Vec<(Reverse<usize>, u64, u32)> = (0u32..)
            .zip(levels)
            .filter_map(|(row, level)| Some((Reverse((*level)?), hash(row, 1), row)))
            .collect();
        order.sort_unstable();
        // The first row is the highest of all: if it is higher than what is there, walks begin with it from then on.
        let Some(((Reverse(first_level), _, first), rest)) = order.split_first() else {
            return;
        };
        if let Some(entry) = self.entry {
            self.insert(finder, *first, *first_level, entry, &mut Work::default());
        }
        let entry = match self.entry {
            Some(entry) if entry.0 >= *first_level => entry,
            _ => (*first_level, *first),
        };
        self.entry = Some(entry);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut work = Work::default();
            while let Some((Reverse(level), _, row)) =
                rest.get(next.fetch_add(1, Ordering::Relaxed))
            {
                self.insert(finder, *row, *level, entry, &mut work);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.plan.threads {
                scope.spawn(work);
            }
            work();
        });
    }

    fn insert(
        &self,
        finder: &impl Finder,
        row: u32,
        level: usize,
        (top, entry): (usize, u32),
        work: &mut Work,
    ) {
        let scorer = finder.from(row);
        let mut from = vec![self.layers[top].node(entry)];
        for (i, layer) in self.layers[..=top].iter().enumerate().rev() {
            if i > level {
                from = vec![walk::descend(layer, &scorer, from[0], &mut work.scratch)];
            } else {
                let ef = self.plan.ef_construct;
                let found = walk::nearest(layer, &scorer, &from, ef, &mut work.scratch);
                self.connect(layer, row, &found, work);
                from = found.into_iter().map(|near| near.key).collect();
            }
            if let Some(below) = i.checked_sub(1) {
                for node in &mut from {
                    *node = self.layers[below].node(layer.row(*node));
                }
            }
        }
    }

    /// Links a row with the well-spread nearest of what was found, in both directions.
    fn connect(&self, layer: &Growing, row: u32, found: &[Near], work: &mut Work) {
        let own = layer.node(row);
        work.rows.clear();
        // Another thread may have linked to this row already: it is no neighbour of itself.
        let others = found.iter().filter(|near| near.key != own);
        work.rows.extend(others.map(|near| layer.row(near.key)));
        let chosen = self.choose(row, self.plan.m, work);
        self.link(layer, row, &chosen, work);
        for other in chosen {
            self.link(layer, other, &[row], work);
        }
    }

    /// Adds links to a row; when it has too many, only the well-spread nearest stay.
    fn link(&self, layer: &Growing, row: u32, to: &[u32], work: &mut Work) {
        let node = layer.node(row);
        let _lock = self.locks[row as usize].lock();
        work.rows.clear();
        work.rows.extend(layer.links(node).map(|n| layer.row(n)));
        let before = work.rows.len();
        for other in to {
            if !work.rows.contains(other) {
                work.rows.push(*other);
            }
        }
        if work.rows.len() == before {
            return;
        }
        if work.rows.len() > layer.cap {
            let chosen = self.choose(row, layer.cap, work);
            layer.write(node, chosen.into_iter().map(|r| layer.node(r)));
        } else {
            layer.write(node, work.rows.iter().map(|r| layer.node(*r)));
        }
    }

    /// Up to `most` of `work.rows`, nearest to `row` first, leaving out what is nearer to one already chosen than to the row
    /// itself (algorithm 4): links lead in different directions, and clusters stay connected.
    fn choose(&self, row: u32, most: usize, work: &mut Work) -> Vec<u32> {
        let Work {
            rows,
            distances,
            near,
            ..
        } = work;
        distances.resize(rows.len(), 0.0);
        self.space.between_rows(row, rows, distances);
        near.clear();
        near.extend(rows.iter().zip(&*distances).map(|(row, distance)| Near {
            distance: *distance,
            key: *row,
        }));
        near.sort_unstable();
        choose(self.space, near, most)
    }

    /// The finished graph: every row is reached, lists are packed.
    pub(super) fn finish(self, finder: &impl Finder) -> Result<Graph, IndexError> {
        let Some((top, entry)) = self.entry else {
            return Err(IndexError::Parameter {
                what: "the number of rows",
                value: 0,
                rule: "at least 1".into(),
            });
        };
        super::repair::reach_all(&self, finder, entry);
        let entry = self.layers[top].node(entry);
        let mut upper = Vec::new();
        let mut links = Vec::new();
        for layer in self.layers.into_iter().take(top + 1) {
            let words = layer.links.into_iter().map(AtomicU32::into_inner);
            links.push(words.collect());
            upper.push(layer.rows);
        }
        upper.remove(0);
        Graph::pack(Packing {
            rows: self.space.rows() as u32,
            m: self.plan.m,
            entry,
            upper,
            links,
            copies: self.copies,
        })
    }

    /// Walks the lowest layer from `from` to what is nearest to `row`.
    pub(super) fn nearest_to(
        &self,
        finder: &impl Finder,
        row: u32,
        from: u32,
        scratch: &mut Scratch,
    ) -> Vec<Near> {
        let ef = self.plan.ef_construct;
        walk::nearest(&self.layers[0], &finder.from(row), &[from], ef, scratch)
    }

    /// Rows that are copies of others.
    pub(super) fn copies(&self) -> &[(u32, u32)] {
        &self.copies
    }
}

/// Algorithm 4 of the paper; `near` is sorted.
pub(super) fn choose(space: &Space<'_>, near: &[Near], most: usize) -> Vec<u32> {
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
