//! Request bodies: bounded, JSON, typed.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use brainy_http_server::SlowBody;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::errors::ApiError;
use super::extract::Call;
use crate::admission::RequestMemory;
use crate::error::ServiceError;

/// Bodies above this are parsed off the threads that serve connections.
const PARSE_INLINE_BYTES: usize = 256 << 10;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Err(ApiError::bad_request("this request needs a JSON body"));
        }
        if bytes.len() <= PARSE_INLINE_BYTES {
            return parse(&bytes).map(Body);
        }
        tokio::task::spawn_blocking(move || parse(&bytes).map(Body))
            .await
            .map_err(|e| ServiceError::Internal(format!("reading the body: {e}")))?
    }
}

/// A JSON body that may be absent.
pub(super) struct OptionalBody<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        parse(&bytes).map(|value| Self(Some(value)))
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    let (Some(call), Some(memory)) = (
        parts.extensions.get::<Call>(),
        parts.extensions.get::<RequestMemory>(),
    ) else {
        return Err(ServiceError::Internal("the route is not behind the guard".to_owned()).into());
    };
    let limit = call.limits.max_request_bytes;
    let declared: Option<usize> = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(size) = declared.filter(|size| *size > limit) {
        return Err(ServiceError::TooLarge { size, limit }.into());
    }
    let mut charged = declared.unwrap_or(0);
    if let Err(error) = memory.body(charged) {
        if !parts.headers.contains_key(header::EXPECT) {
            discard(body, limit).await;
        }
        return Err(error.into());
    }
    let mut buffer = BytesMut::with_capacity(charged);
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| broken(&e))?;
        let size = buffer.len() + chunk.len();
        if size > limit {
            return Err(ServiceError::TooLarge { size, limit }.into());
        }
        if size > charged {
            memory.body(size - charged)?;
            charged = size;
        }
        buffer.extend_from_slice(&chunk);
    }
    if !buffer.is_empty() {
        check_kind(&parts.headers)?;
    }
    Ok(buffer.freeze())
}

/// Reads a body that nobody wants, `limit` bytes at most: a client that is still sending would meet a closed connection and
/// never see why it was refused. One that waits to be told to send (`expect: 100-continue`) sees it at once.
pub(crate) async fn discard(body: axum::body::Body, limit: usize) {
    let mut left = limit;
    let mut stream = body.into_data_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        let Some(less) = left.checked_sub(chunk.len()) else {
            return;
        };
        left = less;
    }
}

/// Why a body did not arrive as a whole.
pub(super) fn broken(error: &axum::Error) -> ApiError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(at) = cause {
        if at.is::<SlowBody>() {
            return ApiError::new(StatusCode::REQUEST_TIMEOUT, SlowBody.to_string());
        }
        cause = at.source();
    }
    ApiError::bad_request(format!("the body ended early: {error}"))
}

/// Browsers send other content types across origins without asking first: insisting on JSON keeps web pages from writing
/// to a server on the same machine.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let refuse = |message| Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse(
            "header 'content-encoding': compressed bodies are not accepted, send plain JSON",
        );
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    refuse("header 'content-type' must be application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => Err(ApiError::bad_request(explain::<T>(bytes, &error))),
    }
}

/// Parses again, following the path: only failing requests pay for knowing where.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> String {
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(reader) {
        Err(located) if located.path().iter().next().is_some() => {
            format!("JSON body, {}: {error}", located.path())
        }
        _ => format!("JSON body: {error}"),
    }
}
