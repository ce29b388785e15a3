//! More and fewer instances.

use brainy_coordination::planner::minimal_moves;
use brainy_tests::cluster::moves;
use brainy_tests::kubernetes::World;
use brainy_tests::wait::{holds, until};
use kube::ResourceExt;

use super::{Loaded, settled, shown};

/// Writers and readers come and go under load: nothing is lost, and no more partitions move than must.
pub(crate) async fn scaling_under_load(world: &World) {
    let mut cluster = settled(world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    for writers in [3, 1] {
        let before = shown(world, cluster.wait_settled().await).await;
        cluster
            .edit(|m| {
                m.set("spec.writers.replicas", writers);
            })
            .await
            .unwrap();
        let after = shown(world, cluster.wait_settled().await).await;
        let least = minimal_moves(&before.partitions, &after.members);
        assert!(least > 0, "the step to {writers} writers moves nothing");
        assert_eq!(moves(&before, &after), least, "{before:?}\n{after:?}");
        loaded.goes_on(50).await;
    }
    for readers in [2, 1] {
        cluster
            .edit(|m| {
                m.set("spec.readers.replicas", readers);
            })
            .await
            .unwrap();
        shown(world, cluster.wait_settled().await).await;
        loaded.goes_on(50).await;
    }
    loaded.account(world).await;
}

/// A scale-down that is taken back while it drains leaves every pod where it was.
pub(crate) async fn a_scale_down_can_be_taken_back(world: &World) {
    let mut cluster = settled(world, 3, 0).await;
    let client = cluster.client();
    client
        .create_collection("things", 8, Some(48))
        .await
        .unwrap();
    shown(world, cluster.wait_settled().await).await;
    let before = cluster.pod_uids(None).await.unwrap();
    // One move at a time, so that there is a while to change one's mind in.
    cluster
        .edit(|m| {
            m.set("spec.rebalance.maxConcurrentMoves", 1)
                .set("spec.writers.replicas", 1);
        })
        .await
        .unwrap();
    let draining = until(
        "status shows who drains",
        super::SETTLED_WITHIN,
        async || {
            let resource = cluster.resource().await.map_err(|e| e.to_string())?;
            let instances = resource.status.unwrap_or_default().instances;
            let draining: Vec<String> = instances
                .iter()
                .filter(|i| format!("{:?}", i.phase) == "Draining")
                .map(|i| i.instance.clone())
                .collect();
            holds(!draining.is_empty(), || format!("{instances:?}"))?;
            Ok(draining)
        },
    );
    let draining = shown(world, draining.await).await;
    assert!(
        draining.iter().all(|name| !name.ends_with("-0")),
        "{draining:?}"
    );
    cluster
        .edit(|m| {
            m.set("spec.rebalance.maxConcurrentMoves", 8)
                .set("spec.writers.replicas", 3);
        })
        .await
        .unwrap();
    shown(world, cluster.wait_settled().await).await;
    assert_eq!(before, cluster.pod_uids(None).await.unwrap());
}

/// `kubectl scale` sets the readers, as a HorizontalPodAutoscaler would.
pub(crate) async fn the_scale_subresource_sets_readers(world: &World) {
    let cluster = settled(world, 1, 1).await;
    let resource = cluster.resource().await.unwrap();
    let scale = world.scale(&cluster, 2).await.unwrap();
    assert_eq!(scale.spec.and_then(|s| s.replicas), Some(2));
    shown(world, cluster.wait_settled().await).await;
    let status = world.current_scale(&cluster).await.unwrap().status.unwrap();
    assert_eq!(status.replicas, 2);
    let names = world
        .pods_selected(&status.selector.unwrap())
        .await
        .unwrap();
    let name = resource.name_any();
    assert_eq!(
        names,
        [format!("{name}-reader-0"), format!("{name}-reader-1")]
    );
}
