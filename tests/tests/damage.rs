//! Damaged objects in the bucket: the partition stops and says which object it is, everything else goes on, and a person
//! decides.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use brainy_tests::client::{Client, Point, Read};
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN};
use brainy_tests::history::{History, Row};
use brainy_tests::load::{random_rows, write_all};
use brainy_tests::manifest::Manifest;
use brainy_tests::probe::{one_per_partition, partition_of};
use brainy_tests::wait::{holds, until};
use reqwest::Method;
use serde_json::Value;

const PARTITIONS: u32 = 4;

/// Turns a byte in the middle of a file around.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

/// `{uid}/{index}` in the path of an object's file, after `kind`, and what follows.
fn split_key(path: &Path, kind: &str) -> (String, String) {
    let text = path.to_string_lossy().into_owned();
    let rest = text.split_once(kind).unwrap().1.to_owned();
    let mut parts = rest.splitn(3, '/');
    let partition = format!("{}/{}", parts.next().unwrap(), parts.next().unwrap());
    (partition, parts.next().unwrap().to_owned())
}

async fn client_of(cluster: &LocalCluster, instance: &str) -> Result<Client, String> {
    // Addresses are in the file of ports: while a partition is in trouble, an endpoint may have nobody to ask.
    let bytes = std::fs::read(cluster.data_dir().join("ports.json")).map_err(|e| e.to_string())?;
    let ports: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    let port = ports[instance].as_u64().ok_or("no port yet")?;
    Ok(Client::new(format!("http://127.0.0.1:{port}")))
}

/// Waits until `instance` reports trouble with exactly one partition; gives its name and the text.
async fn wait_trouble(cluster: &LocalCluster, instance: &str) -> (String, String) {
    until(
        &format!("{instance} reports trouble"),
        SETTLED_WITHIN,
        async || {
            let node = client_of(cluster, instance)
                .await?
                .with_patience(std::time::Duration::ZERO);
            let health = node.health().await.map_err(|e| e.to_string())?;
            let partitions = health["partitions"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            let troubled: Vec<_> = partitions
                .iter()
                .filter_map(|(name, p)| Some((name.clone(), p["trouble"].as_str()?.to_owned())))
                .collect();
            let owned = health["owned"].as_u64().unwrap_or(0);
            let others_fine = instance.starts_with("reader") || owned == u64::from(PARTITIONS) - 1;
            holds(troubled.len() == 1 && others_fine, || health.to_string())?;
            holds(health["status"] == "degraded", || health.to_string())?;
            let metric = node
                .metric("brainy_partitions_troubled")
                .await
                .map_err(|e| e.to_string())?;
            holds(metric == Some(1.0), || format!("metric {metric:?}"))?;
            Ok(troubled[0].clone())
        },
    )
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()))
}

async fn loaded(manifest: Manifest) -> (LocalCluster, History, Vec<Row>) {
    let cluster = LocalCluster::start(manifest).await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client
        .create_collection("things", 8, Some(PARTITIONS))
        .await
        .unwrap();
    let rows = random_rows(0, 400, 8, 14);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    (cluster, history, rows)
}

/// Rows of one partition more, of which every other partition must still be able to take writes.
fn one_each() -> Vec<Row> {
    one_per_partition(random_rows(10_000, 200, 8, 15), PARTITIONS)
        .unwrap()
        .0
}

