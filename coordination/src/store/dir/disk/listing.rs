//! Listing in the order of whole keys, one folder in memory per level.

use std::fs;
use std::io;
use std::path::Path;

use super::{Disk, is_absent, layout};
use crate::store::dir::{Listing, Row};
use crate::store::{ObjectMeta, StoreError};

/// What is asked of a listing, and what was found so far.
struct Walk<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    wanted: usize,
    found: Vec<Row>,
}

impl Walk<'_> {
    /// Whether the object `key` belongs into the listing.
    fn takes(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// Whether a key that begins with `folder` (which ends in `/`) may belong into the listing.
    fn enters(&self, folder: &str) -> bool {
        (folder.starts_with(self.prefix) || self.prefix.starts_with(folder))
            && self
                .after
                .is_none_or(|after| folder > after || after.starts_with(folder))
    }
}

impl Disk {
    pub(in crate::store::dir) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, StoreError> {
        let mut walk = Walk {
            prefix,
            after,
            wanted: limit + 1,
            found: Vec::new(),
        };
        // Begin in the folder that the prefix names, not at the root.
        let start = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        if start
            .split_terminator('/')
            .any(|p| matches!(p, "" | "." | ".."))
        {
            return Ok(Listing::default());
        }
        let folder = match start.strip_suffix('/') {
            Some(key) => layout::path(&self.objects, key),
            None => self.objects.clone(),
        };
        self.walk(&folder, start, &mut walk)
            .map_err(|e| self.error("list", prefix, &e))?;
        let truncated = walk.found.len() > limit;
        walk.found.truncate(limit);
        Ok(Listing {
            rows: walk.found,
            truncated,
        })
    }

    /// Visits `folder`, whose keys begin with `base`, until enough was found.
    fn walk(&self, folder: &Path, base: &str, walk: &mut Walk<'_>) -> io::Result<()> {
        // A folder sorts as its name followed by '/', which is how all keys below it begin.
        let mut keys: Vec<String> = Vec::new();
        {
            let _still = self.names.write();
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(e) if is_absent(&e) => return Ok(()),
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                let Some(part) = entry.file_name().to_str().and_then(layout::decode) else {
                    continue;
                };
                let is_folder = entry.file_type()?.is_dir();
                let key = format!("{base}{part}{}", if is_folder { "/" } else { "" });
                if (is_folder && walk.enters(&key)) || (!is_folder && walk.takes(&key)) {
                    keys.push(key);
                }
            }
        }
        keys.sort_unstable();
        for key in keys {
            if walk.found.len() >= walk.wanted {
                return Ok(());
            }
            let name = key[base.len()..].trim_end_matches('/');
            let path = folder.join(layout::encode(name));
            if key.ends_with('/') {
                self.walk(&path, &key, walk)?;
                continue;
            }
            match fs::metadata(&path) {
                Ok(meta) => walk.found.push(Row {
                    modified: meta.modified()?,
                    object: ObjectMeta {
                        size: meta.len(),
                        key,
                    },
                }),
                // Removed since.
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
