//! Clears away what creators of snapshots and recoveries that died left behind.
//!
//! Both beat while they work: a snapshot's document and a recovery's entry in the cluster manifest change now and then.
//! What stands still for long, on the reaper's own monotonic clock, is abandoned by compare-and-swap; whoever was only slow
//! finds out with its next step and gives up.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{SnapshotState, abandon, load};
use crate::document::{self, DocumentError};
use crate::keys;
use crate::manifest::{ClusterManifest, abandon_recovery};
use crate::store::retry::Store;
use crate::types::CollectionUid;

/// What one pass abandoned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Snapshots.
    pub snapshots: Vec<String>,
    /// Collections that were being recovered. Their objects are removed like those of dropped ones.
    pub recoveries: Vec<CollectionUid>,
}

/// Watches unfinished work.
#[derive(Debug)]
pub struct Reaper {
    store: Store,
    patience: Duration,
    snapshots: BTreeMap<String, (u64, Instant)>,
    recoveries: BTreeMap<CollectionUid, (u64, Instant)>,
}

impl Reaper {
    /// Abandons what makes no progress for `patience`.
    #[must_use]
    pub fn new(store: Store, patience: Duration) -> Self {
        Self {
            store,
            patience,
            snapshots: BTreeMap::new(),
            recoveries: BTreeMap::new(),
        }
    }

    /// Whether the last look found anything unfinished.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.snapshots.is_empty() || !self.recoveries.is_empty()
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`DocumentError`]; the next pass goes on.
    pub async fn pass(&mut self) -> Result<Reaped, DocumentError> {
        Ok(Reaped {
            snapshots: self.snapshots().await?,
            recoveries: self.recoveries().await?,
        })
    }

    async fn snapshots(&mut self) -> Result<Vec<String>, DocumentError> {
        let mut seen = BTreeMap::new();
        let mut reaped = Vec::new();
        for object in self.store.list_all(keys::SNAPSHOTS).await? {
            let Some(name) = keys::parse_snapshot(&object.key) else {
                continue;
            };
            let Some(found) = load(&self.store, name).await? else {
                continue;
            };
            if matches!(found.state, SnapshotState::Complete { .. }) {
                continue;
            }
            let since = since(self.snapshots.get(name), found.version);
            if since.elapsed() < self.patience {
                seen.insert(name.to_owned(), (found.version, since));
            } else if abandon(&self.store, name, &found).await? {
                reaped.push(name.to_owned());
            }
        }
        self.snapshots = seen;
        Ok(reaped)
    }

    async fn recoveries(&mut self) -> Result<Vec<CollectionUid>, DocumentError> {
        let manifest = document::load::<ClusterManifest>(&self.store, keys::MANIFEST).await?;
        let mut seen = BTreeMap::new();
        let mut reaped = Vec::new();
        for (uid, recovery) in manifest.iter().flat_map(|m| &m.recovering) {
            let since = since(self.recoveries.get(uid), recovery.beat);
            if since.elapsed() < self.patience {
                seen.insert(uid.clone(), (recovery.beat, since));
            } else if abandon_recovery(&self.store, uid, Some(recovery.beat)).await? {
                reaped.push(uid.clone());
            }
        }
        self.recoveries = seen;
        Ok(reaped)
    }
}

/// Since when a counter stands where it is.
fn since(known: Option<&(u64, Instant)>, counter: u64) -> Instant {
    match known {
        Some((before, since)) if *before == counter => *since,
        _ => Instant::now(),
    }
}
