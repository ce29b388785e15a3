//! Grouped queries, matrices of distances, and conditions on vectors and slices.

use std::collections::BTreeSet;

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, ids};

/// Points 1 to 40, the higher the nearer to `[1, 0]`: from 11 on all are of group `big`, below them of three others; and a
/// collection `authors` of points 1 and 2.
async fn server() -> Server {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"size": 2, "distance": "Dot"}});
    for name in ["c", "authors"] {
        let path = format!("/collections/{name}");
        server.put(&path, schema.clone()).await.result();
    }
    let points: Vec<Value> = (1..=40)
        .map(|id| {
            let group = match id {
                11.. => json!("big"),
                10 => json!([1, "big"]),
                9 => json!(true),
                8 => Value::Null,
                1..=3 => json!(2),
                _ => json!(["x", 1, "x"]),
            };
            json!({"id": id, "vector": [id, 1], "payload": {"g": group, "n": id}})
        })
        .collect();
    let body = json!({"points": points});
    server.put("/collections/c/points", body).await.result();
    let authors = json!({"points": [
        {"id": 1, "vector": [0, 0], "payload": {"name": "Ada", "born": 1815}},
        {"id": 2, "vector": [0, 1], "payload": {"name": "Grace"}},
    ]});
    server
        .put("/collections/authors/points", authors)
        .await
        .result();
    server
}

async fn grouped(server: &Server, body: Value) -> Vec<(Value, Vec<u64>)> {
    let answer = server
        .post("/collections/c/points/query/groups", body)
        .await
        .result();
    let groups = answer["groups"].as_array().unwrap();
    groups
        .iter()
        .map(|group| (group["id"].clone(), ids(&group["hits"])))
        .collect()
}

