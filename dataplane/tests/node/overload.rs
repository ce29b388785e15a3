//! Reads at a node that has no room for them.

use brainy_coordination::assignment::MemberState::Active;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::rebalance;
use brainy_dataplane::admission::Visit;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::CountRequest;
use brainy_dataplane::service::DataService;

use crate::support::{Cluster, Served};

/// Takes all places of a node's gate.
fn fill(served: &Served) -> Vec<Visit> {
    let gate = served.node.gate();
    let queue = EffectiveConfig::default().max_queued_reads as usize;
    std::iter::from_fn(|| gate.enter(queue).ok()).collect()
}

async fn count(served: &Served) -> Result<u64, ServiceError> {
    let all = CountRequest { filter: None };
    served.node.count("things", all, Default::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_one_node_refuses_is_answered_by_another_and_by_none_with_overloaded() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    let b = cluster.start("b", None).await;
    let both = [(&a, Active), (&b, Active)];
    rebalance::step(&cluster.store, |edit| edit.policy.read_replicas = 2)
        .await
        .unwrap();
    cluster.settle(&both).await;
    a.create().await;
    a.write(0..50).await;
    let table = cluster.settle(&both).await;
    for node in [&a, &b] {
        assert_eq!(table.read_by(&node.id).count(), 4, "{table:?}");
    }

    let full = fill(&a);
    assert!(!full.is_empty());
    // Through the full node itself, which asks the other, and through the other.
    assert_eq!(count(&a).await.unwrap(), 50);
    assert_eq!(count(&b).await.unwrap(), 50);
    let full_too = fill(&b);
    for node in [&a, &b] {
        let refused = count(node).await.unwrap_err();
        assert!(
            matches!(refused, ServiceError::Overloaded { .. }),
            "{refused}"
        );
        // What tells an operator why is answered all the same.
        assert_eq!(node.node.info("things").await.unwrap().points, 50);
        assert!(node.node.metrics().contains("brainy_refused_total"));
    }
    drop(full);
    assert_eq!(count(&b).await.unwrap(), 50);
    drop(full_too);
    assert_eq!(count(&b).await.unwrap(), 50);
}
