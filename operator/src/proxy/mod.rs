//! One endpoint in front of all instances.
//!
//! Each request goes to a ready instance, in turn; every node of the data plane can answer every request. One that could not
//! be served, and certainly had no effect, is tried on the others until a deadline ([`retry`]). Request bodies are held in
//! memory for that, up to the cluster's limit; answers are passed on as they come. Snapshots are not held ([`transfers`]). gRPC has
//! a port of its own ([`streams`]).

pub(crate) mod retry;
mod streams;
mod transfers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use brainy_coordination::types::{InstanceId, Nonce};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use retry::{REQUEST_ID, Repeat, Try, may_try_again, repeat};

/// No new try begins after this much time.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longest wait for the beginning of one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest time for a request's body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses after every instance was tried, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// How long requests under way may take once the endpoint closes.
const CLOSING: Duration = Duration::from_secs(5);

/// Headers that speak of one connection (RFC 9110, 7.6.1), and the length, which the client library computes.
const PER_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Where requests may go.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Ready instances and their addresses.
    pub(crate) ready: Vec<(InstanceId, String)>,
    /// What is missing, for clients that come while nobody is ready.
    pub(crate) missing: String,
    /// Largest request body, in bytes.
    pub(crate) max_body: usize,
}

/// The endpoint. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    routes: RwLock<Routes>,
    client: reqwest::Client,
    turn: AtomicUsize,
    deadline: Duration,
}

impl Proxy {
    /// An endpoint that knows nobody yet.
    pub(crate) fn new(client: reqwest::Client, routes: Routes) -> Self {
        Self::with_deadline(client, routes, DEADLINE)
    }

    fn with_deadline(client: reqwest::Client, routes: Routes, deadline: Duration) -> Self {
        let shared = Shared {
            routes: RwLock::new(routes),
            client,
            turn: AtomicUsize::new(0),
            deadline,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// From now on requests go there.
    pub(crate) fn route(&self, routes: Routes) {
        *self.shared.routes.write() = routes;
    }

    /// Serves until `stop`, then lets requests under way finish for a short time.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new().fallback(forward).with_state(self);
        brainy_http_server::serve(listener, router, stop, CLOSING).await;
    }
}

/// A request that can be sent any number of times.
struct Held {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let shared = &proxy.shared;
    if transfers::is_transfer(request.uri().path()) {
        return transfers::pass_through(shared, request).await;
    }
    let limit = shared.routes.read().max_body;
    let held = match hold(request, limit).await {
        Ok(held) => held,
        Err(refusal) => return refusal,
    };
    let path = held.path.split('?').next().unwrap_or_default();
    let repeat = repeat(&held.method, path, &held.headers);
    send(shared, &held, repeat).await
}

/// Takes in the whole body, and gives requests that may change something an identity.
async fn hold(request: Request, limit: usize) -> Result<Held, Response> {
    let (parts, body) = request.into_parts();
    let arrived = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await;
    let arrived = arrived.map_err(|_| {
        let text = format!(
            "the request's body did not arrive within {BODY_TIMEOUT:?}: send smaller batches"
        );
        refusal(StatusCode::REQUEST_TIMEOUT, &text)
    })?;
    let body = arrived.map_err(|_| {
        let text = format!("the request's body is over the limit of {limit} bytes, or broke off: send smaller batches or raise sharedConfig.maxRequestBytes");
        refusal(StatusCode::PAYLOAD_TOO_LARGE, &text)
    })?;
    let mut headers = without_per_connection(&parts.headers);
    if !parts.method.is_safe() && !headers.contains_key(REQUEST_ID) {
        let id = HeaderValue::from_str(&Nonce::random().to_string());
        headers.extend(id.ok().map(|id| (HeaderName::from_static(REQUEST_ID), id)));
    }
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    Ok(Held {
        method: parts.method,
        path,
        headers,
        body,
    })
}

async fn send(shared: &Shared, held: &Held, repeat: Repeat) -> Response {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        let ready = shared.routes.read().ready.clone();
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        for n in 0..ready.len() {
            let (instance, address) = &ready[(turn.wrapping_add(n)) % ready.len()];
            let (outcome, response) = attempt(shared, held, instance, address).await;
            if !may_try_again(outcome, repeat) {
                return response;
            }
            tracing::debug!(%instance, ?outcome, method = %held.method, path = %held.path, "trying another instance");
            last = Some(response);
            if started.elapsed() >= shared.deadline {
                break;
            }
        }
        if started.elapsed() + pause >= shared.deadline {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    last.unwrap_or_else(|| {
        let missing = shared.routes.read().missing.clone();
        let mut response = refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("no instance is ready: {missing}"),
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    })
}

async fn attempt(
    shared: &Shared,
    held: &Held,
    instance: &InstanceId,
    address: &str,
) -> (Try, Response) {
    let request = shared
        .client
        .request(
            held.method.clone(),
            format!("http://{address}{}", held.path),
        )
        .headers(held.headers.clone())
        .body(held.body.clone());
    match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(Ok(answer)) => (Try::Answered(answer.status()), pass_on(answer)),
        Ok(Err(error)) if error.is_builder() => {
            let text = format!("the request cannot be forwarded: {error}");
            (
                Try::Answered(StatusCode::BAD_REQUEST),
                refusal(StatusCode::BAD_REQUEST, &text),
            )
        }
        Ok(Err(error)) if error.is_connect() => {
            let text = format!("{instance} cannot be reached; nothing was sent to it");
            let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, &text);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            (Try::NotSent, response)
        }
        Ok(Err(_)) => (
            Try::Unknown,
            unknown(
                StatusCode::BAD_GATEWAY,
                held,
                &format!("the connection to {instance} broke"),
            ),
        ),
        Err(_) => (
            Try::Late,
            unknown(
                StatusCode::GATEWAY_TIMEOUT,
                held,
                &format!("{instance} did not answer within {ANSWER_TIMEOUT:?}"),
            ),
        ),
    }
}

fn unknown(status: StatusCode, held: &Held, what: &str) -> Response {
    let text = if held.method.is_safe() {
        what.to_owned()
    } else {
        format!("{what}; the request may have been carried out or not: look before repeating it")
    };
    refusal(status, &text)
}

fn pass_on(answer: reqwest::Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = without_per_connection(answer.headers());
    if let Some(length) = answer.headers().get(header::CONTENT_LENGTH) {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.clone());
    }
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}

/// The headers that are meant for the other end, not for this hop.
fn without_per_connection(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let of_connection = PER_CONNECTION.contains(name)
            || name.as_str() == "keep-alive"
            || named.iter().any(|named| named == name.as_str());
        if !of_connection {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// An answer of the endpoint itself, in the form of the data API's errors.
fn refusal(status: StatusCode, text: &str) -> Response {
    let body = serde_json::json!({"status": {"error": text}, "time": 0.0, "result": null});
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests;