/// Writes to each partition through the endpoint and says which took them.
async fn writable(cluster: &LocalCluster) -> usize {
    let client = cluster.client().with_patience(std::time::Duration::ZERO);
    let mut took = 0;
    for row in one_each() {
        let points: [Point; 1] = [row.point(1)];
        let body = serde_json::json!({"points": points})
            .to_string()
            .into_bytes();
        let path = "/collections/things/points?wait=true&timeout=3";
        let answer = client
            .send(Method::PUT, path, &[], Some(body))
            .await
            .unwrap();
        took += usize::from(answer.status == 200);
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_object_stops_its_partition_until_its_loss_is_accepted() {
    let (mut cluster, history, rows) = loaded(Manifest::new(1, 1)).await;
    cluster.stop().await.unwrap();
    let slots = cluster.objects("/_brainy/wal/").unwrap();
    // The largest holds data; fences are small.
    let slot = slots
        .into_iter()
        .max_by_key(|p| std::fs::metadata(p).unwrap().len())
        .unwrap();
    damage(&slot);
    let (partition, place) = split_key(&slot, "/_brainy/wal/");
    let (epoch, seq) = place.split_once('/').unwrap();
    let position = format!(
        "{}:{}",
        epoch.parse::<u64>().unwrap(),
        seq.parse::<u64>().unwrap()
    );

    cluster.launch_again().unwrap();
    for instance in ["writer-0", "reader-0"] {
        let (name, text) = wait_trouble(&cluster, instance).await;
        assert_eq!(name, partition);
        for part in [
            "damaged",
            "checksum",
            &format!("_brainy/wal/{partition}/{place}"),
            "Restore",
            "accept its loss",
        ] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        assert!(
            text.contains(&format!("/coordinate/quarantine/{partition}/{position}")),
            "{text}"
        );
    }
    cluster.wait_ready().await.unwrap();
    let told = cluster.wait_condition("Degraded", "True", "CorruptObject");
    let told = told.await.unwrap();
    assert!(told.contains(&partition), "{told}");
    assert_eq!(writable(&cluster).await, PARTITIONS as usize - 1);

    let node = client_of(&cluster, "writer-0").await.unwrap();
    let path = format!("/coordinate/quarantine/{partition}/{position}");
    let answer = node.send(Method::POST, &path, &[], None).await.unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);
    cluster.wait_settled().await.unwrap();
    until("no partition is in trouble", SETTLED_WITHIN, async || {
        let metric = node
            .metric("brainy_partitions_troubled")
            .await
            .map_err(|e| e.to_string())?;
        holds(metric == Some(0.0), || format!("{metric:?}"))
    })
    .await
    .unwrap();
    let mended = cluster.wait_condition("Degraded", "False", "AsExpected");
    mended.await.unwrap();
    assert_eq!(writable(&cluster).await, PARTITIONS as usize);

    // What is gone is of that partition, and of that slot: nothing else.
    let client = cluster.client();
    let found: BTreeSet<u64> = client
        .scroll_all("things", &Read::Strong)
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.id)
        .collect();
    let missing: Vec<Row> = rows
        .iter()
        .filter(|r| !found.contains(&r.id))
        .cloned()
        .collect();
    assert!(!missing.is_empty(), "the damaged slot held nothing");
    let index: u32 = partition.rsplit('/').next().unwrap().parse().unwrap();
    for row in &missing {
        let own = partition_of(row.id, PARTITIONS).unwrap();
        assert_eq!(own, index, "row {} of another partition is missing", row.id);
    }
    write_all(&client, "things", &history, &missing, 2)
        .await
        .unwrap();
    let found = client.count("things", &Read::Strong).await.unwrap();
    assert_eq!(found, 400 + u64::from(PARTITIONS));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_stops_its_partition_until_it_is_restored() {
    let manifest = Manifest::new(1, 1).with("spec.sharedConfig.flushIntervalMs", 500);
    let (mut cluster, history, _) = loaded(manifest).await;
    let writer = client_of(&cluster, "writer-0").await.unwrap();
    until("segments hold everything", SETTLED_WITHIN, async || {
        let health = writer.health().await.map_err(|e| e.to_string())?;
        let partitions = health["partitions"].as_object();
        // Nothing is unflushed only once the manifest names the segment.
        let flushed = partitions.into_iter().flatten().filter(|(_, p)| {
            p["segments"].as_u64() >= Some(1) && p["unflushedBytes"].as_u64() == Some(0)
        });
        holds(flushed.count() == PARTITIONS as usize, || {
            health.to_string()
        })
    })
    .await
    .unwrap();
    cluster.stop().await.unwrap();
    let files: Vec<PathBuf> = cluster.objects("/segments/").unwrap();
    let file = files
        .into_iter()
        .max_by_key(|p| std::fs::metadata(p).unwrap().len())
        .unwrap();
    let (partition, rest) = split_key(&file, "/segments/");
    let whole = std::fs::read(&file).unwrap();
    damage(&file);
    for instance in ["writer-0", "reader-0"] {
        // Caches hold copies that are not damaged.
        std::fs::remove_dir_all(cluster.data_dir().join(instance)).unwrap();
    }

    cluster.launch_again().unwrap();
    for instance in ["writer-0", "reader-0"] {
        let (name, text) = wait_trouble(&cluster, instance).await;
        assert_eq!(name, partition);
        for part in ["damaged", rest.as_str(), "restore it"] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
    }
    cluster.wait_ready().await.unwrap();
    assert_eq!(writable(&cluster).await, PARTITIONS as usize - 1);

    std::fs::write(&file, whole).unwrap();
    cluster.wait_settled().await.unwrap();
    let client = cluster.client();
    let rows = one_each();
    write_all(&client, "things", &history, &rows, 2)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.distinct, 400 + u64::from(PARTITIONS));
    cluster.stop().await.unwrap();
}
