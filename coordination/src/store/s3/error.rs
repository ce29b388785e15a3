//! What a failed request means: did it change anything, and does asking again help?

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::store::StoreError;

/// What the SDK and its client say when a request has not left this machine: no credentials to sign it with, no connection (name,
/// TCP or TLS).
const UNSENT: [&str; 2] = [
    "an error occurred while loading credentials",
    "client error (Connect)",
];

/// A service's error as this module needs it.
pub(super) trait Service: ProvideErrorMetadata + Error + Send + Sync + 'static {}
impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> Service for E {}

/// The request that an error belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) what: &'static str,
    pub(super) key: &'a str,
    pub(super) bucket: &'a str,
    pub(super) is_write: bool,
}

/// 304: what the caller knows is current.
pub(super) fn is_not_modified<E>(error: &SdkError<E>) -> bool {
    status(error) == Some(304)
}

/// 416: a range outside the object.
pub(super) fn is_outside<E>(error: &SdkError<E>) -> bool {
    status(error) == Some(416)
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// No answer within `time`.
pub(super) fn late(request: &Request<'_>, time: Duration) -> StoreError {
    request.unsettled(&format_args!("no answer within {time:?}"))
}

impl Request<'_> {
    /// The request may have taken effect, if it has one.
    pub(super) fn unsettled(&self, message: &dyn Display) -> StoreError {
        if !self.is_write {
            return self.busy(message);
        }
        StoreError::Ambiguous {
            what: self.what,
            key: self.key.to_owned(),
            message: message.to_string(),
        }
    }

    fn busy(&self, message: &dyn Display) -> StoreError {
        StoreError::Busy {
            what: self.what,
            key: self.key.to_owned(),
            message: message.to_string(),
        }
    }

    fn refused(&self, message: &dyn Display, remedy: impl Into<String>) -> StoreError {
        StoreError::Refused {
            what: self.what,
            key: self.key.to_owned(),
            message: message.to_string(),
            remedy: remedy.into(),
        }
    }

    /// What `error` means.
    pub(super) fn failed<E: Service>(&self, error: &SdkError<E>) -> StoreError {
        let text = chain(error);
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let message = answer.err().message().unwrap_or_default();
                self.answered(answer.raw().status().as_u16(), code, message)
            }
            SdkError::ResponseError(answer) => {
                self.answered(answer.raw().status().as_u16(), "", &text)
            }
            _ if text.contains("CredentialsNotLoaded")
                || text.contains("no providers in chain provided credentials") =>
            {
                self.refused(
                    &text,
                    "Give credentials: a secret with access keys, a service account with a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                )
            }
            _ if text.contains("invalid peer certificate") => self.refused(
                &text,
                "Let this machine trust the endpoint's certificate, or correct the endpoint",
            ),
            // Nothing was sent: often credentials that could not be fetched just now.
            SdkError::ConstructionFailure(_) => self.busy(&text),
            SdkError::DispatchFailure(_) if UNSENT.iter().any(|said| text.contains(said)) => {
                self.busy(&text)
            }
            SdkError::DispatchFailure(_) if was_never_sent(error) => self.busy(&text),
            _ => self.unsettled(&text),
        }
    }

    /// The meaning of an answer with `status` and S3's error `code`.
    fn answered(&self, status: u16, code: &str, message: &str) -> StoreError {
        let key = self.key.to_owned();
        let text = format!("{status} {code} {message}");
        match (status, code) {
            (412, _) | (_, "PreconditionFailed") => StoreError::PreconditionFailed { key },
            (_, "NoSuchBucket") => self.refused(
                &text,
                format!(
                    "Create the bucket '{}' or correct its name and the endpoint",
                    self.bucket
                ),
            ),
            (404, _) => StoreError::NotFound { key },
            (409 | 429 | 503, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException") => {
                self.busy(&text)
            }
            // The server gave up on the body; whether it kept what it had is its secret.
            (408, _) | (_, "RequestTimeout") => self.unsettled(&text),
            (501, _) => self.refused(
                &text,
                "Use a store that supports conditional writes and ranges: AWS S3, MinIO, Ceph, SeaweedFS 4.17 or newer",
            ),
            // Success that could not be understood counts as no answer.
            (200..=299 | 500.., _) => self.unsettled(&text),
            (
                301 | 302 | 307 | 308,
                _,
            )
            | (
                _,
                "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException",
            ) => self.refused(
                &text,
                format!("Set the region in which the bucket '{}' is", self.bucket),
            ),
            (_, "RequestTimeTooSkewed") => self.refused(&text, "Correct this machine's clock"),
            (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => self.refused(
                &text,
                "Renew the temporary credentials, or use a role that renews them",
            ),
            (_, "InvalidAccessKeyId" | "NotSignedUp") => self.refused(
                &text,
                "Correct the access key: the store does not know it",
            ),
            (_, "SignatureDoesNotMatch") => self.refused(
                &text,
                "Correct the secret key: the signature made with it is wrong",
            ),
            (401 | 403, _) => self.refused(
                &text,
                format!(
                    "Allow these credentials to get, put, delete and list objects in the bucket '{}' (s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket)",
                    self.bucket
                ),
            ),
            _ => self.refused(&text, "Check the endpoint, the bucket and the path style"),
        }
    }
}

/// All that an error and its causes say.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Whether no connection came to be, so that nothing can have changed.
fn was_never_sent(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(e) = error.downcast_ref::<io::Error>() {
            return matches!(
                e.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_one_meaning() {
        let write = Request {
            what: "put-if-match",
            key: "k",
            bucket: "b",
            is_write: true,
        };
        let read = Request {
            is_write: false,
            ..write
        };
        let name = |e: StoreError| match e {
            StoreError::NotFound { .. } => "missing",
            StoreError::PreconditionFailed { .. } => "lost",
            StoreError::Busy { .. } => "busy",
            StoreError::Ambiguous { .. } => "ambiguous",
            StoreError::Refused { .. } => "refused",
        };
        // Status, code, meaning for a write, meaning for a read.
        let table = [
            (412, "PreconditionFailed", "lost", "lost"),
            (412, "", "lost", "lost"),
            (404, "NoSuchKey", "missing", "missing"),
            (404, "", "missing", "missing"),
            (404, "NoSuchBucket", "refused", "refused"),
            (409, "ConditionalRequestConflict", "busy", "busy"),
            (409, "OperationAborted", "busy", "busy"),
            (503, "SlowDown", "busy", "busy"),
            (503, "ServiceUnavailable", "busy", "busy"),
            (429, "TooManyRequests", "busy", "busy"),
            (500, "InternalError", "ambiguous", "busy"),
            (502, "", "ambiguous", "busy"),
            (504, "", "ambiguous", "busy"),
            (400, "RequestTimeout", "ambiguous", "busy"),
            (501, "NotImplemented", "refused", "refused"),
            (301, "PermanentRedirect", "refused", "refused"),
            (400, "AuthorizationHeaderMalformed", "refused", "refused"),
            (403, "InvalidAccessKeyId", "refused", "refused"),
            (403, "SignatureDoesNotMatch", "refused", "refused"),
            (403, "AccessDenied", "refused", "refused"),
            (400, "ExpiredToken", "refused", "refused"),
            (400, "EntityTooLarge", "refused", "refused"),
        ];
        for (status, code, of_write, of_read) in table {
            assert_eq!(
                name(write.answered(status, code, "")),
                of_write,
                "{status} {code}"
            );
            assert_eq!(
                name(read.answered(status, code, "")),
                of_read,
                "{status} {code}"
            );
        }
    }
}
