//! Points by a payload field or at random, and counts of values.

use std::collections::BTreeSet;

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, ids};

/// Points 1 to 6 with indexes of `n` (integer), `f` (float), `d` (datetime), `tag` (keyword), `u` (uuid) and `b` (bool).
async fn server() -> Server {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"size": 2, "distance": "Dot"}});
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": [1, 0], "payload": {"n": 5, "f": 0.5, "d": "2024-01-02", "tag": "a", "b": true}},
        {"id": 2, "vector": [2, 0], "payload": {"n": [3, 7, 3], "f": 1, "d": "2024-01-01T00:00:00Z", "tag": ["a", "b", "a"]}},
        {"id": 3, "vector": [3, 0], "payload": {"n": 5, "f": -2, "tag": "b", "b": false}},
        {"id": 4, "vector": [4, 0], "payload": {"n": "none", "u": "550E8400-E29B-41D4-A716-446655440000"}},
        {"id": 5, "vector": [5, 0], "payload": {"n": -1, "tag": "c", "b": [true, false]}},
        {"id": 6, "vector": [6, 0]},
    ]});
    server.put("/collections/c/points", points).await.result();
    for (field, kind) in [
        ("n", "integer"),
        ("f", "float"),
        ("d", "datetime"),
        ("tag", "keyword"),
        ("u", "uuid"),
        ("b", "bool"),
    ] {
        let index = json!({"field_name": field, "field_schema": kind});
        server.put("/collections/c/index", index).await.result();
    }
    server
}

async fn scrolled(server: &Server, body: Value) -> Vec<(u64, Value)> {
    let page = server.post("/collections/c/points/scroll", body).await;
    let page = page.result();
    assert_eq!(page["next_page_offset"], Value::Null);
    let points = page["points"].as_array().unwrap().iter();
    points
        .map(|p| (p["id"].as_u64().unwrap(), p["order_value"].clone()))
        .collect()
}

#[tokio::test]
async fn pages_come_in_the_order_of_a_field() {
    let server = server().await;
    let cases = [
        (
            json!({"order_by": "n"}),
            vec![
                (5, json!(-1)),
                (2, json!(3)),
                (1, json!(5)),
                (3, json!(5)),
                (2, json!(7)),
            ],
        ),
        (
            json!({"order_by": {"key": "n", "direction": "desc"}, "limit": 3}),
            vec![(2, json!(7)), (3, json!(5)), (1, json!(5))],
        ),
        (
            json!({"order_by": {"key": "n", "start_from": 4}}),
            vec![(1, json!(5)), (3, json!(5)), (2, json!(7))],
        ),
        (
            json!({"order_by": {"key": "n", "direction": "desc", "start_from": 3.5}}),
            vec![(2, json!(3)), (5, json!(-1))],
        ),
        (
            json!({"order_by": "f"}),
            vec![(3, json!(-2.0)), (1, json!(0.5)), (2, json!(1.0))],
        ),
        (
            json!({"order_by": {"key": "d", "start_from": "2024-01-02T00:00:00+00:00"}}),
            vec![(1, json!(1_704_153_600_000_000i64))],
        ),
        (
            json!({"order_by": "n", "filter": {"must_not": [{"has_id": [1]}]}, "limit": 3}),
            vec![(5, json!(-1)), (2, json!(3)), (3, json!(5))],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(scrolled(&server, body.clone()).await, expected, "{body}");
    }
    let body = json!({"order_by": "n", "limit": 1, "with_payload": ["tag"], "with_vector": true});
    let page = server
        .post("/collections/c/points/scroll", body)
        .await
        .result();
    let point = &page["points"][0];
    assert_eq!(point["payload"], json!({"tag": "c"}));
    assert_eq!(point["vector"], json!([5.0, 0.0]));
}

#[tokio::test]
async fn an_order_needs_an_index_and_has_no_offset() {
    let server = server().await;
    for (body, words) in [
        (
            json!({"order_by": "tag"}),
            ["`order_by` key: `tag`", "integer"],
        ),
        (
            json!({"order_by": "zzz"}),
            ["`order_by` key: `zzz`", "float"],
        ),
        (
            json!({"order_by": "n", "offset": 1}),
            ["offset", "start_from"],
        ),
        (
            json!({"order_by": {"key": "n", "direction": "up"}}),
            ["direction", "up"],
        ),
        (
            json!({"order_by": {"key": "n", "start_from": "soon"}}),
            ["start_from", "soon"],
        ),
        (
            json!({"order_by": {"key": "n", "first": 1}}),
            ["order_by", "first"],
        ),
        (json!({"order_by": "n", "limit": 0}), ["limit", "1"]),
    ] {
        let answer = server.post("/collections/c/points/scroll", body).await;
        answer.refused(400, &words);
    }
}

async fn queried(server: &Server, body: Value) -> Value {
    let answer = server.post("/collections/c/points/query", body).await;
    answer.result()["points"].take()
}

#[tokio::test]
async fn queries_order_by_a_field_what_there_is_or_was_prefetched() {
    let server = server().await;
    let points = queried(
        &server,
        json!({"query": {"order_by": "n"}, "limit": 2, "offset": 1}),
    )
    .await;
    assert_eq!(ids(&points), [2, 1]);
    assert_eq!(points[0]["order_value"], 3);
    assert_eq!(points[0]["score"], 1.0);
    assert_eq!(points[0].get("payload"), None);
    let descending = json!({"key": "n", "direction": "desc"});
    let among = json!({
        "prefetch": {"query": [1, 0], "limit": 4}, "query": {"order_by": descending}, "with_payload": true
    });
    let points = queried(&server, among).await;
    // The nearest four are 6, 5, 4 and 3.
    assert_eq!(ids(&points), [3, 5]);
    assert_eq!(points[1]["payload"]["tag"], "c");
    let inside = json!({
        "prefetch": [{"query": {"order_by": "n"}, "limit": 2}, {"query": {"order_by": "f"}, "limit": 1}], "query": [1, 0]
    });
    assert_eq!(ids(&queried(&server, inside).await), [5, 3, 2]);
    let fused = json!({
        "prefetch": [{"query": {"order_by": "n"}, "limit": 2}, {"query": [-1, 0], "limit": 2}], "query": {"fusion": "rrf"}
    });
    assert_eq!(ids(&queried(&server, fused).await), [2, 1, 5]);
    let answer = server
        .post(
            "/collections/c/points/query",
            json!({"query": {"order_by": "tag"}}),
        )
        .await;
    answer.refused(400, &["tag"]);
}

#[tokio::test]
async fn a_query_of_nothing_lists_points_by_id() {
    let server = server().await;
    let body = json!({"limit": 2, "offset": 1, "filter": {"must_not": [{"has_id": [2]}]}});
    assert_eq!(ids(&queried(&server, body).await), [3, 4]);
    let batch = json!({"searches": [{}, {"query": {"order_by": "f"}, "limit": 1}]});
    let lists = server
        .post("/collections/c/points/query/batch", batch)
        .await
        .result();
    assert_eq!(ids(&lists[0]["points"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&lists[1]["points"]), [3]);
    let answer = server
        .post(
            "/collections/c/points/query",
            json!({"prefetch": {"query": [1, 0]}}),
        )
        .await;
    answer.refused(400, &["'query' is needed"]);
}

#[tokio::test]
async fn samples_differ_and_keep_to_the_filter() {
    let server = server().await;
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let sample = json!({
            "query": {"sample": "random"}, "limit": 2, "filter": {"must_not": [{"has_id": [4]}]}
        });
        let found = ids(&queried(&server, sample).await);
        assert_eq!(found.len(), 2);
        seen.extend(found);
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3, 5, 6]));
    let among = json!({
        "prefetch": {"query": [1, 0], "limit": 2}, "query": {"sample": "random"}, "limit": 5
    });
    let found: BTreeSet<u64> = ids(&queried(&server, among).await).into_iter().collect();
    assert_eq!(found, BTreeSet::from([5, 6]));
    for body in [
        json!({"query": {"sample": "best"}}),
        json!({"query": {"sample": "random", "nearest": [1, 0]}}),
        json!({"query": {"order_by": "n", "fusion": "rrf"}}),
    ] {
        server
            .post("/collections/c/points/query", body)
            .await
            .error(400);
    }
}

