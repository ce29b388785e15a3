//! Building a graph with the crate [hnsw_rs](https://crates.io/crates/hnsw_rs).
//!
//! The crate only builds: its lists of neighbours are packed like those of the native builder, so that there is one format
//! of files and one search. What it is given as the vector of a row is the row's number, which its distance function looks
//! up in the segment: vectors are held once here too.
//!
//! Rows go in on one thread. Points that version 0.3.5 inserts at the same time can miss each other, and then no search finds
//! them (hnswlib-rs #32); and as it holds a point's lock while it takes those of its neighbours, layer by layer, two points
//! of higher layers can wait for each other for ever. One thread also gives the same graph every time: the crate draws
//! levels from a fixed seed.
//!
//! Unlike the native builder, the crate keeps the nearest links of a full list, whatever their direction: with a small m,
//! clusters far from each other can be cut off.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::hnsw_rs::anndists::dist::distances::Distance;
use ::hnsw_rs::hnsw::{Hnsw, PointIndexation};

use crate::error::IndexError;
use crate::measure::Measure;

use super::build::{Builder, Finder, Plan, hash};
use super::space::Space;
use super::{Graph, MAX_LAYERS};

/// Builds the graph of rows of which `copies` are left out. Parameters are validated: the crate ends the process if m is
/// over 256.
pub(crate) fn build(
    space: &Space<'_>,
    finder: &impl Finder,
    plan: Plan,
    copies: Vec<(u32, u32)>,
) -> Result<Graph, IndexError> {
    let mut stands = vec![true; space.rows()];
    for (_, copy) in &copies {
        stands[*copy as usize] = false;
    }
    let rows: Vec<u32> = (0..space.rows() as u32)
        .filter(|row| stands[*row as usize])
        .collect();
    let lists = lists_by(ByRow::new(space), &rows, space.rows(), plan)?;
    let levels: Vec<Option<usize>> = lists
        .iter()
        .map(|list| list.as_ref().map(|layers| layers.len() - 1))
        .collect();
    let mut builder = Builder::new(space, plan, &levels, copies);
    for (i, layer) in builder.layers().iter().enumerate() {
        for (row, list) in (0u32..).zip(&lists) {
            if let Some(links) = list.as_ref().and_then(|layers| layers.get(i)) {
                let nodes = links.iter().map(|link| layer.node(*link));
                layer.write(layer.node(row), nodes.take(layer.cap));
            }
        }
    }
    // The first point to reach the highest layer became the entry point and stayed it; any of that layer will do.
    let highest = (0u32..)
        .zip(&levels)
        .filter_map(|(row, l)| Some(((*l)?, row)));
    if let Some((layer, row)) = highest.max() {
        builder.set_entry(layer, row);
    }
    builder.finish(finder)
}

/// The crate's view of a [`Space`]: a vector is one number, that of its row. Distances are from 0 on.
struct ByRow<'v> {
    space: &'v Space<'v>,
    /// What negated dot products are raised by: the square of the longest row.
    raise: f32,
}

impl<'v> ByRow<'v> {
    fn new(space: &'v Space<'v>) -> Self {
        let raise = match space.measure {
            Measure::Cosine | Measure::Dot => (0..space.rows() as u32)
                .map(|row| -space.between(row, row))
                .fold(0.0, f32::max),
            Measure::Euclid | Measure::Manhattan => 0.0,
        };
        Self { space, raise }
    }
}

impl Distance<u32> for ByRow<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        (self.raise + self.space.between(a[0], b[0])).max(0.0)
    }
}

/// The links of each row of a layer.
type Lists = Vec<Vec<u32>>;

/// What the crate builds of `rows`, all below `count`: of each row its links, layer by layer.
fn lists_by<D>(
    distance: D,
    rows: &[u32],
    count: usize,
    plan: Plan,
) -> Result<Vec<Option<Lists>>, IndexError>
where
    D: Distance<u32> + Send + Sync,
{
    // The crate asserts what it relies on and has no other way to tell that it fails: a segment that cannot be built must
    // not take its thread along. Whatever a panic leaves half done is made and dropped inside.
    let built = catch_unwind(AssertUnwindSafe(|| {
        let hnsw = Hnsw::new(plan.m, rows.len(), MAX_LAYERS, plan.ef_construct, distance);
        let mut order = rows.to_vec();
        order.sort_by_cached_key(|row| hash(*row, 1));
        for row in order {
            hnsw.insert_slice((&[row], row as usize));
        }
        convert(hnsw.get_point_indexation(), count)
    }));
    built.map_err(|panic| IndexError::Builder {
        rows: rows.len(),
        reason: message(panic.as_ref()),
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked")
        .to_owned()
}

fn convert(index: &PointIndexation<'_, u32>, count: usize) -> Vec<Option<Lists>> {
    let top = usize::from(index.get_max_level_observed());
    let mut heights = vec![0; count];
    let mut lists: Vec<Option<Lists>> = vec![None; count];
    let mut open = Vec::new();
    for height in 0..=top {
        for point in index.get_layer_iterator(height) {
            let row = point.get_origin_id();
            heights[row] = height;
            open.push(row);
            lists[row] = Some(
                point
                    .get_neighborhood_id()
                    .iter()
                    .take(top + 1)
                    .map(|near| near.iter().map(|n| n.get_origin_id() as u32).collect())
                    .collect(),
            );
        }
    }
    // A point that was the entry point until a higher one came has links to and from layers above its own, and some points
    // of these are reached through it only. Links that lead up and are led to by none are of no use to a search.
    while let Some(row) = open.pop() {
        let reached = lists[row].iter().flatten().take(heights[row] + 1);
        let higher: Vec<(usize, usize)> = reached
            .enumerate()
            .flat_map(|(layer, links)| links.iter().map(move |other| (layer, *other as usize)))
            .filter(|(layer, other)| heights[*other] < *layer)
            .collect();
        for (layer, other) in higher {
            heights[other] = heights[other].max(layer);
            open.push(other);
        }
    }
    for (list, height) in lists.iter_mut().zip(heights) {
        if let Some(layers) = list {
            layers.resize(height + 1, Vec::new());
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NotANumber;

    impl Distance<u32> for NotANumber {
        fn eval(&self, _: &[u32], _: &[u32]) -> f32 {
            f32::NAN
        }
    }

    #[test]
    fn a_panic_of_the_crate_is_an_error() {
        let plan = Plan {
            m: 4,
            ef_construct: 10,
            threads: 1,
        };
        let rows: Vec<u32> = (0..100).collect();
        let error = lists_by(NotANumber, &rows, 100, plan).unwrap_err();
        assert!(matches!(error, IndexError::Builder { rows: 100, .. }));
        assert!(error.to_string().contains("native"), "{error}");
    }
}
