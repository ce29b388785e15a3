//! The account of the local disk: which segments have their files there.

use std::collections::BTreeMap;
use std::path::Path;

use brainy_coordination::types::{PartitionId, SegmentId};
use parking_lot::Mutex;

type Name = (PartitionId, SegmentId);

/// Bytes of segment files on the disk. Segments that are built are counted when they are finished.
#[derive(Debug)]
pub(in crate::node) struct Disk {
    limit: Option<u64>,
    used: Mutex<BTreeMap<Name, u64>>,
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

    /// Bytes that are left.
    pub(in crate::node) fn free(&self) -> u64 {
        self.limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used()))
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
        let all: u64 = used.values().sum();
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
        assert_eq!((disk.used(), disk.free()), (110, 0));
        disk.remove(&partition, &ids[0]);
        assert!(disk.try_add(&partition, &ids[1], 41));
        assert!(!disk.has(&partition, &ids[0]));
        assert!(Disk::new(None).try_add(&partition, &ids[0], u64::MAX));
    }
}
