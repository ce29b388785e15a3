//! An S3 server in a few hundred lines, over a local directory.
//!
//! It gives one machine what a bucket gives a cluster: the quick start, `brainy-operator local`, and tests. Its
//! conditional writes are decided and committed under one lock, and an answer is sent when the object is on disk. See
//! the README for what it does not do; it is not production storage.

mod backend;
mod buckets;
pub mod faults;
mod listing;
mod server;
pub mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use crate::faults::Faults;
pub use crate::server::{EmbeddedS3, Running};
pub use crate::traffic::Traffic;

/// What a server needs to know.
#[derive(Clone)]
pub struct EmbeddedS3Config {
    /// Directory that holds the buckets, one folder each. Created if missing; for one process at a time.
    pub root: PathBuf,
    /// Bucket that is created if it does not exist.
    pub bucket: String,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Access key that requests are signed with.
    pub access_key: String,
    /// Secret key that requests are signed with.
    pub secret_key: String,
}

impl std::fmt::Debug for EmbeddedS3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedS3Config")
            .field("root", &self.root)
            .field("bucket", &self.bucket)
            .field("listen", &self.listen)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedS3Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}. Choose a free port of this machine, or port 0")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory cannot be used.
    #[error("cannot keep buckets in '{}': {message}", root.display())]
    Root {
        /// The directory.
        root: PathBuf,
        /// Why.
        message: String,
    },
    /// The bucket's name breaks the rules of S3.
    #[error(
        "'{0}' is not a bucket name: use 3 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
    )]
    BucketName(String),
}
