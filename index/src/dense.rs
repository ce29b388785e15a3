//! The index of a segment's dense vectors: a graph and, if wanted, quantized codes that are walked in place of the floats. What
//! a walk over codes finds is compared again by the floats, so that distances are exact and recall is that of the floats.
//!
//! The index holds no floats: it is given the [`Vectors`] that it was built from, which may be mapped from a file when codes
//! are walked.

use std::sync::Arc;

use crate::codes::{Approximate, Codes};
use crate::error::IndexError;
use crate::graph::build::{Finder, Plan};
use crate::graph::reuse::Base;
use crate::graph::space::{Exact, Space};
use crate::graph::walk::Scorer;
use crate::graph::{self, Graph, MAX_ROWS, duplicates};
use crate::measure::Measure;
use crate::near::{Near, TopK};
use crate::quantize::{MOST_DIMENSIONS, Quantization};
use crate::storage::Storage;
use crate::vectors::{self, Vectors};

/// Rows compared at once by a scan.
const BATCH: usize = 64;
/// From this many dimensions on, rows find their neighbours by 8-bit codes while a graph is built, whatever the index keeps:
/// it halves the time, and as links are chosen by exact distances the graph is as good. Rows that codes cannot tell apart
/// ([`Codes::can_be_trusted`]) find them by floats.
const BUILD_ON_CODES: usize = 32;
/// A graph is built on that of an older segment if that has at least one row in so many.
const REUSE_FROM: usize = 5;

/// What an index is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// How vectors are compared.
    pub measure: Measure,
    /// Links of a node per layer, 2 to 256; twice as many in the lowest.
    pub m: usize,
    /// Candidates for links that are looked at while a row is inserted, 4 to 10,000.
    pub ef_construct: usize,
    /// Codes that searches walk; the floats without. Where a sample of the rows shows that codes cannot tell a part of them
    /// apart (a far cluster among a dense one, say), the index has none, see [`Index::quantization`].
    pub quantization: Option<Quantization>,
}

/// What builds a graph. Files and searches are the same, and segments of both can live side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GraphBuilder {
    /// Brainy's own: on several threads, keeping links that lead in different directions.
    #[default]
    Native,
    /// The crate `hnsw_rs`: on one thread, keeping the nearest links.
    HnswRs,
}

/// How an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Threads, at least 1; [`GraphBuilder::HnswRs`] uses one.
    pub threads: usize,
    /// What builds the graph.
    pub graph: GraphBuilder,
}

impl Default for BuildOptions {
    /// The native builder on one thread, which gives the same graph every time.
    fn default() -> Self {
        Self {
            threads: 1,
            graph: GraphBuilder::default(),
        }
    }
}

/// An older index whose rows are among those of a new one.
#[derive(Clone, Copy, Debug)]
pub struct Reuse<'i> {
    /// It.
    pub index: &'i Index,
    /// New row of each of its rows; none if it is gone.
    pub moved: &'i [Option<u32>],
}

/// How many of the rows that a walk over codes finds are compared again by the floats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rescore {
    /// As many as the kind of code needs: 2 k with 8 bits, 3 k with 4 bits, all of the walk but at least 10 k with one.
    #[default]
    Default,
    /// So many times k, at least k.
    Times(f32),
    /// None: distances are approximate.
    Off,
}

/// A search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Rows wanted.
    pub k: usize,
    /// Width of the walk; at least k counts, and at least what is compared again.
    pub ef: usize,
    /// What is compared again, where there are codes.
    pub rescore: Rescore,
    /// Walk the floats although there are codes.
    pub ignore_codes: bool,
    /// Most rows that a walk under a filter may compare.
    pub budget: usize,
}

impl Search {
    /// The `k` nearest by a walk of width `ef`, and defaults.
    #[must_use]
    pub fn new(k: usize, ef: usize) -> Self {
        Self {
            k,
            ef,
            rescore: Rescore::Default,
            ignore_codes: false,
            budget: usize::MAX,
        }
    }
}

