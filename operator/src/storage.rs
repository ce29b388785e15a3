//! The bucket as the operator reaches it: opened only after the probe, and what its answers mean.

use std::time::Duration;

use brainy_coordination::document::DocumentError;
use brainy_coordination::store::StoreError;
use brainy_coordination::store::probe::{ProbeError, ProbeOptions, probe_s3};
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::s3::{S3Config, S3Store};

use crate::error::OperatorError;
use crate::reconcile::conditions::Storage;

/// The operator asks again in the next round anyway, so a request is not repeated for long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a bucket is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It cannot be reached as the configuration says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not do what Brainy needs, or did not answer all questions.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Access to a bucket that passed the probe.
///
/// # Errors
/// Why it must not be used, or not now.
pub(crate) async fn open(config: S3Config, options: ProbeOptions) -> Result<Store, OpenError> {
    let store = S3Store::connect(config).await?;
    probe_s3(&store, options).await?;
    let policy = RetryPolicy {
        deadline: PATIENCE,
        ..RetryPolicy::default()
    };
    Ok(Store::new(store, policy))
}

impl OpenError {
    /// What the error says about the bucket.
    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::Store(error) => classify(error),
            Self::Probe(ProbeError::Store { source, .. }) => match classify(source) {
                Storage::Unreachable(_) => Storage::Unreachable(self.to_string()),
                Storage::NoBucket(_) => Storage::NoBucket(self.to_string()),
                _ => Storage::Refused(self.to_string()),
            },
            Self::Probe(ProbeError::Unfit { .. }) => Storage::Unfit(self.to_string()),
            Self::Probe(ProbeError::Late { .. }) => Storage::Unreachable(self.to_string()),
        }
    }
}

impl From<OpenError> for OperatorError {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error.storage() {
            Storage::Unreachable(_) => Self::StorageUnreachable { message },
            _ => Self::StorageRefused { message },
        }
    }
}

/// What a failed request says about the bucket.
pub(crate) fn classify(error: &StoreError) -> Storage {
    let text = error.to_string();
    match error {
        StoreError::Busy { .. } | StoreError::Ambiguous { .. } => Storage::Unreachable(text),
        _ if text.contains("NoSuchBucket") => Storage::NoBucket(text),
        _ => Storage::Refused(text),
    }
}

/// What a round that failed says about the bucket.
pub(crate) fn classify_document(error: &DocumentError) -> Storage {
    match error {
        DocumentError::Store(error) => classify(error),
        // It answers; somebody else was faster.
        DocumentError::Contended { .. } => Storage::Verified,
        other => Storage::Refused(other.to_string()),
    }
}
