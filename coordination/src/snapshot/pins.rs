//! Which segments snapshots pin, for those who remove segments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Snapshot, SnapshotState, load};
use crate::document::DocumentError;
use crate::keys;
use crate::store::retry::Store;
use crate::types::{CollectionUid, SegmentId};

/// What of one collection is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Everything: a snapshot has begun.
    Everything,
    /// These segments, each with the number of its partition.
    Only(BTreeSet<(u32, SegmentId)>),
}

impl Pins {
    /// Whether nothing is pinned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Pins::Only(pinned) if pinned.is_empty())
    }

    /// Whether `segment` of the partition of number `index` is pinned.
    #[must_use]
    pub fn hold(&self, index: u32, segment: &SegmentId) -> bool {
        match self {
            Pins::Everything => true,
            Pins::Only(pinned) => pinned.contains(&(index, segment.clone())),
        }
    }
}

/// Reads what is pinned. Clones share what they have read: the segments of a snapshot never change once they are decided.
#[derive(Clone, Debug)]
pub struct PinReader {
    store: Store,
    decided: Arc<Mutex<BTreeMap<String, Arc<Snapshot>>>>,
}

impl PinReader {
    /// A reader of `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            decided: Arc::default(),
        }
    }

    /// What of collection `uid` is pinned, by all snapshots that were begun before the call and not deleted since.
    ///
    /// # Errors
    /// [`DocumentError`]: then nobody knows, and nothing may be removed.
    pub async fn of(&self, uid: &CollectionUid) -> Result<Pins, DocumentError> {
        let mut decided = self.decided.lock().await;
        let objects = self.store.list_all(keys::SNAPSHOTS).await?;
        let names: BTreeSet<&str> = objects
            .iter()
            .filter_map(|o| keys::parse_snapshot(&o.key))
            .collect();
        decided.retain(|name, _| names.contains(name.as_str()));
        let mut pinned = BTreeSet::new();
        let mut everything = false;
        for name in names {
            let snapshot = match decided.get(name) {
                Some(known) => known.clone(),
                None => match load(&self.store, name).await? {
                    Some(found) => Arc::new(found.body),
                    None => continue,
                },
            };
            let ours = snapshot.collections.iter();
            for pinned_here in ours.filter(|c| c.collection.uid == *uid) {
                everything |= snapshot.state == SnapshotState::Pinning;
                for (index, partition) in (0..).zip(&pinned_here.partitions) {
                    pinned.extend(partition.segments.iter().map(|s| (index, s.id.clone())));
                }
            }
            if snapshot.state != SnapshotState::Pinning {
                decided.insert(name.to_owned(), snapshot);
            }
        }
        Ok(if everything {
            Pins::Everything
        } else {
            Pins::Only(pinned)
        })
    }
}
