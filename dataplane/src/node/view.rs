//! What this node knows of the cluster: collections and assignments, polled and hinted.
//!
//! Hints only make the next look earlier (design rule 9).

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, Member, MemberState, PartitionAssignment};
use brainy_coordination::document::{self, DocumentError, Versioned};
use brainy_coordination::keys;
use brainy_coordination::manifest::{ClusterManifest, Collection};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{CollectionUid, InstanceId, PartitionId};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::error::ServiceError;

/// One consistent-enough picture: each document as of when it was last read.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Assignment table; `None` until somebody wrote one.
    pub table: Option<Arc<Versioned<AssignmentTable>>>,
    /// Cluster manifest; `None` until somebody wrote one.
    pub manifest: Option<Arc<Versioned<ClusterManifest>>>,
}

impl View {
    /// Assignment of a partition.
    #[must_use]
    pub(crate) fn assignment(&self, partition: &PartitionId) -> Option<&PartitionAssignment> {
        self.table.as_ref()?.partitions.get(partition)
    }

    /// A member.
    #[must_use]
    pub(crate) fn member(&self, instance: &InstanceId) -> Option<&Member> {
        self.table.as_ref()?.members.get(instance)
    }

    /// Whether the table says that `instance` is gone, or does not list it.
    #[must_use]
    pub(crate) fn is_gone(&self, instance: &InstanceId) -> bool {
        self.member(instance)
            .is_none_or(|m| m.state == MemberState::Gone)
    }

    /// A collection by its name or an alias, with its own name.
    #[must_use]
    pub(crate) fn collection(&self, name: &str) -> Option<(&str, &Collection)> {
        self.manifest.as_ref()?.resolve(name)
    }

    /// A collection by uid.
    #[must_use]
    pub(crate) fn by_uid(&self, uid: &CollectionUid) -> Option<&Collection> {
        self.manifest.as_ref()?.by_uid(uid).map(|(_, c)| c)
    }
}

/// How often the documents are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Pause between looks at the assignment table.
    pub table: Duration,
    /// Pause between looks at the manifest; not shorter.
    pub manifest: Duration,
}

/// Keeps the [`View`] current.
#[derive(Debug)]
pub(crate) struct ClusterView {
    store: Store,
    current: watch::Sender<Arc<View>>,
    hint: Notify,
    /// One reader of the documents at a time; later callers find the result of the one before.
    reading: Mutex<Option<tokio::time::Instant>>,
}

impl ClusterView {
    /// An empty view of `store`.
    #[must_use]
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            current: watch::Sender::default(),
            hint: Notify::new(),
            reading: Mutex::new(None),
        }
    }

    /// What is known now.
    #[must_use]
    pub(crate) fn get(&self) -> Arc<View> {
        self.current.borrow().clone()
    }

    /// Woken at every change.
    #[must_use]
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.current.subscribe()
    }

    /// Look soon.
    pub(crate) fn hint(&self) {
        self.hint.notify_one();
    }

    /// Reads the assignment table alone if it changed.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    async fn refresh_table(&self) -> Result<Arc<View>, DocumentError> {
        let _one_at_a_time = self.reading.lock().await;
        let before = self.get();
        let table = read(&self.store, keys::ASSIGNMENTS, before.table.as_ref()).await?;
        if table.is_some() {
            let manifest = before.manifest.clone();
            self.current
                .send_replace(Arc::new(View { table, manifest }));
        }
        Ok(self.get())
    }

    /// Reads both documents if they changed. A call returns what was true at some moment after it began; callers
    /// that wait for the same look share it.
    ///
    /// # Errors
    /// The store's, or an unreadable document.
    pub(crate) async fn refresh(&self) -> Result<Arc<View>, DocumentError> {
        let asked = tokio::time::Instant::now();
        let mut read_at = self.reading.lock().await;
        if read_at.is_some_and(|at| at >= asked) {
            return Ok(self.get());
        }
        let began = tokio::time::Instant::now();
        let before = self.get();
        let table = read(&self.store, keys::ASSIGNMENTS, before.table.as_ref()).await?;
        let manifest = read(&self.store, keys::MANIFEST, before.manifest.as_ref()).await?;
        if table.is_some() || manifest.is_some() {
            let view = Arc::new(View {
                table: table.or_else(|| before.table.clone()),
                manifest: manifest.or_else(|| before.manifest.clone()),
            });
            self.current.send_replace(view);
        }
        *read_at = Some(began);
        Ok(self.get())
    }

    /// The collection called `name`, also by an alias, looking again when it is not known.
    ///
    /// # Errors
    /// `NoSuchCollection`, or `Unavailable` when the store does not answer.
    pub(crate) async fn collection(&self, name: &str) -> Result<Collection, ServiceError> {
        self.resolve(name).await.map(|(_, collection)| collection)
    }

    /// As [`Self::collection`], with its own name.
    ///
    /// # Errors
    /// As [`Self::collection`].
    pub(crate) async fn resolve(&self, name: &str) -> Result<(String, Collection), ServiceError> {
        let owned = |(name, collection): (&str, &Collection)| (name.to_owned(), collection.clone());
        if let Some(found) = self.get().collection(name).map(owned) {
            return Ok(found);
        }
        let view = self
            .refresh()
            .await
            .map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        view.collection(name)
            .map(owned)
            .ok_or_else(|| ServiceError::NoSuchCollection(name.to_owned()))
    }

    /// Polls until `stop`, as often as `pace` says, which is asked again when `shorter` changes; looks at once when `woken` changes.
    /// Calls `found` when a look that nobody asked for found another table.
    pub(crate) async fn run(
        &self,
        pace: impl Fn() -> Pace,
        mut woken: watch::Receiver<bool>,
        mut shorter: watch::Receiver<()>,
        found: impl Fn(&View),
        stop: CancellationToken,
    ) {
        let mut complete = tokio::time::Instant::now();
        let mut last = complete;
        loop {
            let Pace { table, manifest } = pace();
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = self.hint.notified() => true,
                Ok(()) = woken.changed() => true,
                () = tokio::time::sleep_until(last + table) => false,
                Ok(()) = shorter.changed() => continue,
            };
            last = tokio::time::Instant::now();
            let before = self.get().table.as_ref().map(|table| table.version);
            let looked = if asked || complete.elapsed() >= manifest {
                complete = tokio::time::Instant::now();
                self.refresh().await
            } else {
                self.refresh_table().await
            };
            match looked {
                Ok(view) => {
                    let now = view.table.as_ref().map(|table| table.version);
                    if !asked && now != before {
                        found(&view);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read the assignments; going on with what is known");
                }
            }
        }
    }
}

async fn read<T: document::Document>(
    store: &Store,
    key: &str,
    known: Option<&Arc<Versioned<T>>>,
) -> Result<Option<Arc<Versioned<T>>>, DocumentError> {
    let found = match known {
        Some(known) => document::load_if_changed(store, key, &known.etag).await?,
        None => document::load(store, key).await?,
    };
    Ok(found.map(Arc::new))
}
