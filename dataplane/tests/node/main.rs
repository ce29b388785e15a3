//! Nodes as others meet them: over TLS, when they are ready, when they are about to stop, and as processes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise, like tests"
)]

mod configuration;
mod events;
mod exchange;
mod handover;
mod multi_writer;
mod namesake;
mod overload;
mod pre_stop;
mod process;
mod proxy;
mod pushed;
mod readiness;
mod snapshots;
mod support;
mod tls;
