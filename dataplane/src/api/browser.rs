//! Web pages do not reach an open server.
//!
//! A page that somebody visits can send requests to a server on the same machine or network. Without a key nothing else tells
//! them from the owner's. Browsers put `Origin` on every request but GET and HEAD (Fetch standard, 3.2), and other clients
//! leave it out.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use super::ApiKeys;
use super::errors::{ApiError, render};

/// Puts `app`, the API and all that is served beside it, out of reach of web pages unless `keys` guard it.
pub fn without_browsers(app: Router, keys: &ApiKeys) -> Router {
    if keys.is_empty() {
        app.layer(from_fn(refuse))
    } else {
        app
    }
}

async fn refuse(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Safe methods change nothing, and browsers keep their answers from other pages.
    if request.method().is_safe() && request.method() != axum::http::Method::OPTIONS
        || !request.headers().contains_key(header::ORIGIN)
    {
        return next.run(request).await;
    }
    let refusal = ApiError::forbidden(
        "header 'origin': requests of web pages are refused while no API key is set; start with --api-key to allow them",
    );
    render(refusal.into_response(), started.elapsed().as_secs_f64())
}
