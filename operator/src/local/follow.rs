//! Follows the manifest file by looking at it: works the same on every file system and editor.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A manifest file and what it held last.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    content: Result<String, String>,
}

impl ManifestFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn open(path: &Path) -> std::io::Result<(Self, String)> {
        let seen = stamp(path);
        let text = std::fs::read_to_string(path)?;
        Ok((
            Self {
                path: path.to_owned(),
                seen,
                content: Ok(text.clone()),
            },
            text,
        ))
    }

    /// What the file holds, or why it cannot be read, if that is not what it was at the last call. Editors save by replacing or
    /// by rewriting: a half-written file is reported as what it is and corrected by the next look.
    pub(crate) fn changed(&mut self) -> Option<Result<String, String>> {
        let now = stamp(&self.path);
        // An equal time may hide a second write within the clock's grain, so a fresh file is read again.
        let settled =
            now.is_some_and(|(time, _)| time.elapsed().is_ok_and(|age| age.as_secs() >= 2));
        if settled && now == self.seen {
            return None;
        }
        self.seen = now;
        let content = std::fs::read_to_string(&self.path)
            .map_err(|error| format!("cannot read {}: {error}", self.path.display()));
        if content == self.content {
            return None;
        }
        self.content.clone_from(&content);
        Some(content)
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_a_rewrite_with_the_same_content_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.yaml");
        std::fs::write(&path, "a").unwrap();
        let (mut file, text) = ManifestFile::open(&path).unwrap();
        assert_eq!((text.as_str(), file.changed()), ("a", None));

        std::fs::write(&path, "b").unwrap();
        assert_eq!(file.changed(), Some(Ok("b".to_owned())));
        assert_eq!(file.changed(), None);

        std::fs::write(&path, "b").unwrap();
        assert_eq!(file.changed(), None);

        let beside = dir.path().join("new");
        std::fs::write(&beside, "c").unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert_eq!(file.changed(), Some(Ok("c".to_owned())));
    }

    #[test]
    fn a_file_that_vanishes_is_reported_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.yaml");
        std::fs::write(&path, "a").unwrap();
        let (mut file, _) = ManifestFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            file.changed()
                .is_some_and(|content| content.is_err_and(|e| e.contains("cluster.yaml")))
        );
        assert_eq!(file.changed(), None);
        std::fs::write(&path, "a").unwrap();
        assert_eq!(file.changed(), Some(Ok("a".to_owned())));
    }

    #[test]
    fn an_old_file_is_read_again_only_when_its_time_or_size_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.yaml");
        std::fs::write(&path, "a").unwrap();
        let old = SystemTime::now() - std::time::Duration::from_secs(3600);
        let set_time = |time| {
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap()
        };
        set_time(old);
        let (mut file, _) = ManifestFile::open(&path).unwrap();
        std::fs::write(&path, "b").unwrap();
        set_time(old);
        assert_eq!(file.changed(), None, "same time, same size, long ago");
        set_time(old + std::time::Duration::from_secs(1));
        assert_eq!(file.changed(), Some(Ok("b".to_owned())));
    }
}
