//! Broken rules, to see that the checker notices: a check that cannot fail proves nothing.
//!
//! The protocol code is the real one. What is broken is the store below it (a store that lies, as some gateways do) or
//! a setting of the processes.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::document::{self, Versioned};
use brainy_coordination::freshness::Freshness;
use brainy_coordination::handover::Handover;
use brainy_coordination::keys;
use brainy_coordination::lease::LeaseState;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::store::sim::SimStore;
use brainy_coordination::store::{ETag, ListPage, Object, ObjectStore, StoreError};
use brainy_coordination::types::{LogPosition, PartitionId};
use bytes::Bytes;

use crate::node::Process;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Fences are reported as written and are not.
    NoFences,
    /// `If-None-Match` is ignored for log objects, so a paused owner overwrites its successor's fence.
    Overwriting,
    /// Log objects are reported as written before they are.
    EarlyAnswers,
    /// `If-Match` is ignored for partition manifests, so a paused owner publishes over its successor.
    BlindPublishing,
    /// The collector does not wait.
    NoGrace,
    /// The collector takes fences too.
    FencesCollected,
    /// An owner hands over before its last write counts.
    HastyHandover,
    /// Strong reads ask nobody.
    LazyStrong,
    /// Bounded reads ask nobody.
    LazyBounded,
    /// What a session has seen is forgotten.
    Forgetful,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 10] = [
        Sabotage::NoFences,
        Sabotage::Overwriting,
        Sabotage::EarlyAnswers,
        Sabotage::BlindPublishing,
        Sabotage::NoGrace,
        Sabotage::FencesCollected,
        Sabotage::HastyHandover,
        Sabotage::LazyStrong,
        Sabotage::LazyBounded,
        Sabotage::Forgetful,
    ];

    /// Those that only the checker of histories can notice, and the one that it must notice as well.
    pub(crate) const READS: [Sabotage; 3] = [
        Sabotage::LazyStrong,
        Sabotage::LazyBounded,
        Sabotage::Forgetful,
    ];

    /// What a process makes of what a read asks for.
    pub(crate) fn of_read(
        self,
        wanted: Freshness,
        at_least: Option<LogPosition>,
    ) -> (Freshness, Option<LogPosition>) {
        match (self, wanted) {
            (Sabotage::LazyStrong, Freshness::Strong)
            | (Sabotage::LazyBounded, Freshness::Bounded(_)) => (Freshness::Eventual, at_least),
            (Sabotage::Forgetful, _) => (wanted, None),
            _ => (wanted, at_least),
        }
    }

    /// What an owner that leaves tells its successor.
    pub(crate) fn of_handover(self, handover: &mut Handover) {
        if self == Sabotage::HastyHandover
            && let LeaseState::Released { at, .. } = &mut handover.lease.body.state
        {
            at.seq = at.seq.saturating_sub(1);
        }
    }

    /// What a process does after it has collected garbage.
    pub(crate) async fn after_collection(self, process: &Process, partition: &PartitionId) {
        if self != Sabotage::FencesCollected {
            return;
        }
        let (store, prefix) = (&process.store, keys::wal_partition(partition));
        let key = keys::partition_manifest(partition);
        let manifest = document::load::<PartitionManifest>(store, &key).await;
        let listed = store.list_all(&prefix).await;
        let (Ok(Some(Versioned { body, .. })), Ok(listed)) = (manifest, listed) else {
            return;
        };
        for object in listed {
            let old = keys::parse_wal_slot(&object.key).is_some_and(|p| p <= body.applied);
            if old && store.delete(&object.key).await.is_err() {
                return;
            }
        }
    }
}

/// A store that breaks a rule.
#[derive(Debug)]
pub(crate) struct Saboteur {
    how: Sabotage,
    inner: Arc<SimStore>,
}

/// Offset of the kind in a log object, and the kind of a fence.
const KIND: (usize, u8) = (5, 2);

impl Saboteur {
    pub(crate) fn new(how: Sabotage, inner: Arc<SimStore>) -> Self {
        Self { how, inner }
    }
}

#[async_trait]
impl ObjectStore for Saboteur {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.inner.get(key).await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        self.inner.get_if_changed(key, known).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.inner.put(key, body).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        let log = key.starts_with("_brainy/wal/");
        let fence = log && body.get(KIND.0) == Some(&KIND.1);
        match self.how {
            Sabotage::NoFences if fence => Ok(ETag("\"none\"".to_owned())),
            Sabotage::Overwriting if log => self.inner.put(key, body).await,
            Sabotage::EarlyAnswers if log && !fence => {
                let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
                tokio::spawn(async move { inner.put_if_absent(&key, body).await });
                Ok(ETag("\"early\"".to_owned()))
            }
            _ => self.inner.put_if_absent(key, body).await,
        }
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        if self.how == Sabotage::BlindPublishing && key.starts_with("_brainy/partitions/") {
            return self.inner.put(key, body).await;
        }
        self.inner.put_if_match(key, body, current).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        self.inner.list(prefix, start_after, limit).await
    }
}
