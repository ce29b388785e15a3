//! Writes and reads of single points.

use brainy_dataplane::api::ApiConfig;
use brainy_dataplane::model::{Consistency, Token};
use serde_json::{Value, json};

use crate::support::{Server, ids};

async fn payload(server: &Server, id: u64) -> Value {
    server
        .get(&format!("/collections/c/points/{id}"))
        .await
        .result()["payload"]
        .take()
}

#[tokio::test]
async fn points_in_rows_and_columns_are_stored_and_read_back() {
    let server = Server::with_points().await;
    let uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26";
    let columns = json!({"batch": {
        "ids": [uuid, 4],
        "vectors": [[0.5, 0.25, 0], {"": [1, 2, 3]}],
        "payloads": [{"a": [1]}, null],
    }});
    let answer = server.put("/collections/c/points?wait=true", columns).await;
    let result = answer.result();
    assert_eq!(result["status"], "completed");
    assert_eq!(result["operation_id"], (1u64 << 32) + 2);
    assert_eq!(
        answer
            .header("brainy-token")
            .parse::<Token>()
            .unwrap()
            .0
            .len(),
        1
    );

    let one = server
        .get(&format!("/collections/c/points/{uuid}"))
        .await
        .result();
    assert_eq!(
        one,
        json!({"id": uuid, "payload": {"a": [1]}, "vector": [0.5, 0.25, 0.0]})
    );

    let body = json!({"ids": [4, 77, 1, uuid], "with_vector": true, "with_payload": false});
    let some = server.post("/collections/c/points", body).await.result();
    let found: Vec<_> = some
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["id"].clone())
        .collect();
    assert_eq!(found, [json!(4), json!(1), json!(uuid)]);
    assert_eq!(some[0]["vector"], json!([1.0, 2.0, 3.0]));
    assert_eq!(some[2]["payload"], Value::Null);

    let default = server
        .post("/collections/c/points", json!({"ids": [1]}))
        .await
        .result();
    assert_eq!(
        default,
        json!([{"id": 1, "payload": {"color": "red", "n": 1}}])
    );
    server
        .get("/collections/c/points/78")
        .await
        .refused(404, &["78"]);
    server
        .get("/collections/c/points/seven")
        .await
        .refused(400, &["seven"]);
}

