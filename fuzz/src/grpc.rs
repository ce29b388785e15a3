//! Messages to the gRPC API. The first byte of an input says which method is called, the others are its message.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use brainy_dataplane::api::{ApiConfig, router};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::requests::memory::Memory;
use super::requests::prepared;

const METHODS: [&str; 16] = [
    "Points/Upsert",
    "Points/Delete",
    "Points/Get",
    "Points/UpdateVectors",
    "Points/DeleteVectors",
    "Points/SetPayload",
    "Points/OverwritePayload",
    "Points/DeletePayload",
    "Points/CreateFieldIndex",
    "Points/Search",
    "Points/SearchBatch",
    "Points/Scroll",
    "Points/Count",
    "Points/Query",
    "Points/UpdateBatch",
    "Collections/Create",
];

/// Calls; the answer has a status, and no handler panicked.
pub fn run(bytes: &[u8]) {
    let Some((which, message)) = bytes.split_first() else {
        return;
    };
    let method = METHODS[usize::from(*which) % METHODS.len()];
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let app = router(Arc::new(Memory::default()), ApiConfig::default());
        prepared(&app).await;
        let request = Request::builder()
            .method("POST")
            .uri(format!("/qdrant.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::from(frame))
            .unwrap();
        let answer = app.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{method}");
        let head = answer.headers().clone();
        let body = answer.into_body().collect().await.unwrap();
        let tail = body.trailers().cloned().unwrap_or_default();
        assert!(well(&head) || well(&tail), "{method}: {head:?} {tail:?}");
    });
}

/// Whether a status is there that is not a defect's.
fn well(headers: &HeaderMap) -> bool {
    let text = |name| {
        let value = headers.get(name);
        value.map_or("", |v| v.to_str().unwrap_or_default())
    };
    let defect = ["panic", "let%20this%20through", "let this through"];
    !text("grpc-status").is_empty() && !defect.iter().any(|d| text("grpc-message").contains(d))
}

/// A field of a message that is bytes, text or a message.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    assert!(number < 16 && contents.len() < 128);
    [&[number << 3 | 2, contents.len() as u8], contents].concat()
}

/// A field that is a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    assert!(number < 16 && value < 128);
    vec![number << 3, value]
}

/// A call of each method, of some with all that it takes.
pub fn seeds() -> Vec<Vec<u8>> {
    let name = field(1, b"c");
    let floats = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let id = field(1, &number(1, 7));
    let vector = field(1, &field(1, &floats(&[1.0, 2.0])));
    let payload = [field(1, b"n"), field(2, &number(3, 5))].concat();
    let point = [id.clone(), field(3, &payload), field(4, &vector)].concat();
    let has_id = field(3, &field(1, &number(1, 2)));
    let filter = field(2, &has_id);
    let message = |method: &str| match method {
        "Points/Upsert" => [name.clone(), field(3, &point)].concat(),
        "Points/Search" => [
            name.clone(),
            field(2, &floats(&[1.0, 2.0])),
            field(3, &filter),
            number(4, 3),
        ]
        .concat(),
        "Points/Count" | "Points/Scroll" => [name.clone(), field(2, &filter)].concat(),
        _ => name.clone(),
    };
    let methods = METHODS.iter().enumerate();
    methods
        .map(|(which, method)| [vec![which as u8], message(method)].concat())
        .collect()
}
