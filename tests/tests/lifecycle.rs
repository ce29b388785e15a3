//! Start, stop, start again.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use brainy_tests::client::Read;
use brainy_tests::cluster::{LocalCluster, run_operator};
use brainy_tests::history::History;
use brainy_tests::load::{random_rows, write_all};
use brainy_tests::manifest::Manifest;
use brainy_tests::process::wait_silent;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_stops_in_order_and_the_next_start_finds_everything() {
    let manifest = Manifest::new(2, 1).with("spec.partitioning.partitionsPerCollection", 4);
    let mut cluster = LocalCluster::start(manifest).await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client.create_collection("things", 8, None).await.unwrap();
    let rows = random_rows(0, 500, 8, 1);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    let hits = client
        .search("things", &rows[7].vector, 3, &Read::Strong)
        .await
        .unwrap();
    assert_eq!((hits[0].id, hits.len()), (7, 3));
    assert!((hits[0].score - 1.0).abs() < 1e-4, "{hits:?}");
    let before = client.assignments().await.unwrap().table.members;

    cluster.stop().await.unwrap();
    for member in before.values() {
        wait_silent(&member.address, Duration::from_secs(1))
            .await
            .unwrap();
    }

    cluster.start_again().await.unwrap();
    let client = cluster.client();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.distinct, 500);
    write_all(&client, "things", &history, &rows, 2)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_operator() {
    let mut cluster = LocalCluster::start(Manifest::new(1, 0)).await.unwrap();
    let (file, dir) = (cluster.manifest_file(), cluster.data_dir());
    let arguments = [
        "local",
        "--port",
        "0",
        "--file",
        file.to_str().unwrap(),
        "--data-dir",
        dir.to_str().unwrap(),
    ];
    let (code, output) = run_operator(&arguments, &[], Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(code, 75, "{output}");
    assert!(
        output.contains("is in use by another brainy-operator (process"),
        "{output}"
    );
    assert!(output.contains("--data-dir"), "{output}");
    // The first one is none the worse for it.
    cluster
        .client()
        .create_collection("things", 2, None)
        .await
        .unwrap();
    cluster.stop().await.unwrap();
}
