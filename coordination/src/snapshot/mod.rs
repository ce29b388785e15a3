//! Snapshots: what a collection, or all of them, held at some moment, pinned in the bucket.
//!
//! A snapshot is a small document, `_brainy/snapshots/{name}.json`, that names segments. Segments never change, so nothing is
//! copied: the collectors ([`crate::gc`]) leave alone what a snapshot names.
//!
//! # Protocol of creation
//! 1. *Pinning*: the document is created, naming collections by uid and no segments yet. From here on no segment of these
//!    collections is removed.
//! 2. The partitions are flushed, then their manifests are read.
//! 3. The cluster manifest is read: a collection that is not in it any more cannot be pinned, and the entry of one that is, is
//!    at least as new as what its segments hold.
//! 4. *Pinned*: compare-and-swap to the segments of these manifests; all others may be removed again.
//! 5. What was pinned is read once, verified and summed up; compare-and-swap to *complete*. Only now it is listed.
//!
//! # Why no segment that a snapshot names is removed
//! A collector lists segments, *then* reads the partition manifest, *then* the snapshots, and only then removes. A segment
//! that a manifest has dropped is never named by a later one. If the collector did not see the document of step 1, then it
//! read the snapshots before step 1, hence the manifest before step 2: what was unnamed then is in no manifest that step 2
//! reads, however long either of the two is paused. If it saw the document, it spares what that says. Collections that are
//! dropped are removed by the same order: dropped, then snapshots read, then removed; and step 3 comes after step 1.
//!
//! # Failure cases
//! - The creator dies: its document stands still, and the [`Reaper`] abandons it by compare-and-swap before it deletes it. A
//!   creator that was only slow finds its own compare-and-swap lost. Clocks decide when that is tried, never who wins.
//! - The answer to step 1 is lost and its write arrives late: a document that nobody continues, reaped as above.
//! - A snapshot is deleted while it is read: what only it pinned goes a grace period later, and the reader finds an object
//!   missing, which it reports.
//! - A snapshot document that cannot be read stops all removal of segments: nobody knows what it pins.

mod pins;
mod reaper;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Versioned, Written};
use crate::keys;
use crate::manifest::{ClusterManifest, Collection};
use crate::partition::{PartitionManifest, SegmentMeta};
use crate::store::retry::Store;
use crate::types::{LogPosition, NameError, PartitionId};

pub use pins::{PinReader, Pins};
pub use reaper::{Reaped, Reaper};

/// Longest name of a snapshot, in characters.
pub const MAX_SNAPSHOT_NAME: usize = 200;

/// How far a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Everything of its collections is pinned; which of it the snapshot holds is not decided yet.
    Pinning,
    /// Its segments are pinned; they are not verified yet.
    Pinned,
    /// Usable.
    Complete {
        /// Size of its archive in bytes.
        bytes: u64,
        /// SHA-256 of its archive, hexadecimal.
        sha256: String,
    },
    /// It will never be complete and pins nothing.
    Abandoned,
}

/// A partition in a snapshot: its manifest without the requests, which concern writers of the old log only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedPartition {
    /// Epoch of its manifest.
    pub epoch: u64,
    /// The log up to and including here is contained in the segments.
    pub applied: LogPosition,
    /// The segments, oldest first.
    pub segments: Vec<SegmentMeta>,
}

impl From<PartitionManifest> for PinnedPartition {
    fn from(manifest: PartitionManifest) -> Self {
        let PartitionManifest {
            epoch,
            applied,
            segments,
            requests: _,
            lanes: _,
        } = manifest;
        Self {
            epoch,
            applied,
            segments,
        }
    }
}

impl From<PinnedPartition> for PartitionManifest {
    /// The manifest of a partition that begins with what was pinned. Its first owner takes an epoch beyond, so that every
    /// later write is newer than all of it.
    fn from(pinned: PinnedPartition) -> Self {
        let PinnedPartition {
            epoch,
            applied,
            segments,
        } = pinned;
        Self {
            epoch,
            applied,
            segments,
            requests: Vec::new(),
            lanes: BTreeMap::new(),
        }
    }
}

/// A collection in a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedCollection {
    /// Its name when the snapshot was made.
    pub name: String,
    /// Its entry in the cluster manifest then.
    pub collection: Collection,
    /// Its partitions in order; none while the snapshot is [`SnapshotState::Pinning`].
    #[serde(default)]
    pub partitions: Vec<PinnedPartition>,
}

