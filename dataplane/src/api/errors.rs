//! From errors to HTTP answers.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::extract::Reply;
use crate::error::ServiceError;

/// What handlers return: a `T` in Qdrant's envelope, or an error.
pub(super) type Answer<T> = Result<Reply<T>, ApiError>;

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Seconds after which a repeat makes sense.
    pub(super) retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let (status, retry_after) = match &error {
            ServiceError::BadRequest(_) => (StatusCode::BAD_REQUEST, None),
            ServiceError::NoSuchCollection(_) | ServiceError::NotFound(_) => {
                (StatusCode::NOT_FOUND, None)
            }
            ServiceError::Conflict(_) => (StatusCode::CONFLICT, None),
            ServiceError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
            ServiceError::WrongNode { .. } => (StatusCode::MISDIRECTED_REQUEST, None),
            // Whole seconds (RFC 9110, 10.2.3), and never 0: that would invite the client to spin.
            ServiceError::Overloaded { retry_after_ms, .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                Some(retry_after_ms.div_ceil(1000).max(1)),
            ),
            ServiceError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
            ServiceError::Unknown(_) => (StatusCode::GATEWAY_TIMEOUT, None),
            ServiceError::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, None),
            ServiceError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Self {
            status,
            message: error.to_string(),
            retry_after,
        }
    }
}

/// Carries the text from the handler to [`render`], which knows how long the request took.
#[derive(Clone)]
struct ErrorText(String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(ErrorText(self.message));
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// Gives an error its body; leaves other answers as they are. `seconds` is the time since the request arrived.
pub(super) fn render(mut response: Response, seconds: f64) -> Response {
    let Some(ErrorText(message)) = response.extensions_mut().remove() else {
        return response;
    };
    if response.status().is_server_error() && response.status() != StatusCode::NOT_IMPLEMENTED {
        tracing::warn!(status = response.status().as_u16(), %message, "request failed");
    }
    let body = Json(json!({"status": {"error": message}, "time": seconds, "result": null}));
    let (parts, _) = response.into_parts();
    let mut rendered = body.into_response();
    *rendered.status_mut() = parts.status;
    rendered.headers_mut().extend(parts.headers);
    rendered
}
