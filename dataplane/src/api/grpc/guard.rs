//! What happens around every method, as the guard of REST does it: clock, panics, metrics; key, metadata, time limit.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::{FutureExt, StreamExt};
use tonic::{Code, Status};

use super::methods;
use super::status::status;
use crate::admission::RequestMemory;
use crate::api::AppState;
use crate::api::auth::Access;
use crate::api::body::broken;
use crate::api::errors::ApiError;
use crate::api::extract::{Call, Params, TOKEN};
use crate::api::guard::{Class, REQUEST_ID, Started, panic_text};

/// Outermost: clock, panics, metrics.
pub(super) async fn observe(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    request.extensions_mut().insert(Started(started));
    let path = request.uri().path();
    // Clients do not create series.
    let known = methods::class(path).is_some() || path.starts_with("/grpc.health.v1.Health/");
    let method = if known { &path[1..] } else { "unmatched" }.to_owned();
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic_text(&*panic);
            tracing::error!(method, panic = text, "a handler panicked");
            refuse(Status::internal(
                "a handler panicked; the log of this node has the details",
            ))
        }
    };
    // An answer that begins well has its code behind its body.
    let code = match response.headers().get("grpc-status") {
        Some(value) => Code::from_bytes(value.as_bytes()),
        None => Code::Ok,
    };
    state.metrics.record_grpc(&method, code, started.elapsed());
    response
}

fn refuse(status: Status) -> Response {
    status.into_http::<Body>()
}

/// Per method: the key, the metadata, the time limit.
pub(super) async fn guard(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let class = methods::class(request.uri().path());
    let access = class.map_or(Access::Read, Class::access);
    let prepared = check_kind(headers)
        .and_then(|()| state.keys.check(headers, access))
        .and_then(|()| Params::parse(None, headers, class.unwrap_or(Class::Read)))
        .and_then(|params| Ok((params, asked_time(headers)?)));
    let (params, asked) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refuse(status(error)),
    };
    let Some(class) = class else {
        // The service answers that it has no such method.
        return next.run(request).await;
    };
    let limits = state.service.limits();
    let longest = match class {
        Class::Transfer => Duration::MAX,
        _ => limits.timeout,
    };
    let timeout = asked.map_or(longest, |t| t.min(longest));
    let request_id = params.request_id;
    let session = params.session.clone();
    let started = request
        .extensions()
        .get()
        .map_or_else(Instant::now, |s: &Started| s.0);
    request.extensions_mut().insert(class);
    request.extensions_mut().insert(Call {
        service: state.service.clone(),
        limits,
        params,
        started,
    });
    // Held until the request has ended, however it ends.
    let memory = RequestMemory::new(&state.requests);
    let request = metered(request, memory.clone());
    let mut response = match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(status(class.timed_out(timeout))),
    };
    if class == Class::Write
        && let Ok(value) = HeaderValue::from_str(&request_id.to_string())
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // An answer that failed has its code among its headers.
    if !response.headers().contains_key("grpc-status")
        && let Some(token) = session.answer()
    {
        response.headers_mut().insert(TOKEN, token);
    }
    response
}

/// A request whose body takes `memory` as it arrives.
fn metered(request: Request, memory: RequestMemory) -> Request {
    let (parts, body) = request.into_parts();
    let chunks = body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(|e| status(broken(&e)))?;
        memory.body(chunk.len()).map_err(status)?;
        Ok::<_, Status>(chunk)
    });
    Request::from_parts(parts, Body::from_stream(chunks))
}

/// Web pages can send other content types across origins without asking first.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "header 'content-type' must be application/grpc",
    ))
}

/// How long the caller waits: at most 8 digits and a unit (gRPC over HTTP/2, `Timeout`).
fn asked_time(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let read = || {
        let last = value.len().checked_sub(1)?;
        let (digits, unit) = value.to_str().ok()?.split_at_checked(last)?;
        if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let count: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(count * 3600),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    };
    read().map(Some).ok_or_else(|| {
        ApiError::bad_request(
            "header 'grpc-timeout' must be at most 8 digits and one of H, M, S, m, u, n",
        )
    })
}

/// For paths outside the services; to those with a key, if keys are set.
pub(super) async fn no_such_service(State(state): State<AppState>, headers: HeaderMap) -> Response {
    refuse(match state.keys.check(&headers, Access::Read) {
        Err(error) => status(error),
        Ok(()) => Status::unimplemented("there is no such service; REST is served on another port"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_of_callers_are_read_as_the_protocol_says() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            asked_time(&headers).ok().flatten()
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(
            read("99999999M"),
            Some(Duration::from_secs(99_999_999 * 60))
        );
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "5", "123456789S", "-1S", "1.5S", "5s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(asked_time(&HeaderMap::new()).unwrap(), None);
    }
}
