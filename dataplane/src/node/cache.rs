//! Segment files on the local disk: fetched from the bucket once, verified, dropped when no manifest names them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::keys;
use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_coordination::store::StoreError;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{PartitionId, SegmentId};

use brainy_index::storage::Source;
use tokio::io::AsyncWriteExt;

use super::hot::{Disk, Memory, Objects, bytes_of};
use crate::engine::payload_index::PayloadSchema;
use crate::engine::{EngineError, Files, Guard, Part, Placement, Segment, open_file};

/// Fetched at a time, so that a file of any size takes no more memory.
const PIECE: u64 = 8 << 20;

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
    /// Nothing more can be written.
    #[error(
        "the local disk is full: cannot {action} {path}. Free space, enlarge the cache volume, or set --disk-budget-bytes below its size: what does not fit is then read from the bucket"
    )]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The file is damaged in the bucket too.
    #[error("{0}")]
    Damaged(EngineError),
    /// A task was cancelled.
    #[error("interrupted by shutdown")]
    Interrupted,
}

/// The cache of one node.
pub(super) struct SegmentCache {
    root: PathBuf,
    store: Store,
    memory: Arc<Memory>,
    disk: Disk,
    objects: Objects,
}

/// The files of one segment on the disk, or in the bucket if they have no room there.
pub(super) struct SegmentFiles {
    dir: Option<PathBuf>,
    partition: PartitionId,
    meta: SegmentMeta,
    memory: Arc<Memory>,
    objects: Objects,
    verified: bool,
}

impl Files for SegmentFiles {
    fn source(&self, name: &str) -> std::io::Result<(Arc<dyn Source>, u64)> {
        if let Some(dir) = &self.dir {
            return open_file(&dir.join(name));
        }
        let file = self.meta.files.iter().find(|f| f.name == name);
        let file = file.ok_or(std::io::ErrorKind::NotFound)?;
        let key = keys::segment_file(&self.partition, &self.meta.id, name);
        Ok((self.objects.file(key, file.bytes), file.bytes))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(name))
    }

    fn hold(&self, bytes: u64) -> Option<Guard> {
        Some(Box::new(self.memory.try_hold(bytes)?))
    }

    fn hold_fixed(&self, bytes: u64) -> Guard {
        Box::new(self.memory.hold(bytes))
    }

    fn is_verified(&self) -> bool {
        self.verified
    }
}

/// What is held of a segment that is opened to be searched, if there is memory: what searches walk. Full vectors beside codes come
/// when they are used.
fn first_wish(meta: &SegmentMeta) -> Placement {
    let has_codes = meta.files.iter().any(|f| f.name.starts_with("codes-"));
    Placement::ALL.with(Part::Vectors, !has_codes)
}

