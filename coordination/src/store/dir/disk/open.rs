//! Opening the directory: its lock, its format, its leftovers.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};

use super::{Disk, SHARDS, Shard, sync_folder};
use crate::store::StoreError;

const FORMAT: &str = "brainy object directory 1\n";

impl Disk {
    pub(in crate::store::dir) fn open(root: &Path) -> Result<Self, StoreError> {
        let fail = |e: &io::Error| StoreError::Refused {
            what: "open",
            key: root.display().to_string(),
            message: e.to_string(),
            remedy: "Give the process a directory that it can create and write".to_owned(),
        };
        fs::create_dir_all(root).map_err(|e| fail(&e))?;
        let lock = File::create(root.join("LOCK")).map_err(|e| fail(&e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Refused {
                    what: "open",
                    key: root.display().to_string(),
                    message: "the directory is in use by another process".to_owned(),
                    remedy: "Stop the other process or choose another directory".to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(fail(&e)),
        }
        check_format(root)?;
        let (objects, tmp) = (root.join("objects"), root.join("tmp"));
        for folder in [&objects, &tmp] {
            fs::create_dir_all(folder).map_err(|e| fail(&e))?;
        }
        for leftover in fs::read_dir(&tmp).map_err(|e| fail(&e))? {
            let leftover = leftover.map_err(|e| fail(&e))?;
            fs::remove_file(leftover.path()).map_err(|e| fail(&e))?;
        }
        sync_folder(root).map_err(|e| fail(&e))?;
        sync_above(root).map_err(|e| fail(&e))?;
        Ok(Self {
            root: root.to_owned(),
            durable: Mutex::new(HashSet::from([objects.clone()])),
            objects,
            tmp,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            names: RwLock::new(()),
            next_temp: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            _lock: lock,
        })
    }
}

/// Makes the entries that lead to `root` durable: a power failure must not take the directory itself. It may be new, or an earlier
/// process made it and ended before it could do this.
fn sync_above(root: &Path) -> io::Result<()> {
    for folder in fs::canonicalize(root)?.ancestors().skip(1) {
        match sync_folder(folder) {
            Ok(()) => {}
            // Nobody who may not open a folder has just made an entry in it.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {}
            // Some file systems sync no folders, and on a read-only one, as above the volume of a container, nothing is new.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::InvalidInput
                        | ErrorKind::Unsupported
                        | ErrorKind::ReadOnlyFilesystem
                ) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn check_format(root: &Path) -> Result<(), StoreError> {
    let path = root.join("FORMAT");
    let refuse = |message: String, remedy: &str| StoreError::Refused {
        what: "open",
        key: root.display().to_string(),
        message,
        remedy: remedy.to_owned(),
    };
    match fs::read_to_string(&path) {
        Ok(text) if text == FORMAT => Ok(()),
        // A crash may have left the file empty; nothing else is written before it.
        Err(e) if e.kind() == ErrorKind::NotFound => write_format(&path).map_err(|e| {
            refuse(
                e.to_string(),
                "Give the process a directory that it can write",
            )
        }),
        Ok(text) if text.is_empty() => write_format(&path).map_err(|e| {
            refuse(
                e.to_string(),
                "Give the process a directory that it can write",
            )
        }),
        Ok(text) => Err(refuse(
            format!("unknown format '{}'", text.trim().escape_debug()),
            "Use the version of Brainy that wrote the directory, or a newer one",
        )),
        Err(e) => Err(refuse(e.to_string(), "Check the directory's FORMAT file")),
    }
}

fn write_format(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()
}
