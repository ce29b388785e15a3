//! The partition manifest: which segments a partition consists of and up to where its log is contained in them.
//!
//! One object a partition, replaced by compare-and-swap only, always by the owner of its `epoch`. A new owner writes
//! its epoch into the manifest before it serves ([`crate::takeover`]); from then on the tag that an older owner holds is
//! stale, so a paused owner that wakes up cannot publish (design rules 1 and 3).
//!
//! Invariants
//! - `epoch` never decreases and `applied` never decreases.
//! - Every epoch below `epoch` has a fence in its log.
//! - The segments hold exactly the effect of the log up to and including `applied`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Versioned, Written};
use crate::keys;
use crate::store::retry::Store;
use crate::types::{InstanceId, LogPosition, Nonce, PartitionId, SegmentId};

/// One file of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Name below the segment's prefix.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
}

/// One immutable segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Unique name.
    pub id: SegmentId,
    /// Rows (points, live when the segment was built).
    pub rows: u64,
    /// Deletions that hide rows of other segments.
    pub tombstones: u64,
    /// Newest log position of any row or tombstone in it.
    pub newest: LogPosition,
    /// Its files.
    pub files: Vec<FileMeta>,
}

impl SegmentMeta {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// A request that was applied and must not be applied again (design rule 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRequest {
    /// Its identity.
    pub id: Nonce,
    /// Where it was logged.
    pub at: LogPosition,
}

/// Contents of `_brainy/partitions/{partition}.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionManifest {
    /// Epoch of the owner that wrote it.
    pub epoch: u64,
    /// The log up to and including here is contained in `segments`.
    pub applied: LogPosition,
    /// The segments, oldest first.
    pub segments: Vec<SegmentMeta>,
    /// The most recent requests up to `applied`, oldest first, bounded.
    pub requests: Vec<AppliedRequest>,
    /// Up to where each lane is contained in the partition's log ([`crate::lane`]); empty unless there are several writers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<InstanceId, LogPosition>,
}

impl Default for PartitionManifest {
    /// What a partition without a manifest is: no owner yet, nothing applied, the log beginning at epoch 1.
    fn default() -> Self {
        Self {
            epoch: 0,
            applied: LogPosition::new(1, 0),
            segments: Vec::new(),
            requests: Vec::new(),
            lanes: BTreeMap::new(),
        }
    }
}

impl Document for PartitionManifest {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "partition manifest";
}

/// Why a manifest could not be published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// A successor has taken the partition over; what was built must not become visible.
    #[error("partition {partition} is owned under epoch {theirs} now; this owner had {ours}")]
    Deposed {
        /// Which.
        partition: PartitionId,
        /// Epoch of the caller.
        ours: u64,
        /// Epoch found.
        theirs: u64,
    },
    /// The manifest could not be read or written.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Replaces the manifest under `epoch` by what `edit` makes of it, again and again until that wins or a successor is
/// found. `edit` must be idempotent: it sees its own effect when the answer to an earlier attempt was lost.
///
/// # Errors
/// [`PublishError::Deposed`] when the manifest carries a greater epoch; `Document` when a manifest that was `known` is gone.
pub async fn publish(
    store: &Store,
    partition: &PartitionId,
    epoch: u64,
    mut known: Option<Versioned<PartitionManifest>>,
    mut edit: impl FnMut(&mut PartitionManifest),
) -> Result<Versioned<PartitionManifest>, PublishError> {
    let key = keys::partition_manifest(partition);
    loop {
        let mut body = known.as_ref().map(|k| k.body.clone()).unwrap_or_default();
        if body.epoch > epoch {
            return Err(PublishError::Deposed {
                partition: partition.clone(),
                ours: epoch,
                theirs: body.epoch,
            });
        }
        edit(&mut body);
        body.epoch = epoch;
        match document::try_write(store, &key, known.as_ref(), body).await? {
            Written::Ours(written) => return Ok(written),
            // Starting over from nothing would forget every segment.
            Written::Lost(None) if known.is_some() => {
                return Err(DocumentError::Corrupt {
                    what: PartitionManifest::WHAT,
                    key,
                    message: "it was there and is gone".to_owned(),
                }
                .into());
            }
            Written::Lost(found) => known = found,
        }
    }
}
