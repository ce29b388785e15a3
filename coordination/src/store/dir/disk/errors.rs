//! What the file system says, in the words of a store.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

use super::{Disk, layout};
use crate::store::StoreError;
use crate::store::common::file_and_folder;

impl Disk {
    pub(super) fn check_sound(&self, what: &'static str, key: &str) -> Result<(), StoreError> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(StoreError::Refused {
            what,
            key: key.to_owned(),
            message: format!(
                "a write to {} could not be made durable",
                self.root.display()
            ),
            remedy: "Check the disk (its kernel log, its health), then restart".to_owned(),
        })
    }

    pub(super) fn sync_failed(&self, what: &'static str, key: &str, e: &io::Error) -> StoreError {
        self.broken.store(true, Ordering::Release);
        StoreError::Ambiguous {
            what,
            key: key.to_owned(),
            message: format!("{} could not be synced: {e}", self.root.display()),
        }
    }

    pub(super) fn parent_is_object(&self, what: &'static str, key: &str) -> StoreError {
        let parents = key.match_indices('/').map(|(at, _)| &key[..at]);
        let object = parents
            .filter(|parent| layout::path(&self.objects, parent).is_file())
            .last();
        file_and_folder(what, key, object.unwrap_or("an object above it"))
    }

    pub(super) fn name_too_long(&self, what: &'static str, key: &str) -> StoreError {
        StoreError::Refused {
            what,
            key: key.to_owned(),
            message: "a part of the key is too long for a file name".to_owned(),
            remedy: format!(
                "Keep each part between slashes below {} bytes",
                layout::MAX_NAME_BYTES
            ),
        }
    }

    /// An error of the file system before anything took effect.
    pub(super) fn error(&self, what: &'static str, key: &str, e: &io::Error) -> StoreError {
        let key = key.to_owned();
        let root = self.root.display();
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Busy {
                what,
                key,
                message: format!("the disk that holds {root} is full: {e}"),
            },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Refused {
                what,
                key,
                message: format!("{root}: {e}"),
                remedy: "Give the process write access to the directory".to_owned(),
            },
            ErrorKind::InvalidFilename => self.name_too_long(what, &key),
            _ => StoreError::Busy {
                what,
                key,
                message: format!("{root}: {e}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_may_pass_but_missing_rights_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let error = |kind: ErrorKind| disk.error("put", "k", &kind.into());
        for full in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = error(full);
            assert!(matches!(error, StoreError::Busy { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("full") && text.contains(&dir.path().display().to_string()));
        }
        for rights in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let error = error(rights);
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        }
    }

    #[test]
    fn after_a_failed_sync_nothing_is_written_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let none = crate::store::dir::WriteCondition::None;
        disk.write("k", b"1", &none).unwrap();
        let failed = disk.sync_failed("put", "k", &ErrorKind::Other.into());
        assert!(matches!(failed, StoreError::Ambiguous { .. }), "{failed}");
        let next = disk.write("k", b"2", &none).unwrap_err();
        assert!(matches!(next, StoreError::Refused { .. }), "{next}");
        assert_eq!(disk.read("k").unwrap().body, "1");
    }
}
