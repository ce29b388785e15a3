//! Following one partition of a peer: its segments where its log is gone, else its log.

use std::time::Duration;

use tokio::time::Instant;

use crate::document::{self, Document, DocumentError, Versioned};
use crate::keys;
use crate::partition::{PartitionManifest, SegmentMeta};
use crate::replica::ReplicaError;
use crate::store::retry::Store;
use crate::types::{LogPosition, PartitionId};
use crate::wal::{Entry, Slot, WalError, read_slot};

/// Most slots that are read at once while there is a backlog.
const READ_AHEAD: usize = 8;
/// How often the manifest of a peer's partition is looked at while its log holds nothing new: a log that was collected looks like one that
/// ends.
const MANIFEST_EVERY: Duration = Duration::from_secs(10);
/// Positions beyond this are nobody's: no log lives so long.
const LAST: u64 = 1 << 48;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These entries of the log, the last of them in slot `to`.
    Log {
        /// In their order.
        entries: Vec<Entry>,
        /// Where they end.
        to: LogPosition,
    },
    /// The log up to `to` is not there any more: its effect is in these segments.
    Segments {
        /// All of the partition's.
        segments: Vec<SegmentMeta>,
        /// What they contain.
        to: LogPosition,
    },
    /// Nothing now.
    End,
}

/// One partition of a peer, read from some place on.
#[derive(Debug)]
pub struct Source {
    store: Store,
    partition: PartitionId,
    at: LogPosition,
    /// Slots to read at once.
    width: usize,
    manifest: Option<Versioned<PartitionManifest>>,
    looked: Option<Instant>,
    /// An epoch in which a slot was lost: if that was its fence, only a later epoch's log shows that it ended.
    lost_in: Option<u64>,
    lost: u64,
}

impl Source {
    /// `partition` of the cluster in `store`, after `at`.
    #[must_use]
    pub fn new(store: Store, partition: PartitionId, at: LogPosition) -> Self {
        Self {
            store,
            partition,
            at,
            width: 1,
            manifest: None,
            looked: None,
            lost_in: None,
            lost: 0,
        }
    }

    /// Which.
    #[must_use]
    pub fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// Up to where it was found.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.at
    }

    /// Slots that were passed because their loss had been accepted.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What comes next. It counts as taken: the next call goes on after it. At the end of the log it costs one request, and now and then
    /// one more.
    ///
    /// # Errors
    /// The peer's bucket, or a damaged slot or manifest; the next call tries again.
    pub async fn next(&mut self) -> Result<Found, ReplicaError> {
        let mut entries = Vec::new();
        loop {
            let first = self.at;
            let slots = (1..=self.width as u64)
                .map(|n| LogPosition::new(first.epoch, first.seq + n))
                .map(|position| read_slot(&self.store, &self.partition, position));
            let slots = futures::future::join_all(slots).await;
            let mut ended = false;
            for slot in slots {
                match slot {
                    // What lies before a damaged slot need not wait for it.
                    Err(_) if self.at > first => break,
                    Err(error) => return Err(error.into()),
                    Ok(Slot::Data(found)) => {
                        entries.extend(found);
                        self.at = self.at.next();
                    }
                    Ok(Slot::Lost) => {
                        self.at = self.at.next();
                        self.lost += 1;
                        self.lost_in = Some(self.at.epoch);
                    }
                    Ok(Slot::Fence) if self.at == first => {
                        // A slot that was collected may hold a fence since: who is past it says the manifest.
                        if let Some(found) = self.look().await? {
                            return Ok(found);
                        }
                        self.at = self.at.next_epoch();
                        break;
                    }
                    // Looked at by the next call, when what lies before it is merged.
                    Ok(Slot::Fence) => break,
                    Ok(Slot::Absent) => {
                        ended = true;
                        break;
                    }
                }
            }
            if self.at > first && !ended {
                self.width = (self.width * 2).min(READ_AHEAD);
            } else {
                self.width = 1;
            }
            if !entries.is_empty() {
                return Ok(Found::Log {
                    entries,
                    to: self.at,
                });
            }
            if self.at > first {
                continue;
            }
            if self.lost_in == Some(self.at.epoch) && self.later_epoch_began().await? {
                self.at = self.at.next_epoch();
                continue;
            }
            let fresh = self.looked.is_some_and(|at| at.elapsed() < MANIFEST_EVERY);
            if !fresh && let Some(found) = self.look().await? {
                return Ok(found);
            }
            return Ok(Found::End);
        }
    }

    /// Looks at the manifest: whether it is past the place.
    async fn look(&mut self) -> Result<Option<Found>, ReplicaError> {
        let key = keys::partition_manifest(&self.partition);
        let began = Instant::now();
        let newer: Option<Versioned<PartitionManifest>> = match &self.manifest {
            Some(known) => document::load_if_changed(&self.store, &key, &known.etag).await?,
            None => document::load(&self.store, &key).await?,
        };
        if let Some(newer) = newer {
            if newer.applied.epoch > LAST || newer.applied.seq > LAST {
                return Err(ReplicaError::Document(DocumentError::Corrupt {
                    what: PartitionManifest::WHAT,
                    key,
                    message: format!("no log reaches {}", newer.applied),
                }));
            }
            self.manifest = Some(newer);
        }
        self.looked = Some(began);
        let passed = self.manifest.as_ref().filter(|m| m.applied > self.at);
        Ok(passed.map(|manifest| {
            let to = manifest.applied;
            self.at = to;
            Found::Segments {
                segments: manifest.segments.clone(),
                to,
            }
        }))
    }

    async fn later_epoch_began(&self) -> Result<bool, ReplicaError> {
        let prefix = keys::wal_partition(&self.partition);
        let after = LogPosition::new(self.at.epoch + 1, 0);
        let after = keys::wal_slot(&self.partition, after);
        let page = self.store.list(&prefix, Some(&after), 1).await;
        Ok(!page.map_err(WalError::from)?.objects.is_empty())
    }
}
