//! The HTTP API over a service that keeps points in memory: shapes, errors, access, limits, and that what is not supported is
//! named.

mod access;
mod batches;
mod collections;
mod errors;
mod limits;
mod memory;
mod points;
mod queries;
mod support;
mod unsupported;
