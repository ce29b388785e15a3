//! Buckets: one directory store each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::{ObjectStore, StoreError};
use parking_lot::Mutex;
use s3s::validation::{AwsNameValidation, NameValidation};
use s3s::{S3Result, s3_error};

use crate::EmbeddedS3Error;
use crate::backend::refusal;

/// All buckets of a server.
#[derive(Debug)]
pub(crate) struct Buckets {
    root: PathBuf,
    open: Mutex<BTreeMap<String, Arc<DirStore>>>,
    /// Creation and removal of buckets, one at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Buckets {
    /// Opens every bucket in `root`. Blocks on the disk.
    pub(crate) fn open(root: &Path) -> Result<Self, EmbeddedS3Error> {
        let fail = |message: String| EmbeddedS3Error::Root {
            root: root.to_owned(),
            message,
        };
        fs::create_dir_all(root).map_err(|e| fail(e.to_string()))?;
        let mut open = BTreeMap::new();
        for entry in fs::read_dir(root).map_err(|e| fail(e.to_string()))? {
            let entry = entry.map_err(|e| fail(e.to_string()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !AwsNameValidation::new().validate_bucket_name(&name) || !entry.path().is_dir() {
                continue;
            }
            let store = DirStore::open(entry.path()).map_err(|e| fail(e.to_string()))?;
            open.insert(name, store);
        }
        Ok(Self {
            root: root.to_owned(),
            open: Mutex::new(open),
            changing: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> S3Result<Arc<DirStore>> {
        let open = self.open.lock();
        open.get(name)
            .cloned()
            .ok_or_else(|| s3_error!(NoSuchBucket, "There is no bucket '{name}'"))
    }

    /// Names and creation times.
    pub(crate) fn list(&self) -> Vec<(String, Option<SystemTime>)> {
        let names: Vec<String> = self.open.lock().keys().cloned().collect();
        let created = |name: &str| fs::metadata(self.root.join(name)).ok()?.created().ok();
        names
            .into_iter()
            .map(|n| (n.clone(), created(&n)))
            .collect()
    }

    /// Creates a bucket; `false` if it exists.
    pub(crate) async fn create(&self, name: &str) -> Result<bool, StoreError> {
        let _alone = self.changing.lock().await;
        if self.open.lock().contains_key(name) {
            return Ok(false);
        }
        let path = self.root.join(name);
        let store = tokio::task::spawn_blocking(move || DirStore::open(path)).await;
        let store = store.map_err(|e| StoreError::Busy {
            what: "create-bucket",
            key: name.to_owned(),
            message: e.to_string(),
        })??;
        self.open.lock().insert(name.to_owned(), store);
        Ok(true)
    }

    /// Removes an empty bucket that nobody is using.
    pub(crate) async fn remove(&self, name: &str) -> S3Result<()> {
        let _alone = self.changing.lock().await;
        self.check_empty(&*self.get(name)?).await?;
        let store = {
            let mut open = self.open.lock();
            match open.remove(name) {
                Some(store) if Arc::strong_count(&store) == 1 => store,
                Some(store) => {
                    open.insert(name.to_owned(), store);
                    return Err(s3_error!(OperationAborted, "The bucket is in use"));
                }
                None => return Err(s3_error!(NoSuchBucket)),
            }
        };
        // Nobody else can reach it now, so what is empty stays empty.
        if let Err(e) = self.check_empty(&store).await {
            self.open.lock().insert(name.to_owned(), store);
            return Err(e);
        }
        drop(store);
        let removed = tokio::fs::remove_dir_all(self.root.join(name)).await;
        removed.map_err(|e| s3_error!(e, InternalError, "The bucket's folder cannot be removed"))
    }

    async fn check_empty(&self, store: &DirStore) -> S3Result<()> {
        let page = store.list("", None, 1).await.map_err(refusal)?;
        if page.objects.is_empty() {
            return Ok(());
        }
        Err(s3_error!(BucketNotEmpty, "The bucket holds objects"))
    }
}
