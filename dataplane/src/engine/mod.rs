//! Storage and search of one partition: local files and memory only, no network.
//!
//! ```text
//! WriteOp --resolve--> [Change] --(log, elsewhere)--> PartitionState::apply --> active memtable
//! freeze: active memtable --> frozen layer --Frozen::build--> segment directory --Segment::open, install--> segments
//! merge: several segments --> one segment --open, install--> segments
//! ```
//!
//! A point lives in exactly one layer: its newest version by [`LogPosition`]. Older versions and deleted rows stay where they
//! are, marked as superseded from a *tick* on; every read works on a snapshot (a set of layers and a tick), so that writes,
//! flushes and merges neither wait for a long search nor show through in it.
//!
//! | module | what |
//! |---|---|
//! | [`distance`] | comparing vectors |
//! | [`change`] | the physical log entry |
//! | [`mod@resolve`] | from what a user asked for to changes |
//! | [`filter`], [`path`], [`payload`] | payloads and conditions on them |
//! | `hnsw` | the graph: built, stored, searched |
//! | [`segment`] | immutable files: written, verified, searched |
//! | `memtable` | recent changes |
//! | [`partition`] | the layers together |
//! | [`compaction`] | which segments to merge |
//!
//! [`LogPosition`]: brainy_coordination::types::LogPosition

pub mod change;
pub mod compaction;
pub mod distance;
mod error;
pub mod filter;
mod hnsw;
mod memtable;
pub mod partition;
pub mod path;
pub mod payload;
pub mod resolve;
pub mod segment;
mod topk;

use brainy_coordination::manifest::{HnswParams, VectorParams};

pub use change::Change;
pub use error::EngineError;
pub use hnsw::{BuildOptions, GraphBuilder};
pub use partition::{Frozen, PartitionState, Stats};
pub use resolve::{Overlay, PointView, resolve};
pub use segment::{OpenOptions, Segment, SegmentBuilder};

/// What the points of a collection look like and how they are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexParams {
    /// Vectors.
    pub vector: VectorParams,
    /// The graph of a segment.
    pub hnsw: HnswParams,
}

impl IndexParams {
    /// Checks the ranges that the engine can hold.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] naming the value and its range.
    pub fn validate(&self) -> Result<(), EngineError> {
        let HnswParams { m, ef_construct } = self.hnsw;
        let check = |what: &str, value: u32, min: u32, max: u32| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(EngineError::invalid(
                format!("{what} {value}"),
                format!("it must be from {min} to {max}"),
            ))
        };
        check("vector size", self.vector.size, 1, 65_536)?;
        check("hnsw m", m, 2, 256)?;
        check("hnsw ef_construct", ef_construct, 4, 10_000)
    }
}
