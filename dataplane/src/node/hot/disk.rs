//! The account of the local disk: which segments have their files there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::types::{PartitionId, SegmentId};
use parking_lot::Mutex;

type Name = (PartitionId, SegmentId);

/// Bytes of segment files on the disk. Segments that are built are counted when they are finished.
#[derive(Debug)]
pub(in crate::node) struct Disk {
    limit: Option<u64>,
    used: Mutex<BTreeMap<Name, u64>>,
    reserved: Arc<AtomicU64>,
}

/// Room that a segment which is to be built will take; dropping gives it back.
#[derive(Debug)]
pub(in crate::node) struct Reserved {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn name(partition: &PartitionId, segment: &SegmentId) -> Name {
    (partition.clone(), segment.clone())
}

impl Disk {
    /// An account that allows `limit` bytes, or any number.
    pub(in crate::node) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            used: Mutex::default(),
            reserved: Arc::default(),
        }
    }

    /// Bytes that may be used; none: any number.
    pub(in crate::node) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Bytes that are used.
    pub(in crate::node) fn used(&self) -> u64 {
        self.used.lock().values().sum()
    }

    /// Keeps room for `bytes`, be it there yet or not: what is on the disk already is to leave then.
    pub(in crate::node) fn reserve(&self, bytes: u64) -> Reserved {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Reserved {
            all: Arc::clone(&self.reserved),
            bytes,
        }
    }

    /// Bytes that are reserved.
    pub(in crate::node) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Whether there is room for all that is reserved.
    pub(in crate::node) fn has_room(&self) -> bool {
        let all = self.used().saturating_add(self.reserved());
        self.limit.is_none_or(|limit| all <= limit)
    }

    /// The partitions of the segments that are counted.
    pub(in crate::node) fn partitions(&self) -> BTreeSet<PartitionId> {
        let used = self.used.lock();
        used.keys()
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// Forgets the segments of a partition whose files are gone.
    pub(in crate::node) fn remove_partition(&self, partition: &PartitionId) {
        self.used.lock().retain(|(of, _), _| of != partition);
    }

    /// Counts a segment of `bytes` if there is room for it, or if it is counted already.
    pub(in crate::node) fn try_add(
        &self,
        partition: &PartitionId,
        segment: &SegmentId,
        bytes: u64,
    ) -> bool {
        let mut used = self.used.lock();
        let name = name(partition, segment);
        let all = used.values().sum::<u64>() + self.reserved();
        let fits = used.contains_key(&name) || self.limit.is_none_or(|limit| all + bytes <= limit);
        if fits {
            used.insert(name, bytes);
        }
        fits
    }

    /// Counts a segment that is there, room or not.
    pub(in crate::node) fn add(&self, partition: &PartitionId, segment: &SegmentId, bytes: u64) {
        self.used.lock().insert(name(partition, segment), bytes);
    }

    /// Forgets a segment whose files are gone.
    pub(in crate::node) fn remove(&self, partition: &PartitionId, segment: &SegmentId) {
        self.used.lock().remove(&name(partition, segment));
    }

    /// Whether the segment is counted.
    pub(in crate::node) fn has(&self, partition: &PartitionId, segment: &SegmentId) -> bool {
        self.used.lock().contains_key(&name(partition, segment))
    }
}

/// Bytes of the files below `dir`.
pub(in crate::node) fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|meta| meta.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_counted_once_and_only_if_there_is_room() {
        let partition: PartitionId = "c/0".parse().unwrap();
        let ids: Vec<SegmentId> = (0..3).map(|_| SegmentId::generate(1)).collect();
        let disk = Disk::new(Some(100));
        assert!(disk.try_add(&partition, &ids[0], 60));
        assert!(disk.try_add(&partition, &ids[0], 60));
        assert!(!disk.try_add(&partition, &ids[1], 41));
        disk.add(&partition, &ids[2], 50);
        assert_eq!(disk.used(), 110);
        assert!(!disk.has_room());
        disk.remove(&partition, &ids[0]);
        assert!(disk.try_add(&partition, &ids[1], 41));
        assert!(!disk.has(&partition, &ids[0]));
        assert_eq!(disk.partitions(), BTreeSet::from([partition.clone()]));
        disk.remove_partition(&partition);
        assert_eq!(disk.used(), 0);
        assert!(Disk::new(None).try_add(&partition, &ids[0], u64::MAX));
    }

    #[test]
    fn what_is_reserved_nobody_else_gets() {
        let partition: PartitionId = "c/0".parse().unwrap();
        let ids: Vec<SegmentId> = (0..2).map(|_| SegmentId::generate(1)).collect();
        let disk = Disk::new(Some(100));
        disk.add(&partition, &ids[0], 50);
        let reserved = disk.reserve(60);
        assert!(!disk.has_room() && !disk.try_add(&partition, &ids[1], 1));
        disk.remove(&partition, &ids[0]);
        assert!(disk.has_room() && disk.try_add(&partition, &ids[1], 40));
        drop(reserved);
        assert_eq!(disk.reserved(), 0);
        assert!(Disk::new(None).has_room());
    }
}
