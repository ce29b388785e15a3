//! Qdrant's reports about nodes and shards.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn nodes_and_shards_are_numbered_alike() {
    let server = Server::with_points().await;
    let cluster = server.get("/cluster").await.result();
    assert_eq!(cluster["status"], "enabled");
    let me = cluster["peer_id"].as_u64().unwrap();
    assert!(me < 1 << 53, "JavaScript reads it");
    let peers = cluster["peers"].as_object().unwrap();
    assert_eq!(peers.len(), 2);
    assert_eq!(peers[&me.to_string()]["uri"], "http://host-0:6333/");
    let other = peers.keys().find(|id| **id != me.to_string()).unwrap();
    let other: u64 = other.parse().unwrap();
    let raft = &cluster["raft_info"];
    assert_eq!((&raft["term"], &raft["commit"]), (&json!(3), &json!(7)));
    assert_eq!(raft["pending_operations"], 1);

    let shards = server.get("/collections/c/cluster").await.result();
    assert_eq!(
        shards,
        json!({
            "peer_id": me,
            "shard_count": 1,
            "local_shards": [{"shard_id": 0, "points_count": 3, "state": "Active"}],
            "remote_shards": [{"shard_id": 0, "peer_id": other, "state": "Initializing"}],
            "shard_transfers": [{"shard_id": 0, "from": me, "to": other, "sync": false}],
        })
    );
    server.get("/collections/none/cluster").await.error(404);
}

#[tokio::test]
async fn the_service_describes_itself() {
    let server = Server::with_points().await;
    let telemetry = server.get("/telemetry?details_level=3").await.result();
    assert_eq!(telemetry["collections"]["number_of_collections"], 1);
    assert_eq!(telemetry["cluster"]["enabled"], true);
    assert_eq!(telemetry["app"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(telemetry["app"]["startup"].as_str().unwrap().ends_with('Z'));
    let issues = server.get("/issues").await.result();
    assert_eq!(issues, json!({"issues": []}));
    let quotas = server.get("/quotas").await.result();
    assert_eq!(quotas["config"], json!({"enabled": false}));
}
