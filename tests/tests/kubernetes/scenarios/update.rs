//! Pods are replaced.

use brainy_crds::RESTARTED_AT;
use brainy_tests::kubernetes::World;
use brainy_tests::wait::{holds, until};

use super::{Loaded, SETTLED_WITHIN, settled, shown};

/// The restart annotation replaces every pod, one of a role after the other, and nobody notices.
pub(crate) async fn a_rolling_restart_under_load(world: &World) {
    let cluster = settled(world, 3, 2).await;
    let loaded = Loaded::start(&cluster).await;
    shown(world, cluster.wait_settled().await).await;
    let before = cluster.pod_uids(None).await.unwrap();
    cluster
        .annotate(RESTARTED_AT, Some("2026-01-01T00:00:00Z"))
        .await
        .unwrap();
    let replaced = until("every pod is replaced", SETTLED_WITHIN, async || {
        let now = cluster.pod_uids(None).await.map_err(|e| e.to_string())?;
        let kept: Vec<_> = now.iter().filter(|pod| before.contains(pod)).collect();
        holds(kept.is_empty() && now.len() == before.len(), || {
            format!("old pods {kept:?} of {now:?}")
        })
    });
    shown(world, replaced.await).await;
    shown(world, cluster.wait_settled().await).await;
    loaded.goes_on(50).await;
    loaded.account(world).await;
}

/// An image that does not exist takes one pod of a role away and no more; editing the manifest back heals it.
pub(crate) async fn a_bad_image_is_rolled_back(world: &World) {
    let mut cluster = settled(world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    shown(world, cluster.wait_settled().await).await;
    let good = world.image_tag();
    let before = cluster.pod_uids(Some("writer")).await.unwrap();
    cluster
        .edit(|m| {
            m.set("spec.image.tag", "does-not-exist");
        })
        .await
        .unwrap();
    let told = until("the status names the image", SETTLED_WITHIN, async || {
        let resource = cluster.resource().await.map_err(|e| e.to_string())?;
        let status = resource.status.unwrap_or_default();
        let told = status
            .instances
            .iter()
            .any(|i| i.instance.contains("-writer-") && i.message.contains("ImagePull"));
        holds(told, || format!("{:?}", status.instances))
    });
    shown(world, told.await).await;
    loaded.goes_on(100).await;
    let stuck = cluster.pod_uids(Some("writer")).await.unwrap();
    let kept = stuck.iter().filter(|pod| before.contains(pod)).count();
    assert_eq!(kept, 1, "{before:?} {stuck:?}");
    cluster
        .edit(|m| {
            m.set("spec.image.tag", good);
        })
        .await
        .unwrap();
    shown(world, cluster.wait_settled().await).await;
    loaded.account(world).await;
}

/// Evicting a pod, as a node drain does, moves its partitions first; the pod comes back and gets its share.
pub(crate) async fn an_evicted_pod_hands_over_first(world: &World) {
    let cluster = settled(world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let before = shown(world, cluster.wait_settled().await).await;
    let name = format!("{}-writer-1", cluster.name());
    world.evict(&name).await.unwrap();
    let moved = until(
        "its partitions moved while it lived",
        SETTLED_WITHIN,
        async || {
            let table = cluster.table().await.map_err(|e| e.to_string())?;
            let held = table
                .partitions
                .values()
                .filter(|p| p.owner.as_ref().is_some_and(|o| o.as_str() == name))
                .count();
            holds(held == 0 && table.epoch > before.epoch, || {
                format!("{held} left, epoch {}", table.epoch)
            })
        },
    );
    shown(world, moved.await).await;
    loaded.goes_on(50).await;
    let after = shown(world, cluster.wait_settled().await).await;
    let held = after
        .partitions
        .values()
        .filter(|p| p.owner.as_ref().is_some_and(|o| o.as_str() == name))
        .count();
    assert!(held > 0, "{after:?}");
    loaded.account(world).await;
}