/// The parts of an index as they are stored; each begins at a multiple of 64 bytes.
#[derive(Debug)]
pub struct Parts<B> {
    /// Links.
    pub graph: B,
    /// Quantized codes, if there are.
    pub codes: Option<B>,
}

/// The index of one segment's vectors.
#[derive(Debug)]
pub struct Index {
    measure: Measure,
    graph: Arc<Graph>,
    codes: Option<Arc<Codes>>,
}

/// Distances of the walks that look for neighbours.
enum Neighbours<'b> {
    Floats(&'b Space<'b>),
    Codes(&'b Space<'b>, &'b Codes),
}

#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack: a box would cost an allocation per row"
)]
enum FromRow<'b> {
    Floats(&'b Space<'b>, u32),
    Codes(Approximate<'b>),
}

impl Scorer for FromRow<'_> {
    #[inline]
    fn distances(&self, rows: &[u32], out: &mut [f32]) {
        match self {
            FromRow::Floats(space, row) => space.between_rows(*row, rows, out),
            FromRow::Codes(codes) => codes.distances(rows, out),
        }
    }
}

impl Finder for Neighbours<'_> {
    type Scorer<'f>
        = FromRow<'f>
    where
        Self: 'f;

    fn from(&self, row: u32) -> FromRow<'_> {
        match self {
            Neighbours::Floats(space) => FromRow::Floats(space, row),
            Neighbours::Codes(space, codes) => FromRow::Codes(codes.scorer(space.vectors.row(row))),
        }
    }
}

impl Params {
    /// Checks the ranges, for a segment of `rows` rows.
    ///
    /// # Errors
    /// [`IndexError::Parameter`].
    pub fn validate(&self, rows: usize) -> Result<(), IndexError> {
        let check = |what, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(IndexError::Parameter {
                what,
                value,
                rule: format!("from {min} to {max}"),
            })
        };
        check("the number of rows", rows, 1, max_rows(self.m))?;
        check("m", self.m, 2, 256)?;
        check("ef_construct", self.ef_construct, 4, 10_000)
    }
}

/// Rows that a graph with this `m` can have.
#[must_use]
pub fn max_rows(m: usize) -> usize {
    // Words of a graph are counted in 64 bits; its rows in 31.
    MAX_ROWS.min(usize::MAX / (12 * m.max(1)))
}

impl Index {
    /// Builds the index of `vectors`, which are finite and, with [`Measure::Cosine`], of unit length. Two threads or more
    /// give a slightly different graph each time.
    ///
    /// # Errors
    /// Parameters out of range, a kind of code that the measure does not support, [`IndexError::Memory`], or
    /// [`IndexError::Builder`].
    pub fn build(
        vectors: &Vectors,
        params: &Params,
        options: BuildOptions,
    ) -> Result<Self, IndexError> {
        Self::build_on(vectors, params, options, None)
    }

    /// As [`Self::build`], keeping the graph of `reuse` where that pays: it has the same m and at least a fifth of the rows.
    ///
    /// # Errors
    /// Those of [`Self::build`].
    pub fn merge(
        vectors: &Vectors,
        params: &Params,
        options: BuildOptions,
        reuse: Reuse<'_>,
    ) -> Result<Self, IndexError> {
        let kept = reuse.moved.iter().flatten().count();
        let fits = reuse.index.graph.m() == params.m
            && reuse.moved.len() == reuse.index.graph.rows() as usize
            && reuse
                .moved
                .iter()
                .flatten()
                .all(|row| (*row as usize) < vectors.len());
        // Of a graph that lost more than half of its rows, what is left is not worth mending.
        let pays =
            kept.saturating_mul(REUSE_FROM) >= vectors.len() && kept * 2 >= reuse.moved.len();
        if !(fits && pays) {
            return Self::build_on(vectors, params, options, None);
        }
        let loaded = reuse.index.graph.loaded()?;
        let base = Base {
            graph: loaded.as_ref().unwrap_or(&reuse.index.graph),
            moved: reuse.moved,
        };
        Self::build_on(vectors, params, options, Some(base))
    }

