//! Changes of collections.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

async fn patch(server: &Server, body: Value) -> Answer {
    let text = body.to_string();
    server
        .call("PATCH", "/collections/c", &[], Some(&text))
        .await
}

async fn config(server: &Server) -> Value {
    let mut info = server.get("/collections/c").await.result();
    info["config"].take()
}

#[tokio::test]
async fn parameters_change_one_by_one() {
    let server = Server::new(ApiConfig::default());
    let schema = json!({
        "vectors": {
            "a": {"size": 4, "distance": "Dot"},
            "b": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8}},
        },
        "sparse_vectors": {"s": {}},
        "hnsw_config": {"ef_construct": 50},
        "metadata": {"made": "today", "tags": ["x"]},
    });
    server.put("/collections/c", schema).await.result();
    let before = config(&server).await;
    assert_eq!(before["metadata"], json!({"made": "today", "tags": ["x"]}));
    assert_eq!(before["quantization_config"], Value::Null);

    let body = json!({
        "hnsw_config": {"m": 24},
        "vectors": {"a": {"quantization_config": {"turbo": {"bits": "bits4"}}}},
        "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "optimizers_config": {"indexing_threshold": 0},
        "params": {"replication_factor": 2},
        "metadata": {"tags": null, "owner": {"name": "us"}},
    });
    assert_eq!(patch(&server, body).await.result(), true);
    let after = config(&server).await;
    assert_eq!(after["hnsw_config"]["m"], 24);
    assert_eq!(after["hnsw_config"]["ef_construct"], 50);
    assert_eq!(
        after["quantization_config"],
        json!({"scalar": {"type": "int8"}})
    );
    assert_eq!(
        after["metadata"],
        json!({"made": "today", "owner": {"name": "us"}})
    );
    assert_eq!(
        after["params"]["vectors"],
        json!({
            "a": {"size": 4, "distance": "Dot", "quantization_config": {"turbo": {"bits": "bits4"}}},
            "b": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8}},
        })
    );
    assert_eq!(
        after["params"]["sparse_vectors"],
        json!({"s": {"modifier": "idf"}})
    );

    assert_eq!(patch(&server, json!({})).await.result(), true);
    assert_eq!(config(&server).await, after);
}

#[tokio::test]
async fn limits_of_requests_are_kept_with_the_collection() {
    let server = Server::with_points().await;
    assert_eq!(config(&server).await.get("strict_mode_config"), None);
    let first = json!({"strict_mode_config": {"enabled": true, "max_query_limit": 10}});
    patch(&server, first).await.result();
    let second = json!({"strict_mode_config": {"search_max_oversampling": 1.5}});
    patch(&server, second).await.result();
    assert_eq!(
        config(&server).await["strict_mode_config"],
        json!({"enabled": true, "max_query_limit": 10, "search_max_oversampling": 1.5})
    );
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_and_changes_nothing() {
    let server = Server::with_points().await;
    let before = config(&server).await;
    for (body, status, word) in [
        (json!({"vectors": {"x": {}}}), 400, "'x'"),
        (json!({"sparse_vectors": {"x": {}}}), 400, "'x'"),
        (json!({"vectors": {"": {"size": 5}}}), 400, "size"),
        (json!({"hnsw_config": {"m": 300}}), 400, "m is 300"),
        (json!({"hnsw_config": {"m": 0}}), 501, "hnsw_config.m"),
        (json!({"shard_number": 3}), 400, "shard_number"),
        (
            json!({"strict_mode_config": {"max_query_limit": 0}}),
            400,
            "max_query_limit",
        ),
        (
            json!({"strict_mode_config": {"max_query": 1}}),
            400,
            "max_query",
        ),
        (
            json!({"strict_mode_config": {"write_rate_limit": 1}}),
            501,
            "write_rate_limit",
        ),
    ] {
        patch(&server, body).await.refused(status, &[word]);
    }
    assert_eq!(config(&server).await, before);
    let none = json!({"metadata": {}});
    server
        .call("PATCH", "/collections/none", &[], Some(&none.to_string()))
        .await
        .refused(404, &["none"]);
}

#[tokio::test]
async fn vectors_come_and_go_without_their_old_values() {
    let server = Server::with_points().await;
    let path = "/collections/c/vectors/title";
    let dense = json!({"dense": {"size": 2, "distance": "Dot"}});
    let answer = server
        .put(&format!("{path}?wait=true"), dense.clone())
        .await;
    assert_eq!(answer.result()["status"], "completed");
    // Repeating it changes nothing.
    server.put(path, dense.clone()).await.result();
    let params = config(&server).await["params"]["vectors"].take();
    assert_eq!(params["title"], json!({"size": 2, "distance": "Dot"}));

    let title = json!({"points": [{"id": 1, "vector": {"title": [1, 2]}}]});
    let update = "/collections/c/points/vectors";
    server.put(update, title).await.result();
    let search = json!({"query": [1, 0], "using": "title", "with_vector": true});
    let query = "/collections/c/points/query";
    let hits = server.post(query, search.clone()).await.result();
    assert_eq!(
        hits["points"][0]["vector"],
        json!({"": [1.0, 0.0, 0.0], "title": [1.0, 2.0]})
    );
    assert_eq!(hits["points"].as_array().unwrap().len(), 1);

    let dropped = server.call("DELETE", path, &[], None).await;
    assert_eq!(dropped.result()["status"], "acknowledged");
    let point = server.get("/collections/c/points/1").await.result();
    assert_eq!(point["vector"], json!([1.0, 0.0, 0.0]));
    server
        .post(query, search.clone())
        .await
        .refused(400, &["title"]);
    server
        .call("DELETE", path, &[], None)
        .await
        .refused(400, &["title"]);

    server.put(path, dense).await.result();
    let hits = server.post(query, search).await.result();
    assert_eq!(hits["points"], json!([]));
    let sparse = json!({"sparse": {"modifier": "idf"}});
    server
        .put(path, sparse.clone())
        .await
        .refused(409, &["title"]);
    server
        .put("/collections/c/vectors/terms", sparse)
        .await
        .result();
    for (body, status, word) in [
        (
            json!({"dense": {"size": 0, "distance": "Dot"}}),
            400,
            "dense.size",
        ),
        (json!({"dense": {"size": 1}}), 400, "distance"),
        (
            json!({"dense": {"size": 1, "distance": "Dot", "datatype": "uint8"}}),
            501,
            "dense.datatype",
        ),
        (json!({"other": {}}), 400, "other"),
    ] {
        server
            .put("/collections/c/vectors/new", body)
            .await
            .refused(status, &[word]);
    }
}
