//! Instances come and go as the manifest says.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use brainy_coordination::planner::minimal_moves;
use brainy_tests::client::Client;
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN, moves};
use brainy_tests::history::History;
use brainy_tests::load::{Load, Shape, random_rows};
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};

/// Waits until `more` further writes were acknowledged: the load got through whatever happened before.
async fn writes_go_on(history: &History, more: u64) {
    let from = history.writes().await;
    until("writes go on", SETTLED_WITHIN, async || {
        let now = history.writes().await;
        holds(now >= from + more, || format!("{} since then", now - from))
    })
    .await
    .unwrap();
}

async fn loaded(cluster: &LocalCluster, history: &History) -> (Client, Load) {
    let client = cluster.client();
    client
        .create_collection("things", 8, Some(8))
        .await
        .unwrap();
    let rows = random_rows(0, 800, 8, 2);
    let clients = [client.clone()];
    let load = Load::start(&clients, "things", history, &rows, 1, &Shape::default());
    writes_go_on(history, 400).await;
    (client, load)
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_under_load_loses_nothing_and_moves_no_more_than_it_must() {
    let mut cluster = LocalCluster::start(Manifest::new(2, 1)).await.unwrap();
    let history = History::default();
    let (client, load) = loaded(&cluster, &history).await;
    for writers in [3, 1] {
        let before = cluster.wait_settled().await.unwrap().table;
        cluster
            .edit(|m| {
                m.set("spec.writers.replicas", writers);
            })
            .unwrap();
        let after = cluster.wait_settled().await.unwrap().table;
        let least = minimal_moves(&before.partitions, &after.members);
        assert!(least > 0, "the step to {writers} writers moves nothing");
        assert_eq!(moves(&before, &after), least, "{before:?}\n{after:?}");
        writes_go_on(&history, 200).await;
    }
    let observed = load.stop().await;
    assert_eq!(observed.stale, [""; 0]);
    assert_eq!(observed.failed, [""; 0], "{}", cluster.logs());
    assert!(observed.reads > 0 && !observed.searches.is_empty());
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}\n{}", cluster.logs());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_come_and_go_without_a_failed_read() {
    let mut cluster = LocalCluster::start(Manifest::new(1, 1)).await.unwrap();
    let history = History::default();
    let (_, load) = loaded(&cluster, &history).await;
    for readers in [3, 1] {
        cluster
            .edit(|m| {
                m.set("spec.readers.replicas", readers);
            })
            .unwrap();
        cluster.wait_settled().await.unwrap();
        writes_go_on(&history, 100).await;
    }
    let observed = load.stop().await;
    assert_eq!(
        (observed.stale, observed.failed),
        (vec![], vec![]),
        "{}",
        cluster.logs()
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_breaks_a_rule_is_reported_and_the_last_good_one_stays() {
    let mut cluster = LocalCluster::start(Manifest::new(1, 1)).await.unwrap();
    let client = cluster.client();
    client.create_collection("things", 2, None).await.unwrap();
    let before = cluster.wait_settled().await.unwrap();
    for (field, value, named) in [
        (
            "spec.writers.replica",
            serde_yaml::Value::from(2),
            "replica",
        ),
        (
            "spec.writers.replicas",
            serde_yaml::Value::from(-1),
            "spec.writers.replicas",
        ),
        (
            "spec.storage.bucket",
            serde_yaml::Value::from("other"),
            "spec.storage.bucket",
        ),
    ] {
        let wrong = cluster.manifest().clone().with(field, value);
        cluster.write_raw_manifest(&wrong.yaml()).unwrap();
        let within = Duration::from_secs(30);
        until(&format!("{field} is reported"), within, async || {
            let (status, reason, message) = cluster.condition("Degraded");
            let told = status == "True" && reason == "InvalidSpec" && message.contains(named);
            holds(told, || format!("{status}, {reason}: {message}"))
        })
        .await
        .unwrap();
    }
    let after = cluster.wait_settled().await.unwrap();
    assert_eq!(before.table.members, after.table.members);
    client.create_collection("others", 2, None).await.unwrap();

    cluster
        .edit(|m| {
            m.set("spec.writers.replicas", 2);
        })
        .unwrap();
    let table = cluster.wait_settled().await.unwrap().table;
    assert_eq!(table.members.len(), 3);
    until("the report is taken back", SETTLED_WITHIN, async || {
        let (status, reason, message) = cluster.condition("Degraded");
        holds(status == "False", || {
            format!("{status}, {reason}: {message}")
        })
    })
    .await
    .unwrap();
    cluster.stop().await.unwrap();
}
