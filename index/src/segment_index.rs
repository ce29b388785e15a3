//! What searches a segment's dense vectors, whatever built it.
//!
//! Two do: [`crate::dense::Index`], which segments are stored with, and [`crate::baseline::HnswRs`], the crate `hnsw_rs` with its own
//! memory and search, which every benchmark compares with.

use crate::dense::{Index, Search};
use crate::near::Near;
use crate::vectors::Vectors;

/// An index of a segment's dense vectors.
pub trait SegmentIndex: Send + Sync {
    /// The about [`Search::k`] nearest of all rows, or of those that `accept` lets through, nearest first. `vectors` are what
    /// the index was built from, `query` is finite and has as many components. `None` if the search's budget is spent before.
    fn search_within(
        &self,
        vectors: &Vectors,
        query: &[f32],
        search: &Search,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Vec<Near>>;

    /// Bytes that it holds beside `vectors`, where that is known.
    fn memory_bytes(&self) -> Option<usize>;
}

impl SegmentIndex for Index {
    fn search_within(
        &self,
        vectors: &Vectors,
        query: &[f32],
        search: &Search,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Vec<Near>> {
        Index::search_within(self, vectors, query, search, accept)
    }

    fn memory_bytes(&self) -> Option<usize> {
        Some(Index::memory_bytes(self))
    }
}
