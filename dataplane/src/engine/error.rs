//! What can go wrong in the engine: what, where, and what to do about it.

use std::path::PathBuf;

use brainy_coordination::types::LogPosition;
use brainy_index::IndexError;

/// Errors of the storage and search engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// A request that cannot be carried out as asked; nothing was changed.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// What was given.
        what: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A segment file whose bytes are not those that were written.
    #[error(
        "segment file {} is damaged: {reason}. Remove the local copy so that it is fetched again; if the stored object \
         is damaged too, restore it from a snapshot",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Data in a format that this build does not know.
    #[error(
        "{what} has format version {found}, this build reads {supported}: run a build that knows it"
    )]
    UnknownFormat {
        /// The file or the log entry.
        what: String,
        /// The version it declares.
        found: u32,
        /// What is known here.
        supported: u32,
    },
    /// Bytes of a log entry or a payload that do not decode.
    #[error("{what} does not decode: {reason}")]
    Decode {
        /// What was read.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// Something that cannot be encoded.
    #[error("{what} does not encode: {reason}")]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// An index of vectors that could not be built.
    #[error("the vectors of segment {} cannot be indexed: {reason}", dir.display())]
    Index {
        /// Directory of the segment.
        dir: PathBuf,
        /// What the index said.
        reason: String,
    },
    /// The local disk refused.
    #[error("{action} {}: {reason}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// Nobody waits for the answer any more.
    #[error("the read was abandoned")]
    Interrupted,
    /// A log entry of a collection that gained or lost vectors since this node looked at it.
    #[error(
        "the log has a write with version {found} of the collection's vectors, this node knows {known}: it goes on when it has read \
         the cluster's manifest"
    )]
    NewerSchema {
        /// Version of the entry.
        found: u64,
        /// Version known.
        known: u64,
    },
    /// A segment set older than the one installed: it would lose what was applied in between.
    #[error(
        "segments up to {offered} cannot replace segments up to {installed}: read the partition's manifest again"
    )]
    StaleSegments {
        /// Position of the set that was offered.
        offered: LogPosition,
        /// Position of the set that is installed.
        installed: LogPosition,
    },
}

impl EngineError {
    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn damaged(file: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn index(dir: impl Into<PathBuf>, error: IndexError) -> Self {
        Self::Index {
            dir: dir.into(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        file: impl Into<PathBuf>,
        error: &std::io::Error,
    ) -> Self {
        Self::Io {
            action,
            file: file.into(),
            reason: error.to_string(),
        }
    }
}