    fn build_on(
        vectors: &Vectors,
        params: &Params,
        options: BuildOptions,
        base: Option<Base<'_>>,
    ) -> Result<Self, IndexError> {
        params.validate(vectors.len())?;
        let &Params {
            measure,
            m,
            ef_construct,
            quantization,
        } = params;
        let threads = options.threads.max(1);
        let plan = Plan {
            m,
            ef_construct,
            threads,
        };
        // Codes that cannot tell a part of the rows apart are worse than none.
        let encode = |method| -> Result<Option<Codes>, IndexError> {
            let codes = Codes::encode(vectors, measure, method, threads)?;
            Ok(codes.can_be_trusted(vectors, measure).then_some(codes))
        };
        let codes = quantization.map(encode).transpose()?.flatten();
        let native = options.graph == GraphBuilder::Native;
        let has_8_bit = codes
            .as_ref()
            .is_some_and(|c| c.quantization() == Quantization::Int8);
        let temporary = native
            && !has_8_bit
            && quantization != Some(Quantization::Int8)
            && (BUILD_ON_CODES..=MOST_DIMENSIONS).contains(&vectors.dim());
        let temporary = match temporary {
            true => encode(Quantization::Int8)?,
            false => None,
        };
        let space = Space::new(vectors, measure);
        let finder = match temporary.as_ref().or(codes.as_ref().filter(|_| has_8_bit)) {
            Some(codes) => Neighbours::Codes(&space, codes),
            None => Neighbours::Floats(&space),
        };
        let copies = duplicates::find(vectors);
        let graph = match (options.graph, base) {
            (GraphBuilder::HnswRs, _) => graph::hnsw_rs::build(&space, &finder, plan, copies),
            (GraphBuilder::Native, Some(base)) => {
                graph::reuse::build(&space, &finder, plan, copies, base)
            }
            (GraphBuilder::Native, None) => graph::build::build(&space, &finder, plan, copies),
        }?;
        Ok(Self {
            measure,
            graph: Arc::new(graph),
            codes: codes.map(Arc::new),
        })
    }

    /// The index whose parts are these, as [`Self::parts`] gave them, of a segment of `rows` rows of `dim` components. Whatever
    /// the bytes, an index that is returned can be searched without leaving its bounds.
    ///
    /// # Errors
    /// [`IndexError::UnknownFormat`], or [`IndexError::Damaged`] with what does not fit.
    pub fn open(
        parts: Parts<Storage>,
        rows: usize,
        dim: usize,
        measure: Measure,
    ) -> Result<Self, IndexError> {
        Ok(Self {
            measure,
            graph: Arc::new(Graph::open(parts.graph, rows)?),
            codes: parts
                .codes
                .map(|codes| Codes::open(codes, rows, dim, measure).map(Arc::new))
                .transpose()?,
        })
    }

