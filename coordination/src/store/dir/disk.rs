//! Blocking work on the directory, and the locks that order it.

mod errors;
mod listing;
mod open;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::Xxh3;

use super::{Head, WriteCondition, layout};
use crate::store::common::{bad_range, content_etag, etag_from_hash, file_and_folder};
use crate::store::{ETag, Object, StoreError};

const SHARDS: usize = 256;
/// Tags and folders remembered; beyond, memory of them is dropped and found out again.
const MAX_TAGS_PER_SHARD: usize = 1024;
const MAX_FOLDERS: usize = 16 * 1024;
/// How often a rename is tried again while others remove the folders that it needs.
const RENAME_TRIES: usize = 16;

/// The directory.
pub(super) struct Disk {
    root: PathBuf,
    objects: PathBuf,
    tmp: PathBuf,
    shards: Vec<Shard>,
    /// Shared by renames and removals, exclusive for reading a folder: some file systems show a file that is being
    /// replaced neither under its old nor its new entry.
    names: RwLock<()>,
    /// Folders whose own entry is known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
    next_temp: AtomicU64,
    /// A sync failed: what is visible may not be durable, and asking the kernel again would not tell.
    broken: AtomicBool,
    _lock: File,
}

/// Keys are spread over shards by hash.
#[derive(Default)]
struct Shard {
    /// Exclusive for a commit, shared for looking at what is committed.
    order: RwLock<()>,
    tags: Mutex<HashMap<String, KnownTag>>,
}

/// A tag and the file that it was computed from.
#[derive(Clone)]
struct KnownTag {
    size: u64,
    modified: SystemTime,
    etag: ETag,
}

/// A file in `tmp/`, removed when dropped.
pub(super) struct Temp {
    path: PathBuf,
    file: File,
    hash: Xxh3,
    size: u64,
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a commit it is gone already; after a crash, opening the store removes it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Temp {
    pub(super) fn append(&mut self, disk: &Disk, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|e| disk.error("put", "", &e))
    }
}

impl Disk {
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn head(&self, key: &str) -> Result<Head, StoreError> {
        let _committed = self.shard(key).order.read();
        self.look(key)?.ok_or_else(|| not_found(key))
    }

    pub(super) fn open_object(&self, key: &str) -> Result<(Head, File), StoreError> {
        let _committed = self.shard(key).order.read();
        let head = self.look(key)?.ok_or_else(|| not_found(key))?;
        let file = self.open_file("get", key)?;
        Ok((head, file))
    }

    pub(super) fn read(&self, key: &str) -> Result<Object, StoreError> {
        let mut file = {
            let _committed = self.shard(key).order.read();
            self.open_file("get", key)?
        };
        let mut body = Vec::new();
        file.read_to_end(&mut body)
            .map_err(|e| self.error("get", key, &e))?;
        Ok(Object {
            etag: content_etag(&body),
            body: body.into(),
        })
    }

