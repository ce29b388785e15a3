//! An embedded S3 server with what a bench needs of it: injected latency, counted requests, access.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::s3::{Credentials, S3Config, S3Store};
use brainy_embedded_s3::faults::{Fault, Rule, When};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config, Faults, Running, Traffic};
use tempfile::TempDir;

use crate::HarnessError;

/// Name of the bucket.
pub const BUCKET: &str = "bench";
const KEY: &str = "bench-access-key";
const SECRET: &str = "bench-secret-key";

/// A server that ends with this.
pub struct Bucket {
    server: Running,
    faults: Arc<Faults>,
    _dir: TempDir,
}

impl Bucket {
    /// Starts a server on an empty directory.
    ///
    /// # Errors
    /// The directory or the address.
    pub async fn start() -> Result<Self, HarnessError> {
        let dir = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
        let faults = Faults::new(0);
        let config = EmbeddedS3Config {
            root: dir.path().to_owned(),
            bucket: BUCKET.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key: KEY.to_owned(),
            secret_key: SECRET.to_owned(),
        };
        let server = EmbeddedS3::start_with_faults(config, faults.clone())
            .await
            .map_err(|e| failed("the embedded S3 server", &e))?;
        Ok(Self {
            server,
            faults,
            _dir: dir,
        })
    }

    /// From now on every request waits so long.
    pub fn inject(&self, latency: Duration) {
        let rule = Rule::any(Fault::Delay(latency), When::Probability(1.0));
        let rules = (!latency.is_zero()).then_some(rule);
        self.faults.set(rules.into_iter().collect());
    }

    /// What was asked of it.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        self.server.traffic()
    }

    /// Its address as an S3 endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Access below `prefix`, by the client that nodes use.
    ///
    /// # Errors
    /// The client's.
    pub async fn store(&self, prefix: &str) -> Result<Store, HarnessError> {
        let config = S3Config {
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint()),
            path_style: true,
            credentials: Credentials::Static {
                access_key: KEY.to_owned(),
                secret_key: SECRET.to_owned(),
                session_token: None,
            },
            ..S3Config::new(BUCKET)
        };
        let store = S3Store::connect(config).await;
        let store = store.map_err(|e| failed("the embedded S3 server", &e))?;
        Ok(Store::new(store, RetryPolicy::default()))
    }

    /// Variables with which a process reaches it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        variables.map(|(n, v)| (n.to_owned(), v.to_owned())).into()
    }
}

/// `error` of `request`.
pub fn failed(request: &str, error: &dyn std::fmt::Display) -> HarnessError {
    HarnessError::Unexpected {
        request: request.to_owned(),
        message: error.to_string(),
    }
}
