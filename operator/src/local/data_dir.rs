//! The data directory: who uses it, which ports and credentials belong to it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brainy_coordination::types::Nonce;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::OperatorError;

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Held as long as the process lives; the kernel releases it.
    _lock: File,
}

/// Keys of the embedded S3 server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct S3Keys {
    /// Access key id.
    pub(crate) access_key: String,
    /// Secret access key.
    pub(crate) secret_key: String,
}

impl S3Keys {
    fn generate() -> Self {
        let secret_key = format!("{}{}", Nonce::random(), Nonce::random());
        Self {
            access_key: format!("BRAINY{:016X}", rand::random::<u64>()),
            secret_key,
        }
    }
}

impl DataDir {
    /// Makes the directory if need be, and takes it.
    ///
    /// # Errors
    /// [`OperatorError::DataDir`], or [`OperatorError::DataDirInUse`] while another operator has it.
    pub(crate) fn open(root: PathBuf) -> Result<Self, OperatorError> {
        let logs = root.join("logs");
        // For the owner only: credentials and data are below it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&logs)
            .map_err(|source| failed("create", &logs, source))?;
        let root = root
            .canonicalize()
            .map_err(|source| failed("open", &root, source))?;
        let path = root.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unknown_if_unreadable = lock.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "unknown".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(OperatorError::DataDirInUse { path: root, holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path, source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|source| failed("write", &path, source))?;
        Ok(Self { root, _lock: lock })
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What a JSON file in it says; `None` if there is no such file.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, OperatorError> {
        read_json(&self.join(name))
    }

    /// Writes a JSON file in it.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), OperatorError> {
        write_json(&self.join(name), value)
    }

    /// The log of an instance, or of the operator.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The embedded server's keys; made on the first call, readable by the owner only.
    pub(crate) fn s3_keys(&self) -> Result<S3Keys, OperatorError> {
        let name = "s3-credentials.json";
        if let Some(keys) = self.read(name)? {
            return Ok(keys);
        }
        let keys = S3Keys::generate();
        self.write(name, &keys)?;
        Ok(keys)
    }

    /// The ports that were used last.
    pub(crate) fn ports(&self) -> Result<Ports, OperatorError> {
        let path = self.join("ports.json");
        let known = read_json(&path)?.unwrap_or_default();
        Ok(Ports { path, known })
    }
}

/// Which port each name got, kept so that addresses stay the same from run to run.
#[derive(Debug)]
pub(crate) struct Ports {
    path: PathBuf,
    known: BTreeMap<String, u16>,
}

impl Ports {
    /// The port of `name`: the one of last time if it is free, else one that the system chooses.
    pub(crate) fn take(&mut self, name: &str) -> Result<u16, OperatorError> {
        let before = self.known.get(name).copied();
        if let Some(port) = before.filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let free = || -> std::io::Result<u16> {
            loop {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                    .local_addr()?
                    .port();
                // Another instance that has not started yet may count on it.
                if !self.known.values().any(|known| *known == port) {
                    return Ok(port);
                }
            }
        };
        let port = free().map_err(|source| OperatorError::System {
            what: "cannot find a free port",
            source,
        })?;
        self.known.insert(name.to_owned(), port);
        write_json(&self.path, &self.known)?;
        Ok(port)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> OperatorError {
    OperatorError::DataDir {
        action,
        path: path.to_owned(),
        source,
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, OperatorError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("read", path, source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| OperatorError::DataDirContent {
            path: path.to_owned(),
            message: error.to_string(),
        })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), OperatorError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| OperatorError::DataDirContent {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    write_whole(path, &text).map_err(|source| failed("write", path, source))
}

/// Writes a file that is there as a whole or not at all; readable by the owner only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it is of no use; that it may stay is not worth a second error.
        let _best_effort = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_operator_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path().join("quickstart")).unwrap();
        for made in ["quickstart", "quickstart/logs"] {
            let mode = std::fs::metadata(dir.path().join(made))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
        let second = DataDir::open(dir.path().join("quickstart")).unwrap_err();
        let text = second.to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        drop(first);
        DataDir::open(dir.path().join("quickstart")).unwrap();
    }

    #[test]
    fn keys_are_kept_and_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().to_owned()).unwrap();
        let keys = data.s3_keys().unwrap();
        assert_eq!(data.s3_keys().unwrap().secret_key, keys.secret_key);
        let mode = std::fs::metadata(data.join("s3-credentials.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(data.join("s3-credentials.json"), "{").unwrap();
        assert!(
            data.s3_keys()
                .is_err_and(|error| error.to_string().contains("s3-credentials.json"))
        );
    }

    #[test]
    fn ports_stay_unless_they_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().to_owned()).unwrap();
        let first = data.ports().unwrap().take("writer-0").unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let second = data.ports().unwrap().take("writer-0").unwrap();
        assert_ne!(first, second);
        drop(taken);
        assert_eq!(data.ports().unwrap().take("writer-0").unwrap(), second);
        assert_ne!(data.ports().unwrap().take("writer-1").unwrap(), second);
    }
}