    pub(super) fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let fail = |e: io::Error| self.error("get-range", key, &e);
        let file = {
            let _committed = self.shard(key).order.read();
            self.open_file("get-range", key)?
        };
        let size = file.metadata().map_err(fail)?.len();
        let length = usize::try_from(range.end - range.start);
        let (true, Ok(length)) = (range.end <= size, length) else {
            return Err(bad_range(key, &range, Some(size)));
        };
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start).map_err(fail)?;
        Ok(bytes.into())
    }

    pub(super) fn write(
        &self,
        key: &str,
        body: &[u8],
        condition: &WriteCondition,
    ) -> Result<ETag, StoreError> {
        // A loser need not write first; the commit looks again.
        if *condition != WriteCondition::None {
            let _committed = self.shard(key).order.read();
            self.decide(key, condition)?;
        }
        let mut temp = self.temp()?;
        temp.append(self, body)?;
        self.commit(key, temp, condition)
    }

    /// A new temporary file.
    pub(super) fn temp(&self) -> Result<Temp, StoreError> {
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp.join(number.to_string());
        let file = File::create_new(&path).map_err(|e| self.error("put", "", &e))?;
        Ok(Temp {
            path,
            file,
            hash: Xxh3::new(),
            size: 0,
        })
    }

    /// Makes `temp` the object `key` if `condition` holds.
    pub(super) fn commit(
        &self,
        key: &str,
        temp: Temp,
        condition: &WriteCondition,
    ) -> Result<ETag, StoreError> {
        let what = condition.request();
        if !layout::fits(key) {
            return Err(self.name_too_long(what, key));
        }
        temp.file
            .sync_all()
            .map_err(|e| self.error(what, key, &e))?;
        let modified = temp.file.metadata().and_then(|m| m.modified());
        let known = KnownTag {
            size: temp.size,
            modified: modified.map_err(|e| self.error(what, key, &e))?,
            etag: etag_from_hash(temp.hash.digest128()),
        };
        let etag = known.etag.clone();
        let path = layout::path(&self.objects, key);

        let shard = self.shard(key);
        let _commit = shard.order.write();
        self.check_sound(what, key)?;
        self.decide(key, condition)?;
        self.rename(what, key, &temp.path, &path)?;
        self.settle(what, key, &path)?;
        let mut tags = shard.tags.lock();
        if tags.len() >= MAX_TAGS_PER_SHARD {
            tags.clear();
        }
        tags.insert(key.to_owned(), known);
        Ok(etag)
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), StoreError> {
        let fail = |e: io::Error| self.error("delete", key, &e);
        if !layout::fits(key) {
            return Ok(());
        }
        let path = layout::path(&self.objects, key);
        let shard = self.shard(key);
        let _commit = shard.order.write();
        self.check_sound("delete", key)?;
        // A folder of that name is not the object.
        if !is_file(&path).map_err(fail)? {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.objects);
        let handle = File::open(folder).map_err(fail)?;
        {
            let _rename = self.names.read();
            fs::remove_file(&path).map_err(fail)?;
        }
        shard.tags.lock().remove(key);
        handle
            .sync_all()
            .map_err(|e| self.sync_failed("delete", key, &e))?;
        self.prune(folder);
        Ok(())
    }

    /// Fails unless `condition` holds for what is committed. The caller holds the key's lock.
    fn decide(&self, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        if *condition == WriteCondition::None {
            return Ok(());
        }
        let key = key.to_owned();
        match (condition, self.look(&key)?) {
            (WriteCondition::Absent, Some(_)) => Err(StoreError::PreconditionFailed { key }),
            (WriteCondition::Match(_), None) => Err(StoreError::NotFound { key }),
            (WriteCondition::Match(wanted), Some(head)) if head.etag != *wanted => {
                Err(StoreError::PreconditionFailed { key })
            }
            _ => Ok(()),
        }
    }

    /// What is committed under `key`. The caller holds the key's lock.
    fn look(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let fail = |e: io::Error| self.error("head", key, &e);
        let path = layout::path(&self.objects, key);
        let meta = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        let (size, modified) = (meta.len(), meta.modified().map_err(fail)?);
        let shard = self.shard(key);
        let known = shard.tags.lock().get(key).cloned();
        let etag = match known {
            Some(tag) if tag.size == size && tag.modified == modified => tag.etag,
            _ => {
                let etag = hash_file(&path).map_err(fail)?;
                let known = KnownTag {
                    size,
                    modified,
                    etag: etag.clone(),
                };
                shard.tags.lock().insert(key.to_owned(), known);
                etag
            }
        };
        Ok(Some(Head {
            size,
            etag,
            modified,
        }))
    }

    fn open_file(&self, what: &'static str, key: &str) -> Result<File, StoreError> {
        let path = layout::path(&self.objects, key);
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.is_file(), file)));
        match opened {
            Ok((true, file)) => Ok(file),
            Ok((false, _)) => Err(not_found(key)),
            Err(e) if is_absent(&e) => Err(not_found(key)),
            Err(e) => Err(self.error(what, key, &e)),
        }
    }

    /// Renames `from` to the object file `to`, making the folders on the way.
    fn rename(
        &self,
        what: &'static str,
        key: &str,
        from: &Path,
        to: &Path,
    ) -> Result<(), StoreError> {
        let folder = to.parent().unwrap_or(&self.objects);
        for _ in 0..RENAME_TRIES {
            let renamed = {
                let _rename = self.names.read();
                fs::rename(from, to)
            };
            let Err(e) = renamed else { return Ok(()) };
            match e.kind() {
                ErrorKind::NotFound => match fs::create_dir_all(folder) {
                    Ok(()) => {}
                    // Someone removed an empty folder while we made one in it.
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) if is_conflict(&e) => return Err(self.parent_is_object(what, key)),
                    Err(e) => return Err(self.error(what, key, &e)),
                },
                ErrorKind::NotADirectory => return Err(self.parent_is_object(what, key)),
                ErrorKind::IsADirectory | ErrorKind::DirectoryNotEmpty => {
                    // Empty folders are no objects: an interrupted removal may have left some.
                    if !remove_empty_folders(to) {
                        return Err(file_and_folder(what, key, &format!("{key}/...")));
                    }
                }
                _ => return Err(self.error(what, key, &e)),
            }
        }
        Err(StoreError::Busy {
            what,
            key: key.to_owned(),
            message: "folders vanish as fast as they are made".to_owned(),
        })
    }

    /// Makes the entry of `path`, and those of all folders above it, durable.
    fn settle(&self, what: &'static str, key: &str, path: &Path) -> Result<(), StoreError> {
        let fail = |e: io::Error| self.sync_failed(what, key, &e);
        let mut fresh = Vec::new();
        for folder in path.ancestors().skip(1) {
            if fresh.is_empty() {
                sync_folder(folder).map_err(fail)?;
            }
            if folder == self.objects || self.durable.lock().contains(folder) {
                break;
            }
            // Its entry is in the folder above. Whoever made it may not have synced it yet.
            if let Some(above) = folder.parent() {
                sync_folder(above).map_err(fail)?;
            }
            fresh.push(folder.to_owned());
        }
        if !fresh.is_empty() {
            let mut durable = self.durable.lock();
            if durable.len() + fresh.len() > MAX_FOLDERS {
                durable.clear();
            }
            durable.extend(fresh);
        }
        Ok(())
    }

    /// Removes `folder` and those above it while they are empty.
    fn prune(&self, folder: &Path) {
        for folder in folder.ancestors() {
            if folder == self.objects {
                return;
            }
            // First forgotten, then removed: whoever makes it anew will sync its entry again.
            self.durable.lock().remove(folder);
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    fn shard(&self, key: &str) -> &Shard {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        &self.shards[hash as usize % SHARDS]
    }
}

fn not_found(key: &str) -> StoreError {
    StoreError::NotFound {
        key: key.to_owned(),
    }
}

/// Nothing is there: no entry, a file where a folder would be, or a name that cannot exist.
fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    )
}

/// A folder cannot be made because a file has its name.
fn is_conflict(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists
    )
}

fn is_file(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.is_file()),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn hash_file(path: &Path) -> io::Result<ETag> {
    let mut file = File::open(path)?;
    let mut hash = Xxh3::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(etag_from_hash(hash.digest128())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// Removes a tree that holds no files; `false` if it holds some.
fn remove_empty_folders(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return true;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) || !remove_empty_folders(&entry.path()) {
            return false;
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(e) => e.kind() == ErrorKind::NotFound,
    }
}
