//! What can go wrong, told to the driver.

use std::path::PathBuf;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing is open.
    #[error("the first command must be 'open'")]
    NotOpen,
    /// Not a command of this version.
    #[error("not a command: {0}")]
    Json(#[from] serde_json::Error),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file of vectors is not as it should be.
    #[error("{path}: {what}")]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The connection broke.
    #[error("the server hung up: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// The server refused.
    #[error("status {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said, shortened.
        text: String,
    },
    /// Not a message of the protocol.
    #[error("not a message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Cannot be: buffers grow.
    #[error("cannot write a message: {0}")]
    Encode(#[from] prost::EncodeError),
    /// gRPC has 32 bits for a length.
    #[error("a message of {0} bytes: make batches smaller")]
    Large(usize),
    /// The server answered with something else than expected.
    #[error("an answer without {0}")]
    Answer(&'static str),
}
