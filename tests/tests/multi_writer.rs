//! Several writers on real processes: every hybrid takes writes for every partition, one is killed and stays away for a while, and in the
//! end all answer the same, with everything that was acknowledged.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::types::Nonce;
use brainy_tests::client::{Client, Point, Read, Record};
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN, Setup};
use brainy_tests::manifest::Manifest;
use brainy_tests::process::program;
use brainy_tests::wait::{holds, until};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Points that all writers change.
const SHARED: u64 = 24;
/// Ids that a writer has for itself begin at its number times this.
const OWN: u64 = 1_000_000;
/// Stamps follow wall clocks, which instances read at different moments: a write that began this long after another's answer has a later
/// stamp.
const SURELY_LATER: Duration = Duration::from_millis(250);
const VICTIM: &str = "hybrid-1";

fn manifest(policy: &str) -> Manifest {
    Manifest::new(0, 0)
        .with("spec.hybrids.replicas", 3)
        .with("spec.multiWriter", true)
        .with("spec.conflictResolution", policy)
}

/// One write: a shared point and one of the writer's own, both with a value that no other write has.
#[derive(Clone, Debug)]
struct Write {
    shared: u64,
    value: u64,
    began: Instant,
    /// `None`: nobody knows whether it happened.
    acknowledged: Option<Instant>,
}

type Writes = Arc<Mutex<Vec<Write>>>;

/// Writes at one node, and at no other, until told to stop; nothing is sent twice.
async fn write(number: u64, node: Client, writes: Writes, stop: CancellationToken) {
    let node = node.with_patience(Duration::ZERO);
    for n in 1.. {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        let (shared, value) = (n % SHARED, number * OWN + n);
        let points = [shared, value].map(|id| Point {
            id,
            vector: vec![1.0, n as f32],
            payload: json!({ "value": value }),
        });
        let began = Instant::now();
        let acknowledged = node.upsert("things", &points).await.is_ok();
        let acknowledged = acknowledged.then(Instant::now);
        writes.lock().await.push(Write {
            shared,
            value,
            began,
            acknowledged,
        });
    }
}

async fn acknowledged(writes: &Writes) -> Vec<Instant> {
    let writes = writes.lock().await;
    writes.iter().filter_map(|w| w.acknowledged).collect()
}

/// Waits until `more` writes of each were acknowledged that began after now.
async fn go_on(writers: &[&Writes], more: usize) {
    let now = Instant::now();
    until("writes are acknowledged", SETTLED_WITHIN, async || {
        for writes in writers {
            let writes = writes.lock().await;
            let new = writes
                .iter()
                .filter(|w| w.began >= now && w.acknowledged.is_some());
            let new = new.count();
            holds(new >= more, || format!("{new} of {more}"))?;
        }
        Ok(())
    })
    .await
    .unwrap();
}

fn longest_gap(acknowledged: &[Instant], from: Instant) -> Duration {
    let mut last = from;
    let mut longest = Duration::ZERO;
    for at in acknowledged.iter().filter(|at| **at >= from) {
        longest = longest.max(*at - last);
        last = *at;
    }
    longest
}

/// What every node answers, which has to be the same.
async fn everywhere(cluster: &LocalCluster, collection: &str) -> Vec<Record> {
    let nodes = cluster.nodes().await.unwrap();
    let mut answers = Vec::new();
    for (name, node) in &nodes {
        let mut records = node.scroll_all(collection, &Read::Strong).await.unwrap();
        records.sort_by_key(|r| r.id);
        answers.push((name, records));
    }
    let (first, others) = answers.split_first().unwrap();
    for (name, records) in others {
        assert_eq!(&first.1, records, "{} and {name} differ", first.0);
    }
    first.1.clone()
}

