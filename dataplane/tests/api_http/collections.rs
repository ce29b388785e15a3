//! Collections, indexes, operations.

use brainy_dataplane::api::ApiConfig;
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_collection_is_made_listed_described_and_dropped() {
    let server = Server::new(ApiConfig::default());
    let schema = json!({
        "vectors": {"size": 4, "distance": "Euclid", "hnsw_config": {"m": 8}, "on_disk": true},
        "shard_number": 3,
        "replication_factor": 2,
        "on_disk_payload": false,
        "optimizers_config": {"indexing_threshold": 0},
        "wal_config": {"wal_capacity_mb": 1},
        "hnsw_config": {"m": 32, "ef_construct": 50, "full_scan_threshold": 10},
    });
    assert_eq!(
        server
            .put("/collections/films", schema.clone())
            .await
            .result(),
        true
    );
    server
        .put("/collections/films", schema)
        .await
        .refused(409, &["films"]);

    let list = server.get("/collections").await.result();
    assert_eq!(list, json!({"collections": [{"name": "films"}]}));
    let exists = server.get("/collections/films/exists").await.result();
    assert_eq!(exists, json!({"exists": true}));

    let info = server.get("/collections/films").await.result();
    assert_eq!(info["status"], "green");
    assert_eq!(info["optimizer_status"], "ok");
    assert_eq!(info["points_count"], 0);
    assert_eq!(info["payload_schema"], json!({}));
    let params = &info["config"]["params"];
    assert_eq!(
        params["vectors"],
        json!({"size": 4, "distance": "Euclid", "hnsw_config": {"m": 8}})
    );
    assert_eq!(params["shard_number"], 3);
    assert_eq!(info["config"]["hnsw_config"]["m"], 32);
    assert_eq!(info["config"]["hnsw_config"]["ef_construct"], 50);
    assert!(info["config"]["optimizer_config"]["flush_interval_sec"].is_u64());

    let dropped = server
        .call("DELETE", "/collections/films", &[], None)
        .await
        .result();
    assert_eq!(dropped, true);
    let again = server
        .call("DELETE", "/collections/films", &[], None)
        .await
        .result();
    assert_eq!(again, false);
    let exists = server.get("/collections/films/exists").await.result();
    assert_eq!(exists, json!({"exists": false}));
    server
        .get("/collections/films")
        .await
        .refused(404, &["films"]);
}

#[tokio::test]
async fn the_unnamed_vector_may_be_called_by_its_name() {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"": {"size": 2, "distance": "Cosine"}}});
    server.put("/collections/c", schema).await.result();
    let info = server.get("/collections/c").await.result();
    assert_eq!(info["config"]["params"]["vectors"]["size"], 2);
}

#[tokio::test]
async fn wrong_schemas_name_the_field() {
    let server = Server::new(ApiConfig::default());
    let vectors =
        |size: i64, distance: &str| json!({"vectors": {"size": size, "distance": distance}});
    for (body, words) in [
        (vectors(0, "Dot"), "vectors.size"),
        (
            vectors(65_537, "Dot"),
            "vectors.size is 65537, it must be from 1 to 65536",
        ),
        (vectors(-1, "Dot"), "vectors"),
        (vectors(2, "Hamming"), "Hamming"),
        (
            json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 0}),
            "shard_number",
        ),
        (
            json!({"vectors": {"size": 2, "distance": "Dot"}, "shards": 2}),
            "shards",
        ),
        (
            json!({"vectors": {"size": 2, "distance": "Dot", "dim": 2}}),
            "dim",
        ),
        (json!({"vectors": {"size": 2}}), "distance"),
        (json!({"vectors": 5}), "vectors"),
    ] {
        server
            .put("/collections/c", body)
            .await
            .refused(400, &[words]);
    }
    for name in ["with%20space", ".hidden", "a%2Fb"] {
        let path = format!("/collections/{name}");
        server
            .put(&path, vectors(2, "Dot"))
            .await
            .refused(400, &["collection name"]);
    }
    assert_eq!(
        server.get("/collections").await.result(),
        json!({"collections": []})
    );
}

