//! Two processes under one name.

use brainy_coordination::assignment::MemberState::Active;
use brainy_dataplane::model::{CountRequest, ReadOptions};
use brainy_dataplane::service::DataService;

use crate::support::{Cluster, WITHIN};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_process_of_a_name_replaces_the_first_which_does_not_fight_back() {
    let cluster = Cluster::new();
    let first = cluster.start("a", None).await;
    cluster.settle(&[(&first, Active)]).await;
    first.create().await;
    first.write(0..10).await;
    let second = cluster.start("a", None).await;
    cluster.settle(&[(&second, Active)]).await;
    second.write(10..20).await;
    assert_eq!(second.count().await, 20);
    // Whatever it answers, it learns that its leases were taken, and by whom.
    let all = CountRequest { filter: None };
    let _refused = first
        .node
        .count("things", all, ReadOptions::default())
        .await;
    tokio::time::timeout(WITHIN, first.node.superseded())
        .await
        .unwrap();
    second.write(20..30).await;
    assert_eq!(second.count().await, 30);
    first.node.shutdown().await;
    second.write(30..31).await;
    assert_eq!(second.count().await, 31);
}
