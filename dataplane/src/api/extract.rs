//! What handlers get from a request's head: parameters and path; and how they answer.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use brainy_coordination::manifest::Collection;
use brainy_coordination::types::{LogPosition, Nonce};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use uuid::Uuid;

use super::errors::{Answer, ApiError};
use super::guard::{Class, REQUEST_ID};
use super::session::Session;
use super::versions::CONTEXT;
use crate::error::ServiceError;
use crate::model::{Consistency, ReadOptions, WriteOptions, WriteReceipt};
use crate::service::{DataService, Limits};

const CONSISTENCY: &str = "brainy-consistency";
/// What a session has seen, see [`Session`].
pub(super) const TOKEN: &str = "brainy-token";

/// Query parameters and headers, checked.
#[derive(Clone, Debug)]
pub(super) struct Params {
    /// Whether the client asked for `wait=true`. Writes are always waited for; it only chooses the word in the answer.
    pub(super) wait: bool,
    /// `timeout` in seconds; can only shorten the limit.
    pub(super) timeout: Option<Duration>,
    /// Freshness of reads.
    pub(super) read: ReadOptions,
    /// What the client has seen.
    pub(super) session: Session,
    /// What the client of a write has seen of its point.
    pub(super) context: Option<String>,
    /// Identity of a write, from the client or random.
    pub(super) request_id: Nonce,
}

#[derive(Default, serde::Deserialize)]
struct RawParams {
    wait: Option<String>,
    ordering: Option<String>,
    timeout: Option<String>,
    consistency: Option<String>,
}

impl Params {
    pub(super) fn parse(
        query: Option<&str>,
        headers: &HeaderMap,
        class: Class,
    ) -> Result<Self, ApiError> {
        let raw = match query {
            None => RawParams::default(),
            Some(text) => {
                let uri = axum::http::Uri::builder()
                    .path_and_query(format!("/?{text}"))
                    .build();
                let uri = uri.map_err(|e| ApiError::bad_request(format!("query string: {e}")))?;
                axum::extract::Query::<RawParams>::try_from_uri(&uri)
                    .map_err(|e| ApiError::bad_request(format!("query string: {}", e.body_text())))?
                    .0
            }
        };
        let wait = match raw.wait.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(unknown("query parameter 'wait'", other, "true or false")),
        };
        // Every partition has one log, so each level of Qdrant's ordering is met by the strongest.
        match raw.ordering.as_deref() {
            None | Some("weak" | "medium" | "strong") => {}
            Some(other) => {
                return Err(unknown(
                    "query parameter 'ordering'",
                    other,
                    "weak, medium or strong",
                ));
            }
        }
        let timeout = match raw.timeout.as_deref() {
            None => None,
            Some(text) => match text.parse::<u32>() {
                Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds.into())),
                _ => {
                    return Err(unknown(
                        "query parameter 'timeout'",
                        text,
                        "whole seconds, at least 1",
                    ));
                }
            },
        };
        let session = Session::of(headers, class)?;
        let read = if class == Class::Read {
            session.read(consistency(raw.consistency.as_deref(), headers)?)
        } else {
            ReadOptions::default()
        };
        let context = match header_text(headers, CONTEXT)? {
            Some(_) if class != Class::Write => {
                return Err(ApiError::bad_request(format!(
                    "header '{CONTEXT}': only writes of points have a context"
                )));
            }
            context => context.map(str::to_owned),
        };
        let request_id = match header_text(headers, REQUEST_ID)? {
            Some(text) if class == Class::Write => Uuid::try_parse(text)
                .map(|id| Nonce(id.as_u128()))
                .map_err(|_| {
                    unknown(
                        "header 'brainy-request-id'",
                        text,
                        "32 hexadecimal digits or a UUID",
                    )
                })?,
            _ => Nonce::random(),
        };
        Ok(Self {
            wait,
            timeout,
            read,
            session,
            context,
            request_id,
        })
    }
}

pub(super) fn unknown(what: &str, value: &str, rule: &str) -> ApiError {
    let value: String = value.chars().take(64).collect();
    ApiError::bad_request(format!("{what} is '{value}', it must be {rule}"))
}

pub(super) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, ApiError> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map_err(|_| ApiError::bad_request(format!("header '{name}' is not ASCII text")))
        })
        .transpose()
}

fn consistency(
    parameter: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<Consistency>, ApiError> {
    let mut consistency = match parameter {
        None => None,
        Some("majority" | "quorum" | "all") => Some(Consistency::Strong),
        // A number of replicas to ask. All copies here are of one log: the cluster's default decides.
        Some(text) if text.parse::<u32>().is_ok_and(|n| n > 0) => None,
        Some(other) => {
            return Err(unknown(
                "query parameter 'consistency'",
                other,
                "majority, quorum, all or a number of at least 1",
            ));
        }
    };
    if let Some(text) = header_text(headers, CONSISTENCY)? {
        consistency = Some(match text {
            "eventual" => Consistency::Eventual,
            "strong" => Consistency::Strong,
            _ => text
                .strip_prefix("bounded:")
                .and_then(|ms| ms.parse().ok())
                .map(Consistency::Bounded)
                .ok_or_else(|| {
                    unknown(
                        "header 'brainy-consistency'",
                        text,
                        "'eventual', 'bounded:<milliseconds>' or 'strong'",
                    )
                })?,
        });
    }
    Ok(consistency)
}

/// One request as its handler sees it.
#[derive(Clone)]
pub(super) struct Call {
    /// Who does the work.
    pub(super) service: Arc<dyn DataService>,
    /// Limits when the request arrived.
    pub(super) limits: Limits,
    /// Query parameters and headers.
    pub(super) params: Params,
    /// When the request arrived.
    pub(super) started: Instant,
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Call>().cloned().ok_or_else(|| {
            ServiceError::Internal("the route is not behind the guard".to_owned()).into()
        })
    }
}

