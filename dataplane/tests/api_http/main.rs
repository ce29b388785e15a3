//! The HTTP API over a service that keeps points in memory: shapes, errors, access, limits, and that what is not supported is
//! named.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise, like tests"
)]

mod access;
mod aliases;
mod batches;
mod cluster;
mod collections;
mod conditional;
mod errors;
mod events;
mod examples;
mod formulas;
mod groups;
mod grpc;
mod hybrid;
mod limits;
mod listing;
mod memory;
mod openapi;
mod overload;
mod points;
mod queries;
mod snapshots;
mod strict;
mod support;
mod texts;
mod unsupported;
mod updates;
mod vectors;
mod versions;
