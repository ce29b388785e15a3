//! What is left of a deleted cluster.

use brainy_crds::{DATA_FINALIZER, SKIP_DATA_DELETION};
use brainy_tests::client::Read;
use brainy_tests::kubernetes::{KubeCluster, World};
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};

use super::{SETTLED_WITHIN, settled, shown};

async fn with_data(cluster: &KubeCluster) {
    let client = cluster.client();
    client.create_collection("kept", 2, Some(4)).await.unwrap();
    let points = [brainy_tests::client::Point {
        id: 1,
        vector: vec![1.0, 2.0],
        payload: serde_json::json!({}),
    }];
    client.upsert("kept", &points).await.unwrap();
}

/// By default the data stays, nothing else does, and a new cluster of the same name finds it.
pub(crate) async fn deletion_keeps_the_data_by_default(world: &World) {
    let cluster = settled(world, 1, 1).await;
    with_data(&cluster).await;
    cluster.delete().await.unwrap();
    shown(world, cluster.wait_gone().await).await;
    let left = until("nothing of it is left", SETTLED_WITHIN, async || {
        let left = world
            .objects_of(&cluster)
            .await
            .map_err(|e| e.to_string())?;
        holds(left.is_empty(), || format!("{left:?}"))
    });
    shown(world, left.await).await;
    let again = settled(world, 1, 1).await;
    let count = again.client().count("kept", &Read::Strong).await.unwrap();
    assert_eq!(count, 1);
}

/// `deletionPolicy: Delete` removes the cluster's prefix and nothing beside it.
pub(crate) async fn deletion_can_remove_exactly_the_data(world: &World) {
    let manifest = Manifest::new(1, 0).with("spec.deletionPolicy", "Delete");
    let neighbour = Manifest::new(1, 0).with("metadata.name", "test-2");
    let cluster = world.deploy(manifest).await.unwrap();
    let neighbour = world.deploy(neighbour).await.unwrap();
    for c in [&cluster, &neighbour] {
        shown(world, c.wait_settled().await).await;
        with_data(c).await;
    }
    assert!(!world.stored(&cluster).await.unwrap().is_empty());
    cluster.delete().await.unwrap();
    shown(world, cluster.wait_gone().await).await;
    assert_eq!(world.stored(&cluster).await.unwrap(), [""; 0]);
    let count = neighbour.client().count("kept", &Read::Strong).await;
    assert_eq!(count.unwrap(), 1);
}

/// Data that cannot be deleted does not keep the resource for ever: the annotation lets it go.
pub(crate) async fn the_deletion_of_data_can_be_skipped(world: &World) {
    let manifest = Manifest::new(1, 0).with("spec.deletionPolicy", "Delete");
    let cluster = world.deploy(manifest).await.unwrap();
    shown(world, cluster.wait_settled().await).await;
    with_data(&cluster).await;
    let finalizers = cluster.resource().await.unwrap().metadata.finalizers;
    assert_eq!(finalizers.unwrap_or_default(), [DATA_FINALIZER]);
    cluster
        .annotate(SKIP_DATA_DELETION, Some("true"))
        .await
        .unwrap();
    cluster.delete().await.unwrap();
    shown(world, cluster.wait_gone().await).await;
    assert!(!world.stored(&cluster).await.unwrap().is_empty());
}
