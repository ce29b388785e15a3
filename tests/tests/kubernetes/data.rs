//! Data in the bucket: what goes with its cluster, what stays, and what a copy of it is good for.

use brainy_crds::{ADOPT_DATA, DATA_FINALIZER, SKIP_DATA_DELETION};
use brainy_tests::client::Read;
use brainy_tests::kubernetes::SETTLED_WITHIN;
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};

use crate::scenarios::{Loaded, settled, shown, with_data};
use crate::world;

/// `deletionPolicy: Delete` removes the cluster's prefix and nothing beside it.
#[tokio::test(flavor = "multi_thread")]
async fn deletion_can_remove_exactly_the_data() {
    let world = world().await;
    let manifest = Manifest::new(1, 0).with("spec.deletionPolicy", "Delete");
    let neighbour = Manifest::new(1, 0).with("metadata.name", "test-2");
    let cluster = world.deploy(manifest).await.unwrap();
    let neighbour = world.deploy(neighbour).await.unwrap();
    for c in [&cluster, &neighbour] {
        shown(&world, c.wait_settled().await).await;
        with_data(c).await;
    }
    assert!(!world.stored(&cluster).await.unwrap().is_empty());
    cluster.delete().await.unwrap();
    shown(&world, cluster.wait_gone().await).await;
    assert_eq!(world.stored(&cluster).await.unwrap(), [""; 0]);
    let count = neighbour.client().count("kept", &Read::Strong).await;
    assert_eq!(count.unwrap(), 1);
}

/// Data that cannot be deleted does not keep the resource for ever: the annotation lets it go.
#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_data_can_be_skipped() {
    let world = world().await;
    let manifest = Manifest::new(1, 0).with("spec.deletionPolicy", "Delete");
    let cluster = world.deploy(manifest).await.unwrap();
    shown(&world, cluster.wait_settled().await).await;
    with_data(&cluster).await;
    let finalizers = cluster.resource().await.unwrap().metadata.finalizers;
    assert_eq!(finalizers.unwrap_or_default(), [DATA_FINALIZER]);
    cluster
        .annotate(SKIP_DATA_DELETION, Some("true"))
        .await
        .unwrap();
    cluster.delete().await.unwrap();
    shown(&world, cluster.wait_gone().await).await;
    assert!(!world.stored(&cluster).await.unwrap().is_empty());
}

/// Two clusters on one prefix: the younger does not start, and the data of the older is not deleted under it.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_another_cluster_names_is_not_deleted() {
    let world = world().await;
    let manifest = Manifest::new(1, 0).with("spec.deletionPolicy", "Delete");
    let first = world.deploy(manifest).await.unwrap();
    shown(&world, first.wait_settled().await).await;
    with_data(&first).await;
    let same = format!("{}/{}", world.namespace(), first.name());
    let second = Manifest::new(1, 0)
        .with("metadata.name", "test-2")
        .with("spec.storage.prefix", same);
    let second = world.deploy(second).await.unwrap();
    let refused = second.wait_condition("StorageReady", "False", Some("PrefixInUse"));
    let message = shown(&world, refused.await).await;
    assert!(message.contains(first.name()), "{message}");
    assert_eq!(second.pods().await.unwrap().len(), 0);

    first.delete().await.unwrap();
    let waits = until("the deletion waits", SETTLED_WITHIN, async || {
        let pods = first.pods().await.map_err(|e| e.to_string())?;
        let status = first.resource().await.map_err(|e| e.to_string())?.status;
        let told = format!("{:?}", status.unwrap_or_default().conditions);
        holds(pods.is_empty() && told.contains(second.name()), || told)
    });
    shown(&world, waits.await).await;
    assert!(!world.stored(&first).await.unwrap().is_empty());
    second.delete().await.unwrap();
    shown(&world, first.wait_gone().await).await;
    assert_eq!(world.stored(&first).await.unwrap(), [""; 0]);
}

/// A copy of a stopped cluster's prefix is a backup: a cluster of another name and size finds everything in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_prefix_is_restored_into_a_new_cluster() {
    let world = world().await;
    let mut cluster = settled(&world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let history = loaded.history.clone();
    loaded.account(&world).await;
    cluster
        .edit(|m| {
            m.set("spec.stopped", true);
        })
        .await
        .unwrap();
    let stopped = cluster.wait_condition("Ready", "False", Some("Stopped"));
    shown(&world, stopped.await).await;
    let prefix = format!("{}/{}", world.namespace(), cluster.name());
    let bucket = world.bucket().unwrap();
    bucket.copy(&prefix, "restored").await.unwrap();

    let other = Manifest::new(3, 0)
        .with("metadata.name", "other")
        .with("spec.storage.prefix", "restored");
    let other = world.deploy(other).await.unwrap();
    let refused = other.wait_condition("StorageReady", "False", Some("PrefixInUse"));
    let message = shown(&world, refused.await).await;
    assert!(
        message.contains(cluster.name()) && message.contains(ADOPT_DATA),
        "{message}"
    );
    other.annotate(ADOPT_DATA, Some("true")).await.unwrap();
    shown(&world, other.wait_settled().await).await;
    let verdict = history.verify(&other.client(), "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert!(verdict.distinct > 0);
}