impl PinnedCollection {
    /// The partition of number `index`, as it is called in the bucket.
    #[must_use]
    pub fn partition_id(&self, index: u32) -> PartitionId {
        PartitionId::new(self.collection.uid.clone(), index)
    }
}

/// Contents of `_brainy/snapshots/{name}.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// How far it is.
    pub state: SnapshotState,
    /// The collection that it is of; `None`: of all there were.
    pub of: Option<String>,
    /// When it was begun, by the creator's clock, in seconds since 1970. Informs people, decides nothing.
    pub created: u64,
    /// What it holds, by name.
    pub collections: Vec<PinnedCollection>,
}

impl Document for Snapshot {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "snapshot";
}

impl Snapshot {
    /// Size and SHA-256 of its archive, if it is complete.
    #[must_use]
    pub fn complete(&self) -> Option<(u64, &str)> {
        match &self.state {
            SnapshotState::Complete { bytes, sha256 } => Some((*bytes, sha256)),
            _ => None,
        }
    }
}

/// Checks a snapshot's name: 1 to 200 of `[A-Za-z0-9._-]`, not beginning with '.'.
///
/// # Errors
/// [`NameError`] with the rule.
pub fn check_snapshot_name(name: &str) -> Result<(), NameError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let length = 1..=MAX_SNAPSHOT_NAME;
    if length.contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(NameError {
        what: "snapshot name",
        value: name.chars().take(64).collect(),
        rule: "1 to 200 letters, digits, '.', '_' and '-', not beginning with '.'",
    })
}

/// Why a snapshot did not come to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing a document failed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Another snapshot has that name.
    #[error("there is a snapshot '{0}' already")]
    Exists(String),
    /// It stood still for so long that it was given up.
    #[error("snapshot '{0}' was given up meanwhile because it made no progress: create another")]
    Abandoned(String),
    /// A partition without a manifest has never been owned: it cannot have been flushed.
    #[error("partition {0} has no manifest: its collection was dropped meanwhile")]
    NoManifest(PartitionId),
    /// A collection is not there any more.
    #[error("collection '{0}' was dropped meanwhile")]
    Dropped(String),
}

/// A snapshot being made, in the hands of its creator.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    name: String,
    current: Versioned<Snapshot>,
}

impl Draft {
    /// Step 1: pins everything of `collections`.
    ///
    /// # Errors
    /// [`SnapshotError::Exists`], or the store's.
    pub async fn begin(
        store: &Store,
        name: &str,
        of: Option<String>,
        created: u64,
        collections: Vec<PinnedCollection>,
    ) -> Result<Self, SnapshotError> {
        let body = Snapshot {
            state: SnapshotState::Pinning,
            of,
            created,
            collections,
        };
        match document::try_write(store, &keys::snapshot(name), None, body).await? {
            Written::Ours(current) => Ok(Self {
                store: store.clone(),
                name: name.to_owned(),
                current,
            }),
            Written::Lost(_) => Err(SnapshotError::Exists(name.to_owned())),
        }
    }

