//! Requests to the HTTP API: its router and the engine, over a service in memory. The first byte of an input says what is asked,
//! the others are the body.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use brainy_dataplane::api::{ApiConfig, router};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

#[allow(dead_code, reason = "its own tests use more of it")]
#[path = "../../dataplane/tests/api_http/memory.rs"]
pub(super) mod memory;

/// What is asked, with a body that is understood.
const ROUTES: [(&str, &str, &str); 26] = [
    (
        "POST",
        "/points/query",
        r#"{"query":[1,2],"limit":3,"filter":{"must":[{"key":"n","range":{"gte":2}}],"must_not":{"has_id":[1]}},"with_payload":["n"],"with_vector":true,"params":{"hnsw_ef":4,"exact":false,"quantization":{"rescore":true,"oversampling":2.0}},"score_threshold":0.1}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"prefetch":[{"query":[1,2],"limit":5},{"query":{"indices":[1,3],"values":[1,2]},"using":"terms"}],"query":{"rrf":{"k":2,"weights":[1,2]}},"offset":1}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"query":{"nearest":1,"mmr":{"diversity":0.5}},"using":""}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"query":{"recommend":{"positive":[1,[1,2]],"negative":[2],"strategy":"best_score"}}}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"query":{"discover":{"target":1,"context":[{"positive":2,"negative":3}]}}}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"prefetch":{"query":[1,2]},"query":{"formula":{"sum":["$score",{"mult":[0.5,{"key":"color","match":{"any":["red"]}}]},{"exp_decay":{"x":"n","target":3,"scale":2}}]},"defaults":{"n":1}}}"#,
    ),
    (
        "POST",
        "/points/query",
        r#"{"query":{"order_by":{"key":"n","direction":"desc","start_from":2}}}"#,
    ),
    ("POST", "/points/query", r#"{"query":{"sample":"random"}}"#),
    (
        "POST",
        "/points/query/batch",
        r#"{"searches":[{"query":1},{"query":[1,2],"limit":1}]}"#,
    ),
    (
        "POST",
        "/points/query/groups",
        r#"{"query":[1,2],"group_by":"color","limit":2,"group_size":2}"#,
    ),
    (
        "POST",
        "/points/search",
        r#"{"vector":{"name":"","vector":[1,2]},"limit":2,"with_payload":{"exclude":["n"]}}"#,
    ),
    (
        "POST",
        "/points/scroll",
        r#"{"limit":2,"offset":1,"filter":{"should":[{"key":"at","geo_radius":{"center":{"lon":1,"lat":2},"radius":10}},{"key":"at","geo_polygon":{"exterior":{"points":[{"lon":0,"lat":0},{"lon":5,"lat":0},{"lon":5,"lat":5},{"lon":0,"lat":0}]}}},{"key":"tags[]","match":{"except":["a"]}}],"min_should":{"conditions":[{"is_empty":{"key":"x"}}],"min_count":1}},"order_by":"n"}"#,
    ),
    (
        "POST",
        "/points/count",
        r#"{"filter":{"must":[{"nested":{"key":"deep[]","filter":{"must":[{"key":"a","match":{"value":1}}]}}},{"key":"day","range":{"lt":"2024-05-01T12:00:00Z"}},{"key":"tags","values_count":{"gt":1}},{"key":"color","match":{"text":"red green"}}]},"exact":true}"#,
    ),
    (
        "POST",
        "/points",
        r#"{"ids":[1,2,"6ba7b810-9dad-11d1-80b4-00c04fd430c8"],"with_vector":[""]}"#,
    ),
    (
        "PUT",
        "/points",
        r#"{"points":[{"id":7,"vector":{"":[1,2],"terms":{"indices":[1,2],"values":[0.5,1]}},"payload":{"n":7}},{"id":8,"vector":{"terms":{"text":"some words","model":"qdrant/bm25","options":{"k":1.2}}}}]}"#,
    ),
    (
        "PUT",
        "/points",
        r#"{"batch":{"ids":[1,2],"vectors":{"":[[1,2],[3,4]]},"payloads":[null,{"a":{"b":1}}]}}"#,
    ),
    (
        "POST",
        "/points/payload",
        r#"{"payload":{"z":[1,{"y":2}]},"points":[1],"key":"deep[0].q"}"#,
    ),
    (
        "POST",
        "/points/payload/delete",
        r#"{"keys":["deep[].a","n"],"filter":{"must":[{"key":"n","match":{"value":1}}]}}"#,
    ),
    (
        "PUT",
        "/points/vectors",
        r#"{"points":[{"id":1,"vector":[5,6]}]}"#,
    ),
    (
        "POST",
        "/points/vectors/delete",
        r#"{"points":[1],"vector":["terms"]}"#,
    ),
    (
        "POST",
        "/points/batch",
        r#"{"operations":[{"delete":{"points":[1]}},{"clear_payload":{"filter":{}}},{"upsert":{"points":[]}}]}"#,
    ),
    (
        "POST",
        "/facet",
        r#"{"key":"color","limit":3,"exact":true}"#,
    ),
    (
        "POST",
        "/points/search/matrix/pairs",
        r#"{"sample":3,"limit":2,"using":""}"#,
    ),
    (
        "POST",
        "/points/recommend",
        r#"{"positive":[1],"negative":[2],"limit":2}"#,
    ),
    (
        "PUT",
        "/index",
        r#"{"field_name":"n","field_schema":{"type":"integer","lookup":true}}"#,
    ),
    (
        "PUT",
        "2",
        r#"{"vectors":{"":{"size":4,"distance":"Cosine","hnsw_config":{"m":8},"quantization_config":{"scalar":{"type":"int8"}}}},"sparse_vectors":{"t":{"modifier":"idf"}},"shard_number":2,"on_disk_payload":true}"#,
    ),
];

fn points() -> Value {
    let point = |n: u64| {
        json!({
            "id": n,
            "vector": {"": [n, 1], "terms": {"indices": [1, n + 1], "values": [0.5, 1.0]}},
            "payload": {
                "n": n,
                "color": (["red", "green"][n as usize % 2]),
                "tags": (["a", "b", "c"][..n as usize % 3]),
                "at": {"lon": n, "lat": 2},
                "day": format!("2024-05-0{n}T00:00:00Z"),
                "deep": [{"a": n}, {"a": 1}],
            },
        })
    };
    json!({"points": (1..=6).map(point).collect::<Vec<_>>()})
}

/// Asks; nothing is answered with an error of the server, and every answer is JSON.
pub fn run(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else {
        return;
    };
    let (method, path, _) = ROUTES[usize::from(*which) % ROUTES.len()];
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let app = router(Arc::new(memory::Memory::default()), ApiConfig::default());
        prepared(&app).await;
        let status = ask(&app, method, path, body.to_vec()).await;
        let server = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
        assert!(!server, "{method} {path}: {status}");
    });
}

/// Makes the collection `c` with its points.
pub(super) async fn prepared(app: &Router) {
    let schema = json!({
        "vectors": {"size": 2, "distance": "Dot"},
        "sparse_vectors": {"terms": {"modifier": "idf"}},
    });
    for (path, body) in [("", schema), ("/points", points())] {
        let status = ask(app, "PUT", path, body.to_string().into_bytes()).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

async fn ask(app: &Router, method: &str, path: &str, body: Vec<u8>) -> StatusCode {
    let request = Request::builder()
        .method(method)
        .uri(format!("/collections/c{path}"))
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX);
    let answer: Value = serde_json::from_slice(&bytes.await.unwrap()).unwrap();
    assert!(
        answer["status"].is_string() || answer["status"]["error"].is_string(),
        "{answer}"
    );
    status
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let seeds = ROUTES.iter().enumerate();
    let seed = |(i, (_, _, body)): (usize, &(&str, &str, &str))| {
        let mut seed = vec![i as u8];
        seed.extend(body.as_bytes());
        seed
    };
    seeds.map(seed).collect()
}
