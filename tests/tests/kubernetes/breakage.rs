//! What can be broken only where everything is ours: the API server, the bucket, nodes, a second operator.

use brainy_tests::kubelet::{Outage, cordon, drain};
use brainy_tests::kubernetes::{OperatorProcess, Place, SETTLED_WITHIN, World};
use brainy_tests::wait::{holds, until};

use crate::scenarios::{Loaded, settled, shown};
use crate::world;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_die_and_come_back() {
    let world = World::here(Place::Own).await.unwrap();
    let mut cluster = settled(&world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let plane = world.control_plane().unwrap();
    let before = cluster.pod_uids(None).await.unwrap();
    plane.kill_api_server().await.unwrap();
    // The data path does not need it.
    loaded.goes_on(100).await;
    plane.start_api_server().await.unwrap();
    shown(&world, cluster.wait_settled().await).await;
    assert_eq!(before, cluster.pod_uids(None).await.unwrap());
    cluster
        .edit(|m| {
            m.set("spec.writers.replicas", 3);
        })
        .await
        .unwrap();
    shown(&world, cluster.wait_settled().await).await;
    loaded.goes_on(50).await;
    loaded.account(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_may_go_and_come_back() {
    let world = world().await;
    let cluster = settled(&world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let before = cluster.pod_uids(None).await.unwrap();
    let bucket = world.bucket().unwrap();
    bucket.stop().await;
    let unreachable =
        cluster.wait_condition("StorageReady", "Unknown", Some("EndpointUnreachable"));
    shown(&world, unreachable.await).await;
    bucket.start_again().await.unwrap();
    shown(&world, cluster.wait_settled().await).await;
    loaded.goes_on(50).await;
    assert_eq!(before, cluster.pod_uids(None).await.unwrap());
    // Requests of the outage may have failed for good; none that was acknowledged is lost.
    loaded.verify(&world).await;
}

/// Neither of them elected, both at work on the same cluster.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_do_no_harm() {
    let world = world().await;
    world
        .replace_operator(|options| options.lease_namespace = None)
        .await
        .unwrap();
    let second = world.operator_options("second", false).await.unwrap();
    let second = OperatorProcess::start(second).await.unwrap();
    let mut cluster = settled(&world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    for writers in [3, 1] {
        cluster
            .edit(|m| {
                m.set("spec.writers.replicas", writers);
            })
            .await
            .unwrap();
        shown(&world, cluster.wait_settled().await).await;
        loaded.goes_on(50).await;
    }
    loaded.account(&world).await;
    second.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_a_node_moves_its_pods_and_loses_nothing() {
    let world = world().await;
    let cluster = settled(&world, 2, 2).await;
    let loaded = Loaded::start(&cluster).await;
    shown(&world, cluster.wait_settled().await).await;
    let node = world.kubelet().unwrap().node(0).to_owned();
    shown(&world, drain(world.client(), &node, SETTLED_WITHIN).await).await;
    shown(&world, cluster.wait_settled().await).await;
    for pod in cluster.pods().await.unwrap() {
        assert_ne!(pod.spec.unwrap().node_name.unwrap(), node);
    }
    cordon(world.client(), &node, false).await.unwrap();
    loaded.goes_on(50).await;
    loaded.account(&world).await;
}

/// A node is cut off: nobody hears of its pods, which run on. Their partitions are taken over after the grace period, and
/// what they still try cannot be acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_of_a_lost_node_are_taken_over() {
    let world = world().await;
    let manifest =
        brainy_tests::manifest::Manifest::new(2, 1).with("spec.rebalance.unreadyGracePeriod", "5s");
    let cluster = world.deploy(manifest).await.unwrap();
    shown(&world, cluster.wait_settled().await).await;
    let loaded = Loaded::start(&cluster).await;
    let before = shown(&world, cluster.wait_settled().await).await;
    let pods = cluster.pods().await.unwrap();
    let kubelet = world.kubelet().unwrap();
    let on_first: Vec<String> = pods
        .iter()
        .filter(|p| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(kubelet.node(0)))
        .filter_map(|p| p.metadata.name.clone())
        .collect();
    let owned_there = |table: &brainy_coordination::assignment::AssignmentTable| {
        let owners = table.partitions.values().filter_map(|p| p.owner.as_ref());
        owners
            .filter(|o| on_first.iter().any(|n| n == o.as_str()))
            .count()
    };
    let writers = on_first.iter().filter(|n| n.contains("-writer-")).count();
    assert_eq!(writers, 1, "one writer on each node: {on_first:?}");
    assert!(owned_there(&before) > 0);
    kubelet.stop_node(0, Outage::Partition).await;
    let taken = until(
        "its partitions are taken over",
        SETTLED_WITHIN,
        async || {
            let table = cluster.table().await.map_err(|e| e.to_string())?;
            holds(owned_there(&table) == 0, || format!("{:?}", table.members))
        },
    );
    shown(&world, taken.await).await;
    loaded.goes_on(100).await;
    kubelet.start_node(0);
    let after = shown(&world, cluster.wait_settled().await).await;
    assert!(owned_there(&after) > 0, "{after:?}");
    loaded.account(&world).await;
}
