//! Snapshots through the endpoint: whole collections, which are passed on as they come, both ways, and take as long as they take.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpStream;

use super::{Shared, pass_on, refusal, without_per_connection};

/// An instance that has not accepted by then is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a request to `path` moves whole collections.
pub(super) fn is_transfer(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next() {
        Some("snapshots") => true,
        Some("collections") => parts.nth(1) == Some("snapshots"),
        _ => false,
    }
}

/// Sends the request to the instance whose turn it is, or the next that takes connections: once, because what was sent is gone.
pub(super) async fn pass_through(shared: &Shared, request: Request) -> Response {
    let ready = shared.routes.read().ready.clone();
    let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
    let mut taking = None;
    for n in 0..ready.len() {
        let (instance, address) = &ready[turn.wrapping_add(n) % ready.len()];
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        if matches!(connected, Ok(Ok(_))) {
            taking = Some((instance, address));
            break;
        }
        tracing::debug!(%instance, "trying another instance: it takes no connection");
    }
    let Some((instance, address)) = taking else {
        let missing = shared.routes.read().missing.clone();
        return unavailable(&format!("no instance is ready: {missing}"));
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let sent = shared
        .client
        .request(parts.method, format!("http://{address}{path}"))
        .headers(without_per_connection(&parts.headers))
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    match sent {
        Ok(answer) => pass_on(answer),
        Err(error) if error.is_connect() => unavailable(&format!(
            "{instance} cannot be reached; nothing was sent to it"
        )),
        Err(_) => refusal(
            StatusCode::BAD_GATEWAY,
            &format!(
                "the connection to {instance} broke; the request may have been carried out or not: look before repeating it"
            ),
        ),
    }
}

fn unavailable(text: &str) -> Response {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_snapshots_are_transfers() {
        for path in [
            "/snapshots",
            "/snapshots/a",
            "/collections/c/snapshots/upload",
        ] {
            assert!(is_transfer(path), "{path}");
        }
        for path in [
            "/",
            "/collections",
            "/collections/snapshots",
            "/collections/snapshots/points",
            "/collections/c/points/snapshots",
        ] {
            assert!(!is_transfer(path), "{path}");
        }
    }
}
