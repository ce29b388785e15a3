//! What happens around every handler.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::AppState;
use super::auth::Access;
use super::errors::{ApiError, render};
use super::extract::{Call, Params, TOKEN};
use crate::admission::RequestMemory;
use crate::error::ServiceError;

/// Answers of writes and requests of clients carry the request's identity here.
pub(super) const REQUEST_ID: &str = "brainy-request-id";

/// Kinds of routes: what a key must allow and what a time-out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Reads; nothing is lost by asking again.
    Read,
    /// Writes of points; repeating under the same request id is safe.
    Write,
    /// Changes to collections and the cluster.
    Change,
    /// As changes, but they move whole collections: how long that may take only the client knows.
    Transfer,
}

impl Class {
    pub(super) fn access(self) -> Access {
        match self {
            Class::Read => Access::Read,
            Class::Write => Access::Write,
            Class::Change | Class::Transfer => Access::Admin,
        }
    }

    pub(super) fn timed_out(self, after: Duration) -> ApiError {
        let text = format!("no answer within {after:?}");
        match self {
            // Not 503: another node would need as long, and whoever repeats a 503 would load all of them.
            Class::Read => ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{text}; ask for less, or allow more time with 'timeout'"),
            ),
            Class::Write => ServiceError::Unknown(text).into(),
            Class::Change | Class::Transfer => ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{text}; the change may have been made or not: look before repeating it"),
            ),
        }
    }
}

/// When a request arrived.
#[derive(Clone, Copy)]
pub(super) struct Started(pub(super) Instant);

/// Outermost: clock, panics to 500, error bodies, metrics.
pub(super) async fn observe(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    request.extensions_mut().insert(Started(started));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // A panicking handler leaves nothing behind that another request sees: what is shared lives in the service.
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic_text(&*panic);
            tracing::error!(%method, panic = text, "a handler panicked");
            ApiError::from(ServiceError::Internal(
                "a handler panicked; the log of this node has the details".to_owned(),
            ))
            .into_response()
        }
    };
    let elapsed = started.elapsed();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    state
        .metrics
        .record(&method, route, response.status(), elapsed);
    render(response, elapsed.as_secs_f64())
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Per class of routes: the key, the parameters, the time limit.
pub(super) async fn guard(
    State((state, class)): State<(AppState, Class)>,
    mut request: Request,
    next: Next,
) -> Response {
    let prepared = state
        .keys
        .check(request.headers(), class.access())
        .and_then(|()| Params::parse(request.uri().query(), request.headers(), class));
    let params = match prepared {
        Ok(params) => params,
        Err(error) => return error.into_response(),
    };
    let limits = state.service.limits();
    let longest = match class {
        Class::Transfer => Duration::MAX,
        _ => limits.timeout,
    };
    let timeout = params.timeout.map_or(longest, |t| t.min(longest));
    let started = request
        .extensions()
        .get()
        .map_or_else(Instant::now, |s: &Started| s.0);
    let request_id = params.request_id;
    let session = params.session.clone();
    // Held until the request has ended, however it ends.
    let memory = RequestMemory::new(&state.requests);
    request.extensions_mut().insert(memory.clone());
    request.extensions_mut().insert(Call {
        service: state.service.clone(),
        limits,
        params,
        started,
    });
    let mut response = match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => class.timed_out(timeout).into_response(),
    };
    drop(memory);
    if class == Class::Write
        && let Ok(value) = HeaderValue::from_str(&request_id.to_string())
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if response.status().is_success()
        && let Some(token) = session.answer()
    {
        response.headers_mut().insert(TOKEN, token);
    }
    response
}

/// 404 for paths outside the API; to those with a key, if keys are set.
pub(super) async fn no_such_route(State(state): State<AppState>, headers: HeaderMap) -> ApiError {
    state
        .keys
        .check(&headers, Access::Read)
        .err()
        .unwrap_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "there is no such route"))
}

/// 405 for known paths.
pub(super) async fn no_such_method(State(state): State<AppState>, headers: HeaderMap) -> ApiError {
    state
        .keys
        .check(&headers, Access::Read)
        .err()
        .unwrap_or_else(|| {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this route does not have this method; header 'allow' lists what it has",
            )
        })
}
