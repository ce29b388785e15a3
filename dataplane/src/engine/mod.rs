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
//! | [`distance`] | measures and scores |
//! | [`change`] | the physical log entry |
//! | [`mod@resolve`] | from what a user asked for to changes |
//! | [`merging`] | the same where several instances write at once |
//! | [`filter`], [`path`], [`payload`] | payloads and conditions on them |
//! | `schema`, `stored`, `fields` | vectors checked, borrowed from a layer, presented in another schema |
//! | [`interrupt`] | stopping a read that nobody waits for |
//! | `query`, `target`, `objective` | a search as layers carry it out, what it compares rows with |
//! | `formula` | values that follow from scores and payloads |
//! | `best`, `values` | the first places of an order, and the values that make one or are counted |
//! | [`text`] | texts as words |
//! | `terms` | how many sparse vectors have a term |
//! | [`payload_index`] | which rows have which values |
//! | [`segment`] | immutable files: written, verified, searched |
//! | `memtable` | recent changes |
//! | [`partition`] | the layers together |
//! | [`compaction`] | which segments to merge |
//!
//! [`LogPosition`]: brainy_coordination::types::LogPosition

mod best;
pub mod change;
pub mod compaction;
pub mod distance;
mod error;
mod fields;
pub mod filter;
mod formula;
pub mod interrupt;
mod memtable;
pub mod merging;
mod objective;
pub mod partition;
pub mod path;
pub mod payload;
pub mod payload_index;
mod query;
pub mod resolve;
mod schema;
pub mod segment;
mod stored;
mod target;
mod terms;
pub mod text;
mod values;

pub use brainy_index::dense::{BuildOptions, GraphBuilder};
pub use change::{Change, Delta, LogEntry};
pub use error::EngineError;
pub(crate) use fields::{forget_dropped, has_all};
pub use interrupt::Interrupt;
pub use partition::{Frozen, IncomingError, PartitionState, Stats};
pub use query::is_similarity;
pub use resolve::{Overlay, PointView, resolve};
pub(crate) use schema::{check, vector_names};
pub use segment::{
    Explanation, Files, Guard, OpenOptions, Part, PartUse, Placement, Plan, Segment,
    SegmentBuilder, open_file,
};
pub(crate) use target::{Target, prepare};
