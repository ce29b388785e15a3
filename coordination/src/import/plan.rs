//! What an import copies, in which order, and how each object is checked. Free of I/O.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::keys;
use crate::manifest::ClusterManifest;
use crate::partition::{PartitionManifest, SegmentMeta};
use crate::snapshot::Snapshot;
use crate::store::ObjectMeta;
use crate::types::{LogPosition, PartitionId};
use crate::wal::LogObject;

/// What a source holds.
pub(super) struct Contents {
    pub(super) manifest: ClusterManifest,
    /// Each partition's manifest, if it has one yet, and its log.
    pub(super) partitions: BTreeMap<PartitionId, (Option<PartitionManifest>, Vec<ObjectMeta>)>,
    /// Complete snapshots by name.
    pub(super) snapshots: Vec<(String, Snapshot)>,
    /// Marks of accepted losses.
    pub(super) accepted: Vec<ObjectMeta>,
    pub(super) has_config: bool,
}

/// How an object is checked before it is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// A file of a segment: its CRC-32C.
    File(u32),
    /// A slot of a log that somebody will read.
    Slot(LogPosition),
    /// Nobody needs its content, or it has none.
    None,
}

/// An object that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) key: String,
    pub(super) bytes: u64,
    check: Check,
}

impl Planned {
    /// # Errors
    /// What is wrong with `body`, as the end of a sentence.
    pub(super) fn verify(&self, body: &Bytes) -> Result<(), String> {
        let size = body.len() as u64;
        if size != self.bytes {
            return Err(format!("has {size} bytes in place of {}", self.bytes));
        }
        match self.check {
            Check::File(expected) => {
                let found = crc32c::crc32c(body);
                if found == expected {
                    return Ok(());
                }
                Err(format!(
                    "has the checksum {found:08x}, its manifest says {expected:08x}"
                ))
            }
            Check::Slot(position) => LogObject::decode(body, position)
                .map(drop)
                .map_err(|e| format!("is no readable slot of a log ({e})")),
            Check::None => Ok(()),
        }
    }
}

/// What is copied: first the objects, in any order, then the documents, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Ascending by key.
    pub(super) objects: Vec<Planned>,
    pub(super) documents: Vec<String>,
}

impl Plan {
    /// Whether `key` is copied.
    pub(super) fn has(&self, key: &str) -> bool {
        let found = self
            .objects
            .binary_search_by(|object| object.key.as_str().cmp(key));
        found.is_ok() || self.documents.iter().any(|document| document == key)
    }
}

/// Everything that `contents` refers to, and nothing else: segments that nothing names are garbage.
pub(super) fn plan(contents: &Contents) -> Plan {
    let mut objects: BTreeMap<String, (u64, Check)> = BTreeMap::new();
    let accepted: BTreeSet<&str> = contents.accepted.iter().map(|o| o.key.as_str()).collect();
    let mut segments = |partition: &PartitionId, segments: &[SegmentMeta]| {
        for segment in segments {
            for file in &segment.files {
                let key = keys::segment_file(partition, &segment.id, &file.name);
                objects.insert(key, (file.bytes, Check::File(file.crc32c)));
            }
        }
    };
    for (_, snapshot) in &contents.snapshots {
        for collection in &snapshot.collections {
            for (index, partition) in (0..).zip(&collection.partitions) {
                segments(&collection.partition_id(index), &partition.segments);
            }
        }
    }
    for (partition, (manifest, _)) in &contents.partitions {
        if let Some(manifest) = manifest {
            segments(partition, &manifest.segments);
        }
    }
    let mut documents = Vec::new();
    for (partition, (manifest, slots)) in &contents.partitions {
        let applied = manifest.as_ref().map_or_else(
            || PartitionManifest::default().applied,
            |manifest| manifest.applied,
        );
        for slot in slots {
            let Some(position) = keys::parse_wal_slot(&slot.key) else {
                continue;
            };
            let mark = keys::quarantine_accept(partition, position);
            let read = position > applied && !accepted.contains(mark.as_str());
            let check = if read {
                Check::Slot(position)
            } else {
                Check::None
            };
            objects.insert(slot.key.clone(), (slot.size, check));
        }
        if manifest.is_some() {
            documents.push(keys::partition_manifest(partition));
        }
    }
    for mark in &contents.accepted {
        objects.insert(mark.key.clone(), (mark.size, Check::None));
    }
    documents.extend(
        contents
            .snapshots
            .iter()
            .map(|(name, _)| keys::snapshot(name)),
    );
    if contents.has_config {
        documents.push(keys::CONFIG.to_owned());
    }
    let planned = |(key, (bytes, check))| Planned { key, bytes, check };
    Plan {
        objects: objects.into_iter().map(planned).collect(),
        documents,
    }
}
