//! Reads at a node that has no room for them.

use brainy_coordination::assignment::MemberState::Active;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::rebalance;
use brainy_coordination::types::Nonce;
use brainy_dataplane::admission::Visit;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::{
    CountRequest, Point, PointId, Vectors, WriteOp, WriteOptions, WriteReceipt,
};
use brainy_dataplane::service::DataService;
use serde_json::json;

use crate::support::{Cluster, Kind, Served};

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

/// Writes 1000 points of about `text` bytes each, as one batch.
async fn write_batch(served: &Served, text: usize) -> Result<WriteReceipt, ServiceError> {
    let payload = json!({"text": "x".repeat(text)});
    let point = |id| Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![1.0, 2.0]),
        payload: payload.as_object().unwrap().clone(),
    };
    let options = WriteOptions {
        request_id: Nonce::random(),
    };
    let op = WriteOp::Upsert((0..1000).map(point).collect());
    served.node.write("things", op, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_memory_for_writes_is_taken_by_nodes_with_nothing_else_to_do() {
    let cluster = Cluster::new();
    let small = || Kind {
        memory_budget: 64 << 20,
        ..Kind::default()
    };
    let a = cluster.start_as("a", small()).await;
    let b = cluster.start_as("b", small()).await;
    let both = [(&a, Active), (&b, Active)];
    cluster.settle(&both).await;
    a.create().await;
    let table = cluster.settle(&both).await;
    for node in [&a, &b] {
        assert_eq!(table.owned_by(&node.id).count(), 2, "{table:?}");
    }
    // 3 MB: each of the four parts takes half of what writes may take at a node, at the one that was asked and at the other.
    for node in [&a, &b] {
        let receipt = write_batch(node, 3000).await.unwrap();
        assert_eq!(receipt.token.0.len(), 4);
        assert_eq!(count(node).await.unwrap(), 1000);
    }
}