#[tokio::test]
async fn the_best_groups_have_their_best_points() {
    let server = server().await;
    let nearest = json!([1, 0]);
    let big = |hits: &[u64]| (json!("big"), hits.to_vec());
    for (body, expected) in [
        (
            json!({"query": nearest, "group_by": "g"}),
            vec![
                big(&[40, 39, 38]),
                (json!(1), vec![10, 7, 6]),
                (json!("x"), vec![7, 6, 5]),
                (json!(2), vec![3, 2, 1]),
            ],
        ),
        (
            json!({"query": nearest, "group_by": "g", "limit": 2, "group_size": 1}),
            vec![big(&[40]), (json!(1), vec![10])],
        ),
        (
            json!({"query": nearest, "group_by": "g", "limit": 1, "group_size": 2,
                   "filter": {"must_not": [{"key": "g", "match": {"value": "big"}}]}}),
            vec![(json!("x"), vec![7, 6])],
        ),
        (
            json!({"query": nearest, "group_by": "g", "limit": 2, "group_size": 2, "score_threshold": 39}),
            vec![big(&[40, 39])],
        ),
        (
            json!({"query": {"order_by": "n"}, "group_by": "g", "limit": 2, "group_size": 2}),
            vec![(json!(2), vec![1, 2]), (json!("x"), vec![4, 5])],
        ),
        // What is prefetched is all there is: three times as many as asked for.
        (
            json!({"prefetch": {"query": nearest, "limit": 11}, "query": {"fusion": "rrf"}, "group_by": "g"}),
            vec![big(&[40, 39, 38]), (json!(1), vec![10])],
        ),
        (json!({"query": nearest, "group_by": "absent"}), vec![]),
    ] {
        if body["query"].get("order_by").is_some() {
            let index = json!({"field_name": "n", "field_schema": "integer"});
            server.put("/collections/c/index", index).await.result();
        }
        assert_eq!(grouped(&server, body.clone()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn older_recommendations_have_the_groups_of_queries() {
    let server = server().await;
    let rest = json!({"group_by": "g", "limit": 3, "group_size": 2, "with_payload": ["n"]});
    for examples in [
        json!({"positive": [[1, 0]]}),
        json!({"positive": [40, 12], "negative": [1]}),
        json!({"positive": [5], "negative": [[0, 1]], "strategy": "best_score"}),
    ] {
        let mut query = rest.clone();
        query["query"] = json!({"recommend": examples});
        let mut older = rest.clone();
        let fields = examples.as_object().unwrap().clone();
        older.as_object_mut().unwrap().extend(fields);
        let path = |kind: &str| format!("/collections/c/points/{kind}/groups");
        let expected = server.post(&path("query"), query).await.result();
        let found = server.post(&path("recommend"), older).await.result();
        assert_eq!(found["groups"].as_array().unwrap().len(), 3, "{examples}");
        assert_eq!(found, expected, "{examples}");
    }
    let none = json!({"group_by": "g", "limit": 3});
    server
        .post("/collections/c/points/recommend/groups", none)
        .await
        .refused(400, &["recommend", "positive"]);
}

#[tokio::test]
async fn hits_of_groups_have_what_was_asked_for() {
    let server = server().await;
    let body = json!({
        "query": [1, 0], "group_by": "g", "limit": 1, "group_size": 1, "with_payload": ["n"], "with_vector": true
    });
    let path = "/collections/c/points/query/groups";
    let groups = server.post(path, body).await.result();
    let hit = &groups["groups"][0]["hits"][0];
    assert_eq!(hit["payload"], json!({"n": 40}));
    assert_eq!(hit["vector"], json!([40.0, 1.0]));
    assert_eq!(hit["score"], 40.0);
    let plain = json!({"query": [1, 0], "group_by": "g", "limit": 1});
    let groups = server.post(path, plain).await.result();
    assert_eq!(groups["groups"][0]["hits"][0].get("payload"), None);
    assert_eq!(groups["groups"][0].get("lookup"), None);
}

#[tokio::test]
async fn groups_are_looked_up_in_another_collection() {
    let server = server().await;
    let path = "/collections/c/points/search/groups";
    let body = |lookup: Value| json!({"vector": [1, 0], "group_by": "g", "limit": 4, "group_size": 1, "with_lookup": lookup});
    let groups = server.post(path, body(json!("authors"))).await.result();
    let lookup = |groups: &Value, id: Value| {
        let all = groups["groups"].as_array().unwrap().clone();
        let group = all.into_iter().find(|g| g["id"] == id).unwrap();
        group.get("lookup").cloned()
    };
    let ada = json!({"id": 1, "payload": {"name": "Ada", "born": 1815}});
    assert_eq!(lookup(&groups, json!(1)), Some(ada));
    assert_eq!(lookup(&groups, json!("big")), None);
    let some = json!({"collection": "authors", "with_payload": ["name"], "with_vectors": true});
    let groups = server.post(path, body(some)).await.result();
    let grace = json!({"id": 2, "payload": {"name": "Grace"}, "vector": [0.0, 1.0]});
    assert_eq!(lookup(&groups, json!(2)), Some(grace));
    server
        .post(path, body(json!("nowhere")))
        .await
        .refused(404, &["nowhere"]);
}

#[tokio::test]
async fn groups_have_limits() {
    let server = server().await;
    for (body, words) in [
        (json!({"query": [1, 0]}), ["group_by", "missing"]),
        (
            json!({"query": [1, 0], "group_by": "a["}),
            ["group_by", "a["],
        ),
        (
            json!({"query": [1, 0], "group_by": "g", "limit": 0}),
            ["limit", "1"],
        ),
        (
            json!({"query": [1, 0], "group_by": "g", "group_size": 0}),
            ["group_size", "1"],
        ),
        (
            json!({"query": [1, 0], "group_by": "g", "limit": 101, "group_size": 100}),
            ["limit * group_size", "10000"],
        ),
        (
            json!({"query": [1, 0], "group_by": "g", "offset": 1}),
            ["offset", "unknown"],
        ),
    ] {
        let path = "/collections/c/points/query/groups";
        server.post(path, body).await.refused(400, &words);
    }
}

#[tokio::test]
async fn matrices_hold_the_nearest_of_a_sample() {
    let server = server().await;
    let body =
        json!({"sample": 50, "limit": 2, "filter": {"must": [{"key": "n", "range": {"lte": 5}}]}});
    let path = "/collections/c/points/search/matrix";
    let pairs = server
        .post(&format!("{path}/pairs"), body.clone())
        .await
        .result();
    let pairs = pairs["pairs"].as_array().unwrap().clone();
    assert_eq!(pairs.len(), 10);
    // Of dot products the largest are with the longest.
    assert_eq!(pairs[0], json!({"a": 1, "b": 5, "score": 6.0}));
    assert_eq!(pairs[1], json!({"a": 1, "b": 4, "score": 5.0}));
    assert_eq!(pairs[9], json!({"a": 5, "b": 3, "score": 16.0}));
    let offsets = server.post(&format!("{path}/offsets"), body).await.result();
    assert_eq!(offsets["ids"], json!([1, 2, 3, 4, 5]));
    assert_eq!(
        offsets["offsets_row"],
        json!([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    );
    assert_eq!(
        offsets["offsets_col"],
        json!([4, 3, 4, 3, 4, 3, 4, 2, 3, 2])
    );
    assert_eq!(offsets["scores"][0], 6.0);
    let sampled = server
        .post(&format!("{path}/offsets"), json!({}))
        .await
        .result();
    assert_eq!(sampled["ids"].as_array().unwrap().len(), 10);
    assert_eq!(sampled["scores"].as_array().unwrap().len(), 30);
    let alone = json!({"filter": {"must": [{"has_id": [1]}]}});
    let nothing = server.post(&format!("{path}/pairs"), alone).await.result();
    assert_eq!(nothing, json!({"pairs": []}));
    for (body, words) in [
        (json!({"sample": 1}), ["sample", "2"]),
        (json!({"limit": 0}), ["limit", "1"]),
        (json!({"using": "other"}), ["using", "other"]),
    ] {
        server
            .post(&format!("{path}/pairs"), body)
            .await
            .refused(400, &words);
    }
}

#[tokio::test]
async fn conditions_on_vectors_and_slices() {
    let server = Server::new(ApiConfig::default());
    let size = json!({"size": 1, "distance": "Dot"});
    let schema = json!({"vectors": {"a": size, "b": size}, "sparse_vectors": {"s": {}}});
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": {"a": [1]}},
        {"id": 2, "vector": {"a": [1], "s": {"indices": [1], "values": [1]}}},
        {"id": 3, "vector": {"b": [1]}},
    ]});
    server.put("/collections/c/points", points).await.result();
    let matching = async |condition: Value| {
        let body = json!({"filter": {"must": [condition]}});
        let page = server.post("/collections/c/points/scroll", body).await;
        ids(&page.result()["points"])
    };
    assert_eq!(matching(json!({"has_vector": "a"})).await, [1, 2]);
    assert_eq!(matching(json!({"has_vector": "s"})).await, [2]);
    assert!(matching(json!({"has_vector": "zzz"})).await.is_empty());
    let mut seen = BTreeSet::new();
    for index in 0..3 {
        for id in matching(json!({"slice": {"total": 3, "index": index}})).await {
            assert!(seen.insert(id), "{id} is in two slices");
        }
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
    for slice in [
        json!({"total": 3, "index": 3}),
        json!({"total": 0, "index": 0}),
    ] {
        let body = json!({"filter": {"must": [{"slice": slice}]}});
        let answer = server.post("/collections/c/points/scroll", body).await;
        answer.refused(400, &["slice.index", "slice.total"]);
    }
    let update = json!({"vector": ["a"], "filter": {"must": [{"has_vector": "s"}]}});
    server
        .post("/collections/c/points/vectors/delete", update)
        .await
        .result();
    assert_eq!(matching(json!({"has_vector": "a"})).await, [1]);
}
