//! A planned handoff needs no look-ups.

use std::time::Duration;

use brainy_coordination::assignment::MemberState::Active;
use brainy_coordination::events::{Event, EventLog};

use crate::support::{Cluster, WITHIN};

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_hands_over_tells_its_successor_where_the_log_ends() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    cluster.settle(&[(&a, Active)]).await;
    a.create().await;
    a.write(0..50).await;
    let b = cluster.start("b", None).await;
    let table = cluster.settle(&[(&a, Active), (&b, Active)]).await;
    let moved: Vec<_> = table.owned_by(&b.id).cloned().collect();
    assert_eq!(moved.len(), 2, "{table:?}");
    let log = EventLog::new(cluster.store.clone(), a.id.clone());
    let told = async {
        loop {
            let events = log.read_after(0, 1000).await.unwrap();
            let taken = events.iter().filter(|e| e.instance == b.id);
            let told = taken.filter(|e| {
                matches!(&e.event, Event::PartitionTakenOver { partition, reason, .. }
                    if moved.contains(partition) && reason == "HandedOver")
            });
            if told.count() == moved.len() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(WITHIN, told).await;
    assert!(in_time.is_ok(), "the partitions were taken over otherwise");
    b.write(50..100).await;
    assert_eq!((a.count().await, b.count().await), (100, 100));
}
