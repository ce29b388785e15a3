//! Limits that a collection sets to its requests.

use serde_json::{Value, json};

use crate::support::Server;

async fn strict(config: Value) -> Server {
    let server = Server::with_points().await;
    let mut config = config;
    config["enabled"] = json!(true);
    let body = json!({"strict_mode_config": config}).to_string();
    server
        .call("PATCH", "/collections/c", &[], Some(&body))
        .await
        .result();
    server
}

/// Each request that is within the limits, one that is not, and what the error says.
async fn holds(config: Value, method: &str, path: &str, cases: &[(Value, Option<&str>)]) {
    let server = strict(config.clone()).await;
    let path = format!("/collections/c/{path}");
    for (body, word) in cases {
        let answer = server
            .call(method, &path, &[], Some(&body.to_string()))
            .await;
        match word {
            Some(word) => answer.refused(400, &[word]),
            None => {
                assert_eq!(answer.status, 200, "{config}: {body}: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn limits_of_queries() {
    let query = |limit: usize| json!({"query": [1, 0, 0], "limit": limit});
    let config = json!({"max_query_limit": 4});
    let cases = [
        (query(4), None),
        (query(5), Some("Limit exceeded 5 > 4 for \"limit\"")),
    ];
    holds(config.clone(), "POST", "points/query", &cases).await;
    let scroll = [
        (json!({"limit": 4}), None),
        (json!({}), Some("limit")),
        (json!({"limit": 5}), Some("limit")),
    ];
    holds(config.clone(), "POST", "points/scroll", &scroll).await;
    let prefetch = json!({"prefetch": {"query": [1, 0, 0], "limit": 9}, "query": {"fusion": "rrf"}, "limit": 1});
    holds(config, "POST", "points/query", &[(prefetch, Some("9 > 4"))]).await;
    let params = |params: Value| json!({"query": [1, 0, 0], "params": params});
    for (config, good, bad, word) in [
        (
            json!({"search_max_hnsw_ef": 5}),
            json!({"hnsw_ef": 5}),
            json!({"hnsw_ef": 6}),
            "hnsw_ef",
        ),
        (
            json!({"search_allow_exact": false}),
            json!({"exact": false}),
            json!({"exact": true}),
            "Exact search disabled",
        ),
        (
            json!({"search_max_oversampling": 1.5}),
            json!({"quantization": {"oversampling": 1.5}}),
            json!({"quantization": {"oversampling": 2.0}}),
            "oversampling",
        ),
    ] {
        let cases = [(params(good), None), (params(bad), Some(word))];
        holds(config, "POST", "points/query", &cases).await;
    }
    let batch = |count| json!({"searches": vec![query(1); count]});
    let cases = [(batch(2), None), (batch(3), Some("search batch size"))];
    let config = json!({"search_max_batchsize": 2});
    holds(config, "POST", "points/query/batch", &cases).await;
}

#[tokio::test]
async fn limits_of_writes() {
    let points = |count: u64| -> Vec<Value> {
        (1..=count)
            .map(|id| json!({"id": id, "vector": [1, 1, 1]}))
            .collect()
    };
    let config = json!({"upsert_max_batchsize": 2});
    let body = |count| json!({"points": points(count)});
    let cases = [(body(2), None), (body(3), Some("upsert limit"))];
    holds(config.clone(), "PUT", "points", &cases).await;
    let cases = [(body(2), None), (body(3), Some("update limit"))];
    holds(config.clone(), "PUT", "points/vectors", &cases).await;
    let batch = json!({"operations": [{"upsert": body(3)}]});
    let cases = [(
        batch,
        Some("operations[0]: Bad request: Limit exceeded 3 > 2"),
    )];
    holds(config, "POST", "points/batch", &cases).await;
}

#[tokio::test]
async fn filters_of_fields_without_an_index() {
    let filter =
        |key: &str, test: Value| json!({"filter": {"must": [{"key": key, "match": test}]}});
    let red = || filter("color", json!({"value": "red"}));
    let config = json!({"unindexed_filtering_retrieve": false});
    let server = strict(config.clone()).await;
    let count = "/collections/c/points/count";
    server
        .post(count, red())
        .await
        .refused(400, &["Index required", "\"color\"", "[keyword, uuid]"]);
    let delete = "/collections/c/points/delete";
    let none = filter("color", json!({"value": "none"}));
    server.post(delete, none.clone()).await.result();
    let index = |kind: &str| json!({"field_name": "color", "field_schema": kind});
    let indexes = "/collections/c/index";
    server.put(indexes, index("integer")).await.result();
    server.post(count, red()).await.refused(400, &["color"]);
    server.put(indexes, index("keyword")).await.result();
    assert_eq!(server.post(count, red()).await.result()["count"], 2);
    let nested = json!({"filter": {"must_not": [{"nested": {"key": "a", "filter": {"must": [{"key": "b", "range": {"gt": 1}}]}}}]}});
    server
        .post(count, nested)
        .await
        .refused(400, &["a.b", "integer"]);

    let server = strict(json!({"unindexed_filtering_update": false})).await;
    server.post(count, red()).await.result();
    server.post(delete, none).await.refused(400, &["color"]);
    let conditional =
        json!({"points": [{"id": 1, "vector": [1, 1, 1]}], "update_filter": red()["filter"]});
    server
        .put("/collections/c/points", conditional)
        .await
        .refused(400, &["color"]);
}

#[tokio::test]
async fn sizes_of_filters_and_numbers_of_indexes() {
    let ids = |count: u64| json!({"has_id": (0..count).collect::<Vec<_>>()});
    let conditions = |count: usize| json!({"filter": {"should": vec![ids(1); count]}});
    let cases = [
        (conditions(2), None),
        (conditions(3), Some("filter conditions")),
        (
            json!({"filter": {"must": [{"should": [ids(1), ids(1)]}, ids(1)]}}),
            Some("filter conditions"),
        ),
    ];
    let config = json!({"filter_max_conditions": 2});
    holds(config, "POST", "points/count", &cases).await;
    let one = |count| json!({"filter": {"must": [ids(count)]}});
    let cases = [(one(3), None), (one(4), Some("condition size"))];
    holds(
        json!({"condition_max_size": 3}),
        "POST",
        "points/count",
        &cases,
    )
    .await;
    let index = |field: &str| json!({"field_name": field, "field_schema": "keyword"});
    let cases = [
        (index("a"), None),
        (index("a"), None),
        (index("b"), Some("payload index count")),
    ];
    holds(
        json!({"max_payload_index_count": 1}),
        "PUT",
        "index",
        &cases,
    )
    .await;
}

#[tokio::test]
async fn timeouts_and_what_is_not_enabled() {
    let server = strict(json!({"max_timeout": 2, "max_query_limit": 1})).await;
    let path = "/collections/c/points/query";
    let query = json!({"query": [1, 0, 0], "limit": 1});
    server
        .post(&format!("{path}?timeout=2"), query.clone())
        .await
        .result();
    server
        .post(&format!("{path}?timeout=3"), query)
        .await
        .refused(400, &["timeout"]);
    let off = json!({"strict_mode_config": {"enabled": false}}).to_string();
    server
        .call("PATCH", "/collections/c", &[], Some(&off))
        .await
        .result();
    let query = json!({"query": [1, 0, 0], "limit": 5});
    server
        .post(&format!("{path}?timeout=3"), query)
        .await
        .result();
}
