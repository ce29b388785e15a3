//! Everything that ends the program: what, where, what to do, and with which exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use brainy_coordination::document::DocumentError;
use brainy_coordination::store::StoreError;
use brainy_coordination::types::NameError;
use brainy_crds::{FieldError, ManifestError};

/// Why the operator does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// The manifest file cannot be read.
    #[error(
        "cannot read {path}: {source}. Name an existing file with -f, such as examples/quickstart.yaml"
    )]
    ReadManifest {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The manifest breaks a rule.
    #[error("{path}: {source}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The manifest asks for something that one machine does not offer.
    #[error("{path} cannot run on one machine:{}", listed(.findings))]
    NotLocal {
        /// The file.
        path: PathBuf,
        /// Which fields.
        findings: Vec<FieldError>,
    },
    /// An instance would get an impossible name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A directory or file of ours cannot be made, read or written.
    #[error(
        "cannot {action} {path}: {source}. Check permissions and free space, or choose another place with --data-dir"
    )]
    DataDir {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another operator works in the directory.
    #[error(
        "{path} is in use by another brainy-operator (process {holder}). Stop that one, or choose another place with --data-dir"
    )]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, as far as it is known.
        holder: String,
    },
    /// A file of ours does not say what it should.
    #[error(
        "{path} cannot be understood: {message}. Remove that file, or choose another place with --data-dir"
    )]
    DataDirContent {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The endpoint's address is taken.
    #[error(
        "port {port} on {host} is taken: {source}. Choose another with {flag}, or let {flag} 0 find a free one"
    )]
    PortTaken {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The flag that names it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The endpoint's address is not one to listen on.
    #[error(
        "cannot listen on {host} port {port}: {source}. Choose an address of this machine with --listen, and a port that you may use with --port"
    )]
    NoSuchAddress {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no data plane to start.
    #[error(
        "{path} is not a program that can be run: {message}. Build it (make build), or name it with --brainyd"
    )]
    NoBrainyd {
        /// Where it was expected.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The embedded S3 server does not start.
    #[error("the embedded S3 server does not start: {0}")]
    EmbeddedS3(String),
    /// Credentials for the bucket are missing.
    #[error(
        "spec.storage.credentials.secretRef: no Secret is read outside Kubernetes; set {missing} in the environment"
    )]
    NoCredentials {
        /// The variables that are not set.
        missing: String,
    },
    /// API keys are missing.
    #[error(
        "spec.apiKeys: no Secret is read outside Kubernetes; set BRAINY_API_KEY to the admin key (and BRAINY_READ_WRITE_API_KEY, BRAINY_READ_ONLY_API_KEY if you want them)"
    )]
    NoApiKey,
    /// The store does not do what Brainy needs.
    #[error("the bucket cannot be used: {message}")]
    StorageRefused {
        /// What the store said and what to do.
        message: String,
    },
    /// The store does not answer.
    #[error(
        "the bucket does not answer: {message}. Check spec.storage.endpoint and the network, then start again"
    )]
    StorageUnreachable {
        /// What was tried and what came back.
        message: String,
    },
    /// A document in the bucket cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The CustomResourceDefinition cannot be written.
    #[error(transparent)]
    Crd(#[from] brainy_crds::Error),
    /// Standard output is closed, for example.
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
    /// There is no way to an API server.
    #[error(
        "no Kubernetes cluster is configured: {0}. Set KUBECONFIG to a file that `kubectl cluster-info` works with, or run in a pod with a ServiceAccount"
    )]
    NoKubeConfig(String),
    /// The API server does not let us work.
    #[error(
        "BrainyClusters cannot be listed: {message}. Check that the API server is up, that the definition is installed (brainy-operator crd | kubectl apply --server-side -f -), and that this ServiceAccount has the chart's permissions"
    )]
    ApiServer {
        /// What it said.
        message: String,
    },
    /// The Lease cannot be used.
    #[error(
        "the Lease {lease} cannot be used: {message}. Allow get, create and patch of leases there, or name another namespace with --lease-namespace"
    )]
    Lease {
        /// Namespace and name.
        lease: String,
        /// What the API server said.
        message: String,
    },
    /// Another process may lead now.
    #[error("the Lease is lost, so this process ends at once: {0}")]
    LostLease(String),
    /// A second signal arrived while everything was being stopped in order.
    #[error(
        "stopped at once; what was acknowledged is in the bucket, and the next start recovers it from the log"
    )]
    Interrupted,
    /// A URL that was probed did not answer well in time.
    #[error("{url} did not answer with a status of 2xx in time; the last answer: {last}")]
    NotAnswered {
        /// What was asked.
        url: String,
        /// What came of it.
        last: String,
    },
    /// The system denies something elementary.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn listed(findings: &[FieldError]) -> String {
    findings
        .iter()
        .map(|finding| format!("\n  {finding}"))
        .collect()
}

impl OperatorError {
    /// The exit code, after `sysexits.h`; the help of each command lists them.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Manifest { .. }
            | Self::NotLocal { .. }
            | Self::Name(_)
            | Self::NoCredentials { .. }
            | Self::NoApiKey => 65,
            Self::ReadManifest { .. } => 66,
            Self::StorageRefused { .. }
            | Self::NoKubeConfig(_)
            | Self::ApiServer { .. }
            | Self::NotAnswered { .. }
            | Self::Lease { .. } => 69,
            Self::NoSuchAddress { .. } => 2,
            Self::DataDir { .. } | Self::DataDirContent { .. } => 73,
            Self::DataDirInUse { .. }
            | Self::PortTaken { .. }
            | Self::StorageUnreachable { .. }
            | Self::LostLease(_) => 75,
            Self::Interrupted => 130,
            Self::Document(error) => return document_exit_code(error),
            Self::NoBrainyd { .. }
            | Self::EmbeddedS3(_)
            | Self::Crd(_)
            | Self::Output(_)
            | Self::System { .. } => 70,
        })
    }
}

fn document_exit_code(error: &DocumentError) -> ExitCode {
    ExitCode::from(match error {
        DocumentError::Store(error) if error.is_transient() => 75,
        DocumentError::Store(_) => 69,
        _ => 70,
    })
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        if error.is_transient() {
            Self::StorageUnreachable { message }
        } else {
            Self::StorageRefused { message }
        }
    }
}
