//! What Brainy does not have is refused by name, with 501, and changes nothing.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::Server;

async fn each(method: &str, path: &str, cases: &[(Value, &str)]) {
    let server = Server::with_points().await;
    for (body, word) in cases {
        let answer = server
            .call(method, path, &[], Some(&body.to_string()))
            .await;
        answer.refused(501, &["not supported by Brainy", word]);
    }
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn kinds_of_vectors() {
    let point = |vector: Value| json!({"points": [{"id": 9, "vector": vector}]});
    let cases = [
        (point(json!({"text": "a", "model": "b"})), "inference"),
        (point(json!({"": {"text": "a", "model": "b"}})), "inference"),
    ];
    each("PUT", "/collections/c/points", &cases).await;
    each("PUT", "/collections/c/points/vectors", &cases).await;
}

#[tokio::test]
async fn kinds_of_writes() {
    let points = json!([{"id": 9, "vector": [1, 1, 1]}]);
    let upserts = [(json!({"points": points, "shard_key": "a"}), "shard_key")];
    each("PUT", "/collections/c/points", &upserts).await;
    each(
        "POST",
        "/collections/c/points/delete",
        &[(json!({"points": [1], "shard_key": 1}), "shard_key")],
    )
    .await;
    let nested = json!({"payload": {}, "points": [1], "key": "a"});
    each("PUT", "/collections/c/points/payload", &[(nested, "key")]).await;
    let operations = [(
        json!({"operations": [{"delete": {"points": [1]}}, {"upsert": {"points": points, "shard_key": 1}}]}),
        "operations[1]: shard_key",
    )];
    each("POST", "/collections/c/points/batch", &operations).await;
}

#[tokio::test]
async fn kinds_of_queries() {
    let vector = json!([1, 1, 1]);
    let cases = [
        (
            json!({"prefetch": {"query": vector, "lookup_from": {"collection": "d", "shard_key": 1}}, "query": vector}),
            "prefetch[0]: lookup_from.shard_key",
        ),
        (json!({"query": {"text": "a"}}), "text queries"),
        (json!({"query": {"text": {"query": "a"}}}), "text queries"),
        (json!({"query": {"text": "a", "model": "b"}}), "inference"),
        (json!({"query": vector, "shard_key": "a"}), "shard_key"),
    ];
    each("POST", "/collections/c/points/query", &cases).await;
    each(
        "POST",
        "/collections/c/points",
        &[(json!({"ids": [1], "shard_key": "a"}), "shard_key")],
    )
    .await;
}

#[tokio::test]
async fn kinds_of_collections() {
    let server = Server::new(ApiConfig::default());
    let with = |field: &str, value: Value| {
        let mut body = json!({"vectors": {"size": 2, "distance": "Dot"}});
        body[field] = value;
        body
    };
    let vector = |field: &str, value: Value| {
        let mut body = json!({"vectors": {"size": 2, "distance": "Dot"}});
        body["vectors"][field] = value;
        body
    };
    for (body, word) in [
        (
            with(
                "quantization_config",
                json!({"product": {"compression": "x4"}}),
            ),
            "product quantization",
        ),
        (
            vector("quantization_config", json!({"turbo": {"bits": "bits2"}})),
            "turbo quantization with bits2",
        ),
        (
            with(
                "quantization_config",
                json!({"binary": {"encoding": "two_bits"}}),
            ),
            "two_bits",
        ),
        (
            with(
                "sparse_vectors",
                json!({"text": {"index": {"datatype": "float16"}}}),
            ),
            "sparse_vectors.text.index.datatype",
        ),
        (with("sharding_method", json!("custom")), "custom"),
        (
            with("strict_mode_config", json!({"read_rate_limit": 5})),
            "strict_mode_config.read_rate_limit",
        ),
        (with("hnsw_config", json!({"m": 0})), "hnsw_config.m"),
        (vector("datatype", json!("uint8")), "datatype"),
    ] {
        server
            .put("/collections/c", body)
            .await
            .refused(501, &[word]);
    }
    assert_eq!(
        server.get("/collections").await.result(),
        json!({"collections": []})
    );
    server
        .put("/collections/c", with("sparse_vectors", json!({})))
        .await
        .result();
}

#[tokio::test]
async fn routes() {
    let server = Server::with_points().await;
    for (method, path, word) in [
        ("DELETE", "/cluster/peer/1", "peers"),
        ("POST", "/cluster/recover", "shards"),
        ("POST", "/collections/c/cluster", "shards"),
        ("PUT", "/quotas", "quotas"),
        ("DELETE", "/issues", "issues"),
        ("PUT", "/collections/c/shards", "shard keys"),
    ] {
        server
            .call(method, path, &[], None)
            .await
            .refused(501, &[word]);
    }
}
