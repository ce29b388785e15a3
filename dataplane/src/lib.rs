//! brainyd: the vector store of Brainy, its roles and its HTTP API. `docs/architecture.md` follows a write and a query
//! through these modules.

pub mod admission;
pub mod api;
pub mod archive;
pub mod cli;
pub mod engine;
pub mod error;
pub mod events;
pub mod memory;
pub mod model;
pub mod node;
pub mod pre_stop;
pub mod service;
pub mod snapshots;
pub mod transport;
