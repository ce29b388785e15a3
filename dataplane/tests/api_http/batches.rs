//! Several writes in one request.

use brainy_dataplane::error::ServiceError;
use serde_json::{Value, json};

use crate::memory::Fault;
use crate::support::Server;

const PATH: &str = "/collections/c/points/batch?wait=true";

fn operations() -> Value {
    json!({"operations": [
        {"upsert": {"points": [{"id": 9, "vector": [1, 1, 1], "payload": {"a": 1, "b": 2}}]}},
        {"set_payload": {"payload": {"c": 3}, "points": [9]}},
        {"delete_payload": {"keys": ["a"], "points": [9]}},
        {"update_vectors": {"points": [{"id": 9, "vector": [2, 2, 2]}]}},
        {"overwrite_payload": {"payload": {"only": true}, "points": [1]}},
        {"clear_payload": {"points": [2]}},
        {"delete": {"filter": {"must": [{"has_id": [3]}]}}},
    ]})
}

#[tokio::test]
async fn operations_are_applied_in_order() {
    let server = Server::with_points().await;
    let answer = server.post(PATH, operations()).await;
    let results = answer.result();
    assert_eq!(results.as_array().unwrap().len(), 7);
    assert_eq!(results[6]["status"], "completed");
    assert!(answer.header("brainy-token").ends_with("@1:8"));
    let body = json!({"ids": [1, 2, 3, 9], "with_vector": true});
    let points = server.post("/collections/c/points", body).await.result();
    assert_eq!(points[0]["payload"], json!({"only": true}));
    assert_eq!(points[1]["payload"], json!({}));
    assert_eq!(
        points[2],
        json!({"id": 9, "payload": {"b": 2, "c": 3}, "vector": [2.0, 2.0, 2.0]})
    );
}

#[tokio::test]
async fn nothing_is_applied_when_one_operation_is_wrong() {
    let server = Server::with_points().await;
    let mut body = operations();
    body["operations"][3] = json!({"update_vectors": {"points": [{"id": 9, "vector": [2, 2]}]}});
    server
        .post(PATH, body)
        .await
        .refused(400, &["operations[3]", "dimension"]);
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn a_failure_in_the_middle_says_where_and_can_be_repeated() {
    let server = Server::with_points().await;
    let before = server.memory.request_ids().len();
    // Two writes and the look for the points that the second of them names.
    server.memory.inject(
        3,
        Fault::Fail(ServiceError::Unknown("no answer".to_owned())),
    );
    let id = [("brainy-request-id", "00000000000000000000000000000007")];
    let body = operations().to_string();
    let failed = server.call("POST", PATH, &id, Some(&body)).await;
    failed.refused(
        504,
        &[
            "operations[2] of 7",
            "the 2 before it are applied",
            "brainy-request-id",
        ],
    );
    assert_eq!(failed.header("brainy-request-id"), id[0].1);

    server.call("POST", PATH, &id, Some(&body)).await.result();
    let ids = server.memory.request_ids();
    let (first, second) = ids[before..].split_at(2);
    assert_eq!(first, &second[..2]);
    assert_eq!(second.len(), 7);
}
