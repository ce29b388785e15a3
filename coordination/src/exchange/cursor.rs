//! How far a partition has merged what a peer's partitions hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Update, Versioned};
use crate::keys;
use crate::partition::PartitionManifest;
use crate::store::retry::Store;
use crate::types::{LogPosition, Nonce, PartitionId, SegmentId};

/// A place in one partition of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Everything in its log up to and including here is merged.
    pub position: LogPosition,
    /// Segments of which everything is merged although they hold more than the log up to `position`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub segments: BTreeSet<SegmentId>,
}

impl Default for Place {
    /// Before everything.
    fn default() -> Self {
        Self {
            position: PartitionManifest::default().applied,
            segments: BTreeSet::new(),
        }
    }
}

impl Place {
    /// Whether a segment of the peer whose newest row is at `newest` may hold anything that is not merged.
    #[must_use]
    pub fn needs(&self, id: &SegmentId, newest: LogPosition) -> bool {
        newest > self.position && !self.segments.contains(id)
    }

    fn join(&mut self, other: &Self) {
        self.position = self.position.max(other.position);
        self.segments.extend(other.segments.iter().cloned());
    }
}

/// Contents of `_brainy/exchange/{partition}_{peer}.json`, written by the partition's owner. It says what is durable and never more, and
/// may say less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Identity of the peer: another cluster at its place is another story.
    pub peer: Nonce,
    /// The place in each of its partitions.
    pub places: BTreeMap<PartitionId, Place>,
}

impl Document for Cursor {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "cursor of an exchange";
}

impl Cursor {
    /// What `partition` has merged of the peer that is called `name` and whose identity is `peer`; nothing, if it was another cluster.
    ///
    /// # Errors
    /// The document's. One that cannot be read may be removed: everything is read again then.
    pub async fn load(
        store: &Store,
        partition: &PartitionId,
        name: &str,
        peer: Nonce,
    ) -> Result<Self, DocumentError> {
        let key = keys::exchange_cursor(partition, name);
        let found: Option<Versioned<Self>> = document::load(store, &key).await?;
        let same = found.filter(|cursor| cursor.peer == peer);
        Ok(same.map_or_else(
            || Self {
                peer,
                places: BTreeMap::new(),
            },
            |cursor| cursor.body,
        ))
    }

    /// Writes what this cursor and the one that is stored say together: both are durable, whichever owner wrote them. Places in
    /// partitions that this one does not know are dropped.
    ///
    /// # Errors
    /// The document's.
    pub async fn save(
        &self,
        store: &Store,
        partition: &PartitionId,
        name: &str,
    ) -> Result<(), DocumentError> {
        let key = keys::exchange_cursor(partition, name);
        let decide = |stored: Option<&Versioned<Self>>| {
            let mut all = self.clone();
            if let Some(stored) = stored.filter(|stored| stored.peer == self.peer) {
                for (partition, place) in &mut all.places {
                    if let Some(other) = stored.places.get(partition) {
                        place.join(other);
                    }
                }
                if stored.body == all {
                    return Ok::<_, DocumentError>(Update::Keep(()));
                }
            }
            Ok(Update::Write(all, ()))
        };
        document::update(store, &key, decide).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::retry::RetryPolicy;
    use crate::store::sim::SimBucket;
    use crate::types::CollectionUid;

    fn partition(uid: &str) -> PartitionId {
        PartitionId::new(CollectionUid::new(uid).unwrap(), 3)
    }

    fn at(seq: u64) -> Place {
        Place {
            position: LogPosition::new(2, seq),
            ..Place::default()
        }
    }

    #[tokio::test]
    async fn places_only_grow_and_are_of_one_peer() {
        let store = Store::new(SimBucket::new(1).client("a"), RetryPolicy::default());
        let (here, there, gone) = (
            partition("here-1"),
            partition("there-1"),
            partition("old-1"),
        );
        let peer = Nonce(7);
        let cursor = |places: &[(&PartitionId, Place)]| Cursor {
            peer,
            places: places
                .iter()
                .map(|(p, at)| ((*p).clone(), at.clone()))
                .collect(),
        };
        let load = |peer| Cursor::load(&store, &here, "east", peer);
        assert_eq!(load(peer).await.unwrap(), cursor(&[]));
        let newer = cursor(&[(&there, at(9)), (&gone, at(1))]);
        newer.save(&store, &here, "east").await.unwrap();
        // An owner that knew less.
        let older = cursor(&[(&there, at(4))]);
        older.save(&store, &here, "east").await.unwrap();
        assert_eq!(load(peer).await.unwrap(), cursor(&[(&there, at(9))]));
        assert!(load(Nonce(8)).await.unwrap().places.is_empty());
        let text = store.list_all("_brainy/exchange/here-1/").await.unwrap();
        assert_eq!(text.len(), 1, "it goes with its collection");
    }
}
