//! Room on the local disk for what is on its way: uploads, and segments that are checked before they are recovered.

use std::path::{Path, PathBuf};

use brainy_coordination::types::Nonce;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::archive::{ArchiveError, hex};
use crate::error::ServiceError;
use crate::node::cache::CacheError;
use crate::snapshots::Upload;

const DIRECTORY: &str = "scratch";

fn root(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY)
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveError {
    let action = format!("{action} '{}'", path.display());
    move |e| ArchiveError::Disk {
        action,
        message: e.to_string(),
    }
}

/// Removes what an earlier run left.
///
/// # Errors
/// The local disk.
pub(in crate::node) fn clear(data_dir: &Path) -> Result<(), CacheError> {
    let path = root(data_dir);
    match std::fs::remove_dir_all(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CacheError::Io {
            action: "remove",
            path,
            message: e.to_string(),
        }),
        _ => Ok(()),
    }
}

/// A directory of its own, removed with everything in it when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new one below `data_dir`.
    ///
    /// # Errors
    /// The local disk.
    pub(super) fn new(data_dir: &Path) -> Result<Self, ArchiveError> {
        let path = root(data_dir).join(Nonce::random().to_string());
        std::fs::create_dir_all(&path).map_err(disk("create", &path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "cannot remove a temporary directory");
        }
    }
}

/// Writes `body` to the file `to` as it comes. Returns its SHA-256.
///
/// # Errors
/// `BadRequest` when the body ends early, `Unavailable` when the disk does not take it.
pub(super) async fn receive(mut body: Upload, to: &Path) -> Result<String, ServiceError> {
    let file = tokio::fs::File::create(to).await;
    let mut file = file.map_err(disk("create", to))?;
    let mut sha256 = Sha256::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(ServiceError::BadRequest)?;
        sha256.update(&piece);
        file.write_all(&piece).await.map_err(disk("write", to))?;
    }
    file.flush().await.map_err(disk("write", to))?;
    Ok(hex(&sha256.finalize()))
}
