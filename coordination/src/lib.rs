//! Everything a Brainy cluster agrees on through S3.
//!
//! See `docs/architecture.md` for the protocols and their failure cases. This crate knows nothing of Kubernetes, HTTP
//! servers or vectors.

pub mod assignment;
pub mod document;
pub mod keys;
pub mod manifest;
pub mod partition;
pub mod store;
pub mod types;
