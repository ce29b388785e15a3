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
use brainy_coordination::manifest::HnswParams;

use crate::engine::error::EngineError;

use super::native::hash;
use super::space::Space;
use super::{Graph, Rows};

/// All the layers that the crate has room for.
const LAYERS: usize = 16;

/// Builds a graph. `rows` is not empty, and `params` are validated: the crate ends the process if m is over 256.
///
/// # Errors
/// [`EngineError::Graph`] if the crate panics.
pub(super) fn build(rows: &Rows<'_>, params: HnswParams) -> Result<Graph, EngineError> {
    build_by(ByRow(Space::new(rows)), rows.len(), params)
}

/// The crate's view of a [`Space`]: a vector is one number, that of its row.
struct ByRow<'v>(Space<'v>);

impl Distance<u32> for ByRow<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        self.0.apart(a[0], b[0])
    }
}

fn build_by<D>(distance: D, rows: usize, params: HnswParams) -> Result<Graph, EngineError>
where
    D: Distance<u32> + Send + Sync,
{
    // The crate asserts what it relies on and has no other way to tell that it fails: a segment that cannot be built must
    // not take its thread along. Whatever a panic leaves half done is made and dropped inside.
    let built = catch_unwind(AssertUnwindSafe(|| {
        let (m, ef) = (params.m as usize, params.ef_construct as usize);
        let hnsw = Hnsw::new(m, rows, LAYERS, ef, distance);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_cached_key(|row| hash(*row, 1));
        for row in order {
            hnsw.insert_slice((&[row], row as usize));
        }
        convert(hnsw.get_point_indexation(), rows)
    }));
    let failed = |reason: String| EngineError::Graph { rows, reason };
    built
        .map_err(|panic| failed(message(panic.as_ref())))?
        .ok_or_else(|| failed("it has no entry point".into()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked")
        .to_owned()
}

/// Packs what the crate has built; `None` if that is nothing.
fn convert(index: &PointIndexation<'_, u32>, rows: usize) -> Option<Graph> {
    let top = usize::from(index.get_max_level_observed());
    // The first point to reach the highest layer became the entry point and stayed it.
    let entry = index.get_layer_iterator(top).next()?.get_origin_id() as u32;
    let mut heights = vec![0; rows];
    let mut lists = vec![Vec::new(); rows];
    for height in 0..=top {
        for point in index.get_layer_iterator(height) {
            let row = point.get_origin_id();
            heights[row] = height;
            lists[row] = point
                .get_neighborhood_id()
                .iter()
                .take(top + 1)
                .map(|near| near.iter().map(|n| n.get_origin_id() as u32).collect())
                .collect::<Vec<Vec<u32>>>();
        }
    }
    // A point that was the entry point until a higher one came has links to and from layers above its own, and some points
    // of these are reached through it only. Links that lead up and are led to by none are of no use to a search.
    let mut open: Vec<usize> = (0..rows).collect();
    while let Some(row) = open.pop() {
        let reached = lists[row].iter().take(heights[row] + 1);
        for (layer, links) in reached.enumerate() {
            for other in links.iter().map(|other| *other as usize) {
                if heights[other] < layer {
                    heights[other] = layer;
                    open.push(other);
                }
            }
        }
    }
    for (list, height) in lists.iter_mut().zip(heights) {
        list.truncate(height + 1);
    }
    Some(Graph::pack(entry, lists.into_iter()))
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
        let params = HnswParams {
            m: 4,
            ef_construct: 10,
        };
        let error = build_by(NotANumber, 100, params).unwrap_err();
        assert!(matches!(error, EngineError::Graph { rows: 100, .. }));
        assert!(error.to_string().contains("native"), "{error}");
    }
}
