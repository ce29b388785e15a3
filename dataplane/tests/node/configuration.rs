//! Settings that change while nodes work.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brainy_coordination::assignment::MemberState::Active;
use brainy_coordination::keys;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::service::DataService;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::process::{Running, brainyd, ended};
use crate::support::{Cluster, Served, WITHIN};

async fn publish(served: &Served, version: u64, changes: Value) -> Result<Value, ServiceError> {
    let body = json!({"version": version, "changes": changes});
    served.node.sync_config(Some(body)).await
}

async fn until(served: &Served, wanted: impl Fn(&Value) -> bool) -> Value {
    let reached = async {
        loop {
            let now = served.node.configuration().await.unwrap();
            if wanted(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_under_load_at_every_node_and_no_request_fails() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    let b = cluster.start("b", None).await;
    let both = [(&a, Active), (&b, Active)];
    cluster.settle(&both).await;
    a.create().await;
    a.write(0..100).await;
    // From here on nobody polls in time: what arrives was pushed.
    let rarely = json!({"config_poll_interval_ms": 3_600_000});
    publish(&a, 0, rarely).await.unwrap();
    until(&b, |now| now["inForce"] == 1).await;

    let (done, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = async |served: &Served, first: u64| {
        let mut next = first;
        while !done.load(Ordering::Relaxed) {
            served.write(next..next + 3).await;
            assert!(served.count().await >= 100);
            next += 3;
            requests.fetch_add(2, Ordering::Relaxed);
        }
    };
    let change = async {
        for version in 1..25 {
            let changes = json!({
                "flush_bytes": 65_536 + version,
                "max_search_limit": 100 + version,
                "log_level": if version % 2 == 0 { "info" } else { "warn" },
                "tail_poll_interval_ms": 20 + version,
            });
            let from = if version % 2 == 0 { &a } else { &b };
            let published = publish(from, version, changes).await.unwrap();
            assert_eq!(published["inForce"], version + 1);
            for node in [&a, &b] {
                until(node, |now| now["inForce"] == version + 1).await;
                assert_eq!(node.node.limits().max_search_limit as u64, 100 + version);
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(&a, 1_000), load(&b, 1_000_000), change);
    assert!(requests.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_refused_and_told_and_an_earlier_one_can_be_restored() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    let node = &a.node;
    publish(&a, 0, json!({"max_search_limit": 11}))
        .await
        .unwrap();
    publish(&a, 1, json!({"max_batch_points": 12}))
        .await
        .unwrap();
    for (body, named) in [
        (
            json!({"version": 2, "changes": {"max_search_limit": 0}}),
            "from 1 to 100000",
        ),
        (
            json!({"version": 2, "changes": {"max_serch_limit": 5}}),
            "max_serch_limit",
        ),
        (json!({"version": 2}), "exactly one of"),
        (
            json!({"version": 2, "config": {}, "restore": 1}),
            "exactly one of",
        ),
    ] {
        let error = node.sync_config(Some(body)).await.unwrap_err();
        assert!(matches!(error, ServiceError::BadRequest(_)), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    let late = publish(&a, 1, json!({"max_search_limit": 7}))
        .await
        .unwrap_err();
    assert!(matches!(late, ServiceError::Conflict(_)), "{late}");
    assert!(late.to_string().contains("version 2, not 1"), "{late}");
    let missing = node
        .sync_config(Some(json!({"version": 2, "restore": 9})))
        .await;
    assert!(matches!(missing, Err(ServiceError::NotFound(_))));

    let now = node.configuration().await.unwrap();
    assert_eq!(
        now["config"],
        json!({"max_search_limit": 11, "max_batch_points": 12})
    );
    assert_eq!(now["sources"]["max_search_limit"], "shared");
    assert_eq!(now["sources"]["flush_bytes"], "default");
    assert_eq!(
        now["history"],
        json!([{"version": 1, "config": {"max_search_limit": 11}}])
    );

    // Somebody overwrites the object by other means.
    let good = a.node.limits();
    cluster
        .store
        .put(keys::CONFIG, Bytes::from("garbage"))
        .await
        .unwrap();
    let told = until(&a, |now| !now["refused"].is_null()).await;
    assert_eq!(
        (&told["inForce"], told["unreadable"].is_string()),
        (&json!(2), true)
    );
    assert_eq!(a.node.limits(), good);
    assert!(node.health()["configuration"]["refused"].is_string());
    let metrics = node.metrics();
    assert!(metrics.contains("brainy_config_refused 1"), "{metrics}");
    cluster.store.delete(keys::CONFIG).await.unwrap();
    publish(&a, 0, json!({"max_search_limit": 13}))
        .await
        .unwrap();
    publish(&a, 1, json!({"max_search_limit": null}))
        .await
        .unwrap();
    assert_eq!(node.limits().max_search_limit, 10_000);
    let restored = node
        .sync_config(Some(json!({"version": 2, "restore": 1})))
        .await
        .unwrap();
    assert_eq!(
        (&restored["version"], &restored["refused"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(node.limits().max_search_limit, 13);
    assert!(node.metrics().contains("brainy_config_refused 0"));
}

/// The body of what a node answers.
fn get(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

fn wait_for(address: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let now = get(address, "/sync/config");
        if wanted(&now) {
            return now;
        }
        assert!(began.elapsed() < WITHIN, "{now}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn start(dir: &Path, file: &Path) -> std::process::Command {
    let mut command = brainyd(&["--listen", "127.0.0.1:0", "--grpc-listen", "off"]);
    command
        .args(["--log-format", "json", "--max-batch-points", "77"])
        .env("BRAINY_MAX_SEARCH_LIMIT", "55")
        .arg("--config")
        .arg(file)
        .arg("--data-dir")
        .arg(dir);
    command
}

#[test]
fn flags_override_variables_override_the_file_and_the_file_is_taken_up_as_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("brainyd.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("max_batch_points: 1\nmax_search_limit: 2\nmax_dimension: 3\n");
    let mut node = Running::start(&mut start(&dir.path().join("data"), &file));
    let address = node.address();
    let now = get(&address, "/sync/config");
    let effective = &now["effective"];
    assert_eq!(effective["max_batch_points"], 77, "flag");
    assert_eq!(effective["max_search_limit"], 55, "variable");
    assert_eq!(effective["max_dimension"], 3, "file");
    assert_eq!(now["sources"]["max_dimension"], "local");

    write("max_dimension: 4\n");
    kill_process(Pid::from_child(&node.0), Signal::HUP).unwrap();
    wait_for(&address, |now| now["effective"]["max_dimension"] == 4);
    // Without a signal too, only later; and what is wrong changes nothing.
    write("max_dimension: 5000000\n");
    let refused = wait_for(&address, |now| now["refusedLocal"].is_string());
    let reason = refused["refusedLocal"].as_str().unwrap();
    assert!(
        reason.contains("line 1") && reason.contains("max-dimension"),
        "{reason}"
    );
    assert_eq!(refused["effective"]["max_dimension"], 4);
    write("max_dimension: 5\n");
    let now = wait_for(&address, |now| now["effective"]["max_dimension"] == 5);
    assert_eq!(now["refusedLocal"], Value::Null);
    node.terminate();
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn a_file_that_names_what_does_not_exist_ends_the_start_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("brainyd.yaml");
    std::fs::write(&file, "log_level: info\nmax_serch_limit: 3\n").unwrap();
    let (code, said) = ended(&mut start(&dir.path().join("data"), &file));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("line 2") && said.contains("'max_serch_limit'"),
        "{said}"
    );
}
