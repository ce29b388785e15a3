//! Who may do what.

use axum::Router;
use axum::routing::post;
use brainy_dataplane::api::{ApiConfig, ApiKeys, without_browsers};
use serde_json::json;

use crate::support::Server;

/// Method, path, body, and the least of `none`, `ro`, `rw`, `admin` that may use it.
const ROUTES: &[(&str, &str, Option<&str>, &str)] = &[
    ("GET", "/livez", None, "none"),
    ("GET", "/readyz", None, "none"),
    ("GET", "/healthz", None, "none"),
    ("GET", "/", None, "ro"),
    ("GET", "/health", None, "ro"),
    ("GET", "/metrics", None, "ro"),
    ("GET", "/coordinate/assignments", None, "ro"),
    ("GET", "/coordinate/events", None, "ro"),
    ("GET", "/collections", None, "ro"),
    ("GET", "/collections/c", None, "ro"),
    ("GET", "/collections/c/exists", None, "ro"),
    ("GET", "/aliases", None, "ro"),
    ("GET", "/collections/c/aliases", None, "ro"),
    ("GET", "/cluster", None, "ro"),
    ("GET", "/collections/c/cluster", None, "ro"),
    ("GET", "/telemetry", None, "ro"),
    ("GET", "/issues", None, "ro"),
    ("GET", "/quotas", None, "ro"),
    ("GET", "/collections/c/points/1", None, "ro"),
    (
        "POST",
        "/collections/c/points",
        Some(r#"{"ids": [1]}"#),
        "ro",
    ),
    ("POST", "/collections/c/points/scroll", Some("{}"), "ro"),
    ("POST", "/collections/c/points/count", Some("{}"), "ro"),
    (
        "POST",
        "/collections/c/points/query",
        Some(r#"{"query": [1, 0]}"#),
        "ro",
    ),
    (
        "POST",
        "/collections/c/points/query/batch",
        Some(r#"{"searches": []}"#),
        "ro",
    ),
    (
        "POST",
        "/collections/c/points/search",
        Some(r#"{"vector": [1, 0], "limit": 1}"#),
        "ro",
    ),
    (
        "POST",
        "/collections/c/points/search/batch",
        Some(r#"{"searches": []}"#),
        "ro",
    ),
    (
        "PUT",
        "/collections/c/points",
        Some(r#"{"points": [{"id": 1, "vector": [1, 0]}]}"#),
        "rw",
    ),
    (
        "PUT",
        "/collections/c/points/vectors",
        Some(r#"{"points": []}"#),
        "rw",
    ),
    (
        "POST",
        "/collections/c/points/payload",
        Some(r#"{"payload": {}, "points": []}"#),
        "rw",
    ),
    (
        "PUT",
        "/collections/c/points/payload",
        Some(r#"{"payload": {}, "points": []}"#),
        "rw",
    ),
    (
        "POST",
        "/collections/c/points/payload/delete",
        Some(r#"{"keys": [], "points": []}"#),
        "rw",
    ),
    (
        "POST",
        "/collections/c/points/payload/clear",
        Some(r#"{"points": []}"#),
        "rw",
    ),
    (
        "POST",
        "/collections/c/points/delete",
        Some(r#"{"points": []}"#),
        "rw",
    ),
    (
        "POST",
        "/collections/c/points/batch",
        Some(r#"{"operations": []}"#),
        "rw",
    ),
    (
        "PUT",
        "/collections/c/index",
        Some(r#"{"field_name": "a", "field_schema": "keyword"}"#),
        "rw",
    ),
    ("DELETE", "/collections/c/index/a", None, "rw"),
    (
        "PUT",
        "/collections/new",
        Some(r#"{"vectors": {"size": 2, "distance": "Dot"}}"#),
        "admin",
    ),
    (
        "PATCH",
        "/collections/c",
        Some(r#"{"metadata": {"a": 1}}"#),
        "admin",
    ),
    (
        "PUT",
        "/collections/c/vectors/v",
        Some(r#"{"sparse": {}}"#),
        "admin",
    ),
    ("DELETE", "/collections/c/vectors/v", None, "admin"),
    (
        "POST",
        "/collections/aliases",
        Some(r#"{"actions": []}"#),
        "admin",
    ),
    ("DELETE", "/collections/new", None, "admin"),
    ("POST", "/coordinate/rebalance", None, "admin"),
    ("GET", "/sync/config", None, "ro"),
    ("POST", "/sync/config", None, "admin"),
];

fn keys() -> ApiKeys {
    let key = |text: &str| Some(text.to_owned());
    ApiKeys::new(key("admin-key"), key("rw-key"), key("ro-key")).unwrap()
}

async fn keyed() -> Server {
    let server = Server::new(ApiConfig {
        api_keys: keys(),
        ..ApiConfig::default()
    });
    let body = r#"{"vectors": {"size": 2, "distance": "Dot"}}"#;
    let answer = server
        .call(
            "PUT",
            "/collections/c",
            &[("api-key", "admin-key")],
            Some(body),
        )
        .await;
    answer.result();
    let point = r#"{"points": [{"id": 1, "vector": [1, 0]}]}"#;
    let answer = server
        .call(
            "PUT",
            "/collections/c/points",
            &[("api-key", "admin-key")],
            Some(point),
        )
        .await;
    answer.result();
    server
}

#[tokio::test]
async fn every_route_wants_its_key() {
    let server = keyed().await;
    let levels = ["none", "ro", "rw", "admin"];
    let rank = |level: &str| levels.iter().position(|l| *l == level).unwrap();
    for (method, path, body, least) in ROUTES {
        for level in levels {
            let key = format!("{level}-key");
            let headers: &[(&str, &str)] = if level == "none" {
                &[]
            } else {
                &[("api-key", &key)]
            };
            let answer = server.call(method, path, headers, *body).await;
            let status = answer.status.as_u16();
            let case = format!("{method} {path} as {level}: {}", answer.text);
            if rank(level) >= rank(least) {
                assert_eq!(status, 200, "{case}");
            } else if level == "none" {
                answer.refused(401, &["api-key"]);
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            } else {
                assert_eq!(status, 403, "{case}");
                answer.error(403);
            }
        }
    }
}

#[tokio::test]
async fn keys_come_in_two_headers_and_wrong_ones_open_nothing() {
    let server = keyed().await;
    for headers in [
        [("api-key", "ro-key")],
        [("authorization", "Bearer ro-key")],
        [("authorization", "bearer ro-key")],
    ] {
        server
            .call("GET", "/collections", &headers, None)
            .await
            .result();
    }
    for headers in [
        [("api-key", "")],
        [("api-key", "ro-ke")],
        [("api-key", "ro-key2")],
        [("api-key", "RO-KEY")],
        [("authorization", "ro-key")],
        [("authorization", "Basic ro-key")],
        [("authorization", "Bearer ")],
    ] {
        server
            .call("GET", "/collections", &headers, None)
            .await
            .error(401);
    }
}

#[tokio::test]
async fn strangers_learn_nothing_about_routes() {
    let server = keyed().await;
    server
        .call("GET", "/no/such/route", &[], None)
        .await
        .error(401);
    server
        .call("DELETE", "/collections", &[], None)
        .await
        .error(401);
    server.call("GET", "/telemetry", &[], None).await.error(401);
    server
        .call("GET", "/no/such/route", &[("api-key", "ro-key")], None)
        .await
        .error(404);
}

#[tokio::test]
async fn a_refused_write_changes_nothing() {
    let server = keyed().await;
    let body = json!({"points": [{"id": 2, "vector": [1, 0]}]}).to_string();
    server
        .call(
            "PUT",
            "/collections/c/points",
            &[("api-key", "ro-key")],
            Some(&body),
        )
        .await
        .error(403);
    server
        .call("DELETE", "/collections/c", &[("api-key", "rw-key")], None)
        .await
        .error(403);
    let count = server
        .call(
            "POST",
            "/collections/c/points/count",
            &[("api-key", "ro-key")],
            Some("{}"),
        )
        .await
        .result();
    assert_eq!(count["count"], 1);
}

#[test]
fn keys_that_would_leave_a_hole_are_refused_and_never_printed() {
    let key = |text: &str| Some(text.to_owned());
    for (admin, write, read) in [
        (key(""), None, None),
        (None, None, key("")),
        (key("with space"), None, None),
        (key("a"), key("a"), None),
        (None, key("umläut"), None),
    ] {
        assert!(ApiKeys::new(admin, write, read).is_err());
    }
    assert!(!format!("{:?}", keys()).contains("-key"));
}

/// A server with something beside the API, as a node has.
fn beside_others(keys: ApiKeys) -> Server {
    let mut server = Server::new(ApiConfig {
        api_keys: keys.clone(),
        ..ApiConfig::default()
    });
    let beside = Router::new().route("/internal/thing", post(|| async { "done" }));
    server.router = without_browsers(server.router.merge(beside), &keys);
    server
}

#[tokio::test]
async fn web_pages_do_not_reach_an_open_server() {
    let server = beside_others(ApiKeys::default());
    let page = [
        ("origin", "http://evil.example"),
        ("content-type", "application/json"),
    ];
    let schema = r#"{"vectors": {"size": 2, "distance": "Dot"}}"#;
    for (method, path, body) in [
        ("PUT", "/collections/c", Some(schema)),
        ("DELETE", "/collections/c", None),
        ("POST", "/coordinate/rebalance", None),
        ("POST", "/internal/thing", None),
        ("OPTIONS", "/collections/c", None),
    ] {
        let answer = server.call(method, path, &page, body).await;
        answer.refused(403, &["origin", "--api-key"]);
    }
    let read = server.call("GET", "/collections", &page, None).await;
    assert_eq!(read.result()["collections"], json!([]));
    let own = server.call("POST", "/internal/thing", &[], None).await;
    assert_eq!((own.status.as_u16(), own.text.as_str()), (200, "done"));
}

#[tokio::test]
async fn web_pages_with_a_key_are_clients_like_others() {
    let keys = ApiKeys::new(Some("admin-key".to_owned()), None, None).unwrap();
    let server = beside_others(keys);
    let page = [("origin", "http://app.example"), ("api-key", "admin-key")];
    let answer = server.call("DELETE", "/collections/c", &page, None).await;
    assert_ne!(answer.status.as_u16(), 403, "{}", answer.text);
    let keyless = server
        .call("DELETE", "/collections/c", &page[..1], None)
        .await;
    keyless.error(401);
}
