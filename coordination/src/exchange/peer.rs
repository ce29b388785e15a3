//! What a cluster knows of another: who it is, how it resolves conflicts, which collections it has.

use crate::document::{self, DocumentError, Versioned};
use crate::keys;
use crate::manifest::{ClusterManifest, Collection, MAX_PARTITIONS};
use crate::store::StoreError;
use crate::store::retry::Store;
use crate::types::Nonce;
use crate::writers::Writers;

/// Why nothing can be exchanged with a cluster, or with one of its collections.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    /// Its bucket.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// There is nothing.
    #[error(
        "there is no cluster with a collection at that bucket and prefix: correct them, or create the collection there first"
    )]
    NoCluster,
    /// It has one writer a partition.
    #[error(
        "the other cluster was not started with --multi-writer: what it writes has no versions that could be merged"
    )]
    OneWriter,
    /// It resolves conflicts otherwise.
    #[error(
        "this cluster resolves conflicts by {ours}, the other one by {theirs}: all clusters that exchange need the same --conflict-resolution"
    )]
    Policy {
        /// Here.
        ours: String,
        /// There.
        theirs: String,
    },
    /// It is this cluster.
    #[error(
        "the bucket and prefix are those of this very cluster, or a copy of it: a cluster exchanges with one that was created by itself"
    )]
    Same,
    /// It has no collection of that name.
    #[error("the other cluster has no collection of that name: create it there")]
    NoCollection,
    /// Its manifest is damaged.
    #[error(
        "the other cluster's collection has {0} partitions, it must be from 1 to {MAX_PARTITIONS}"
    )]
    Partitions(u32),
    /// Its collection has other vectors.
    #[error("the other cluster's collection has other vectors: {0}")]
    Vectors(String),
}

impl PeerError {
    /// Whether it may go away without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Document(DocumentError::Store(e)) if e.is_transient())
    }
}

/// A cluster that this one follows.
#[derive(Clone, Debug)]
pub struct PeerCluster {
    /// What it consists of.
    pub manifest: Versioned<ClusterManifest>,
    /// How its concurrent writes are resolved.
    pub conflict_resolution: String,
}

impl PeerCluster {
    /// Its identity.
    #[must_use]
    pub fn identity(&self) -> Nonce {
        self.manifest.cluster
    }

    /// Its collection `name`, if that can exchange with `ours`: points of one have to fit the other. Graphs, codes, numbers of
    /// partitions and indexes may differ.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn fit(&self, name: &str, ours: &Collection) -> Result<&Collection, PeerError> {
        let theirs = self.manifest.collections.get(name);
        let theirs = theirs.ok_or(PeerError::NoCollection)?;
        let partitions = theirs.spec.partitions;
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(PeerError::Partitions(partitions));
        }
        let (here, there) = (&ours.spec.schema, &theirs.spec.schema);
        let mut names: Vec<&str> = here.names().chain(there.names()).collect();
        names.sort_unstable();
        names.dedup();
        for vector in names {
            let dense = (here.vectors.get(vector), there.vectors.get(vector));
            let alike = match dense {
                (Some(a), Some(b)) => {
                    (a.size, a.distance, a.multivector) == (b.size, b.distance, b.multivector)
                }
                (None, None) => {
                    here.sparse_vectors.contains_key(vector)
                        && there.sparse_vectors.contains_key(vector)
                }
                _ => false,
            };
            if !alike {
                return Err(PeerError::Vectors(format!(
                    "'{vector}' is not the same in both, compare their sizes, distances and kinds"
                )));
            }
        }
        Ok(theirs)
    }
}

/// Looks at another cluster again and again.
#[derive(Debug)]
pub struct Lookout {
    store: Store,
    manifest: Option<Versioned<ClusterManifest>>,
    writers: Option<Writers>,
}

impl Lookout {
    /// One for the cluster in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            manifest: None,
            writers: None,
        }
    }

    /// What the cluster is now, if it can exchange with the cluster `us`, whose conflicts are resolved as `ours` says. One request that
    /// answers "not changed", once it was read.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn look(&mut self, us: Nonce, ours: &str) -> Result<PeerCluster, PeerError> {
        let store = &self.store;
        let newer = match &self.manifest {
            None => document::load(store, keys::MANIFEST).await?,
            Some(known) => {
                match document::load_if_changed(store, keys::MANIFEST, &known.etag).await {
                    Err(DocumentError::Store(StoreError::NotFound { .. })) => {
                        self.manifest = None;
                        self.writers = None;
                        return Err(PeerError::NoCluster);
                    }
                    read => read?,
                }
            }
        };
        if let Some(newer) = newer {
            // Who answers may be another cluster than before.
            self.writers = None;
            self.manifest = Some(newer);
        }
        let manifest = self.manifest.clone().ok_or(PeerError::NoCluster)?;
        if self.writers.is_none() {
            let read: Option<Versioned<Writers>> = document::load(store, keys::WRITERS).await?;
            self.writers = read.map(|writers| writers.body);
        }
        let writers = self.writers.as_ref().filter(|said| said.multi_writer);
        let theirs = &writers.ok_or(PeerError::OneWriter)?.conflict_resolution;
        if theirs != ours {
            return Err(PeerError::Policy {
                ours: ours.to_owned(),
                theirs: theirs.clone(),
            });
        }
        if manifest.cluster == us {
            return Err(PeerError::Same);
        }
        Ok(PeerCluster {
            manifest,
            conflict_resolution: theirs.clone(),
        })
    }
}
