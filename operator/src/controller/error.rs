//! Why a step of a reconcile failed. The next one tries again.

use brainy_coordination::types::NameError;
use kube::core::Status;

use crate::resources::BuildError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The API server did not do it.
    #[error("cannot {what} {object}: {}", said(.source))]
    Request {
        what: &'static str,
        object: String,
        source: Box<kube::Error>,
    },
    /// An object of that name belongs to somebody else.
    #[error(
        "{kind} {name} exists and does not belong to this BrainyCluster. Rename or delete it, or create the BrainyCluster under another name"
    )]
    Foreign { kind: String, name: String },
    /// The object of an earlier cluster of the same name is still being removed.
    #[error(
        "{kind} {name} of an earlier BrainyCluster of this name is still there; Kubernetes removes it soon"
    )]
    Lingering { kind: String, name: String },
    /// The objects cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An instance would get an impossible name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl StepError {
    pub(super) fn request(what: &'static str, object: &str, source: kube::Error) -> Self {
        Self::Request {
            what,
            object: object.to_owned(),
            source: Box::new(source),
        }
    }

    /// Whether the API server refused the object itself, so that asking again does not help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Request { source, .. } => {
                status(source).is_some_and(|s| matches!(s.code, 400 | 403 | 404 | 422))
            }
            Self::Foreign { .. } | Self::Build(_) | Self::Name(_) => true,
            Self::Lingering { .. } => false,
        }
    }
}

fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// What the API server said, in its own words.
pub(super) fn said(error: &kube::Error) -> String {
    match status(error) {
        Some(status) => format!("{} ({} {})", status.message, status.code, status.reason),
        None => error.to_string(),
    }
}

/// Whether the object is not there.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether the object is not what it was any more.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409)
}
