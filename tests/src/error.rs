//! Why a step of a suite or of the demo failed.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A program was not built.
    #[error(
        "{path} is missing: build the programs first with `cargo build --workspace --bins` (or `make build`)"
    )]
    NoProgram {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The NATS server is not installed.
    #[error(
        "nats-server is not installed: `make setup` installs it on Debian and Ubuntu (package nats-server); elsewhere put it into the PATH"
    )]
    NoNats,
    /// A program of Kubernetes is not there.
    #[error(
        "{path} is missing: build it once with `scripts/controlplane.sh` (or `make controlplane`), or set KUBEBUILDER_ASSETS \
         to a directory that has it"
    )]
    NoKubernetes {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A file or process of ours.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Something did not happen in time.
    #[error("{what}: not within {within:?}; last seen: {seen}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What was there instead.
        seen: String,
    },
    /// A process ended although it should not have.
    #[error("{what} ended with {status}; its last lines:\n{log}")]
    Ended {
        /// Which.
        what: String,
        /// How.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// The server answered with an error.
    #[error("{request} was answered {status}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Its text.
        message: String,
    },
    /// No answer.
    #[error("{request} got no answer: {message}")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// Why.
        message: String,
    },
    /// The answer is not of the expected form.
    #[error("{request}: the answer is not what it should be: {message}")]
    Unexpected {
        /// Method and path.
        request: String,
        /// What is wrong.
        message: String,
    },
    /// The process was interrupted by a signal.
    #[error("interrupted")]
    Interrupted,
}

impl HarnessError {
    /// For `map_err` of I/O.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// For `map_err` of requests to Kubernetes.
    pub(crate) fn kube(request: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let request = request.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused {
                request,
                status: status.code,
                message: status.message.clone(),
            },
            other => Self::NoAnswer {
                request,
                message: other.to_string(),
            },
        }
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => matches!(status, 421 | 429 | 502 | 503 | 504),
            _ => false,
        }
    }
}