    /// What is written.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.current
    }

    /// Steps 2 (what comes after the flush) to 4: reads all manifests and pins what they name.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn pin(&mut self) -> Result<(), SnapshotError> {
        let mut body = self.current.body.clone();
        for pinned in &mut body.collections {
            pinned.partitions.clear();
            for partition in pinned.collection.partitions() {
                let key = keys::partition_manifest(&partition);
                let manifest = document::load::<PartitionManifest>(&self.store, &key).await?;
                let manifest = manifest.ok_or(SnapshotError::NoManifest(partition))?;
                pinned.partitions.push(manifest.body.into());
            }
        }
        let manifest = document::load::<ClusterManifest>(&self.store, keys::MANIFEST).await?;
        for pinned in &mut body.collections {
            let found = manifest.as_ref();
            let found = found.and_then(|m| m.by_uid(&pinned.collection.uid));
            let Some((_, entry)) = found else {
                return Err(SnapshotError::Dropped(pinned.name.clone()));
            };
            pinned.collection = entry.clone();
        }
        body.state = SnapshotState::Pinned;
        self.write(body).await
    }

    /// Tells the [`Reaper`] that somebody is at work.
    ///
    /// # Errors
    /// [`SnapshotError::Abandoned`] when it was faster.
    pub async fn beat(&mut self) -> Result<(), SnapshotError> {
        self.write(self.current.body.clone()).await
    }

    /// Step 5: the snapshot is usable; `bytes` and `sha256` are of its archive.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn complete(&mut self, bytes: u64, sha256: String) -> Result<(), SnapshotError> {
        let mut body = self.current.body.clone();
        body.state = SnapshotState::Complete { bytes, sha256 };
        self.write(body).await
    }

    /// Gives it up. Where that fails, the [`Reaper`] does it later.
    pub async fn abandon(self) {
        let done = abandon(&self.store, &self.name, &self.current).await;
        if let Err(error) = done {
            tracing::warn!(snapshot = self.name, %error, "cannot remove an unfinished snapshot yet");
        }
    }

    async fn write(&mut self, body: Snapshot) -> Result<(), SnapshotError> {
        let key = keys::snapshot(&self.name);
        match document::try_write(&self.store, &key, Some(&self.current), body).await? {
            Written::Ours(written) => {
                self.current = written;
                Ok(())
            }
            Written::Lost(_) => Err(SnapshotError::Abandoned(self.name.clone())),
        }
    }
}

/// Makes exactly this version of a snapshot that is not complete one that never will be, then removes it. `false`: it has
/// changed meanwhile.
///
/// A delete cannot be made conditional everywhere; the swap before it is what makes it safe.
async fn abandon(
    store: &Store,
    name: &str,
    current: &Versioned<Snapshot>,
) -> Result<bool, DocumentError> {
    let key = keys::snapshot(name);
    if current.state != SnapshotState::Abandoned {
        let body = Snapshot {
            state: SnapshotState::Abandoned,
            of: current.of.clone(),
            created: current.created,
            collections: Vec::new(),
        };
        let written = document::try_write(store, &key, Some(current), body).await?;
        if !matches!(written, Written::Ours(_)) {
            return Ok(false);
        }
    }
    store.delete(&key).await?;
    Ok(true)
}

/// The snapshot called `name`, whatever its state.
///
/// # Errors
/// [`DocumentError`].
pub async fn load(store: &Store, name: &str) -> Result<Option<Versioned<Snapshot>>, DocumentError> {
    document::load(store, &keys::snapshot(name)).await
}

/// All snapshots that can be used, by name.
///
/// # Errors
/// [`DocumentError`].
pub async fn list(store: &Store) -> Result<Vec<(String, Versioned<Snapshot>)>, DocumentError> {
    let mut all = Vec::new();
    for object in store.list_all(keys::SNAPSHOTS).await? {
        let Some(name) = keys::parse_snapshot(&object.key) else {
            continue;
        };
        if let Some(snapshot) = load(store, name).await?
            && snapshot.complete().is_some()
        {
            all.push((name.to_owned(), snapshot));
        }
    }
    Ok(all)
}

/// Deletes a complete snapshot; what only it pinned is collected later. Returns whether there was one.
///
/// # Errors
/// [`DocumentError`].
pub async fn delete(store: &Store, name: &str) -> Result<bool, DocumentError> {
    // Complete ones never change again, so this deletes what was looked at. Others belong to their creators.
    let usable = |s: Versioned<Snapshot>| s.complete().is_some();
    if !load(store, name).await?.is_some_and(usable) {
        return Ok(false);
    }
    store.delete(&keys::snapshot(name)).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_flat_keys() {
        check_snapshot_name("c-1-2026-01-02-03-04-05.snapshot").unwrap();
        for bad in ["", ".x", "a/b", "a b", "..", &"x".repeat(201)] {
            let text = check_snapshot_name(bad).unwrap_err().to_string();
            assert!(text.contains("200"), "{text}");
        }
        let key = keys::snapshot("a.snapshot");
        assert_eq!(key, "_brainy/snapshots/a.snapshot.json");
        assert_eq!(keys::parse_snapshot(&key), Some("a.snapshot"));
        assert_eq!(keys::parse_snapshot("_brainy/snapshots/a/b.json"), None);
        assert_eq!(keys::parse_snapshot("_brainy/snapshots/a"), None);
    }
}