impl SegmentCache {
    /// A cache below `root`, which is created.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn open(
        root: PathBuf,
        store: Store,
        memory: Arc<Memory>,
        disk: Disk,
        objects: Objects,
    ) -> Result<Self, CacheError> {
        std::fs::create_dir_all(&root).map_err(|e| io("create", &root, &e))?;
        let cache = Self {
            root,
            store,
            memory,
            disk,
            objects,
        };
        cache.count_files();
        Ok(cache)
    }

    /// The account of the disk.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Counts what an earlier process left.
    fn count_files(&self) {
        let below = |dir: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        for collection in below(&self.root) {
            for index in below(&collection) {
                let (Some(uid), Some(number)) = (name(&collection), name(&index)) else {
                    continue;
                };
                let Ok(partition) = format!("{uid}/{number}").parse::<PartitionId>() else {
                    continue;
                };
                for dir in below(&index) {
                    if let Some(segment) = name(&dir).and_then(|n| SegmentId::new(n).ok()) {
                        self.disk.add(&partition, &segment, bytes_of(&dir));
                    }
                }
            }
        }
    }

    /// The files of a segment where they are now. `verified`: they were compared with their checksums before.
    #[must_use]
    pub(super) fn files(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
        verified: bool,
    ) -> SegmentFiles {
        let local = self.disk.has(partition, &meta.id);
        SegmentFiles {
            dir: local.then(|| self.dir(partition, &meta.id)),
            partition: partition.clone(),
            meta: meta.clone(),
            memory: Arc::clone(&self.memory),
            objects: self.objects.clone(),
            verified,
        }
    }

    /// Counts a segment that was built here.
    pub(super) fn built(&self, partition: &PartitionId, meta: &SegmentMeta) {
        self.disk.add(partition, &meta.id, meta.bytes());
    }

    /// Makes a segment that the disk has room for local; without room it is read from the bucket.
    async fn localize(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<(), CacheError> {
        if !self.disk.try_add(partition, &meta.id, meta.bytes()) {
            return Ok(());
        }
        match self.fetch_all(partition, meta).await {
            Err(CacheError::DiskFull { path, .. }) => {
                tracing::warn!(path = %path.display(), segment = %meta.id, "the local disk is full: the segment is read from the bucket, which is slow");
                self.remove(partition, &meta.id);
                Ok(())
            }
            Err(error) => {
                self.disk.remove(partition, &meta.id);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Fetches the files of a segment that are not here.
    ///
    /// # Errors
    /// [`CacheError`].
    pub(super) async fn fetch_all(
        &self,
        partition: &PartitionId,
        meta: &SegmentMeta,
    ) -> Result<(), CacheError> {
        for file in &meta.files {
            self.fetch(partition, &meta.id, file).await?;
        }
        Ok(())
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
            check_name(file)?;
        }
        let open = || async {
            self.localize(partition, meta).await?;
            self.open_local(partition, meta, resident, payload_schema)
                .await
        };
        match open().await {
            Err(CacheError::Damaged(error)) => {
                tracing::warn!(%partition, segment = %meta.id, %error, "fetching a damaged segment again");
                self.remove(partition, &meta.id);
                open().await
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
        let files = self.files(partition, meta, false);
        let meta = meta.clone();
        let payload_schema = Arc::clone(payload_schema);
        let open = move || {
            let wish = match resident {
                true => first_wish(&meta),
                false => Placement::NONE,
            };
            let segment = Segment::open_from(&files, &meta, wish, resident)?;
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
        check_name(file)?;
        let path = self.dir(partition, segment).join(&file.name);
        if std::fs::metadata(&path).is_ok_and(|m| m.len() == file.bytes) {
            return Ok(());
        }
        let key = keys::segment_file(partition, segment, &file.name);
        if file.bytes > PIECE {
            return self.fetch_pieces(&key, &path, file).await;
        }
        let Some(object) = self.store.get(&key).await? else {
            return Err(CacheError::Missing { key });
        };
        check_sum(file, &path, crc32c::crc32c(&object.body))?;
        // The file appears under its name only when it is whole.
        tokio::task::spawn_blocking(move || {
            let parent = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(parent).map_err(|e| io("create", parent, &e))?;
            let partial = partial(&path);
            std::fs::write(&partial, &object.body).map_err(|e| io("write", &partial, &e))?;
            std::fs::rename(&partial, &path).map_err(|e| io("rename", &partial, &e))
        })
        .await
        .map_err(|_| CacheError::Interrupted)?
    }

    /// Fetches a large file piece by piece.
    async fn fetch_pieces(
        &self,
        key: &str,
        path: &Path,
        file: &FileMeta,
    ) -> Result<(), CacheError> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let created = tokio::fs::create_dir_all(parent).await;
        created.map_err(|e| io("create", parent, &e))?;
        let partial = partial(path);
        let fetched = self.fetch_into(key, &partial, file.bytes).await;
        let fetched = fetched.and_then(|crc32c| check_sum(file, path, crc32c));
        if let Err(error) = fetched {
            // Half a file is worth nothing, and may be what fills the disk.
            let _gone = tokio::fs::remove_file(&partial).await;
            return Err(error);
        }
        let renamed = tokio::fs::rename(&partial, path).await;
        renamed.map_err(|e| io("rename", &partial, &e))
    }

    /// Writes an object into a file; its checksum.
    async fn fetch_into(&self, key: &str, file: &Path, bytes: u64) -> Result<u32, CacheError> {
        let wrote = |e: std::io::Error| io("write", file, &e);
        let mut out = tokio::fs::File::create(file).await.map_err(wrote)?;
        let mut crc32c = 0;
        let mut at = 0;
        while at < bytes {
            let end = (at + PIECE).min(bytes);
            let piece = self.store.get_range(key, at..end).await;
            let piece = piece.map_err(|e| match e {
                StoreError::NotFound { key } => CacheError::Missing { key },
                other => CacheError::Store(other),
            })?;
            crc32c = crc32c::crc32c_append(crc32c, &piece);
            out.write_all(&piece).await.map_err(wrote)?;
            at = end;
        }
        out.flush().await.map_err(wrote)?;
        Ok(crc32c)
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
        self.disk.remove(partition, segment);
    }

    /// Removes what is here of partitions that nobody here works with any more.
    pub(super) fn remove_partition(&self, partition: &PartitionId) {
        remove_dir(&self.root.join(partition.to_string()));
        self.disk.remove_partition(partition);
    }

    /// Removes local segments of a partition that are not in `keep`.
    pub(super) fn retain(&self, partition: &PartitionId, keep: &BTreeSet<SegmentId>) {
        let dir = self.root.join(partition.to_string());
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| SegmentId::new(n).ok());
            if id.as_ref().is_some_and(|id| keep.contains(id)) {
                continue;
            }
            remove_dir(&entry.path());
            if let Some(id) = id {
                self.disk.remove(partition, &id);
            }
        }
    }
}

/// Where a file is until it is whole: nobody else's, as two may fetch the same at a time.
fn partial(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{number}.partial"))
}

/// Whether what was fetched is what was written.
fn check_sum(file: &FileMeta, path: &Path, crc32c: u32) -> Result<(), CacheError> {
    if crc32c == file.crc32c {
        return Ok(());
    }
    let reason = "the bytes that the bucket sent are not those that were written";
    Err(CacheError::Damaged(EngineError::damaged(path, reason)))
}

/// The name comes from the bucket: it must not lead out of the cache.
fn check_name(file: &FileMeta) -> Result<(), CacheError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || b == b'-';
    if file.name.starts_with('.') || !file.name.bytes().all(plain) {
        return Err(CacheError::FileName {
            name: file.name.clone(),
        });
    }
    Ok(())
}

fn remove_dir(dir: &Path) {
    if let Err(e) = std::fs::remove_dir_all(dir)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), error = %e, "cannot remove a cached segment");
    }
}

fn io(action: &'static str, path: &Path, error: &std::io::Error) -> CacheError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return CacheError::DiskFull {
            action,
            path: path.to_owned(),
        };
    }
    CacheError::Io {
        action,
        path: path.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
