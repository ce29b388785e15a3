//! Snapshots as files: what a download is and an upload must be.
//!
//! # Format, version 1
//! A tar archive (POSIX.1-1988, "ustar") of regular files, in this order:
//!
//! | member | what |
//! |---|---|
//! | `brainy-snapshot.json` | a header: format, version, the snapshot's name, its collections in order |
//! | `collections/{c}/collection.json` | the entry of collection number `c` in the cluster manifest |
//! | `collections/{c}/partitions/{p:05}.json` | its partition `p`: epoch, applied position, segments with size and CRC-32C of each file |
//! | `collections/{c}/segments/{p:05}/{segment}/{file}` | the files of its segments |
//! | `SHA256SUMS` | for each member before it a line `{sha256}  {member}`, as `sha256sum --check` reads it |
//!
//! Numbers count from 0. The same snapshot always gives the same bytes, of later versions too, so that its checksum is one of
//! the file: a field that is added to what is written here is left out where it has its default. A reader
//! refuses versions that it does not know, members that are not in this order, and whatever does not fit its checksums.

mod plan;
mod read;
#[cfg(test)]
mod tests;
mod write;

use brainy_coordination::store::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

use crate::engine::EngineError;
use crate::error::ServiceError;

pub(crate) use plan::Plan;
pub(crate) use read::Archive;
pub use read::verify;
pub(crate) use write::write;

const HEADER: &str = "brainy-snapshot.json";
const SUMS: &str = "SHA256SUMS";
const FORMAT: &str = "brainy-snapshot";
const VERSION: u32 = 1;

/// The first member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// Always `brainy-snapshot`.
    format: String,
    /// Of the archive's format.
    version: u32,
    /// The snapshot's name.
    snapshot: String,
    /// When it was made, in seconds since 1970.
    created: u64,
    /// Names of its collections, in order.
    collections: Vec<String>,
}

fn collection_member(collection: usize) -> String {
    format!("collections/{collection}/collection.json")
}

fn partition_member(collection: usize, partition: u32) -> String {
    format!("collections/{collection}/partitions/{partition:05}.json")
}

fn file_member(collection: usize, partition: u32, segment: &str, file: &str) -> String {
    format!("collections/{collection}/segments/{partition:05}/{segment}/{file}")
}

/// Why an archive cannot be written or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file is something else.
    #[error(
        "this is not a snapshot of Brainy ({0}). Snapshots of Qdrant cannot be recovered: copy the points with its migration tool"
    )]
    Foreign(String),
    /// A newer Brainy wrote it.
    #[error(
        "the snapshot has format version {found}, this Brainy reads {VERSION}: run a newer one"
    )]
    UnknownVersion {
        /// Its version.
        found: u32,
    },
    /// It is not what was written.
    #[error("the snapshot is damaged: {0}. Download or upload it again")]
    Damaged(String),
    /// The checksum that the request gave is of something else.
    #[error("the snapshot has the SHA-256 {found}, the request says {expected}")]
    Checksum {
        /// Of the file.
        found: String,
        /// From the request.
        expected: String,
    },
    /// A segment in it cannot be opened.
    #[error("the snapshot cannot be used: {0}")]
    Segment(EngineError),
    /// The collection asked for is not in it.
    #[error("the snapshot holds the collections {}, there is no '{name}' in it", held.join(", "))]
    NoSuchCollection {
        /// Asked for.
        name: String,
        /// What it holds.
        held: Vec<String>,
    },
    /// The bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of the snapshot is gone.
    #[error(
        "'{key}' is missing in the bucket: the snapshot was deleted meanwhile, or the object is lost"
    )]
    Missing {
        /// Its key.
        key: String,
    },
    /// The local disk.
    #[error(
        "cannot {action}: {message}. Free space or check the permissions of the data directory"
    )]
    Disk {
        /// What was tried, and where.
        action: String,
        /// What the system said.
        message: String,
    },
    /// Nobody reads any more.
    #[error("the reader went away")]
    Cancelled,
}

impl ArchiveError {
    fn disk(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |e| Self::Disk {
            action,
            message: e.to_string(),
        }
    }
}

impl From<ArchiveError> for ServiceError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(_) | ArchiveError::Disk { .. } | ArchiveError::Cancelled => {
                ServiceError::Unavailable(error.to_string())
            }
            ArchiveError::Missing { .. } => ServiceError::Internal(error.to_string()),
            ArchiveError::NoSuchCollection { .. } => ServiceError::NotFound(error.to_string()),
            ArchiveError::Foreign(_)
            | ArchiveError::UnknownVersion { .. }
            | ArchiveError::Damaged(_)
            | ArchiveError::Checksum { .. }
            | ArchiveError::Segment(_) => ServiceError::BadRequest(error.to_string()),
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _done = write!(text, "{byte:02x}");
        text
    })
}
