//! What `/readyz` means.

use brainy_coordination::assignment::MemberState::Active;
use brainy_coordination::manifest::{self, CollectionSpec, DenseParams, VectorSchema};
use brainy_coordination::rebalance;
use brainy_coordination::types::Nonce;
use brainy_dataplane::model::Distance;
use brainy_dataplane::service::DataService;

use crate::support::{Cluster, WITHIN};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_when_it_serves_what_it_began_with_and_stays_so_while_partitions_come() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    assert!(a.node.ready().unwrap_err().contains("assignment table"));
    cluster.settle(&[(&a, Active)]).await;
    a.node.assignments().await.unwrap();
    a.node.ready().unwrap();

    // A collection that the table gives to this node, and that it cannot have loaded when it hears of it.
    let spec = CollectionSpec {
        partitions: 64,
        schema: VectorSchema::unnamed(DenseParams::new(2, Distance::Dot)),
        extra: serde_json::Value::Null,
    };
    manifest::create_collection(&cluster.store, "more", &spec, Nonce::random())
        .await
        .unwrap();
    rebalance::step(&cluster.store, |_| {}).await.unwrap();
    a.node.assignments().await.unwrap();
    a.node.ready().unwrap();
    let health = a.node.health();
    assert_eq!(health["ready"], true);
    assert_eq!(health["member"]["owned"], 64, "{health}");
    assert_eq!(health["draining"], false);

    // A new process of the same instance has them to load.
    a.node.shutdown().await;
    assert!(a.node.ready().unwrap_err().contains("stopping"));
    let again = cluster.start("a", None).await;
    cluster.members(&[(&again, Active)]).await;
    let loaded = async {
        while again.node.ready().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, loaded).await.unwrap();
    let health = again.node.health();
    let partitions = health["partitions"].as_object().unwrap();
    let owned = partitions.values().filter(|p| p["state"] == "owning");
    assert_eq!(owned.count(), 64, "{health}");
}
