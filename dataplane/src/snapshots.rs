//! What the HTTP API needs for snapshots.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::archive::ArchiveError;
use crate::error::ServiceError;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One collection, by the name that it had.
    Collection(String),
    /// All collections that there were.
    Whole,
}

/// A snapshot that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDescription {
    /// Its name.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Size of its archive in bytes.
    pub bytes: u64,
    /// SHA-256 of its archive, hexadecimal.
    pub sha256: String,
}

/// The archive of a snapshot.
pub struct Download {
    /// Its size.
    pub bytes: u64,
    /// Its bytes; an error means that it is not whole.
    pub body: BoxStream<'static, Result<Bytes, ArchiveError>>,
}

/// Bytes that a client sends; an error says why it stopped.
pub type Upload = BoxStream<'static, Result<Bytes, String>>;

/// Where a snapshot is that is to be recovered from.
pub enum Origin {
    /// In this cluster, under this name.
    Here(String),
    /// At this URL, where this key is presented.
    Url {
        /// `http` or `https`.
        url: String,
        /// Sent in header `api-key`.
        api_key: Option<String>,
    },
    /// It is being sent.
    Upload(Upload),
}

/// Snapshots of one cluster, from any of its nodes.
#[async_trait]
pub trait SnapshotService: Send + Sync {
    /// Makes a snapshot that holds every write that was acknowledged before the call. Returns when it is verified and can be
    /// used; a caller that goes away before that leaves nothing behind for long.
    async fn create(&self, scope: &Scope) -> Result<SnapshotDescription, ServiceError>;
    /// All that can be used, by name. `NoSuchCollection` for a collection that neither exists nor has any.
    async fn list(&self, scope: &Scope) -> Result<Vec<SnapshotDescription>, ServiceError>;
    /// Deletes one; `NotFound` when there is none of that name.
    async fn delete(&self, scope: &Scope, name: &str) -> Result<(), ServiceError>;
    /// Its archive; `NotFound` when there is none of that name.
    async fn download(&self, scope: &Scope, name: &str) -> Result<Download, ServiceError>;
    /// Makes `collection` what a snapshot holds, creating or replacing it in one step when all of the snapshot is verified and
    /// copied; fails without having changed anything. `sha256`, if given, must be the archive's.
    async fn recover(
        &self,
        collection: &str,
        origin: Origin,
        sha256: Option<String>,
    ) -> Result<(), ServiceError>;
}
