//! Request bodies: bounded, JSON, typed.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::errors::ApiError;
use super::extract::Call;
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
    let limit = match request.extensions().get::<Call>() {
        Some(call) => call.limits.max_request_bytes,
        None => {
            return Err(
                ServiceError::Internal("the route is not behind the guard".to_owned()).into(),
            );
        }
    };
    let declared: Option<usize> = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(size) = declared.filter(|size| *size > limit) {
        return Err(ServiceError::TooLarge { size, limit }.into());
    }
    let (parts, body) = request.into_parts();
    let mut buffer = BytesMut::with_capacity(declared.unwrap_or(0));
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|e| ApiError::bad_request(format!("the body ended early: {e}")))?;
        let size = buffer.len() + chunk.len();
        if size > limit {
            return Err(ServiceError::TooLarge { size, limit }.into());
        }
        buffer.extend_from_slice(&chunk);
    }
    if !buffer.is_empty() {
        check_kind(&parts.headers)?;
    }
    Ok(buffer.freeze())
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
