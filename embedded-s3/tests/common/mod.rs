//! A server in a temporary directory and a client for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::s3::{Credentials, S3Config, S3Store};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config, Faults, Running};

pub(crate) const BUCKET: &str = "brainy-test";
const SECRET: &str = "a secret for tests";

pub(crate) fn server_config(root: &Path) -> EmbeddedS3Config {
    EmbeddedS3Config {
        root: root.to_owned(),
        bucket: BUCKET.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        access_key: "tester".to_owned(),
        secret_key: SECRET.to_owned(),
    }
}

pub(crate) async fn serve(root: &Path, faults: &Arc<Faults>) -> Running {
    EmbeddedS3::start_with_faults(server_config(root), Arc::clone(faults))
        .await
        .unwrap()
}

pub(crate) fn client_config(endpoint: String) -> S3Config {
    S3Config {
        prefix: "clusters/one".to_owned(),
        endpoint: Some(endpoint),
        path_style: true,
        credentials: Credentials::Static {
            access_key: "tester".to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: None,
        },
        attempt_timeout: Duration::from_secs(10),
        ..S3Config::new(BUCKET)
    }
}

pub(crate) async fn connect(server: &Running) -> Arc<S3Store> {
    S3Store::connect(client_config(server.endpoint()))
        .await
        .unwrap()
}
