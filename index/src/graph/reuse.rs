//! Building on a graph that exists: when segments are merged, the largest one's graph is kept, without the rows that are gone,
//! and only rows that are not in it are inserted.
//!
//! A row that led to rows that are gone gets, in their place, the well-spread nearest of what these led to. What is kept
//! costs a hundredth of an insertion; measured recall is that of a graph that was built anew.

use crate::error::IndexError;
use crate::near::Near;

use super::Graph;
use super::build::{Builder, Finder, Plan, choose, level};
use super::space::Space;
use super::walk::Layer;

/// A graph to build on, and where its rows are now.
#[derive(Clone, Copy)]
pub(crate) struct Base<'g> {
    pub(crate) graph: &'g Graph,
    /// New row of each of its rows; none if it is gone.
    pub(crate) moved: &'g [Option<u32>],
}

/// Builds the graph of rows of which `copies` are left out on top of `base`, which has the same m.
pub(crate) fn build(
    space: &Space<'_>,
    finder: &impl Finder,
    plan: Plan,
    copies: Vec<(u32, u32)>,
    base: Base<'_>,
) -> Result<Graph, IndexError> {
    let rows = space.rows();
    let standing = standing_rows(rows, &copies);
    let moved = nodes_now(base, &standing);
    let graph = base.graph;
    // Rows that are kept are as high as they were.
    let mut kept_levels: Vec<Option<usize>> = vec![None; rows];
    for i in 0..graph.layers() {
        let layer = graph.layer(i);
        for node in 0..layer.nodes() as u32 {
            if let Some(row) = moved[layer.row(node) as usize] {
                kept_levels[row as usize] = Some(i);
            }
        }
    }
    let new_levels: Vec<Option<usize>> = (0u32..)
        .zip(&kept_levels)
        .map(|(row, kept)| {
            let stands = standing[row as usize] == row;
            (stands && kept.is_none()).then(|| level(row, plan.m))
        })
        .collect();
    let levels: Vec<Option<usize>> = kept_levels
        .iter()
        .zip(&new_levels)
        .map(|(kept, new)| kept.or(*new))
        .collect();
    let mut builder = Builder::new(space, plan, &levels, copies);
    // Layers of which nothing is left are not there.
    for i in 0..graph.layers().min(builder.layers().len()) {
        keep_layer(&builder, space, graph, i, &moved);
    }
    let highest = (0u32..)
        .zip(&kept_levels)
        .filter_map(|(row, l)| Some(((*l)?, row)));
    if let Some((layer, row)) = highest.max() {
        builder.set_entry(layer, row);
    }
    builder.insert_all(finder, &new_levels);
    builder.finish(finder)
}

/// Which row stands for each row in the graph: itself, unless it is a copy.
fn standing_rows(rows: usize, copies: &[(u32, u32)]) -> Vec<u32> {
    let mut standing: Vec<u32> = (0..rows as u32).collect();
    for (row, copy) in copies {
        standing[*copy as usize] = *row;
    }
    standing
}

/// The row that each row of the old graph is now, as a node: the row that stands for it or, if it is gone, for one of its
/// copies.
fn nodes_now(base: Base<'_>, standing: &[u32]) -> Vec<Option<u32>> {
    let now = |row: u32| base.moved[row as usize].map(|new| standing[new as usize]);
    let mut moved: Vec<Option<u32>> = (0..base.graph.rows()).map(now).collect();
    for (row, copy) in base.graph.copies() {
        let copy = now(copy);
        let node = &mut moved[row as usize];
        *node = node.or(copy);
    }
    // Copies were no nodes.
    for (_, copy) in base.graph.copies() {
        moved[copy as usize] = None;
    }
    moved
}

fn keep_layer(
    builder: &Builder<'_>,
    space: &Space<'_>,
    graph: &Graph,
    layer: usize,
    moved: &[Option<u32>],
) {
    let old = graph.layer(layer);
    let new = &builder.layers()[layer];
    let now = |node: u32| moved[old.row(node) as usize];
    let mut links: Vec<u32> = Vec::new();
    for node in 0..old.nodes() as u32 {
        let Some(row) = now(node) else { continue };
        links.clear();
        let mut lost = false;
        for link in old.links(node) {
            match now(link) {
                Some(to) => links.push(to),
                None => {
                    lost = true;
                    links.extend(old.links(link).filter_map(now));
                }
            }
        }
        if lost {
            links.sort_unstable();
            links.dedup();
            links.retain(|to| *to != row);
            let mut distances = vec![0.0; links.len()];
            space.between_rows(row, &links, &mut distances);
            let mut near: Vec<Near> = links
                .iter()
                .zip(distances)
                .map(|(to, distance)| Near { distance, key: *to })
                .collect();
            near.sort_unstable();
            links = choose(space, &near, new.cap);
        }
        new.write(new.node(row), links.iter().map(|to| new.node(*to)));
    }
}
