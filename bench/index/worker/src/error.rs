//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use brainy_index::IndexError;

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A line is no command.
    #[error("not a command: {0}")]
    Command(#[from] serde_json::Error),
    /// Commands came in the wrong order.
    #[error("{0} first")]
    Order(&'static str),
    /// A data file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Data { path: PathBuf, reason: String },
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// The input or output of this process ended.
    #[error("stdin or stdout: {0}")]
    Pipe(io::Error),
    /// An index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Error {
    /// With the path that it happened at.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}
