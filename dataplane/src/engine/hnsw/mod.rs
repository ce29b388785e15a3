//! The HNSW graph (Malkov and Yashunin, 2016, arXiv:1603.09320) over the rows of one segment.
//!
//! A graph is built once, stored as a flat list of links and never changed. It holds row numbers only; vectors stay in
//! the segment and are held once. Memory: 4 bytes a link plus 4 a row, about 4 x 1.5 m + 4 bytes a row.
//!
//! Searching under a filter walks through rows that do not match but collects only those that do, so that the width of the
//! search counts matching rows and recall does not fall with selectivity; what grows is the part of the graph that is
//! visited, and the planner in [`super::segment`] scans instead where that would be most of it.

mod file;
mod hnsw_rs;
mod native;
mod space;
mod walk;

use brainy_coordination::manifest::HnswParams;
use parking_lot::Mutex;

use crate::model::Distance;

use super::distance::distance;
use super::error::EngineError;
use super::topk::Near;
use walk::{Links, Scratch, search_layer};

/// What builds the graphs of segments. Files and searches are the same, and segments of both can live side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GraphBuilder {
    /// Brainy's own: on several threads, keeping links that lead in different directions.
    #[default]
    Native,
    /// The crate `hnsw_rs`: on one thread, keeping the nearest links.
    HnswRs,
}

/// How segments are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Threads that build one graph, at least 1; [`GraphBuilder::HnswRs`] uses one.
    pub threads: usize,
    /// What builds it.
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

/// Rows that a graph can have: its links are counted in 32 bits, a row has at most 2m of them in layer 0 and about 2 more
/// in higher ones.
pub(crate) fn max_rows(params: HnswParams) -> usize {
    (u32::MAX / (2 * params.m + 2)) as usize
}

/// Builds a graph.
///
/// `rows` is not empty and not over [`max_rows`], its components are finite, `params` are validated.
///
/// # Errors
/// [`EngineError::Graph`] if the builder fails; the native one does not.
pub(crate) fn build(
    rows: &Rows<'_>,
    params: HnswParams,
    options: BuildOptions,
) -> Result<Graph, EngineError> {
    match options.graph {
        GraphBuilder::Native => Ok(native::build(rows, params, options.threads)),
        GraphBuilder::HnswRs => hnsw_rs::build(rows, params),
    }
}

/// Vectors, row by row: `size` components each, `stride` after the one before.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'v> {
    pub(crate) data: &'v [f32],
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) measure: Distance,
}

impl<'v> Rows<'v> {
    pub(crate) fn row(&self, row: u32) -> &'v [f32] {
        let start = row as usize * self.stride;
        &self.data[start..start + self.size]
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.stride
    }

    pub(crate) fn to(&self, query: &[f32], row: u32) -> f32 {
        distance(self.measure, query, self.row(row))
    }
}

/// Links of the rows that reach one layer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layer {
    /// Rows of this layer, ascending; empty in layer 0, which has all of them.
    nodes: Vec<u32>,
    /// `links[offsets[i]..offsets[i + 1]]` are the links of the i-th node.
    offsets: Vec<u32>,
    links: Vec<u32>,
}

impl Layer {
    fn links(&self, row: u32) -> &[u32] {
        let i = if self.nodes.is_empty() {
            row as usize
        } else {
            match self.nodes.binary_search(&row) {
                Ok(i) => i,
                Err(_) => return &[],
            }
        };
        &self.links[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// A finished graph.
#[derive(Debug)]
pub(crate) struct Graph {
    rows: u32,
    entry: u32,
    /// Layer 0 first.
    layers: Vec<Layer>,
    /// Work areas of finished searches, at most one per search that ever ran at the same time.
    idle: Mutex<Vec<Scratch>>,
}

impl Links for Graph {
    fn copy_links(&self, layer: usize, row: u32, into: &mut Vec<u32>) {
        into.extend_from_slice(self.layers[layer].links(row));
    }
}

impl Graph {
    fn new(rows: u32, entry: u32, layers: Vec<Layer>) -> Self {
        Self {
            rows,
            entry,
            layers,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Packs the links of every row, in row order; a row has a list for each layer that it reaches, layer 0 first.
    fn pack(entry: u32, rows: impl ExactSizeIterator<Item = Vec<Vec<u32>>>) -> Self {
        let count = rows.len() as u32;
        let mut layers: Vec<Layer> = Vec::new();
        for (row, lists) in (0u32..).zip(rows) {
            for (i, links) in lists.into_iter().enumerate() {
                if i == layers.len() {
                    layers.push(Layer {
                        offsets: vec![0],
                        ..Layer::default()
                    });
                }
                let layer = &mut layers[i];
                if i > 0 {
                    layer.nodes.push(row);
                }
                layer.links.extend_from_slice(&links);
                layer.offsets.push(layer.links.len() as u32);
            }
        }
        Self::new(count, entry, layers)
    }

    /// The (about) `ef` nearest rows that `accept` lets through, nearest first.
    pub(crate) fn search(
        &self,
        rows: &Rows<'_>,
        query: &[f32],
        ef: usize,
        accept: &mut dyn FnMut(u32) -> bool,
    ) -> Vec<Near<u32>> {
        let mut scratch = self.idle.lock().pop().unwrap_or_default();
        let to = |row| rows.to(query, row);
        let mut from = vec![Near {
            distance: to(self.entry),
            key: self.entry,
        }];
        for layer in (1..self.layers.len()).rev() {
            from = search_layer(self, layer, &to, &from, 1, &mut |_| true, &mut scratch);
        }
        let found = search_layer(self, 0, &to, &from, ef, accept, &mut scratch);
        self.idle.lock().push(scratch);
        found
    }

    /// Bytes held in memory, work areas of searches left out.
    pub(crate) fn memory_bytes(&self) -> usize {
        let of = |l: &Layer| 4 * (l.nodes.len() + l.offsets.len() + l.links.len());
        self.layers.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests;
