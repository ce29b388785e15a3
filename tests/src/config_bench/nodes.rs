//! Many nodes of one cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brainy_coordination::assignment::{Member, Role};
use brainy_coordination::rebalance;
use brainy_coordination::types::InstanceId;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::when;
use crate::HarnessError;
use crate::client::Client;
use crate::coordination_bench::bucket::{BUCKET, Bucket, failed};
use crate::process::{Process, program};
use crate::wait::until;

/// All of them serve within this time, on a machine with fewer cores than nodes.
const SERVE_WITHIN: Duration = Duration::from_secs(240);
/// A version is in force everywhere within this time.
const SPREAD_WITHIN: Duration = Duration::from_secs(60);
/// What connections between them take.
const CONNECT: Duration = Duration::from_secs(5);
/// Nodes that start at a time: each checks the bucket first, which many at a time make slow.
const START_AT_A_TIME: usize = 5;

/// Readers without partitions. Dropping it kills them.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    _dir: TempDir,
}

struct Node {
    id: InstanceId,
    log: PathBuf,
    address: String,
    _process: Process,
}

impl Nodes {
    /// Starts them and makes them members.
    ///
    /// # Errors
    /// One of them does not serve.
    pub(super) async fn start(
        bucket: &Bucket,
        count: u16,
        method: &str,
    ) -> Result<Self, HarnessError> {
        let dir = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
        let mut nodes = Vec::new();
        let numbers: Vec<u16> = (0..count).collect();
        for some in numbers.chunks(START_AT_A_TIME) {
            let started = some.iter().map(|n| start(bucket, dir.path(), *n, method));
            nodes.extend(try_join_all(started).await?);
        }
        let store = bucket.store("").await?;
        rebalance::step(&store, |edit| {
            for node in &nodes {
                let member = Member::new(Role::Reader, &node.address);
                edit.members.insert(node.id.clone(), member);
            }
        })
        .await
        .map_err(|e| failed("the assignment table", &e))?;
        // Every node looks at the table at least every two seconds, and connects to the others where its method does.
        tokio::time::sleep(CONNECT).await;
        Ok(Self { nodes, _dir: dir })
    }

    /// Posts a configuration at one of them.
    ///
    /// # Errors
    /// It is not accepted.
    pub(super) async fn post(&self, at: usize, body: &Value) -> Result<(), HarnessError> {
        let node = &self.nodes[at % self.nodes.len()];
        let client = Client::new(format!("http://{}", node.address));
        let body = body.to_string().into_bytes();
        let answer = client
            .send(Method::POST, "/sync/config", &[], Some(body))
            .await?;
        if answer.status == 200 {
            return Ok(());
        }
        Err(failed("POST /sync/config", &answer.message()))
    }

    /// When `version` came into force at each of them; waits for it.
    ///
    /// # Errors
    /// Somewhere it does not in time.
    pub(super) async fn in_force(&self, version: u64) -> Result<Vec<SystemTime>, HarnessError> {
        let what = format!(
            "version {version} is in force at {} nodes",
            self.nodes.len()
        );
        until(&what, SPREAD_WITHIN, async || {
            let mut times = Vec::new();
            for node in &self.nodes {
                let text = std::fs::read_to_string(&node.log).unwrap_or_default();
                match when::applied(&text, version) {
                    Some(at) => times.push(at),
                    None => return Err(format!("not at {}", node.id)),
                }
            }
            Ok(times)
        })
        .await
    }
}

async fn start(bucket: &Bucket, dir: &Path, n: u16, method: &str) -> Result<Node, HarnessError> {
    let id = InstanceId::new(format!("reader-{n}")).map_err(|e| failed("a name", &e))?;
    let log = dir.join(format!("{id}.log"));
    let data = dir.join(id.as_str());
    let mut arguments: Vec<OsString> = [
        "--role=reader",
        "--listen=127.0.0.1:0",
        "--grpc-listen=off",
        "--log-format=json",
        "--log=info",
        "--s3-path-style",
        "--s3-region=us-east-1",
        "--read-threads=1",
        "--memory-budget-bytes=67108864",
    ]
    .map(OsString::from)
    .to_vec();
    for (option, value) in [
        ("--instance", id.as_str()),
        ("--s3-bucket", BUCKET),
        ("--s3-endpoint", &bucket.endpoint()),
        ("--coordination", method),
    ] {
        arguments.push(format!("{option}={value}").into());
    }
    arguments.extend([OsString::from("--data-dir"), data.into_os_string()]);
    let environment = bucket.environment();
    let mut process = Process::start(&program("brainyd")?, &arguments, &environment, log.clone())?;
    let address = until(&format!("{id} serves"), SERVE_WITHIN, async || {
        if let Err(error) = process.check() {
            return Ok(Err(error));
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        when::address(&text).map(Ok).ok_or(text)
    })
    .await??;
    Ok(Node {
        id,
        log,
        address,
        _process: process,
    })
}
