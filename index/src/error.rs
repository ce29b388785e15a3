//! What can go wrong.

use std::io;

use crate::quantize::QuantizeError;

/// Why an index cannot be built or opened.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A parameter is out of range.
    #[error("{what} is {value}, it must be {rule}")]
    Parameter {
        /// Which.
        what: &'static str,
        /// What was given.
        value: usize,
        /// What is allowed.
        rule: String,
    },
    /// Quantized codes cannot be made or read.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The builder failed.
    #[error(
        "hnsw_rs cannot build a graph of {rows} rows: {reason}. Choose the native graph builder"
    )]
    Builder {
        /// Rows of the segment.
        rows: usize,
        /// What it said.
        reason: String,
    },
    /// The baseline cannot be built.
    #[error("the crate hnsw_rs cannot index this: {0}. Use the native index")]
    Baseline(&'static str),
    /// Stored bytes do not hold what they should.
    #[error("{part}: {reason}")]
    Damaged {
        /// Which part of the index.
        part: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A part was written by another version.
    #[error(
        "{part} has format version {found}, this version reads {supported}: use the version that wrote it, or newer"
    )]
    UnknownFormat {
        /// Which part of the index.
        part: &'static str,
        /// The version found.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// Memory could not be had.
    #[error(
        "no memory for {what} ({bytes} bytes): {error}. Use more partitions or a bigger machine"
    )]
    Memory {
        /// For what.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// What the system said.
        error: io::Error,
    },
}

impl IndexError {
    pub(crate) fn damaged(part: &'static str, reason: impl Into<String>) -> Self {
        Self::Damaged {
            part,
            reason: reason.into(),
        }
    }
}
