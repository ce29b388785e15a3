//! A bucket in a local directory: durable, with atomic conditional writes, for one process at a time.
//!
//! ```text
//! root/LOCK        held by the one process that uses the directory
//! root/FORMAT      version of this layout
//! root/tmp/        writes that have not been committed; emptied when the directory is opened
//! root/objects/    one file per object, folders as in the key, odd bytes percent-encoded
//! ```
//!
//! A write goes to `tmp/`, is synced, and then, under the key's lock, its condition is decided and the file is renamed
//! into place and the folder synced, all before the answer. Readers of a key wait for a commit of that key that is under
//! way, so that nobody sees what a power failure could still take back. Object files are never changed in place.

mod disk;
mod layout;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use self::disk::Disk;
pub use self::upload::Upload;
use super::common::{MAX_PAGE, check_key, check_range};
use super::{ETag, ListPage, Object, ObjectMeta, ObjectStore, StoreError};

/// What must hold for a write to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    None,
    /// The key must not exist (`If-None-Match: *`).
    Absent,
    /// The key must exist with this tag (`If-Match`).
    Match(ETag),
}

impl WriteCondition {
    const fn request(&self) -> &'static str {
        match self {
            Self::None => "put",
            Self::Absent => "put-if-absent",
            Self::Match(_) => "put-if-match",
        }
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Size in bytes.
    pub size: u64,
    /// Tag of the content.
    pub etag: ETag,
    /// When it was written, by this machine's clock.
    pub modified: SystemTime,
}

/// One row of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Key and size.
    pub object: ObjectMeta,
    /// When it was written, by this machine's clock.
    pub modified: SystemTime,
}

/// One page of a listing with what the file system knows of each object.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The rows, in byte order of their keys.
    pub rows: Vec<Row>,
    /// Whether keys after the last row may exist.
    pub truncated: bool,
}

/// See the [module](self).
pub struct DirStore {
    disk: Arc<Disk>,
}

impl fmt::Debug for DirStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirStore")
            .field("root", &self.disk.root())
            .finish()
    }
}

impl DirStore {
    /// Opens or creates the store in `root` and removes what interrupted writes have left. Blocks on the disk.
    ///
    /// # Errors
    /// `Refused` when another process uses the directory, when it holds another format, or when it cannot be written.
    pub fn open(root: impl AsRef<Path>) -> Result<Arc<Self>, StoreError> {
        let disk = Arc::new(Disk::open(root.as_ref())?);
        Ok(Arc::new(Self { disk }))
    }

    /// Size, tag and time of an object.
    ///
    /// # Errors
    /// As [`ObjectStore::get`].
    pub async fn head(&self, key: &str) -> Result<Head, StoreError> {
        let owned = key.to_owned();
        self.run("head", key, false, move |disk| disk.head(&owned))
            .await
    }

    /// An object opened for reading; the file keeps this version's content whatever happens to the key.
    ///
    /// # Errors
    /// As [`ObjectStore::get`].
    pub async fn open_object(&self, key: &str) -> Result<(Head, std::fs::File), StoreError> {
        let owned = key.to_owned();
        self.run("get", key, false, move |disk| disk.open_object(&owned))
            .await
    }

    /// As [`ObjectStore::list`], with times.
    ///
    /// # Errors
    /// As [`ObjectStore::list`].
    pub async fn list_rows(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let (owned, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        blocking(&self.disk, "list", prefix, false, move |disk| {
            disk.list(&owned, after.as_deref(), limit)
        })
        .await
    }

    /// Begins a write whose body comes in pieces.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload::new(Arc::clone(&self.disk))
    }

    async fn write(
        &self,
        key: &str,
        body: Bytes,
        condition: WriteCondition,
    ) -> Result<ETag, StoreError> {
        let owned = key.to_owned();
        self.run(condition.request(), key, true, move |disk| {
            disk.write(&owned, &body, &condition)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        key: &str,
        is_write: bool,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        check_key(what, key)?;
        blocking(&self.disk, what, key, is_write, work).await
    }
}

/// Runs `work` where it may block. It runs to its end even if the caller goes away.
async fn blocking<T: Send + 'static>(
    disk: &Arc<Disk>,
    what: &'static str,
    key: &str,
    is_write: bool,
    work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let disk = Arc::clone(disk);
    match tokio::task::spawn_blocking(move || work(&disk)).await {
        Ok(done) => done,
        Err(stopped) => {
            let message = format!("the request was stopped: {stopped}");
            let key = key.to_owned();
            Err(if is_write {
                StoreError::Ambiguous { what, key, message }
            } else {
                StoreError::Busy { what, key, message }
            })
        }
    }
}

#[async_trait]
impl ObjectStore for DirStore {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        let owned = key.to_owned();
        self.run("get", key, false, move |disk| disk.read(&owned))
            .await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        let (owned, known) = (key.to_owned(), known.clone());
        self.run("get-if-changed", key, false, move |disk| {
            if disk.head(&owned)?.etag == known {
                return Ok(None);
            }
            let object = disk.read(&owned)?;
            Ok((object.etag != known).then_some(object))
        })
        .await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_range(key, &range)?;
        let owned = key.to_owned();
        self.run("get-range", key, false, move |disk| {
            disk.read_range(&owned, range)
        })
        .await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.write(key, body, WriteCondition::None).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.write(key, body, WriteCondition::Absent).await
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        self.write(key, body, WriteCondition::Match(current.clone()))
            .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let owned = key.to_owned();
        self.run("delete", key, true, move |disk| disk.delete(&owned))
            .await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let listing = self.list_rows(prefix, start_after, limit).await?;
        Ok(ListPage {
            objects: listing.rows.into_iter().map(|row| row.object).collect(),
            truncated: listing.truncated,
        })
    }
}
