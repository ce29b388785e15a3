//! Nodes that were started by hand on one bucket, without an operator.

#![allow(clippy::unwrap_used)]

use brainy_tests::by_hand::{ByHand, tell};

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_elect_share_survive_and_hand_over() {
    let mut cluster = ByHand::new().await.unwrap();
    let story = tell(&mut cluster, 10, &|line| eprintln!("{line}"))
        .await
        .unwrap();
    assert!(story.acknowledged > 0, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_serves_stops_and_serves_again() {
    let mut cluster = ByHand::new().await.unwrap();
    let names = ["alone".to_owned()];
    for round in 0..2 {
        cluster.start(&names).await.unwrap();
        let client = cluster.client("alone").unwrap();
        if round == 0 {
            client.create_collection("c", 2, Some(3)).await.unwrap();
        }
        let point = brainy_tests::client::Point {
            id: round,
            vector: vec![1.0, 2.0],
            payload: serde_json::json!({}),
        };
        client.upsert("c", &[point]).await.unwrap();
        let strong = brainy_tests::client::Read::Strong;
        assert_eq!(client.count("c", &strong).await.unwrap(), round + 1);
        cluster.settled(&names, 3).await.unwrap();
        cluster.stop("alone").await.unwrap();
    }
}
