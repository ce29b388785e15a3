//! Writes that depend on what is stored.

use serde_json::{Value, json};

use crate::support::Server;

fn red() -> Value {
    json!({"must": [{"key": "color", "match": {"value": "red"}}]})
}

/// Payloads of points 1 to 4; null for those that there are not.
async fn versions(server: &Server) -> Vec<Value> {
    let body = json!({"ids": [1, 2, 3, 4], "with_payload": ["v"]});
    let found = server.post("/collections/c/points", body).await.result();
    let of = |id: u64| {
        let points = found.as_array().unwrap().iter();
        let point = points.clone().find(|p| p["id"] == id);
        point.map_or(Value::Null, |p| p["payload"]["v"].clone())
    };
    (1..=4).map(of).collect()
}

async fn upsert(server: &Server, condition: Value) {
    let points = (1..=4).map(|id| json!({"id": id, "vector": [1, 1, 1], "payload": {"v": "new"}}));
    let mut body = json!({"points": points.collect::<Vec<_>>()});
    let fields = condition.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    let answer = server.put("/collections/c/points?wait=true", body).await;
    answer.result();
}

#[tokio::test]
async fn upserts_go_by_mode_and_filter() {
    let (new, old) = (json!("new"), Value::Null);
    for (condition, expected) in [
        (json!({"update_mode": "upsert"}), [&new, &new, &new, &new]),
        (
            json!({"update_mode": "insert_only"}),
            [&old, &old, &old, &new],
        ),
        (
            json!({"update_mode": "update_only"}),
            [&new, &new, &new, &old],
        ),
        (json!({"update_filter": red()}), [&new, &old, &new, &new]),
        (
            json!({"update_filter": red(), "update_mode": "update_only"}),
            [&new, &old, &new, &old],
        ),
    ] {
        let server = Server::with_points().await;
        upsert(&server, condition.clone()).await;
        let found = versions(&server).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{condition}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_decided_once() {
    let server = Server::with_points().await;
    let body = json!({
        "points": [{"id": 1, "vector": [9, 9, 9], "payload": {"color": "blue"}}],
        "update_filter": red(),
    });
    let headers = [("brainy-request-id", "0123456789abcdef0123456789abcdef")];
    for _ in 0..2 {
        let text = body.to_string();
        let answer = server
            .call("PUT", "/collections/c/points", &headers, Some(&text))
            .await;
        answer.result();
    }
    let point = server.get("/collections/c/points/1").await.result();
    assert_eq!(point["payload"], json!({"color": "blue"}));
}

#[tokio::test]
async fn vectors_of_points_that_match_are_updated() {
    let server = Server::with_points().await;
    let points = (1..=4).map(|id| json!({"id": id, "vector": [7, 7, 7]}));
    let body = json!({"points": points.collect::<Vec<_>>(), "update_filter": red()});
    server
        .put("/collections/c/points/vectors", body)
        .await
        .result();
    for (id, x) in [(1, 7.0), (2, 0.0), (3, 7.0)] {
        let point = server
            .get(&format!("/collections/c/points/{id}"))
            .await
            .result();
        assert_eq!(point["vector"][0], x, "{id}");
    }
    server.get("/collections/c/points/4").await.error(404);
}

#[tokio::test]
async fn conditions_that_cannot_be_read_are_refused() {
    let server = Server::with_points().await;
    let points = json!([{"id": 9, "vector": [1, 1, 1]}]);
    for (condition, word) in [
        (
            json!({"points": points, "update_mode": "replace"}),
            "replace",
        ),
        (
            json!({"points": points, "update_filter": {"must": [{"key": "a[", "is_null": true}]}}),
            "update_filter",
        ),
        (
            json!({"points": points, "update_filter": 5}),
            "update_filter",
        ),
    ] {
        server
            .put("/collections/c/points", condition)
            .await
            .refused(400, &[word]);
    }
    assert_eq!(server.count().await, 3);
}
