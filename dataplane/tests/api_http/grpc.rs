//! The gRPC API: the same requests, checks, errors and answers as REST.

mod access;
mod points;
mod queries;

mod proto {
    #![allow(
        clippy::all,
        dead_code,
        missing_docs,
        unreachable_pub,
        reason = "generated; a test uses a few of the messages"
    )]

    include!(concat!(env!("OUT_DIR"), "/qdrant.rs"));
}

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use brainy_dataplane::api::{ApiConfig, ApiKeys, routers};
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::Consistency;
use brainy_dataplane::service::Limits;
use http_body_util::BodyExt;
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceExt;

use crate::memory::Fault;
use crate::support::Server;
use proto::condition::ConditionOneOf;
use proto::r#match::MatchValue;
use proto::point_id::PointIdOptions;
use proto::points_selector::PointsSelectorOneOf;
use proto::value::Kind;
use proto::*;

#[derive(Debug)]
struct Refused {
    code: Code,
    message: String,
    metadata: HeaderMap,
}

struct Answered<A> {
    message: A,
    metadata: HeaderMap,
}

fn frame(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    frame
}

fn code(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}

/// Percent-encoded as the protocol says.
fn text(headers: &HeaderMap) -> String {
    let bytes = headers
        .get("grpc-message")
        .map_or(&[][..], |m| m.as_bytes());
    let mut text = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
            text.push(u8::from_str_radix(digits, 16).unwrap());
            at += 3;
        } else {
            text.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(text).unwrap()
}

async fn ask_with<A: Message + Default>(
    router: axum::Router,
    method: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Result<Answered<A>, Box<Refused>> {
    let mut request = Request::post(format!("/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(frame(message))).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (parts, body) = response.into_parts();
    let refused = |code, headers: &HeaderMap| {
        Err(Box::new(Refused {
            code,
            message: text(headers),
            metadata: headers.clone(),
        }))
    };
    if let Some(code) = code(&parts.headers) {
        return refused(code, &parts.headers);
    }
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    let code = code(&trailers).unwrap();
    if code != Code::Ok {
        return refused(code, &trailers);
    }
    let bytes: Bytes = collected.to_bytes();
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    assert_eq!((bytes[0], bytes.len()), (0, 5 + length));
    Ok(Answered {
        message: A::decode(&bytes[5..]).unwrap(),
        metadata: parts.headers,
    })
}

async fn ask<A: Message + Default>(
    server: &Server,
    method: &str,
    message: &impl Message,
) -> Result<A, Box<Refused>> {
    ask_with(
        server.router.clone(),
        &format!("qdrant.{method}"),
        &[],
        message,
    )
    .await
    .map(|answered| answered.message)
}

/// The code and text of a request that is refused.
async fn refusal(server: &Server, method: &str, message: &impl Message) -> (Code, String) {
    let refused = ask::<CountResponse>(server, method, message)
        .await
        .unwrap_err();
    (refused.code, refused.message)
}

fn num(n: u64) -> PointId {
    PointId {
        point_id_options: Some(PointIdOptions::Num(n)),
    }
}

fn dense(data: &[f32]) -> Vectors {
    let data = data.to_vec();
    Vectors {
        vectors_options: Some(vectors::VectorsOptions::Vector(Vector {
            vector: Some(vector::Vector::Dense(DenseVector { data })),
            ..Vector::default()
        })),
    }
}

fn payload(pairs: &[(&str, Kind)]) -> BTreeMap<String, proto::Value> {
    let value = |kind: &Kind| proto::Value {
        kind: Some(kind.clone()),
    };
    pairs
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), value(kind)))
        .collect()
}

fn name() -> String {
    "c".to_owned()
}

fn by_ids(ids: &[u64]) -> Option<PointsSelector> {
    Some(PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList {
            ids: ids.iter().map(|n| num(*n)).collect(),
        })),
    })
}

fn everything() -> Option<WithPayloadSelector> {
    Some(WithPayloadSelector {
        selector_options: Some(with_payload_selector::SelectorOptions::Enable(true)),
    })
}

fn field(key: &str) -> FieldCondition {
    FieldCondition {
        key: key.to_owned(),
        ..FieldCondition::default()
    }
}

fn only(condition: ConditionOneOf) -> Filter {
    Filter {
        must: vec![Condition {
            condition_one_of: Some(condition),
        }],
        ..Filter::default()
    }
}

fn matches(key: &str, test: MatchValue) -> Filter {
    only(ConditionOneOf::Field(FieldCondition {
        r#match: Some(Match {
            match_value: Some(test),
        }),
        ..field(key)
    }))
}

fn found(points: &[ScoredPoint]) -> Vec<PointId> {
    points.iter().filter_map(|p| p.id.clone()).collect()
}