#[tokio::test]
async fn payload_indexes_are_created_shown_and_dropped() {
    let server = Server::with_points().await;
    for (field, schema) in [
        ("color", json!("keyword")),
        (
            "a.b[].c",
            json!({"type": "integer", "lookup": true, "range": false}),
        ),
        (
            "note",
            json!({"type": "text", "tokenizer": "word", "lowercase": true, "min_token_len": null}),
        ),
        ("n", json!("integer")),
        ("n", json!("float")),
    ] {
        let body = json!({"field_name": field, "field_schema": schema});
        let answer = server.put("/collections/c/index?wait=true", body).await;
        assert_eq!(answer.result()["status"], "completed", "{field}");
    }
    let dropped = server
        .call("DELETE", "/collections/c/index/note", &[], None)
        .await;
    assert_eq!(dropped.result()["status"], "acknowledged");
    assert_eq!(
        server.get("/collections/c").await.result()["payload_schema"],
        json!({
            "a.b[].c": {
                "data_type": "integer", "points": 3,
                "params": {"type": "integer", "lookup": true, "range": false}
            },
            "color": {"data_type": "keyword", "points": 3},
            "n": {"data_type": "float", "points": 3},
        })
    );
    for (body, word) in [
        (
            json!({"field_name": "", "field_schema": "keyword"}),
            "field_name",
        ),
        (json!({"field_name": "a[", "field_schema": "keyword"}), "a["),
        (json!({"field_name": "a"}), "field_schema"),
        (
            json!({"field_name": "a", "field_schema": "colour"}),
            "colour",
        ),
        (
            json!({"field_name": "a", "field_schema": {"kind": "text"}}),
            "keyword",
        ),
        (
            json!({"field_name": "a", "field_schema": {"type": "text", "shape": 1}}),
            "shape",
        ),
    ] {
        server
            .put("/collections/c/index", body)
            .await
            .refused(400, &[word]);
    }
    let body = json!({"field_name": "color", "field_schema": "keyword"});
    server.put("/collections/none/index", body).await.error(404);
}

#[tokio::test]
async fn clients_of_qdrant_1_20_find_their_version() {
    let answer = Server::new(ApiConfig::default()).get("/").await.json();
    assert!(answer["title"].as_str().unwrap().contains("brainy"));
    let version: Vec<u32> = answer["version"]
        .as_str()
        .unwrap()
        .split('.')
        .map(|p| p.parse().unwrap())
        .collect();
    assert_eq!(version[0], 1);
    assert!(
        version[1].abs_diff(20) <= 1,
        "the client warns when minor versions differ by more than one"
    );
    assert_eq!(answer["brainy"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn operations_answer_their_documents() {
    let server = Server::new(ApiConfig::default());
    assert_eq!(
        server.get("/health").await.json(),
        json!({"role": "standalone"})
    );
    assert_eq!(
        server.get("/coordinate/assignments").await.json(),
        json!({"epoch": 1})
    );
    let rebalance = server
        .call("POST", "/coordinate/rebalance", &[], None)
        .await;
    assert_eq!(rebalance.json(), json!({"moved": 0}));
    let reread = server.call("POST", "/sync/config", &[], None).await;
    assert_eq!(reread.json(), json!({"published": null}));
    let published = server.post("/sync/config", json!({"a": 1})).await;
    assert_eq!(published.json(), json!({"published": {"a": 1}}));
    let metrics = server.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert_eq!(metrics.text, "# EOF\n");
}

#[tokio::test]
async fn readiness_follows_the_service_and_liveness_does_not() {
    let server = Server::new(ApiConfig::default());
    assert_eq!(server.get("/readyz").await.status, 200);
    server.memory.set_not_ready("2 of 5 partitions");
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("2 of 5 partitions"));
    assert_eq!(server.get("/livez").await.status, 200);
}
