//! What is left of a deleted cluster.

use brainy_tests::client::Read;
use brainy_tests::kubernetes::{KubeCluster, World};
use brainy_tests::wait::{holds, until};

use super::{SETTLED_WITHIN, settled, shown};

pub(crate) async fn with_data(cluster: &KubeCluster) {
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
