//! From errors to gRPC's codes, as Qdrant has them.

use axum::http::StatusCode;
use tonic::{Code, Status};

use crate::api::errors::ApiError;

/// Seconds after which a repeat makes sense.
const RETRY_AFTER: &str = "retry-after";

/// The status that says what REST would.
pub(super) fn status(error: impl Into<ApiError>) -> Status {
    let ApiError {
        status,
        message,
        retry_after,
    } = error.into();
    let code = code(status);
    if status.is_server_error() && code != Code::Unimplemented {
        tracing::warn!(?code, %message, "request failed");
    }
    let mut answer = Status::new(code, message);
    if let Some(seconds) = retry_after {
        answer.metadata_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::AlreadyExists,
        // As of messages that are too large before they are decoded.
        StatusCode::PAYLOAD_TOO_LARGE => Code::OutOfRange,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::MISDIRECTED_REQUEST | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        other if other.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceError;

    #[test]
    fn each_kind_of_error_has_its_code() {
        let text = || "why".to_owned();
        for (error, expected) in [
            (ServiceError::BadRequest(text()), Code::InvalidArgument),
            (ServiceError::NoSuchCollection(text()), Code::NotFound),
            (ServiceError::NotFound(text()), Code::NotFound),
            (ServiceError::Conflict(text()), Code::AlreadyExists),
            (
                ServiceError::TooLarge { size: 2, limit: 1 },
                Code::OutOfRange,
            ),
            (ServiceError::Unavailable(text()), Code::Unavailable),
            (ServiceError::Unknown(text()), Code::DeadlineExceeded),
            (ServiceError::Unsupported(text()), Code::Unimplemented),
            (ServiceError::Internal(text()), Code::Internal),
        ] {
            let message = error.to_string();
            let status = status(error);
            assert_eq!((status.code(), status.message()), (expected, &*message));
        }
        let overloaded = status(ServiceError::Overloaded {
            reason: text(),
            retry_after_ms: 1_500,
        });
        assert_eq!(overloaded.code(), Code::ResourceExhausted);
        assert_eq!(overloaded.metadata().get(RETRY_AFTER).unwrap(), "2");
    }
}
