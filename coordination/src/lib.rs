//! Everything a Brainy cluster agrees on through S3.
//!
//! See `docs/architecture.md` for the protocols and their failure cases. This crate knows nothing of Kubernetes, HTTP
//! servers or vectors.

pub mod assignment;
pub mod claim;
pub mod config;
pub mod document;
pub mod dropped;
pub mod events;
pub mod exchange;
pub mod freshness;
pub mod gc;
pub mod handoff;
pub mod handover;
pub mod import;
pub mod keys;
pub mod lane;
pub mod lease;
pub mod manifest;
pub mod members;
pub mod owner;
pub mod partition;
pub mod planner;
pub mod rebalance;
pub mod replica;
pub mod requests;
pub mod ring;
pub mod self_coordination;
pub mod snapshot;
pub mod store;
pub mod takeover;
pub mod types;
pub mod wal;
pub mod writers;
