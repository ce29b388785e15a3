//! The bucket of the clusters under test, on this machine: the embedded S3 server, which can go away and come back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainy_coordination::store::s3::{Credentials, S3Config, S3Store};
use brainy_coordination::store::{ObjectStore, StoreError};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config, Running};
use tokio::sync::Mutex;

use crate::HarnessError;

/// Name of the bucket.
pub const BUCKET: &str = "vectors";
/// Access key.
pub const ACCESS_KEY: &str = "test-access-key";
/// Secret key.
pub const SECRET_KEY: &str = "test-secret-key";

/// A bucket at an address that stays the same. It ends with the test that started it.
#[derive(Debug)]
pub struct Bucket {
    root: PathBuf,
    listen: SocketAddr,
    server: Mutex<Option<Running>>,
}

impl Bucket {
    /// Starts the server with its objects below `root`.
    ///
    /// # Errors
    /// The directory or the network refuses.
    pub async fn start(root: PathBuf) -> Result<Self, HarnessError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(&root, any).await?;
        Ok(Self {
            root,
            listen: server.address(),
            server: Mutex::new(Some(server)),
        })
    }

    /// URL of the server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// From now on nobody answers at its address.
    pub async fn stop(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.shutdown().await;
        }
    }

    /// It answers again, with all that it had.
    ///
    /// # Errors
    /// As [`Bucket::start`].
    pub async fn start_again(&self) -> Result<(), HarnessError> {
        let server = serve(&self.root, self.listen).await?;
        *self.server.lock().await = Some(server);
        Ok(())
    }

    /// Keys of the objects below `prefix`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, HarnessError> {
        let store = self.store(prefix).await?;
        let mut keys: Vec<String> = Vec::new();
        loop {
            let after = keys.last().map(String::as_str);
            let page = store.list("", after, 1_000).await.map_err(failed(prefix))?;
            keys.extend(page.objects.into_iter().map(|o| o.key));
            if !page.truncated {
                return Ok(keys);
            }
        }
    }

    /// Copies every object below one prefix to another, as a backup or its restore does.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), HarnessError> {
        let (source, target) = (self.store(from).await?, self.store(to).await?);
        for key in self.keys(from).await? {
            let object = source.get(&key).await.map_err(failed(&key))?;
            let copied = target.put(&key, object.body).await;
            copied.map_err(failed(&key))?;
        }
        Ok(())
    }

    async fn store(&self, prefix: &str) -> Result<Arc<S3Store>, HarnessError> {
        let config = S3Config {
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint()),
            path_style: true,
            credentials: Credentials::Static {
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                session_token: None,
            },
            ..S3Config::new(BUCKET)
        };
        S3Store::connect(config).await.map_err(failed(prefix))
    }
}

fn failed(what: &str) -> impl FnOnce(StoreError) -> HarnessError {
    let request = format!("the bucket, {what}");
    move |error| HarnessError::NoAnswer {
        request,
        message: error.to_string(),
    }
}

async fn serve(root: &Path, listen: SocketAddr) -> Result<Running, HarnessError> {
    let config = EmbeddedS3Config {
        root: root.to_owned(),
        bucket: BUCKET.to_owned(),
        listen,
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
    };
    let started = EmbeddedS3::start(config).await;
    started.map_err(|e| HarnessError::io("start", "an S3 server")(std::io::Error::other(e)))
}
