//! Every error has its status and the common form.

use std::time::Duration;

use brainy_coordination::types::{CollectionUid, PartitionId};
use brainy_dataplane::api::ApiConfig;
use brainy_dataplane::api::metrics::ApiMetrics;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::service::Limits;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::memory::Fault;
use crate::support::Server;

#[tokio::test]
async fn errors_of_the_service_have_their_status() {
    let server = Server::with_points().await;
    let partition = PartitionId::new(CollectionUid::new("c-1").unwrap(), 0);
    let text = || "the reason".to_owned();
    for (error, status, retry_after) in [
        (ServiceError::BadRequest(text()), 400, None),
        (ServiceError::NoSuchCollection(text()), 404, None),
        (ServiceError::NotFound(text()), 404, None),
        (ServiceError::Conflict(text()), 409, None),
        (ServiceError::TooLarge { size: 2, limit: 1 }, 413, None),
        (
            ServiceError::WrongNode {
                partition,
                reason: text(),
                ask: None,
            },
            421,
            None,
        ),
        (
            ServiceError::Overloaded {
                reason: text(),
                retry_after_ms: 1500,
            },
            429,
            Some("2"),
        ),
        (
            ServiceError::Overloaded {
                reason: text(),
                retry_after_ms: 0,
            },
            429,
            Some("1"),
        ),
        (ServiceError::Unavailable(text()), 503, Some("1")),
        (ServiceError::Unknown(text()), 504, None),
        (ServiceError::Unsupported(text()), 501, None),
        (ServiceError::Internal(text()), 500, None),
    ] {
        let expected = error.to_string();
        server.memory.inject(0, Fault::Fail(error));
        let answer = server.post("/collections/c/points/count", json!({})).await;
        assert_eq!(answer.error(status), expected);
        assert_eq!(
            answer
                .headers
                .get("retry-after")
                .map(|v| v.to_str().unwrap()),
            retry_after
        );
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_next_request_is_served() {
    let server = Server::with_points().await;
    server.memory.inject(0, Fault::Panic);
    server
        .post("/collections/c/points/count", json!({}))
        .await
        .refused(500, &["panic"]);
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn requests_end_in_time() {
    let server = Server::with_points().await;
    server.memory.inject(0, Fault::Hang);
    server
        .post("/collections/c/points/count?timeout=1", json!({}))
        .await
        .refused(504, &["1s", "timeout"]);
    server.memory.set_limits(Limits {
        timeout: Duration::from_millis(20),
        ..Limits::default()
    });
    server.memory.inject(0, Fault::Hang);
    let read = server
        .post("/collections/c/points/count?timeout=99", json!({}))
        .await;
    read.refused(504, &["20ms"]);
    server.memory.inject(0, Fault::Hang);
    let write = server
        .post("/collections/c/points/delete", json!({"points": [1]}))
        .await;
    write.refused(504, &["20ms", "brainy-request-id"]);
    assert_eq!(write.header("brainy-request-id").len(), 32);
    server.memory.inject(0, Fault::Hang);
    let change = server.call("DELETE", "/collections/c", &[], None).await;
    change.refused(504, &["20ms", "look before repeating"]);
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let server = Server::with_points().await;
    server.get("/nowhere").await.error(404);
    server.get("/collections/c/nowhere").await.error(404);
    let answer = server
        .call("DELETE", "/collections/c/points", &[], None)
        .await;
    answer.error(405);
    let allow = answer.header("allow");
    assert!(allow.contains("PUT") && allow.contains("POST"), "{allow}");
    server
        .call("GET", "/collections/c/points/query", &[], None)
        .await
        .error(405);
}

#[tokio::test]
async fn bodies_that_are_not_json_say_where() {
    let server = Server::with_points().await;
    let path = "/collections/c/points";
    for (body, words) in [
        ("", vec!["JSON body"]),
        ("{", vec!["line 1"]),
        ("[]", vec!["JSON body"]),
        (r#"{"points": 5}"#, vec!["points"]),
        (r#"{"points": [{"id": 1}]}"#, vec!["points[0]", "vector"]),
        (
            r#"{"points": [{"id": -1, "vector": []}]}"#,
            vec!["points[0].id"],
        ),
        (
            r#"{"points": [{"id": 1.5, "vector": []}]}"#,
            vec!["points[0].id"],
        ),
        (
            r#"{"points": [{"id": 18446744073709551616, "vector": []}]}"#,
            vec!["points[0].id"],
        ),
        (
            r#"{"points": [{"id": "x", "vector": []}]}"#,
            vec!["points[0].id", "'x'"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, NaN, 1]}]}"#,
            vec!["points[0].vector"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, null, 1]}]}"#,
            vec!["points[0].vector"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, "2", 1]}]}"#,
            vec!["points[0].vector"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, 1e39, 1]}]}"#,
            vec!["points[0].vector", "component 1"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, 1e999, 1]}]}"#,
            vec!["points[0].vector"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, 1]}]}"#,
            vec!["points[0].vector", "dimension is 2", "is 3"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": 5}]}"#,
            vec!["points[0].vector"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, 1, 1], "payload": 5}]}"#,
            vec!["points[0].payload"],
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1, 1, 1], "playload": {}}]}"#,
            vec!["playload"],
        ),
        (r#"{"point": []}"#, vec!["point"]),
        (r#"{}"#, vec!["points", "batch"]),
        (
            r#"{"batch": {"ids": [1, 2], "vectors": [[1, 1, 1]]}}"#,
            vec!["batch.vectors", "1", "2"],
        ),
        (
            r#"{"batch": {"ids": [1], "vectors": [[1, 1, 1]], "payloads": []}}"#,
            vec!["batch.payloads"],
        ),
        (
            r#"{"points": [], "update_mode": "sometimes"}"#,
            vec!["update_mode"],
        ),
    ] {
        server
            .call("PUT", path, &[], Some(body))
            .await
            .refused(400, &words);
    }
    let large = format!(
        "{{\"points\": [{{\"id\": 1, \"vector\": [{}\"x\"]}}]}}",
        "1,".repeat(200_000)
    );
    server
        .call("PUT", path, &[], Some(&large))
        .await
        .refused(400, &["points[0].vector"]);
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn a_list_is_not_read_as_an_object_and_a_key_takes_no_clauses() {
    let server = Server::with_points().await;
    let count = |body| server.post("/collections/c/points/count", body);
    for body in [
        json!([]),
        json!([null, null]),
        json!({"filter": [null, null]}),
        json!({"filter": {"must": [[null, null]]}}),
        json!({"filter": {"min_should": {"conditions": [[null, null]], "min_count": 1}}}),
        json!({"filter": {"min_should": [[], 1]}}),
        json!({"filter": {"must": {"key": "a", "match": [1]}}}),
        json!({"filter": {"must": {"key": "a", "range": [1, null, 2]}}}),
    ] {
        let text = body.to_string();
        let error = count(body).await.error(400);
        assert!(error.contains("object"), "{text}: {error}");
    }
    for clauses in [
        json!({"key": "a", "must": []}),
        json!({"key": "a", "min_should": {"conditions": [], "min_count": 1}}),
        json!({"key": "a", "match": {"value": 1}, "should": [{}]}),
    ] {
        let error = count(json!({"filter": {"must": clauses}})).await.error(400);
        assert!(error.contains("'key'"), "{error}");
    }
}

#[tokio::test]
async fn only_plain_json_is_accepted() {
    let server = Server::with_points().await;
    let request = |name: &str, value: &str| {
        axum::http::Request::post("/collections/c/points/delete")
            .header(name, value)
            .body(axum::body::Body::from(r#"{"filter": {}}"#))
            .unwrap()
    };
    for (name, value) in [("content-type", "text/plain"), ("accept", "*/*")] {
        server
            .send(request(name, value))
            .await
            .refused(415, &["content-type", "application/json"]);
    }
    server
        .send(request("content-encoding", "gzip"))
        .await
        .refused(415, &["content-encoding"]);
    assert_eq!(server.count().await, 3);
    server
        .send(request("content-type", "Application/JSON; charset=utf-8"))
        .await
        .result();
    assert_eq!(server.count().await, 0);
}

#[tokio::test]
async fn requests_are_counted_by_template() {
    let mut registry = Registry::default();
    let metrics = ApiMetrics::register(&mut registry);
    let server = Server::new(ApiConfig {
        metrics,
        ..ApiConfig::default()
    });
    server.get("/collections/one").await.error(404);
    server.get("/collections/two").await.error(404);
    server.get("/elsewhere").await.error(404);
    server
        .call("BREW", "/collections", &[], None)
        .await
        .error(405);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"brainy_http_requests_total{method="GET",route="/collections/{name}",status="404"} 2"#,
        r#"brainy_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"brainy_http_requests_total{method="other",route="/collections",status="405"} 1"#,
        r#"brainy_http_request_duration_seconds_count{method="GET",route="/collections/{name}"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
