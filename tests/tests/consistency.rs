//! What a read must see, through whichever node it goes.

#![allow(clippy::unwrap_used)]

use brainy_coordination::types::Nonce;
use brainy_tests::client::{Client, Read, Record};
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN};
use brainy_tests::history::{History, Row};
use brainy_tests::load::{Load, Shape, random_rows};
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};
use reqwest::Method;
use serde_json::json;

async fn cluster() -> (LocalCluster, Client, Vec<(String, Client)>) {
    // Segments are made all the time, so that reads meet them as well as write buffers.
    let manifest = Manifest::new(2, 2)
        .with("spec.sharedConfig.flushIntervalMs", 500)
        .with("spec.consistency.default", "eventual");
    let mut cluster = LocalCluster::start(manifest).await.unwrap();
    let client = cluster.client();
    client
        .create_collection("things", 8, Some(6))
        .await
        .unwrap();
    cluster.wait_settled().await.unwrap();
    let nodes = cluster.nodes().await.unwrap();
    (cluster, client, nodes)
}

fn value(records: &[Record]) -> Option<u64> {
    records.first()?.payload["value"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn strong_reads_are_never_stale_through_any_node() {
    let (mut cluster, client, nodes) = cluster().await;
    let history = History::default();
    let rows = random_rows(0, 300, 8, 6);
    let clients: Vec<Client> = nodes.iter().map(|(_, node)| node.clone()).collect();
    let shape = Shape {
        writers: 2,
        readers: 6,
        searchers: 0,
        batch: 2,
        pause: std::time::Duration::from_millis(5),
        ..Shape::default()
    };
    let load = Load::start(&clients, "things", &history, &rows, 1, &shape);
    until("enough reads were judged", SETTLED_WITHIN, async || {
        let reads = load.observed().await.reads;
        holds(reads >= 1000, || format!("{reads} reads"))
    })
    .await
    .unwrap();
    let observed = load.stop().await;
    assert_eq!(
        (observed.stale, observed.failed),
        (vec![], vec![]),
        "{}",
        cluster.logs()
    );
    for (name, node) in &nodes {
        let verdict = history.verify(node, "things").await.unwrap();
        assert!(verdict.is_clean(), "{name}: {verdict:?}");
    }
    let segments = client.collection("things").await.unwrap().segments;
    assert!(
        segments > 0,
        "no segment was made, so only write buffers were read"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eventual_read_with_the_token_sees_the_write_through_every_node() {
    let (mut cluster, _, nodes) = cluster().await;
    let row = &random_rows(7, 1, 8, 7)[0];
    for round in 1..=20 {
        for (writer, through) in &nodes {
            let token = through.upsert("things", &[row.point(round)]).await.unwrap();
            assert!(token.contains('@'), "no token: '{token}'");
            for (reader, node) in &nodes {
                let read = Read::After(token.clone());
                let found = node.retrieve("things", &[row.id], &read).await.unwrap();
                assert_eq!(
                    value(&found),
                    Some(round),
                    "written through {writer}, read through {reader}"
                );
            }
        }
    }
    cluster.stop().await.unwrap();
}

/// Writes under a request id of our own, once.
async fn write_as(client: &Client, id: Nonce, row: &Row, value: u64) -> u16 {
    let body = json!({"points": [row.point(value)]})
        .to_string()
        .into_bytes();
    let headers = [("brainy-request-id", id.to_string())];
    let path = "/collections/things/points?wait=true";
    let answer = client.send(Method::PUT, path, &headers, Some(body)).await;
    answer.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_applied_once_even_after_its_writer_was_killed() {
    let (mut cluster, client, nodes) = cluster().await;
    let row = &random_rows(1, 1, 8, 8)[0];
    let (first, second) = (Nonce::random(), Nonce::random());
    assert_eq!(write_as(&client, first, row, 1).await, 200);
    assert_eq!(write_as(&client, second, row, 2).await, 200);
    // A late repeat of the first write, through each node, must not bring the old value back.
    for (name, node) in &nodes {
        assert_eq!(write_as(node, first, row, 1).await, 200);
        let found = client
            .retrieve("things", &[row.id], &Read::Strong)
            .await
            .unwrap();
        assert_eq!(value(&found), Some(2), "repeated through {name}");
    }
    for writer in ["writer-0", "writer-1"] {
        let pid = cluster.kill(writer).unwrap();
        cluster.wait_recovered(writer, pid).await.unwrap();
    }
    assert_eq!(write_as(&client, first, row, 1).await, 200);
    let found = client
        .retrieve("things", &[row.id], &Read::Strong)
        .await
        .unwrap();
    assert_eq!(value(&found), Some(2), "repeated after the crash");
    cluster.stop().await.unwrap();
}