#[derive(Serialize)]
struct Envelope<T> {
    result: T,
    status: &'static str,
    time: f64,
}

/// The schema of an envelope around `result`.
pub(super) fn envelope_schema(result: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["result", "status", "time"],
        "properties": {
            "result": result,
            "status": {"const": "ok"},
            "time": {"type": "number", "minimum": 0, "description": "Seconds that the answer took."},
        },
    })
}

/// An answer that holds a `T` in Qdrant's envelope.
pub(super) struct Reply<T> {
    pub(super) response: Response,
    of: PhantomData<fn() -> T>,
}

impl<T> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        self.response
    }
}

/// An answer that is a `T` as JSON, without envelope.
pub(super) struct Document<T> {
    response: Response,
    of: PhantomData<fn() -> T>,
}

impl<T> Document<T> {
    /// A document that was written before.
    pub(super) fn of_text(text: Bytes) -> Self {
        let kind = HeaderValue::from_static("application/json");
        Self {
            response: ([(header::CONTENT_TYPE, kind)], text).into_response(),
            of: PhantomData,
        }
    }
}

impl<T> IntoResponse for Document<T> {
    fn into_response(self) -> Response {
        self.response
    }
}

/// Qdrant's answer to a write.
#[derive(Serialize, JsonSchema)]
pub(super) struct UpdateResult {
    /// The highest position written; none where nothing was written to a log.
    pub(super) operation_id: Option<u64>,
    /// How far it went; durable in both cases.
    #[schemars(extend("enum" = ["completed", "acknowledged"]))]
    pub(super) status: &'static str,
}

/// A log position as one number that grows with the partition's log and that JavaScript reads exactly (below 2^53 for two
/// million epochs of four thousand million slots).
pub(super) fn position_number(position: LogPosition) -> u64 {
    (position.epoch << 32) | position.seq.min(u64::from(u32::MAX))
}

impl Call {
    /// `{"result": ..., "status": "ok", "time": ...}`.
    pub(super) fn ok<T: Serialize>(&self, result: T) -> Answer<T> {
        let response = json(&Envelope {
            result,
            status: "ok",
            time: self.started.elapsed().as_secs_f64(),
        })?;
        Ok(Reply {
            response,
            of: PhantomData,
        })
    }

    /// `{"status": "accepted", "time": ...}` with status 202: what was asked has begun.
    pub(super) fn accepted<T>(&self) -> Answer<T> {
        let time = self.started.elapsed().as_secs_f64();
        let mut response = json(&serde_json::json!({"status": "accepted", "time": time}))?;
        *response.status_mut() = axum::http::StatusCode::ACCEPTED;
        Ok(Reply {
            response,
            of: PhantomData,
        })
    }

    /// The collection called `name`, also by an alias, and its own name: what the call does next stays with this collection
    /// when the alias moves.
    pub(super) async fn collection(
        &self,
        name: &str,
    ) -> Result<(String, Collection), ServiceError> {
        let name = self.service.resolve(name).await?;
        let collection = self.service.schema(&name).await?;
        Ok((name, collection))
    }

    /// How to write under this call's identity.
    pub(super) fn write_options(&self) -> WriteOptions {
        WriteOptions {
            request_id: self.params.request_id,
        }
    }

    /// `completed` to those who asked to wait, `acknowledged` to others, as Qdrant does; durable in both cases. The
    /// operation id is the highest position written, see [`position_number`].
    pub(super) fn update_result(&self, receipt: &WriteReceipt) -> UpdateResult {
        UpdateResult {
            operation_id: receipt.token.0.values().copied().map(position_number).max(),
            status: if self.params.wait {
                "completed"
            } else {
                "acknowledged"
            },
        }
    }
}

/// A JSON document with status 200.
pub(super) fn json_response<T: Serialize>(document: &T) -> Result<Document<T>, ApiError> {
    Ok(Document {
        response: json(document)?,
        of: PhantomData,
    })
}

fn json<T: Serialize>(document: &T) -> Result<Response, ServiceError> {
    let body = serde_json::to_vec(document).map_err(|e| {
        ServiceError::Internal(format!("the answer cannot be written as JSON: {e}"))
    })?;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// Path parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(super) struct Path<T>(pub(super) T);

impl From<axum::extract::rejection::PathRejection> for ApiError {
    fn from(rejection: axum::extract::rejection::PathRejection) -> Self {
        ApiError::new(
            rejection.status(),
            format!("path: {}", rejection.body_text()),
        )
    }
}
