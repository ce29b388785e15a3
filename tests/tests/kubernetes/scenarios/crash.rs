//! What breaks without asking.

use brainy_tests::kubernetes::World;
use brainy_tests::wait::{holds, until};

use super::{Loaded, SETTLED_WITHIN, settled, shown};

/// Each pod is killed in turn under load. One that is back within the grace period keeps its partitions.
pub(crate) async fn killed_pods_lose_nothing(world: &World) {
    let cluster = settled(world, 2, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let before = shown(world, cluster.wait_settled().await).await;
    for (name, _) in cluster.pod_uids(None).await.unwrap() {
        world.kill_pod(&cluster, &name).await.unwrap();
        loaded.goes_on(50).await;
        shown(world, cluster.wait_settled().await).await;
    }
    let after = shown(world, cluster.wait_settled().await).await;
    let owners = |t: &brainy_coordination::assignment::AssignmentTable| -> Vec<_> {
        t.partitions.values().map(|p| p.owner.clone()).collect()
    };
    assert_eq!(owners(&before), owners(&after));
    loaded.account(world).await;
}

/// The operator is killed at every step of a scale-down: at each change of the assignment table, until it is done.
pub(crate) async fn the_operator_is_killed_at_every_step(world: &World) {
    let mut cluster = settled(world, 3, 1).await;
    let loaded = Loaded::start(&cluster).await;
    let before = shown(world, cluster.wait_settled().await).await;
    cluster
        .edit(|m| {
            m.set("spec.writers.replicas", 1)
                .set("spec.rebalance.maxConcurrentMoves", 2);
        })
        .await
        .unwrap();
    let mut version = before.epoch;
    let mut kills = 0;
    // Each edition of the table is a step that somebody may die at.
    while kills < 30 {
        let step = until("the next step, or the end", SETTLED_WITHIN, async || {
            let table = cluster.table().await.map_err(|e| e.to_string())?;
            let pods = cluster
                .pod_uids(Some("writer"))
                .await
                .map_err(|e| e.to_string())?;
            let done = pods.len() == 1 && table.members.len() == 2;
            holds(done || table.epoch > version, || {
                format!("epoch {}, pods {pods:?}", table.epoch)
            })?;
            Ok((done, table.epoch))
        });
        let (done, now) = shown(world, step.await).await;
        if done {
            break;
        }
        version = now;
        world.kill_operator().await.unwrap();
        kills += 1;
    }
    assert!(kills >= 2, "it died {kills} times");
    shown(world, cluster.wait_settled().await).await;
    loaded.goes_on(50).await;
    loaded.account(world).await;
}
