//! Names of everything in the bucket (design section 3), relative to the cluster's prefix.
//!
//! Numbers are fixed width so that key order is numeric order; no key is also a prefix of another followed by `/`.

use crate::types::{CollectionUid, InstanceId, LogPosition, PartitionId, SegmentId};

/// Cluster manifest: collections and their schema.
pub const MANIFEST: &str = "_brainy/manifest.json";
/// Whose prefix it is.
pub const CLAIM: &str = "_brainy/claim.json";
/// Which data was imported, see [`crate::import`].
pub const IMPORT: &str = "_brainy/import.json";
/// Marks of accepted losses.
pub const QUARANTINE: &str = "_brainy/quarantine/";
/// Whether there are several writers.
pub const WRITERS: &str = "_brainy/writers.json";
/// Assignment table.
pub const ASSIGNMENTS: &str = "_brainy/assignments.json";
/// Shared configuration.
pub const CONFIG: &str = "_brainy/config.json";
/// Heartbeats, one object an instance.
pub const MEMBERS: &str = "_brainy/members/";
/// Event log, one object an event.
pub const EVENTS: &str = "_brainy/events/";
/// Snapshots, one object each.
pub const SNAPSHOTS: &str = "_brainy/snapshots/";
/// Objects of the start-up probe.
pub const PROBES: &str = "_brainy/probe/";

/// Heartbeat of an instance.
#[must_use]
pub fn member(instance: &InstanceId) -> String {
    format!("{MEMBERS}{instance}.json")
}

/// Lease of a partition.
#[must_use]
pub fn lock(partition: &PartitionId) -> String {
    format!("_brainy/locks/{partition}.json")
}

/// What the leases of all lanes of a partition begin with ([`crate::lane`]).
#[must_use]
pub fn lane_locks(partition: &PartitionId) -> String {
    format!("_brainy/locks/{partition}_")
}

/// The instance whose lane's lease of `partition` a key stands for, if it is one.
#[must_use]
pub fn parse_lane_lock(partition: &PartitionId, key: &str) -> Option<InstanceId> {
    let name = key.strip_prefix(&lane_locks(partition))?;
    InstanceId::new(name.strip_suffix(".json")?).ok()
}

/// Event number `sequence`.
#[must_use]
pub fn event(sequence: u64) -> String {
    format!("{EVENTS}{sequence:020}")
}

/// Snapshot `name`.
#[must_use]
pub fn snapshot(name: &str) -> String {
    format!("{SNAPSHOTS}{name}.json")
}

/// The name of the snapshot that a key stands for, if it is one.
#[must_use]
pub fn parse_snapshot(key: &str) -> Option<&str> {
    let name = key.strip_prefix(SNAPSHOTS)?.strip_suffix(".json")?;
    (!name.contains('/')).then_some(name)
}

/// Everything in the log of a partition.
#[must_use]
pub fn wal_partition(partition: &PartitionId) -> String {
    format!("_brainy/wal/{partition}/")
}

/// Everything in the log of one epoch.
#[must_use]
pub fn wal_epoch(partition: &PartitionId, epoch: u64) -> String {
    format!("_brainy/wal/{partition}/{epoch:012}/")
}

/// One slot of the log.
#[must_use]
pub fn wal_slot(partition: &PartitionId, position: LogPosition) -> String {
    format!(
        "{}{:012}",
        wal_epoch(partition, position.epoch),
        position.seq
    )
}

/// The position a log key stands for, if it is one.
#[must_use]
pub fn parse_wal_slot(key: &str) -> Option<LogPosition> {
    let mut parts = key.rsplit('/');
    let seq = parts.next()?.parse().ok()?;
    let epoch = parts.next()?.parse().ok()?;
    Some(LogPosition { epoch, seq })
}

/// Marker by which an administrator accepts the loss of a poisoned log object.
#[must_use]
pub fn quarantine_accept(partition: &PartitionId, position: LogPosition) -> String {
    format!(
        "{QUARANTINE}{partition}/{:012}-{:012}.accept",
        position.epoch, position.seq
    )
}

/// Manifest of a partition.
#[must_use]
pub fn partition_manifest(partition: &PartitionId) -> String {
    format!("_brainy/partitions/{partition}.json")
}

/// How far a partition has merged what the cluster `peer` holds ([`crate::exchange`]).
#[must_use]
pub fn exchange_cursor(partition: &PartitionId, peer: &str) -> String {
    format!("_brainy/exchange/{partition}_{peer}.json")
}

/// Everything that belongs to the segments of a partition.
#[must_use]
pub fn segments(partition: &PartitionId) -> String {
    format!("segments/{partition}/")
}

/// One file of a segment.
#[must_use]
pub fn segment_file(partition: &PartitionId, segment: &SegmentId, file: &str) -> String {
    format!("segments/{partition}/{segment}/{file}")
}

/// The partition's number and the segment that a key below `segments/{collection}/` belongs to.
#[must_use]
pub fn parse_segment(collection: &CollectionUid, key: &str) -> Option<(u32, SegmentId)> {
    let rest = key.strip_prefix("segments/")?;
    let mut parts = rest
        .strip_prefix(collection.as_str())?
        .strip_prefix('/')?
        .split('/');
    let index = parts.next()?.parse().ok()?;
    let segment = SegmentId::new(parts.next()?).ok()?;
    Some((index, segment))
}

/// Prefixes that hold everything of one collection, for its removal.
#[must_use]
pub fn collection_prefixes(collection: &CollectionUid) -> [String; 6] {
    [
        format!("_brainy/locks/{collection}/"),
        format!("_brainy/wal/{collection}/"),
        format!("_brainy/partitions/{collection}/"),
        format!("{QUARANTINE}{collection}/"),
        format!("_brainy/exchange/{collection}/"),
        format!("segments/{collection}/"),
    ]
}
