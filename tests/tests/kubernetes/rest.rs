//! A cluster at rest costs nothing, and an upgrade of the operator changes nothing.

use brainy_tests::kube::service_account_user;
use brainy_tests::kubernetes::{RELEASE, SETTLED_WITHIN};
use brainy_tests::wait::{holds, until};

use crate::scenarios::{settled, shown};
use crate::world;

/// Requests that keep up what the operator sees; everything else is counted.
fn is_watch(request: &brainy_tests::kube::ApiRequest) -> bool {
    request.verb == "watch"
}

/// Renewals of the leader's lease are no writes about a cluster.
fn is_lease(request: &brainy_tests::kube::ApiRequest) -> bool {
    request.resource == "leases"
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_a_cluster_costs_the_api_server_nothing() {
    let world = world().await;
    let cluster = settled(&world, 2, 1).await;
    let plane = world.control_plane().unwrap();
    let user = service_account_user(world.namespace(), RELEASE);
    // What follows from becoming ready has arrived once ten looks at the bucket asked for nothing; then ten more are counted.
    let looks = async || {
        let rounds = world
            .operator_metric("brainy_operator_storage_rounds_total")
            .await
            .unwrap();
        let mark = plane.audit_mark();
        let until_then = until("ten looks at the bucket", SETTLED_WITHIN, async || {
            let now = world
                .operator_metric("brainy_operator_storage_rounds_total")
                .await
                .map_err(|e| e.to_string())?;
            holds(now >= rounds + 10.0, || format!("{rounds} then, {now} now"))
        });
        shown(&world, until_then.await).await;
        let requests = plane.requests_by(&user, mark).unwrap();
        requests
            .into_iter()
            .filter(|r| !is_watch(r) && !is_lease(r))
            .collect::<Vec<_>>()
    };
    looks().await;
    let requests = looks().await;
    assert!(requests.is_empty(), "{requests:#?}");
    // The count itself works: an edit is followed by requests of this user.
    let mark = plane.audit_mark();
    let mut cluster = cluster;
    cluster
        .edit(|m| {
            m.set("spec.readers.replicas", 2);
        })
        .await
        .unwrap();
    shown(&world, cluster.wait_settled().await).await;
    let requests = plane.requests_by(&user, mark).unwrap();
    let writes = requests.iter().filter(|r| r.verb == "patch");
    assert!(writes.count() > 0, "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_operator_rolls_no_pods() {
    let world = world().await;
    let mut cluster = settled(&world, 1, 1).await;
    // This cluster leaves the choice of the image to the operator.
    cluster
        .edit(|m| {
            m.remove("spec.image");
        })
        .await
        .unwrap();
    shown(&world, cluster.wait_settled().await).await;
    let before = cluster.pod_uids(None).await.unwrap();
    world
        .replace_operator(|options| options.default_image = "brainy.test/brainyd:test-2".to_owned())
        .await
        .unwrap();
    // The new one has looked at it: it follows an edit.
    cluster
        .edit(|m| {
            m.set("spec.rebalance.maxConcurrentMoves", 3);
        })
        .await
        .unwrap();
    shown(&world, cluster.wait_settled().await).await;
    assert_eq!(before, cluster.pod_uids(None).await.unwrap());
    let resource = cluster.resource().await.unwrap();
    let image = resource.status.unwrap().image.unwrap();
    assert_eq!(image, "brainy.test/brainyd:test");
}