#[tokio::test]
async fn cosine_collections_store_unit_vectors() {
    let server = Server::new(ApiConfig::default());
    server
        .put(
            "/collections/c",
            json!({"vectors": {"size": 2, "distance": "Cosine"}}),
        )
        .await
        .result();
    let points = json!({"points": [{"id": 1, "vector": [3, 4]}, {"id": 2, "vector": [0, 0]}]});
    server.put("/collections/c/points", points).await.result();
    let one = server.get("/collections/c/points/1").await.result();
    assert_eq!(one["vector"], json!([0.6, 0.8]));
    let zero = server.get("/collections/c/points/2").await.result();
    assert_eq!(zero["vector"], json!([0.0, 0.0]));
    let hits = server
        .post("/collections/c/points/query", json!({"query": [30, 40]}))
        .await
        .result();
    assert!((hits["points"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
}

#[tokio::test]
async fn payloads_are_set_overwritten_pruned_and_cleared() {
    let server = Server::with_points().await;
    let path = "/collections/c/points/payload";
    let set = json!({"payload": {"n": 9, "new": true}, "points": [1]});
    server.post(path, set).await.result();
    assert_eq!(
        payload(&server, 1).await,
        json!({"color": "red", "n": 9, "new": true})
    );

    let at_key = json!({"payload": {"x": 1}, "points": [1], "key": "deep"});
    server.post(path, at_key).await.result();
    assert_eq!(payload(&server, 1).await["deep"], json!({"x": 1}));

    let red = json!({"must": {"key": "color", "match": {"value": "red"}}});
    server
        .put(path, json!({"payload": {"was": "red"}, "filter": red}))
        .await
        .result();
    assert_eq!(payload(&server, 1).await, json!({"was": "red"}));
    assert_eq!(payload(&server, 3).await, json!({"was": "red"}));

    let prune = json!({"keys": ["n"], "points": [2]});
    server
        .post("/collections/c/points/payload/delete", prune)
        .await
        .result();
    assert_eq!(payload(&server, 2).await, json!({"color": "blue"}));

    server
        .post(
            "/collections/c/points/payload/clear",
            json!({"points": [2]}),
        )
        .await
        .result();
    assert_eq!(payload(&server, 2).await, json!({}));
}

#[tokio::test]
async fn vectors_are_replaced_and_points_deleted() {
    let server = Server::with_points().await;
    let update =
        json!({"points": [{"id": 1, "vector": [7, 7, 7]}, {"id": 50, "vector": [1, 1, 1]}]});
    server
        .put("/collections/c/points/vectors", update)
        .await
        .result();
    let one = server.get("/collections/c/points/1").await.result();
    assert_eq!(one["vector"], json!([7.0, 7.0, 7.0]));
    assert_eq!(one["payload"]["color"], "red");
    server
        .post("/collections/c/points/delete", json!({"points": [1, 99]}))
        .await
        .result();
    let rest = json!({"filter": {"must_not": [{"has_id": [2]}]}});
    server
        .post("/collections/c/points/delete", rest)
        .await
        .result();
    let page = server
        .post("/collections/c/points/scroll", json!({}))
        .await
        .result();
    assert_eq!(ids(&page["points"]), [2]);
}

#[tokio::test]
async fn who_waits_is_told_of_points_that_cannot_be_changed() {
    let server = Server::with_points().await;
    let points = json!([1, 50, 60]);
    for (method, path, body) in [
        (
            "POST",
            "payload",
            json!({"payload": {"n": 9}, "points": points}),
        ),
        (
            "POST",
            "payload/delete",
            json!({"keys": ["n"], "points": points}),
        ),
        (
            "PUT",
            "payload",
            json!({"payload": {"n": 8}, "points": points}),
        ),
        ("POST", "payload/clear", json!({"points": points})),
        (
            "PUT",
            "vectors",
            json!({"points": [{"id": 1, "vector": [7, 7, 7]}, {"id": 50, "vector": [1, 1, 1]}]}),
        ),
    ] {
        let before = server.get("/collections/c/points/1").await.result();
        let path = format!("/collections/c/points/{path}");
        let body = body.to_string();
        server
            .call(method, &format!("{path}?wait=true"), &[], Some(&body))
            .await
            .refused(404, &["50"]);
        let after = server.get("/collections/c/points/1").await.result();
        assert_ne!(before, after, "{path}: what exists is changed");
        server.call(method, &path, &[], Some(&body)).await.result();
    }
    let gone = json!({"points": [50]});
    server
        .post("/collections/c/points/delete?wait=true", gone)
        .await
        .result();

    let operations = json!({"operations": [
        {"set_payload": {"payload": {"n": 1}, "points": [50]}},
        {"set_payload": {"payload": {"n": 7}, "points": [2]}},
    ]});
    server
        .post("/collections/c/points/batch?wait=true", operations)
        .await
        .refused(404, &["operations[0]", "50"]);
    assert_eq!(payload(&server, 2).await["n"], 2);
}

#[tokio::test]
async fn a_selector_is_either_points_or_a_filter() {
    let server = Server::with_points().await;
    for body in [json!({}), json!({"points": [1], "filter": {}})] {
        server
            .post("/collections/c/points/delete", body)
            .await
            .refused(400, &["points", "filter"]);
    }
    assert_eq!(server.count().await, 3);
    server
        .post("/collections/c/points/delete", json!({"filter": {}}))
        .await
        .result();
    assert_eq!(server.count().await, 0);
}

#[tokio::test]
async fn paths_are_checked_before_anything_is_written() {
    let server = Server::with_points().await;
    let before = server.memory.request_ids().len();
    for (path, body) in [
        (
            "payload",
            json!({"payload": {}, "points": [1], "key": "a["}),
        ),
        (
            "payload/delete",
            json!({"keys": ["n", "a["], "points": [1]}),
        ),
        (
            "delete",
            json!({"filter": {"must": [{"key": "a[", "match": {"value": 1}}]}}),
        ),
    ] {
        let answer = server
            .post(&format!("/collections/c/points/{path}"), body)
            .await;
        answer.refused(400, &["'a['"]);
    }
    assert_eq!(server.memory.request_ids().len(), before);
}

#[tokio::test]
async fn retries_under_one_id_are_recognisable() {
    let server = Server::with_points().await;
    let body = json!({"points": [{"id": 8, "vector": [1, 1, 1]}]}).to_string();
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let hex = "00112233445566778899aabbccddeeff";
    let path = "/collections/c/points";
    let first = server
        .call("PUT", path, &[("brainy-request-id", uuid)], Some(&body))
        .await;
    let second = server
        .call("PUT", path, &[("brainy-request-id", hex)], Some(&body))
        .await;
    assert_eq!(first.header("brainy-request-id"), hex);
    assert_eq!(first.header("brainy-token"), second.header("brainy-token"));
    let ids = server.memory.request_ids();
    assert_eq!(
        ids[ids.len() - 2..]
            .iter()
            .map(|n| n.to_string())
            .collect::<Vec<_>>(),
        [hex, hex]
    );

    let third = server.call("PUT", path, &[], Some(&body)).await;
    let fourth = server.call("PUT", path, &[], Some(&body)).await;
    assert_ne!(
        third.header("brainy-request-id"),
        fourth.header("brainy-request-id")
    );
    let bad = server
        .call("PUT", path, &[("brainy-request-id", "seven")], Some(&body))
        .await;
    bad.refused(400, &["brainy-request-id", "seven"]);
}

#[tokio::test]
async fn freshness_reaches_the_service() {
    let server = Server::with_points().await;
    let path = "/collections/c/points/count";
    let token = "c-00000001/00000@1:7";
    for (query, headers, expected) in [
        ("", vec![], None),
        ("?consistency=majority", vec![], Some(Consistency::Strong)),
        ("?consistency=quorum", vec![], Some(Consistency::Strong)),
        ("?consistency=all", vec![], Some(Consistency::Strong)),
        ("?consistency=2", vec![], None),
        (
            "",
            vec![("brainy-consistency", "eventual")],
            Some(Consistency::Eventual),
        ),
        (
            "",
            vec![("brainy-consistency", "bounded:250")],
            Some(Consistency::Bounded(250)),
        ),
        (
            "?consistency=all",
            vec![("brainy-consistency", "bounded:5")],
            Some(Consistency::Bounded(5)),
        ),
        (
            "",
            vec![("brainy-consistency", "strong")],
            Some(Consistency::Strong),
        ),
    ] {
        server
            .call("POST", &format!("{path}{query}"), &headers, Some("{}"))
            .await
            .result();
        assert_eq!(
            server.memory.last_read().consistency,
            expected,
            "{query} {headers:?}"
        );
    }
    server
        .call("POST", path, &[("brainy-token", token)], Some("{}"))
        .await
        .result();
    assert_eq!(server.memory.last_read().token.unwrap().to_string(), token);
    for (name, value) in [
        ("brainy-token", "c-00000001/0@1"),
        ("brainy-consistency", "soon"),
        ("brainy-consistency", "bounded:-1"),
        ("brainy-token", "yesterday"),
    ] {
        server
            .call("POST", path, &[(name, value)], Some("{}"))
            .await
            .refused(400, &[name, value]);
    }
    for (query, name) in [
        ("consistency=some", "consistency"),
        ("timeout=0", "timeout"),
        ("timeout=soon", "timeout"),
        ("wait=maybe", "wait"),
        ("ordering=random", "ordering"),
    ] {
        server
            .call("POST", &format!("{path}?{query}"), &[], Some("{}"))
            .await
            .refused(400, &[name]);
    }
}

#[tokio::test]
async fn a_point_that_is_asked_for_twice_comes_once() {
    let server = Server::with_points().await;
    let found = server
        .post("/collections/c/points", json!({"ids": [3, 1, 3, 1, 9, 9]}))
        .await
        .result();
    let ids: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["id"].clone())
        .collect();
    assert_eq!(ids, [json!(3), json!(1)]);
}

#[tokio::test]
async fn a_session_goes_on_with_the_token_of_its_last_answer() {
    let server = Server::with_points().await;
    let count = async |headers: &[(&'static str, &str)]| {
        let path = "/collections/c/points/count";
        server.call("POST", path, headers, Some("{}")).await
    };
    assert!(!count(&[]).await.headers.contains_key("brainy-token"));
    for begin in ["new", ""] {
        let begun = count(&[("brainy-token", begin)]).await;
        begun.result();
        assert_eq!(begun.header("brainy-token"), "new");
        let read = server.memory.last_read();
        assert!(read.token.is_none() && read.seen.is_some());
    }
    // What it saw elsewhere stays in the token of a write.
    let body = json!({"points": [{"id": 9, "vector": [1, 1, 1]}]}).to_string();
    let elsewhere = [("brainy-token", "other-00000002/00004@3:9")];
    let path = "/collections/c/points";
    let written = server.call("PUT", path, &elsewhere, Some(&body)).await;
    let token = written.header("brainy-token").to_owned();
    assert!(token.contains("c-00000001/00000@1:"), "{token}");
    assert!(token.ends_with(",other-00000002/00004@3:9"), "{token}");
    let read = count(&[("brainy-token", &token)]).await;
    read.result();
    assert_eq!(read.header("brainy-token"), token);
    // Everything acknowledged until now: no consistency that is asked for makes less of it.
    let headers = [
        ("brainy-token", "latest"),
        ("brainy-consistency", "eventual"),
    ];
    let read = count(&headers).await;
    assert_eq!(read.header("brainy-token"), "latest");
    let options = server.memory.last_read();
    assert_eq!(options.consistency, Some(Consistency::Strong));
    let long = "x".repeat(5000);
    let refused = count(&[("brainy-token", &long)]).await;
    refused.refused(400, &["brainy-token", "4096 bytes"]);
    assert!(!refused.headers.contains_key("brainy-token"));
}
