//! Messages and services as they are defined in `proto/`.

#![allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated; the definitions are documented"
)]

include!(concat!(env!("OUT_DIR"), "/qdrant.rs"));