/// A data plane that does not start as [`VICTIM`] while the file `away` is there.
fn brainyd_that_stays_away(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (away, script) = (dir.join("away"), dir.join("brainyd"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *' --instance {VICTIM} '*) if [ -e '{}' ]; then exit 75; fi;; esac\nexec '{}' \"$@\"\n",
        away.display(),
        program("brainyd").unwrap().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, away)
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_beside_a_killed_instance_and_all_converge() {
    let dir = tempfile::tempdir().unwrap();
    let (script, away) = brainyd_that_stays_away(dir.path());
    let setup = Setup::new(manifest("last-write-wins")).with_brainyd(script);
    let mut cluster = setup.start().await.unwrap();
    let client = cluster.client();
    client
        .create_collection("things", 2, Some(6))
        .await
        .unwrap();
    cluster.wait_settled().await.unwrap();

    let nodes = cluster.nodes().await.unwrap();
    let all: BTreeMap<String, Writes> = nodes
        .iter()
        .map(|(name, _)| (name.clone(), Writes::default()))
        .collect();
    let stop = CancellationToken::new();
    let tasks: Vec<_> = (1..)
        .zip(&nodes)
        .map(|(number, (name, node))| {
            let writes = all[name].clone();
            tokio::spawn(write(number, node.clone(), writes, stop.clone()))
        })
        .collect();
    go_on(&all.values().collect::<Vec<_>>(), 30).await;

    std::fs::write(&away, "").unwrap();
    let killed_at = Instant::now();
    let pid = cluster.kill(VICTIM).unwrap();
    let others = all.iter().filter(|(name, _)| *name != VICTIM);
    let others: Vec<&Writes> = others.map(|(_, writes)| writes).collect();
    // Each shared point, so each partition, the victim's too, at each of the others, while the victim is away.
    go_on(&others, 2 * SHARED as usize).await;
    std::fs::remove_file(&away).unwrap();
    cluster.wait_recovered(VICTIM, pid).await.unwrap();
    go_on(&all.values().collect::<Vec<_>>(), 30).await;
    stop.cancel();
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    for (name, writes) in &all {
        let at = acknowledged(writes).await;
        let gap = longest_gap(&at, killed_at);
        println!(
            "{name}: {} writes acknowledged; longest gap since the kill of {VICTIM}: {gap:?}",
            at.len()
        );
    }

    let answer = everywhere(&cluster, "things").await;
    let values: BTreeMap<u64, u64> = answer
        .iter()
        .map(|r| (r.id, r.payload["value"].as_u64().unwrap()))
        .collect();
    let mut writes = Vec::new();
    for of_one in all.values() {
        writes.extend(of_one.lock().await.clone());
    }
    let by_value: BTreeMap<u64, &Write> = writes.iter().map(|w| (w.value, w)).collect();
    for write in writes.iter().filter(|w| w.acknowledged.is_some()) {
        assert_eq!(
            values.get(&write.value),
            Some(&write.value),
            "acknowledged and lost\n{}",
            cluster.logs()
        );
        // The shared point is this write's, or one's that was not surely earlier.
        let winner = by_value[&values[&write.shared]];
        assert_eq!(winner.shared, write.shared);
        let earlier = winner
            .acknowledged
            .is_some_and(|at| at + SURELY_LATER < write.began);
        assert!(!earlier, "{write:?} lost to {winner:?}");
    }
    for id in values.keys().filter(|id| **id >= SHARED) {
        assert!(by_value.contains_key(id), "nobody wrote {id}");
    }

    // One leaves for good: what it took stays.
    let (_, last) = &nodes[2];
    let point = Point {
        id: OWN * 9,
        vector: vec![0.0, 1.0],
        payload: json!({"value": OWN * 9}),
    };
    last.upsert("things", &[point]).await.unwrap();
    cluster
        .edit(|m| {
            m.set("spec.hybrids.replicas", 2);
        })
        .unwrap();
    cluster.wait_settled().await.unwrap();
    let fewer = everywhere(&cluster, "things").await;
    assert_eq!(fewer.len(), answer.len() + 1);
    assert_eq!(fewer.last().map(|r| r.id), Some(OWN * 9));
    cluster.stop().await.unwrap();
}

/// Adds 1 to `views` of point 1 at this node; repeated there, under one request id, until it is acknowledged.
async fn increment(node: &Client) {
    let body = json!({"points": [1], "increment": {"views": 1}}).to_string();
    let headers = [("brainy-request-id", Nonce::random().to_string())];
    let path = "/collections/counters/points/adjust?wait=true";
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let body = Some(body.clone().into_bytes());
        let seen = match node.send(Method::POST, path, &headers, body).await {
            Ok(answer) if answer.status == 200 => return,
            Ok(answer) => answer.message(),
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "not acknowledged: {seen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_at_three_instances_add_up_across_a_kill() {
    const EACH: u64 = 40;
    let mut cluster = LocalCluster::start(manifest("crdt")).await.unwrap();
    let client = cluster.client();
    client
        .create_collection("counters", 2, Some(2))
        .await
        .unwrap();
    cluster.wait_settled().await.unwrap();
    let point = Point {
        id: 1,
        vector: vec![1.0, 0.0],
        payload: json!({"views": 0}),
    };
    client.upsert("counters", &[point]).await.unwrap();
    // Instances that do not know the point yet have nothing to add to.
    everywhere(&cluster, "counters").await;

    let nodes = cluster.nodes().await.unwrap();
    let tasks: Vec<_> = nodes
        .into_iter()
        .map(|(name, node)| {
            let (half, go) = (Arc::new(tokio::sync::Notify::new()), name == VICTIM);
            let told = half.clone();
            let task = tokio::spawn(async move {
                for n in 0..EACH {
                    if n == EACH / 2 {
                        told.notify_one();
                    }
                    increment(&node).await;
                }
            });
            (task, half, go)
        })
        .collect();
    for (_, half, victim) in &tasks {
        if *victim {
            half.notified().await;
        }
    }
    let pid = cluster.kill(VICTIM).unwrap();
    cluster.wait_recovered(VICTIM, pid).await.unwrap();
    for (task, ..) in tasks {
        task.await.unwrap();
    }
    let answer = everywhere(&cluster, "counters").await;
    let views: Vec<&Value> = answer.iter().map(|r| &r.payload["views"]).collect();
    assert_eq!(views, [&json!(3 * EACH)], "{}", cluster.logs());
    cluster.stop().await.unwrap();
}
