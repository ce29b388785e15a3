//! Segment files on the local disk: fetched from the bucket once, verified, dropped when no manifest names them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainy_coordination::keys;
use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_coordination::store::StoreError;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{PartitionId, SegmentId};

use crate::engine::payload_index::PayloadSchema;
use crate::engine::{EngineError, OpenOptions, Segment};

/// Why a segment cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// The bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest names a file that is not in the bucket.
    #[error(
        "segment file '{key}' is named by the partition's manifest but missing: restore it from a bucket version or a backup"
    )]
    Missing {
        /// Its key.
        key: String,
    },
    /// The manifest names a file that no segment can have.
    #[error(
        "the partition's manifest names a segment file '{name}', which is not a file name of Brainy: restore the manifest"
    )]
    FileName {
        /// The name.
        name: String,
    },
    /// The local disk.
    #[error(
        "cannot {action} {path}: {message}. Free space or check the permissions of the data directory"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The file is damaged in the bucket too.
    #[error("{0}")]
    Damaged(EngineError),
    /// A task was cancelled.
    #[error("interrupted by shutdown")]
    Interrupted,
}

/// The cache of one node.
#[derive(Debug)]
pub(super) struct SegmentCache {
    root: PathBuf,
    store: Store,
}

impl SegmentCache {
    /// A cache below `root`, which is created.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn open(root: PathBuf, store: Store) -> Result<Self, CacheError> {
        std::fs::create_dir_all(&root).map_err(|e| io("create", &root, &e))?;
        Ok(Self { root, store })
    }

    /// Where the files of a segment are kept.
    #[must_use]
    pub(super) fn dir(&self, partition: &PartitionId, segment: &SegmentId) -> PathBuf {
        self.root.join(partition.to_string()).join(segment.as_str())
    }

    /// Where a segment is built before it is uploaded.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn building_dir(
        &self,
        partition: &PartitionId,
        segment: &SegmentId,
    ) -> Result<PathBuf, CacheError> {
        let dir = self.dir(partition, segment);
        std::fs::create_dir_all(&dir).map_err(|e| io("create", &dir, &e))?;
        Ok(dir)
    }

    /// Opens a segment and indexes what `payload_schema` says, fetching what is not here. A damaged local file is fetched again once.
    ///
    /// # Errors
    /// [`CacheError`].
    pub(super) async fn open_segment(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        resident: bool,
        payload_schema: &Arc<PayloadSchema>,
    ) -> Result<Arc<Segment>, CacheError> {
        for file in &meta.files {
            self.fetch(partition, &meta.id, file).await?;
        }
        match self
            .open_local(partition, meta, resident, payload_schema)
            .await
        {
            Err(CacheError::Damaged(error)) => {
                tracing::warn!(%partition, segment = %meta.id, %error, "fetching a damaged segment again");
                self.remove(partition, &meta.id);
                for file in &meta.files {
                    self.fetch(partition, &meta.id, file).await?;
                }
                self.open_local(partition, meta, resident, payload_schema)
                    .await
            }
            done => done,
        }
    }

    async fn open_local(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        resident: bool,
        payload_schema: &Arc<PayloadSchema>,
    ) -> Result<Arc<Segment>, CacheError> {
        let dir = self.dir(partition, &meta.id);
        let meta = meta.clone();
        let payload_schema = Arc::clone(payload_schema);
        let open = move || {
            let segment = Segment::open(&dir, &meta, OpenOptions { resident })?;
            // Segments that are older than an index lack it.
            segment.index_payloads(&payload_schema)?;
            Ok(segment)
        };
        tokio::task::spawn_blocking(open)
            .await
            .map_err(|_| CacheError::Interrupted)?
            .map(Arc::new)
            .map_err(CacheError::Damaged)
    }

    async fn fetch(
        &self,
        partition: &PartitionId,
        segment: &SegmentId,
        file: &FileMeta,
    ) -> Result<(), CacheError> {
        // The name comes from the bucket: it must not lead out of the cache.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || b == b'-';
        if file.name.starts_with('.') || !file.name.bytes().all(plain) {
            return Err(CacheError::FileName {
                name: file.name.clone(),
            });
        }
        let path = self.dir(partition, segment).join(&file.name);
        if std::fs::metadata(&path).is_ok_and(|m| m.len() == file.bytes) {
            return Ok(());
        }
        let key = keys::segment_file(partition, segment, &file.name);
        let Some(object) = self.store.get(&key).await? else {
            return Err(CacheError::Missing { key });
        };
        // The file appears under its name only when it is whole.
        tokio::task::spawn_blocking(move || {
            let parent = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(parent).map_err(|e| io("create", parent, &e))?;
            let partial = path.with_extension("partial");
            std::fs::write(&partial, &object.body).map_err(|e| io("write", &partial, &e))?;
            std::fs::rename(&partial, &path).map_err(|e| io("rename", &partial, &e))
        })
        .await
        .map_err(|_| CacheError::Interrupted)?
    }

    /// Uploads what [`SegmentCache::building_dir`] holds. Segment objects are written once under unique names.
    ///
    /// # Errors
    /// The bucket, or the local disk.
    pub(super) async fn upload(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<(), CacheError> {
        let dir = self.dir(partition, &meta.id);
        for file in &meta.files {
            let path = dir.join(&file.name);
            let body = tokio::fs::read(&path)
                .await
                .map_err(|e| io("read", &path, &e))?;
            let key = keys::segment_file(partition, &meta.id, &file.name);
            self.store.put(&key, body.into()).await?;
        }
        Ok(())
    }

    /// Removes the local files of one segment.
    pub(super) fn remove(&self, partition: &PartitionId, segment: &SegmentId) {
        remove_dir(&self.dir(partition, segment));
    }

    /// Removes local segments of a partition that are not in `keep`.
    pub(super) fn retain(&self, partition: &PartitionId, keep: &BTreeSet<SegmentId>) {
        let dir = self.root.join(partition.to_string());
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return;
        };
        for entry in entries.flatten() {
            let kept = entry
                .file_name()
                .to_str()
                .and_then(|n| SegmentId::new(n).ok())
                .is_some_and(|id| keep.contains(&id));
            if !kept {
                remove_dir(&entry.path());
            }
        }
    }
}

fn remove_dir(dir: &Path) {
    if let Err(e) = std::fs::remove_dir_all(dir)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), error = %e, "cannot remove a cached segment");
    }
}

fn io(action: &'static str, path: &Path, error: &std::io::Error) -> CacheError {
    CacheError::Io {
        action,
        path: path.to_owned(),
        message: error.to_string(),
    }
}
