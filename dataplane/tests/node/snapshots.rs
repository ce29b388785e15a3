//! Snapshots of a cluster at work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::assignment::MemberState;
use brainy_dataplane::model::{
    PayloadSelector, PointId, ReadOptions, RetrieveRequest, VectorSelector,
};
use brainy_dataplane::service::DataService;
use brainy_dataplane::snapshots::{Origin, Scope, SnapshotService};
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, Served, WITHIN};

/// Which of the points 0 to `written` are in `collection`.
async fn ids(served: &Served, collection: &str, written: u64) -> BTreeSet<u64> {
    let request = RetrieveRequest {
        ids: (0..written).map(PointId::Num).collect(),
        with_payload: PayloadSelector::None,
        with_vector: VectorSelector::None,
    };
    let found = served
        .node
        .retrieve(collection, request, ReadOptions::default());
    let ids = found.await.unwrap().into_iter().map(|p| match p.id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => panic!("nobody wrote it"),
    });
    ids.collect()
}

/// While one writer writes and partitions move: all that was acknowledged before is in the snapshot, and of every partition
/// it holds a prefix of what was written to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_whole_while_writers_write_and_partitions_move() {
    let cluster = Cluster::new();
    let a = Arc::new(cluster.start("a", None).await);
    let b = cluster.start("b", None).await;
    let both = [(a.as_ref(), MemberState::Active), (&b, MemberState::Active)];
    cluster.settle(&both).await;
    a.create().await;
    cluster.settle(&both).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let (a, acknowledged, stop) = (a.clone(), acknowledged.clone(), stop.clone());
        async move {
            let mut next = 0;
            while !stop.is_cancelled() {
                a.write(next..next + 1).await;
                next += 1;
                acknowledged.store(next, Ordering::SeqCst);
            }
        }
    });
    let scope = Scope::Collection("things".to_owned());
    let draining = [
        (a.as_ref(), MemberState::Active),
        (&b, MemberState::Draining),
    ];
    let mut made = Vec::new();
    for members in [&both, &draining, &both] {
        let before = acknowledged.load(Ordering::SeqCst);
        let create = async {
            let described = b.node.create(&scope).await.unwrap();
            made.push((before, described.name));
        };
        let moved = futures::future::join(create, cluster.settle(members));
        tokio::time::timeout(WITHIN, moved).await.unwrap();
    }
    stop.cancel();
    writing.await.unwrap();
    let written = acknowledged.load(Ordering::SeqCst);
    let collection = a.node.schema("things").await.unwrap();
    for (number, (before, name)) in made.into_iter().enumerate() {
        let restored = format!("restored{number}");
        let origin = Origin::Here(name);
        a.node.recover(&restored, origin, None).await.unwrap();
        let held = ids(&a, &restored, written).await;
        let missing: Vec<u64> = (0..before).filter(|id| !held.contains(id)).collect();
        assert!(missing.is_empty(), "{missing:?} of {before}");
        for partition in collection.partitions() {
            let in_it = |id: &u64| {
                let id = PointId::Num(*id);
                collection.partition_of(&id.canonical_bytes()) == partition
            };
            let mut later = (0..written)
                .filter(in_it)
                .skip_while(|id| held.contains(id));
            assert_eq!(later.find(|id| held.contains(id)), None, "{partition}");
        }
    }
    assert_eq!(a.count().await, written);
}

/// Owners on other nodes flush too, and a snapshot that finds nothing to flush is one as well.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_makes_and_restores_a_snapshot_of_the_whole_cluster() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    let b = cluster.start("b", None).await;
    let both = [(&a, MemberState::Active), (&b, MemberState::Active)];
    cluster.settle(&both).await;
    a.create().await;
    cluster.settle(&both).await;
    let empty = a.node.create(&Scope::Whole).await.unwrap();
    a.write(0..50).await;
    let full = b.node.create(&Scope::Whole).await.unwrap();
    let again = a.node.create(&Scope::Whole).await.unwrap();
    assert_eq!(again.bytes, full.bytes);
    let listed = SnapshotService::list(&b.node, &Scope::Whole).await.unwrap();
    let names: BTreeSet<&str> = listed.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names.len(), 3);
    for (from, expected) in [(&empty, 0), (&full, 50)] {
        let origin = Origin::Here(from.name.clone());
        let sum = Some(from.sha256.clone());
        a.node.recover("things", origin, sum).await.unwrap();
        assert_eq!(a.count().await, expected);
        assert_eq!(b.count().await, expected);
    }
}
