//! The object store as the protocols see it.
//!
//! [`ObjectStore`] is one attempt at one request: it never retries and it says honestly what it knows about a write
//! whose answer it did not get ([`StoreError::Ambiguous`]). [`Store`](retry::Store) sits above it, retries, and
//! settles ambiguous conditional writes by reading back (design rules 1 and 2). Protocols use only `Store`.

mod common;
pub mod dir;
pub mod probe;
pub mod retry;
pub mod s3;
pub mod sim;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Entity tag as the store gave it, opaque. Stores differ in quoting, so it is kept verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(pub String);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole object with the tag it had when it was read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Content.
    pub body: Bytes,
    /// Tag of exactly this content.
    pub etag: ETag,
}

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Key below the cluster's prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
}

/// One page of a listing, in ascending key order (byte order).
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The rows.
    pub objects: Vec<ObjectMeta>,
    /// Whether keys after the last row may exist.
    pub truncated: bool,
}

/// What one attempt at a request came to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object (also: `If-Match` on a missing key where the store tells it apart).
    #[error("object '{key}' does not exist")]
    NotFound {
        /// Key below the prefix.
        key: String,
    },
    /// The condition did not hold (412): this attempt changed nothing. An earlier attempt may have.
    #[error("condition on '{key}' did not hold")]
    PreconditionFailed {
        /// Key below the prefix.
        key: String,
    },
    /// The store refused for a moment and changed nothing (503, 429, 409 conditional conflict, connection refused): retry.
    #[error("store is busy ({what} on '{key}'): {message}")]
    Busy {
        /// Request name.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// What the store or the transport said.
        message: String,
    },
    /// No usable answer to a request that may have taken effect (time-out, reset, 500): reading back decides.
    #[error("no answer to {what} on '{key}', which may or may not have taken effect: {message}")]
    Ambiguous {
        /// Request name.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// What the transport said.
        message: String,
    },
    /// The store will not do this, however often it is asked: credentials, bucket name, permissions, limits.
    #[error("store refused {what} on '{key}': {message}. {remedy}")]
    Refused {
        /// Request name.
        what: &'static str,
        /// Key below the prefix.
        key: String,
        /// What the store said.
        message: String,
        /// What a person can do about it.
        remedy: String,
    },
}

impl StoreError {
    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Busy { .. } | StoreError::Ambiguous { .. })
    }
}

/// One attempt at one request against an S3-like store. Keys are relative to the cluster's prefix.
///
/// Linearizability per key is required of puts, gets and deletes; listings are strongly consistent (as S3's are since 2020).
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug + 'static {
    /// Whole object.
    ///
    /// # Errors
    /// `NotFound`, or a transport error.
    async fn get(&self, key: &str) -> Result<Object, StoreError>;

    /// Whole object unless its tag is still `known` (304 → `None`).
    ///
    /// # Errors
    /// `NotFound`, or a transport error.
    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError>;

    /// Bytes `range` of an object (half-open, must lie inside it).
    ///
    /// # Errors
    /// `NotFound`, `Refused` for a range outside the object, or a transport error.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Unconditional write. Only for content-addressed or uniquely named objects.
    ///
    /// # Errors
    /// A transport error.
    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError>;

    /// Create (`If-None-Match: *`).
    ///
    /// # Errors
    /// `PreconditionFailed` when the key exists, or a transport error.
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError>;

    /// Replace exactly the version `current` (`If-Match`).
    ///
    /// # Errors
    /// `PreconditionFailed` or `NotFound` when that version is not there, or a transport error.
    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError>;

    /// Remove; removing what is not there succeeds. Correctness never rests on it.
    ///
    /// # Errors
    /// A transport error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Keys that begin with `prefix` and are greater than `start_after`, ascending, at most `limit` (1..=1000).
    ///
    /// # Errors
    /// A transport error.
    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError>;
}
