//! Two clusters of real processes with an S3 server each: both take writes, one's puller is killed in the middle, each is cut off from the
//! other for a while, logs are collected before they are read; and in the end both answer the same, with everything acknowledged.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use brainy_tests::client::{Client, Point, Read, Record};
use brainy_tests::two_clusters::{Options, TwoClusters};
use brainy_tests::wait::{holds, until};
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(120);
/// Points that both clusters write; others are of one.
const SHARED: u64 = 20;

/// Writes `count` points of its own from `first` on, and shared ones, and returns when all is acknowledged.
async fn write(client: &Client, by: &str, first: u64, count: u64) {
    for n in first..first + count {
        let points = [n % SHARED, n].map(|id| Point {
            id,
            vector: vec![1.0, n as f32],
            payload: json!({"by": by, "n": n}),
        });
        client.upsert("things", &points).await.unwrap();
    }
}

async fn everything(client: &Client) -> Vec<Record> {
    let mut records = client.scroll_all("things", &Read::Strong).await.unwrap();
    records.sort_by_key(|record| record.id);
    records
}

/// Waits until both answer the same `count` points.
async fn converged(both: &TwoClusters, count: usize) -> Vec<Record> {
    let clients = [both.client(0).unwrap(), both.client(1).unwrap()];
    let equal = until("both clusters answer the same", WITHIN, async || {
        let (a, b) = (everything(&clients[0]).await, everything(&clients[1]).await);
        holds(a == b && a.len() == count, || {
            format!("a has {} points, b {}", a.len(), b.len())
        })?;
        Ok(a)
    })
    .await;
    match equal {
        Ok(records) => records,
        Err(error) => panic!("{error}\n{}", both.logs()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_converge_across_a_kill_a_cut_and_a_collected_log() {
    let options = Options {
        gc_grace_ms: 3000,
        flush_ms: 500,
        ..Options::default()
    };
    let mut both = TwoClusters::start(options).await.unwrap();
    let (a, b) = (both.client(0).unwrap(), both.client(1).unwrap());
    // Numbers of partitions may differ.
    a.create_collection("things", 2, Some(4)).await.unwrap();
    b.create_collection("things", 2, Some(3)).await.unwrap();
    tokio::join!(write(&a, "a", 1000, 60), write(&b, "b", 2000, 60));
    let shared = SHARED as usize;
    let first = converged(&both, shared + 120).await;
    let by: BTreeMap<u64, &str> = first
        .iter()
        .map(|r| (r.id, r.payload["by"].as_str().unwrap()))
        .collect();
    assert!((1000..1060).all(|id| by[&id] == "a") && (2000..2060).all(|id| by[&id] == "b"));

    // The puller of b dies while a writes; what was pulled twice changes nothing.
    let writing = write(&a, "a", 3000, 80);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        both.kill_node(1).await.unwrap();
        both.start_node(1).await.unwrap();
    };
    tokio::join!(writing, killing);
    converged(&both, shared + 200).await;

    // Neither reaches the other. Both go on, and collect their logs meanwhile.
    for side in &both.sides {
        side.link.set_open(false);
    }
    let b = both.client(1).unwrap();
    tokio::join!(write(&a, "a", 4000, 40), write(&b, "b", 5000, 40));
    assert_eq!(everything(&a).await.len(), shared + 240);
    assert_eq!(everything(&b).await.len(), shared + 240);
    until("a tells that it cannot read b", WITHIN, async || {
        let told = both.exchange(0).await.map_err(|e| e.to_string())?;
        let partitions = told["partitions"].as_array().cloned().unwrap_or_default();
        let failing = partitions.iter().any(|p| p["error"].is_string());
        holds(failing, || told.to_string())
    })
    .await
    .unwrap();
    let pause = Duration::from_secs(6);
    tokio::time::sleep(pause).await;
    for side in &both.sides {
        side.link.set_open(true);
    }
    let all = converged(&both, shared + 280).await;
    assert!(all.iter().any(|r| r.id == 4000) && all.iter().any(|r| r.id == 5039));

    // Everything was read, and then nothing moves any more.
    let merged = async |side: usize| {
        let told = both.exchange(side).await.unwrap();
        let partitions = told["partitions"].as_array().unwrap().clone();
        let caught_up = partitions.iter().all(|p| p["caught_up"] == true);
        let merged = partitions.iter().map(|p| p["merged"].as_u64().unwrap());
        caught_up.then(|| merged.sum::<u64>())
    };
    until("both have caught up and are at rest", WITHIN, async || {
        let before = (merged(0).await, merged(1).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = (merged(0).await, merged(1).await);
        let rests = before == after && before.0.is_some() && before.1.is_some();
        holds(rests, || format!("{before:?} and then {after:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_one_writer_cannot_exchange() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--exchange-with", "east=s3://bucket/prefix"];
    let started = brainy_tests::standalone::Standalone::start(dir.path(), &arguments, &[]).await;
    let error = started.unwrap_err().to_string();
    assert!(error.contains("--multi-writer"), "{error}");
}
