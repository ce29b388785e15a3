//! Beginning, pause, stop.

use brainy_tests::client::Read;
use brainy_tests::kubernetes::World;
use brainy_tests::manifest::Manifest;
use brainy_tests::wait::{holds, until};
use kube::ResourceExt;

use super::{SETTLED_WITHIN, settled, shown};

/// The quick start's manifest becomes a cluster that a client writes to and searches through one Service.
pub(crate) async fn the_sample_becomes_ready(world: &World) {
    let sample = Manifest::quickstart().unwrap();
    let cluster = world.deploy(sample).await.unwrap();
    shown(world, cluster.wait_settled().await).await;
    let resource = cluster.resource().await.unwrap();
    let status = resource.status.clone().unwrap();
    assert_eq!(status.observed_generation, resource.metadata.generation);
    assert_eq!(status.writers.as_ref().unwrap().summary, "3/3");
    assert_eq!(status.readers.as_ref().unwrap().summary, "2/2");
    assert_eq!(status.conditions.len(), 6, "{:?}", status.conditions);
    assert_eq!(status.instances.len(), 5);

    let client = cluster.client();
    client.create_collection("things", 2, None).await.unwrap();
    let points = [brainy_tests::client::Point {
        id: 7,
        vector: vec![1.0, 0.0],
        payload: serde_json::json!({"text": "seven"}),
    }];
    client.upsert("things", &points).await.unwrap();
    let found = client
        .search("things", &[1.0, 0.1], 1, &Read::Strong)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    // Every pod is an endpoint of the Service: any node answers any request.
    let mut endpoints: Vec<String> = cluster
        .service()
        .endpoints()
        .into_iter()
        .map(|e| e.pod)
        .collect();
    endpoints.sort();
    let pods: Vec<String> = cluster
        .pods()
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(endpoints, pods);
}

/// While paused nothing follows the spec; afterwards everything does.
pub(crate) async fn a_paused_cluster_waits(world: &World) {
    let mut cluster = settled(world, 1, 0).await;
    cluster
        .edit(|m| {
            m.set("spec.paused", true).set("spec.writers.replicas", 2);
        })
        .await
        .unwrap();
    shown(world, cluster.wait_condition("Paused", "True", None).await).await;
    assert_eq!(cluster.pod_uids(None).await.unwrap().len(), 1);
    cluster
        .edit(|m| {
            m.set("spec.paused", false);
        })
        .await
        .unwrap();
    shown(world, cluster.wait_settled().await).await;
    assert_eq!(cluster.pod_uids(None).await.unwrap().len(), 2);
}

/// A stopped cluster has no pods and keeps its data; started again it serves it.
pub(crate) async fn a_stopped_cluster_keeps_its_data(world: &World) {
    let mut cluster = settled(world, 2, 1).await;
    let client = cluster.client();
    client
        .create_collection("things", 2, Some(4))
        .await
        .unwrap();
    let points: Vec<_> = (0..50)
        .map(|id| brainy_tests::client::Point {
            id,
            vector: vec![1.0, id as f32],
            payload: serde_json::json!({"value": id}),
        })
        .collect();
    client.upsert("things", &points).await.unwrap();
    cluster
        .edit(|m| {
            m.set("spec.stopped", true);
        })
        .await
        .unwrap();
    shown(
        world,
        cluster
            .wait_condition("Ready", "False", Some("Stopped"))
            .await,
    )
    .await;
    let none = until("no pod is left", SETTLED_WITHIN, async || {
        let pods = cluster.pod_uids(None).await.map_err(|e| e.to_string())?;
        holds(pods.is_empty(), || format!("{pods:?}"))
    });
    shown(world, none.await).await;
    cluster
        .edit(|m| {
            m.set("spec.stopped", false);
        })
        .await
        .unwrap();
    shown(world, cluster.wait_settled().await).await;
    assert_eq!(client.count("things", &Read::Strong).await.unwrap(), 50);
}
