//! Why objects cannot be built.

use brainy_crds::Role;

/// Why objects cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// Without an identity there is nobody to own the objects.
    #[error(
        "the BrainyCluster has no {0}; only one that was read from the API server can own objects"
    )]
    NotStored(&'static str),
    /// Pods would have nowhere to keep anything.
    #[error("spec.storage.bucket is not set; name an existing bucket, no pod starts without one")]
    NoBucket,
    /// A guess could remove pods that still hold partitions.
    #[error("nobody decided how many {0} pods to keep; this is a mistake of the operator's")]
    UndecidedReplicas(Role),
    /// A file that is part of the program is not what it should be.
    #[error("the built-in {file} cannot be read: {message}; this is a mistake of the operator's")]
    BuiltIn {
        /// Its name.
        file: &'static str,
        /// What the parser said.
        message: String,
    },
    /// An object cannot be written as JSON.
    #[error("an object cannot be written as JSON: {0}; this is a mistake of the operator's")]
    Json(#[from] serde_json::Error),
}
