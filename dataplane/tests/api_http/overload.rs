//! What does not fit into memory is refused at once, and nobody else notices.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use brainy_dataplane::admission::{AdmissionMetrics, ByteBudget};
use brainy_dataplane::api::ApiConfig;
use futures::StreamExt;
use futures::channel::mpsc;
use http_body_util::BodyExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tower::ServiceExt;

use crate::support::Server;

const COUNT: &str = "/collections/c/points/count";

fn limited(bytes: u64) -> (ApiConfig, Registry) {
    let mut registry = Registry::default();
    let metrics = AdmissionMetrics::register(&mut registry);
    let config = ApiConfig {
        requests: ByteBudget::new("requests", bytes, metrics),
        ..ApiConfig::default()
    };
    (config, registry)
}

async fn with_collection(config: ApiConfig) -> Server {
    let server = Server::new(config);
    let schema = json!({"vectors": {"size": 3, "distance": "Dot"}});
    server.put("/collections/c", schema).await.result();
    server
}

/// A request whose body comes when it is sent.
fn streaming(length: Option<usize>) -> (mpsc::UnboundedSender<Bytes>, Request<Body>) {
    let (sender, chunks) = mpsc::unbounded();
    let body = Body::from_stream(chunks.map(Ok::<_, std::io::Error>));
    let mut request = Request::builder()
        .method("POST")
        .uri(COUNT)
        .header("content-type", "application/json");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    (sender, request.body(body).unwrap())
}

#[tokio::test]
async fn a_body_that_does_not_fit_beside_others_is_429_until_they_are_done() {
    let (config, registry) = limited(3_000);
    let budget = config.requests.clone();
    let server = with_collection(config).await;
    // 900 bytes are announced, and count as soon as they are.
    let (sender, request) = streaming(Some(900));
    let mut first = Box::pin(server.router.clone().oneshot(request));
    assert!(futures::poll!(first.as_mut()).is_pending());
    assert_eq!(budget.used(), 2_700);

    let padding = " ".repeat(200);
    let body = format!("{{}}{padding}");
    let answer = server.call("POST", COUNT, &[], Some(&body)).await;
    answer.refused(429, &["requests", "memory", "3000"]);
    assert_eq!(answer.header("retry-after"), "1");
    // Small ones and those without a body go on.
    server.post(COUNT, json!({})).await.result();
    server.get("/collections").await.result();

    sender
        .unbounded_send(format!("{{}}{}", " ".repeat(898)).into())
        .unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(budget.used(), 0);
    server.call("POST", COUNT, &[], Some(&body)).await.result();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("brainy_refused_total{reason=\"requests\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_counts_as_it_comes() {
    let (config, _) = limited(3_000);
    let budget = config.requests.clone();
    let server = with_collection(config).await;
    let (sender, request) = streaming(None);
    let mut request = Box::pin(server.router.clone().oneshot(request));
    assert!(futures::poll!(request.as_mut()).is_pending());
    assert_eq!(budget.used(), 0);
    sender.unbounded_send(vec![b' '; 600].into()).unwrap();
    assert!(futures::poll!(request.as_mut()).is_pending());
    assert_eq!(budget.used(), 1_800);
    sender.unbounded_send(vec![b' '; 600].into()).unwrap();
    drop(sender);
    assert_eq!(
        request.await.unwrap().status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn messages_of_grpc_count_as_they_come() {
    let (config, _) = limited(3_000);
    let budget = config.requests.clone();
    let server = with_collection(config).await;
    let _other = budget.charge(1).unwrap();
    // A list of collections; the request's only field is one that nobody knows: 15, so many bytes.
    for (unknown, code) in [(100_usize, "0"), (2_000, "8")] {
        let mut message = vec![
            15 << 3 | 2,
            (unknown & 127) as u8 | 128,
            (unknown >> 7) as u8,
        ];
        message.resize(message.len() + unknown, 0);
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        let request = Request::builder()
            .method("POST")
            .uri("/qdrant.Collections/List")
            .header("content-type", "application/grpc")
            .body(Body::from(frame))
            .unwrap();
        let response = server.router.clone().oneshot(request).await.unwrap();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().unwrap_or(&headers);
        assert_eq!(trailers["grpc-status"], code, "{trailers:?}");
    }
    assert_eq!(budget.used(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_back_what_its_request_took() {
    let (config, _) = limited(3_000);
    let budget = config.requests.clone();
    let server = with_collection(config).await;
    let (sender, request) = streaming(Some(900));
    let mut request = Box::pin(server.router.clone().oneshot(request));
    assert!(futures::poll!(request.as_mut()).is_pending());
    assert_eq!(budget.used(), 2_700);
    drop(request);
    drop(sender);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn deep_nesting_is_refused_and_not_followed() {
    let server = Server::with_points().await;
    for (open, close, core) in [
        ("{\"must\":[", "]}", ""),
        (
            "{\"must_not\":{\"nested\":{\"key\":\"a\",\"filter\":",
            "}}}",
            "{}",
        ),
        ("[", "]", ""),
    ] {
        for depth in [200, 100_000] {
            let filter = format!("{}{core}{}", open.repeat(depth), close.repeat(depth));
            let body = format!("{{\"filter\":{filter}}}");
            let answer = server.call("POST", COUNT, &[], Some(&body)).await;
            answer.error(400);
        }
    }
    // In payloads too, which are any JSON.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body =
        format!("{{\"points\":[{{\"id\":9,\"vector\":[1,1,1],\"payload\":{{\"a\":{deep}}}}}]}}");
    let answer = server
        .call("PUT", "/collections/c/points", &[], Some(&body))
        .await;
    answer.refused(400, &["recursion limit"]);
    // What JSON's reader lets through works in all that is done with it.
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let body =
        format!("{{\"points\":[{{\"id\":9,\"vector\":[1,1,1],\"payload\":{{\"a\":{deep}}}}}]}}");
    server
        .call("PUT", "/collections/c/points", &[], Some(&body))
        .await
        .result();
    let found = server.get("/collections/c/points/9").await.result();
    assert_eq!(found["payload"]["a"].to_string(), deep);
}
