//! From one process with a directory to a cluster with a bucket.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use brainy_tests::client::{Client, Read};
use brainy_tests::cluster::Setup;
use brainy_tests::history::History;
use brainy_tests::load::{random_rows, write_all};
use brainy_tests::manifest::Manifest;
use brainy_tests::process::{Process, program};
use brainy_tests::standalone::Standalone;
use brainy_tests::wait::{holds, until};
use reqwest::Method;
use serde_json::json;

const BUCKET: &str = "vectors";
const PREFIX: &str = "team-a/things";

fn keys() -> Vec<(String, String)> {
    let keys = [
        ("AWS_ACCESS_KEY_ID", "import-access-key"),
        ("AWS_SECRET_ACCESS_KEY", "import-secret-key"),
        ("AWS_REGION", "us-east-1"),
    ];
    keys.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// An S3 server with a bucket; gives its URL.
async fn s3(dir: &Path) -> (Process, String) {
    let log = dir.join("s3.log");
    let arguments = ["--listen", "127.0.0.1:0", "--bucket", BUCKET, "--data-dir"];
    let mut arguments: Vec<OsString> = arguments.map(OsString::from).to_vec();
    arguments.push(dir.join("s3").into_os_string());
    let server = Process::start(&program("brainy-s3").unwrap(), &arguments, &keys(), log).unwrap();
    let url = until(
        "the S3 server listens",
        Duration::from_secs(30),
        async || {
            let output = server.output();
            let lines = output.lines();
            let mut urls = lines.filter_map(|line| line.strip_prefix("brainy-s3: http://"));
            let url = urls.next().map(|rest| format!("http://{}", rest.trim()));
            url.ok_or(output.clone())
        },
    );
    let url = url.await.unwrap();
    (server, url)
}

/// Runs the command; gives its exit code and what it said.
async fn import(dir: &Path, endpoint: &str, prefix: &str) -> (i32, String) {
    let data = dir.join("data");
    let arguments = [
        "import-standalone",
        "--data-dir",
        data.to_str().unwrap(),
        "--s3-bucket",
        BUCKET,
        "--s3-prefix",
        prefix,
        "--s3-endpoint",
        endpoint,
        "--s3-path-style",
    ];
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let mut process =
        Process::start(&program("brainyd").unwrap(), &arguments, &keys(), log).unwrap();
    let status = process.exit(Duration::from_secs(60)).await.unwrap();
    (status.code().unwrap_or(-1), process.output())
}

/// Makes segments soon.
async fn flush_often(client: &Client) {
    let body =
        json!({"version": 0, "config": {"flush_interval_ms": 100, "segment_merge_threshold": 4}});
    let body = Some(body.to_string().into_bytes());
    let answer = client.send(Method::POST, "/sync/config", &[], body).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn answers(client: &Client, vectors: &[Vec<f32>]) -> Vec<Vec<(u64, f32)>> {
    let mut all = Vec::new();
    for vector in vectors {
        let hits = client.search("things", vector, 10, &Read::Strong).await;
        all.push(hits.unwrap().iter().map(|h| (h.id, h.score)).collect());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_becomes_a_cluster_by_one_command() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, endpoint) = s3(dir.path()).await;
    let history = History::default();
    let rows = random_rows(0, 500, 8, 31);
    let vectors: Vec<Vec<f32>> = rows.iter().step_by(29).map(|r| r.vector.clone()).collect();

    let mut brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    let client = brainyd.client();
    flush_often(&client).await;
    client
        .create_collection("things", 8, Some(3))
        .await
        .unwrap();
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    until("there are segments", Duration::from_secs(60), async || {
        let figures = client.collection("things").await;
        let segments = figures.map_err(|e| e.to_string())?.segments;
        holds(segments >= 3, || format!("{segments} segments"))
    })
    .await
    .unwrap();
    // The last of it is in the log only.
    write_all(&client, "things", &history, &rows[..50], 2)
        .await
        .unwrap();
    let before = answers(&client, &vectors).await;

    let (code, said) = import(dir.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("in use by another brainyd"), "{said}");
    brainyd.process.kill().await.unwrap();
    let (code, said) = import(dir.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 collections with 3 partitions"), "{said}");
    let (code, said) = import(dir.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("already"), "{said}");
    let manifest = Manifest::new(2, 2)
        .with("spec.storage.bucket", BUCKET)
        .with("spec.storage.prefix", PREFIX)
        .with("spec.storage.endpoint", endpoint.as_str())
        .with("spec.storage.region", "us-east-1")
        .with("spec.storage.pathStyle", true);
    let mut setup = Setup::new(manifest).in_dir(dir.path().join("cluster"));
    for (name, value) in keys() {
        setup = setup.with_env(&name, &value);
    }
    let mut cluster = setup.start().await.unwrap();
    let table = cluster.wait_settled().await.unwrap().table;
    assert_eq!(table.partitions.len(), 3);
    let client = cluster.client();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}\n{}", cluster.logs());
    assert_eq!(verdict.distinct, 500);
    let after = answers(&client, &vectors).await;
    for (before, after) in before.iter().zip(&after) {
        let ids = |hits: &[(u64, f32)]| hits.iter().map(|h| h.0).collect::<Vec<_>>();
        assert_eq!(ids(before), ids(after));
        let mut scores = before.iter().zip(after);
        assert!(scores.all(|(b, a)| (b.1 - a.1).abs() < 1e-4));
    }
    // It is a cluster like any other.
    write_all(&client, "things", &history, &rows, 3)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, endpoint) = s3(dir.path()).await;
    let (code, said) = import(dir.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("no data directory of a standalone"), "{said}");
    assert!(!dir.path().join("data").exists());

    let mut brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    let client = brainyd.client();
    client.create_collection("things", 2, None).await.unwrap();
    brainyd.process.kill().await.unwrap();
    let (code, said) = import(dir.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 0, "{said}");
    // Another directory does not go to the same prefix.
    let other = tempfile::tempdir().unwrap();
    let mut brainyd = Standalone::start(other.path(), &[], &[]).await.unwrap();
    brainyd
        .client()
        .create_collection("others", 2, None)
        .await
        .unwrap();
    brainyd.process.kill().await.unwrap();
    let (code, said) = import(other.path(), &endpoint, PREFIX).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("Choose another prefix"), "{said}");
}
