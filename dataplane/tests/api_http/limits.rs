//! Limits are held and named.

use brainy_dataplane::service::Limits;
use serde_json::{Value, json};

use crate::support::Server;

async fn limited() -> Server {
    let server = Server::with_points().await;
    server.memory.set_limits(Limits {
        max_request_bytes: 2000,
        max_batch_points: 3,
        max_search_limit: 20,
        max_dimension: 8,
        ..Limits::default()
    });
    server
}

#[tokio::test]
async fn bodies_that_are_too_large_are_413() {
    let server = limited().await;
    let padding = " ".repeat(2000);
    let body = format!("{{}}{padding}");
    let path = "/collections/c/points/count";
    server
        .call("POST", path, &[], Some(&body))
        .await
        .refused(413, &["2002", "2000"]);
    let declared = [("content-length", "4000000000")];
    server
        .call("POST", path, &declared, Some("{}"))
        .await
        .refused(413, &["4000000000", "2000"]);
    server
        .call("POST", path, &[], Some(&body[..2000]))
        .await
        .result();
}

#[tokio::test]
async fn too_many_of_anything_is_400() {
    let server = limited().await;
    let four = |item: Value| Value::Array(vec![item; 4]);
    let point = json!({"id": 1, "vector": [1, 1, 1]});
    let many_ids = json!([1, 2, 3, 4]);
    for (method, path, body, word) in [
        ("PUT", "", json!({"points": four(point)}), "points"),
        (
            "PUT",
            "",
            json!({"batch": {"ids": many_ids, "vectors": []}}),
            "batch.ids",
        ),
        ("POST", "", json!({"ids": many_ids}), "ids"),
        ("POST", "/delete", json!({"points": many_ids}), "points"),
        (
            "PUT",
            "/vectors",
            json!({"points": four(json!({"id": 1, "vector": [1, 1, 1]}))}),
            "points",
        ),
        (
            "POST",
            "/payload",
            json!({"payload": {}, "points": many_ids}),
            "points",
        ),
        (
            "POST",
            "/payload/delete",
            json!({"keys": four(json!("a")), "points": [1]}),
            "keys",
        ),
        (
            "POST",
            "/batch",
            json!({"operations": four(json!({"delete": {"points": []}}))}),
            "operations",
        ),
        (
            "POST",
            "/query/batch",
            json!({"searches": four(json!({"query": [1, 1, 1]}))}),
            "searches",
        ),
        (
            "POST",
            "/count",
            json!({"filter": {"must": [{"has_id": many_ids}]}}),
            "has_id",
        ),
        (
            "POST",
            "/count",
            json!({"filter": {"must": four(json!({"has_id": [1]}))}}),
            "conditions",
        ),
        (
            "POST",
            "/count",
            json!({"filter": {"must": [{"key": "a", "match": {"any": many_ids}}]}}),
            "match.any",
        ),
    ] {
        let path = format!("/collections/c/points{path}");
        let answer = server
            .call(method, &path, &[], Some(&body.to_string()))
            .await;
        answer.refused(400, &[word, "4", "3"]);
    }
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn result_counts_are_bounded() {
    let server = limited().await;
    let path = |end: &str| format!("/collections/c/points/{end}");
    for (end, body, word) in [
        ("query", json!({"query": [1, 1, 1], "limit": 0}), "limit"),
        (
            "query",
            json!({"query": [1, 1, 1], "limit": 21}),
            "limit is 21, it must be from 1 to 20",
        ),
        (
            "query",
            json!({"query": [1, 1, 1], "limit": 20, "offset": 1}),
            "limit + offset is 21",
        ),
        (
            "query",
            json!({"query": [1, 1, 1], "offset": u64::MAX}),
            "limit + offset",
        ),
        (
            "query",
            json!({"query": [1, 1, 1], "params": {"hnsw_ef": 0}}),
            "hnsw_ef",
        ),
        (
            "query",
            json!({"query": [1, 1, 1], "params": {"hnsw_ef": 21}}),
            "hnsw_ef",
        ),
        (
            "query",
            json!({"query": [1, 1, 1], "score_threshold": 1e39}),
            "score_threshold",
        ),
        ("query", json!({"query": [1, 1]}), "dimension"),
        (
            "query",
            json!({"query": [1, 1, 1e39]}),
            "query: component 2",
        ),
        ("search", json!({"vector": [1, 1, 1], "limit": 21}), "limit"),
        ("scroll", json!({"limit": 0}), "limit"),
        ("scroll", json!({"limit": 21}), "limit"),
        (
            "query/batch",
            json!({"searches": [{"query": [1, 1, 1], "limit": 99}]}),
            "searches[0]: limit",
        ),
    ] {
        server.post(&path(end), body).await.refused(400, &[word]);
    }
    server
        .post(
            &path("query"),
            json!({"query": [1, 1, 1], "limit": 19, "offset": 1}),
        )
        .await
        .result();
}
