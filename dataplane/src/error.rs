//! The errors of the data plane: what, where, and what to do.

use brainy_coordination::types::{InstanceId, PartitionId};

use crate::model::ChangeError;

/// Why a request could not be served. Each kind has one HTTP status.
#[derive(Clone, Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum ServiceError {
    /// 400: the request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// 404.
    #[error("Collection `{0}` doesn't exist")]
    NoSuchCollection(String),
    /// 404: a thing inside a collection.
    #[error("{0}")]
    NotFound(String),
    /// 409: the thing exists, or a compare-and-swap lost.
    #[error("{0}")]
    Conflict(String),
    /// 413.
    #[error(
        "request of {size} bytes is over the limit of {limit}: send smaller batches or raise maxRequestBytes"
    )]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// 421: this node's role or assignments forbid it; internal requests only, a router retries at the right node.
    #[error("partition {partition} is not served here: {reason}")]
    WrongNode {
        /// Which.
        partition: PartitionId,
        /// Why not.
        reason: String,
        /// Who should be asked, if known.
        ask: Option<InstanceId>,
    },
    /// 429 with Retry-After.
    #[error("overloaded: {reason}; retry after {retry_after_ms} ms")]
    Overloaded {
        /// What is full.
        reason: String,
        /// When to come back.
        retry_after_ms: u64,
    },
    /// 503: cannot be served now; nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// 504: the outcome of a write is unknown; repeating it under the same request id is safe.
    #[error(
        "the outcome of the write is not known ({0}): repeat it with the same 'brainy-request-id'"
    )]
    Unknown(String),
    /// 501: part of Qdrant's API that Brainy does not have.
    #[error("not supported by Brainy: {0}")]
    Unsupported(String),
    /// 500: a bug or damaged data; the text says which.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<ChangeError> for ServiceError {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::NameTaken(_) => Self::Conflict(text),
            ChangeError::Unreadable(_) => Self::Internal(text),
            ChangeError::NoSuchVector { .. } | ChangeError::Schema(_) => Self::BadRequest(text),
        }
    }
}

impl ServiceError {
    /// The same error, its text preceded by `place`: which part of a request it concerns. Kinds that have no text of their
    /// own stay as they are.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        match &mut self {
            Self::BadRequest(text)
            | Self::NotFound(text)
            | Self::Conflict(text)
            | Self::WrongNode { reason: text, .. }
            | Self::Overloaded { reason: text, .. }
            | Self::Unavailable(text)
            | Self::Unknown(text)
            | Self::Unsupported(text)
            | Self::Internal(text) => *text = format!("{place}: {text}"),
            Self::NoSuchCollection(_) | Self::TooLarge { .. } => {}
        }
        self
    }
}