    /// The same index with the bytes of a part, or of both, in another place; parts that are not given are shared. `vectors` are
    /// what it was built from.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn moved(
        &self,
        vectors: &Vectors,
        graph: Option<Storage>,
        codes: Option<Storage>,
    ) -> Result<Self, IndexError> {
        let (rows, dim) = (vectors.len(), vectors.dim());
        Ok(Self {
            measure: self.measure,
            graph: match graph {
                Some(bytes) => Arc::new(Graph::open(bytes, rows)?),
                None => Arc::clone(&self.graph),
            },
            codes: match codes {
                Some(bytes) => Some(Arc::new(Codes::open(bytes, rows, dim, self.measure)?)),
                None => self.codes.clone(),
            },
        })
    }

    /// What is stored.
    #[must_use]
    pub fn parts(&self) -> Parts<&[u8]> {
        Parts {
            graph: self.graph.as_bytes(),
            codes: self.codes.as_ref().map(|codes| codes.as_bytes()),
        }
    }

    /// Bytes that this process holds, work areas of searches left out.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.graph.memory_bytes() + self.codes.as_ref().map_or(0, |codes| codes.memory_bytes())
    }

    /// As [`Self::memory_bytes`], without what stays in memory when both parts are left in their files.
    #[must_use]
    pub fn part_memory(&self) -> usize {
        let graph = match self.is_graph_paged() {
            true => 0,
            false => self.graph.part_memory(),
        };
        graph + self.codes.as_ref().map_or(0, |codes| codes.memory_bytes())
    }

    /// Whether the links of its graph are not in memory.
    #[must_use]
    pub fn is_graph_paged(&self) -> bool {
        self.graph.is_paged()
    }

    /// Whether it has codes that are not in memory.
    #[must_use]
    pub fn are_codes_paged(&self) -> bool {
        self.codes.as_ref().is_some_and(|codes| codes.is_paged())
    }

    /// The kind of its codes.
    #[must_use]
    pub fn quantization(&self) -> Option<Quantization> {
        self.codes.as_ref().map(|codes| codes.quantization())
    }

    /// The nearest of all rows, or of those that `accept` lets through, nearest first, ties by row (which of
    /// several equally far ones are the last to be found is left open). `vectors` are what the index was
    /// built from, `query` is finite and has as many components.
    ///
    /// Under a filter `None` if more than [`Search::budget`] rows would have to be compared: filters that few of the rows near the query
    /// match make walks long, and then a scan over the matching rows is cheaper.
    #[must_use]
    pub fn search_within(
        &self,
        vectors: &Vectors,
        query: &[f32],
        search: &Search,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Vec<Near>> {
        let ef = search.ef.max(search.k).max(1);
        let padded = vectors::padded(query, vectors.dim());
        let exact = Exact::new(vectors, self.measure, &padded);
        let codes = self.codes.as_ref().filter(|_| !search.ignore_codes);
        let mut found = match codes {
            None => self.walk(&exact, ef, search.budget, accept)?,
            Some(codes) => {
                let rough = codes.scorer(query);
                let ef = ef.max(self.rescored(codes, search).min(vectors.len()));
                let mut found = self.walk(&rough, ef, search.budget, accept)?;
                self.rescore(codes, &exact, search, &mut found);
                found
            }
        };
        self.add_copies(&mut found, search.k, accept);
        found.sort_unstable();
        found.truncate(search.k);
        Some(found)
    }

    /// As [`Self::search_within`], without a budget.
    #[must_use]
    pub fn search(
        &self,
        vectors: &Vectors,
        query: &[f32],
        search: &Search,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Vec<Near> {
        let unbound = Search {
            budget: usize::MAX,
            ..*search
        };
        let found = self.search_within(vectors, query, &unbound, accept);
        found.unwrap_or_default()
    }

    /// The nearest of `rows`, comparing with each: by codes first, where there are. Recall is all but 1: with codes, the
    /// ranks that are compared again are twice those of a walk.
    #[must_use]
    pub fn scan(
        &self,
        vectors: &Vectors,
        query: &[f32],
        search: &Search,
        rows: impl Iterator<Item = u32>,
    ) -> Vec<Near> {
        let padded = vectors::padded(query, vectors.dim());
        let exact = Exact::new(vectors, self.measure, &padded);
        let codes = self.codes.as_ref().filter(|_| !search.ignore_codes);
        let Some(codes) = codes else {
            return scan_by(&exact, search.k, rows);
        };
        let wanted = self.rescored(codes, search).saturating_mul(2);
        let mut found = scan_by(&codes.scorer(query), wanted.max(search.k), rows);
        let all = Search {
            rescore: match search.rescore {
                Rescore::Off => Rescore::Off,
                _ => Rescore::Times(f32::MAX),
            },
            ..*search
        };
        self.rescore(codes, &exact, &all, &mut found);
        found.truncate(search.k);
        found
    }

    fn walk(
        &self,
        scorer: &impl Scorer,
        ef: usize,
        budget: usize,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Vec<Near>> {
        match accept {
            Some(accept) if self.graph.has_copies() => {
                // A row that stands for copies is of use if any of them is.
                let any = |row| accept(row) || self.graph.copies_of(row).iter().any(|r| accept(*r));
                self.graph.search(scorer, ef, Some(&any), budget)
            }
            accept => self.graph.search(scorer, ef, accept, budget),
        }
    }

    /// Rows that are compared again.
    fn rescored(&self, codes: &Codes, search: &Search) -> usize {
        let times = match search.rescore {
            Rescore::Off => return 0,
            Rescore::Times(times) => times.max(1.0),
            Rescore::Default => match codes.quantization() {
                Quantization::Int8 => 2.0,
                Quantization::Int4 => 3.0,
                // One bit says so little that every rank of the walk is in question.
                Quantization::Binary => return search.ef.max(search.k * 10),
            },
        };
        (search.k as f32 * times).ceil() as usize
    }

    /// Replaces the distances of the nearest of `found` by exact ones and leaves the others out.
    fn rescore(&self, codes: &Codes, exact: &Exact<'_>, search: &Search, found: &mut Vec<Near>) {
        let count = self.rescored(codes, search);
        if count == 0 {
            return;
        }
        found.truncate(count);
        let rows: Vec<u32> = found.iter().map(|near| near.key).collect();
        let mut distances = vec![0.0; rows.len()];
        exact.distances(&rows, &mut distances);
        for (near, distance) in found.iter_mut().zip(distances) {
            near.distance = distance;
        }
        found.sort_unstable();
    }

    /// Puts copies beside the rows that stand for them, until there are `k`.
    fn add_copies(&self, found: &mut Vec<Near>, k: usize, accept: Option<&dyn Fn(u32) -> bool>) {
        if !self.graph.has_copies() {
            return;
        }
        let accepted = |row: u32| accept.is_none_or(|accept| accept(row));
        let mut all: Vec<Near> = Vec::new();
        for near in found.iter() {
            // Copies are as far as what stands for them, so whatever follows is not nearer.
            if all.len() >= k {
                break;
            }
            let copies = self.graph.copies_of(near.key).iter().copied();
            let rows = std::iter::once(near.key).chain(copies);
            let room = k - all.len();
            all.extend(
                rows.filter(|row| accepted(*row))
                    .take(room)
                    .map(|row| Near {
                        distance: near.distance,
                        key: row,
                    }),
            );
        }
        *found = all;
    }
}

/// The `k` nearest of `rows`, comparing with each; nearest first, ties by row. `query` is finite and has as many components as
/// `vectors`.
#[must_use]
pub fn scan(
    vectors: &Vectors,
    measure: Measure,
    query: &[f32],
    k: usize,
    rows: impl Iterator<Item = u32>,
) -> Vec<Near> {
    let padded = vectors::padded(query, vectors.dim());
    scan_by(&Exact::new(vectors, measure, &padded), k, rows)
}

pub(crate) fn scan_by(
    scorer: &impl Scorer,
    k: usize,
    mut rows: impl Iterator<Item = u32>,
) -> Vec<Near> {
    let mut top = TopK::new(k);
    let mut batch = Vec::with_capacity(BATCH);
    let mut distances = [0.0; BATCH];
    loop {
        batch.clear();
        batch.extend(rows.by_ref().take(BATCH));
        if batch.is_empty() {
            return top.into_sorted();
        }
        let distances = &mut distances[..batch.len()];
        scorer.distances(&batch, distances);
        for (row, distance) in batch.iter().zip(&*distances) {
            if top.admits(*distance) {
                top.push(Near {
                    distance: *distance,
                    key: *row,
                });
            }
        }
    }
}