#[tokio::test]
async fn values_are_counted_by_point() {
    let server = server().await;
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    for (body, expected) in [
        (
            json!({"key": "tag"}),
            json!([{"value": "a", "count": 2}, {"value": "b", "count": 2}, {"value": "c", "count": 1}]),
        ),
        (
            json!({"key": "tag", "limit": 1, "exact": true}),
            json!([{"value": "a", "count": 2}]),
        ),
        (
            json!({"key": "n", "limit": 2}),
            json!([{"value": 5, "count": 2}, {"value": -1, "count": 1}]),
        ),
        (
            json!({"key": "b"}),
            json!([{"value": false, "count": 2}, {"value": true, "count": 2}]),
        ),
        (json!({"key": "u"}), json!([{"value": uuid, "count": 1}])),
        (
            json!({"key": "tag", "filter": {"must": [{"key": "n", "match": {"value": 5}}]}}),
            json!([{"value": "a", "count": 1}, {"value": "b", "count": 1}]),
        ),
        (
            json!({"key": "tag", "filter": {"must": [{"has_id": [6]}]}}),
            json!([]),
        ),
    ] {
        let answer = server.post("/collections/c/facet", body.clone()).await;
        assert_eq!(answer.result()["hits"], expected, "{body}");
    }
    for (body, words) in [
        (json!({"key": "f"}), ["Index required", "\"f\""]),
        (json!({"key": "zzz"}), ["Index required", "keyword"]),
        (json!({"key": "tag", "limit": 0}), ["limit", "1"]),
        (json!({"key": "a["}), ["key", "a["]),
        (json!({"limit": 3}), ["key", "missing"]),
    ] {
        server
            .post("/collections/c/facet", body)
            .await
            .refused(400, &words);
    }
    let other = json!({"key": "tag", "shard_key": "x"});
    server
        .post("/collections/c/facet", other)
        .await
        .refused(501, &["shard_key"]);
}
