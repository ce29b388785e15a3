//! Downloading a snapshot from a URL.

use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use futures::StreamExt;
use http::header::LOCATION;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::error::ServiceError;
use crate::snapshots::Upload;
use crate::transport::ClientTls;

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of the server.
const SILENCE: Duration = Duration::from_secs(60);
/// A chain of redirections longer than this leads nowhere.
const REDIRECTIONS: usize = 5;

/// The body behind `url`, for which `api_key` is presented; not to other hosts that it redirects to.
///
/// # Errors
/// `BadRequest` that says what the server answered, or why it could not be asked.
pub(super) async fn get(
    url: &str,
    api_key: Option<&str>,
    tls: Option<&ClientTls>,
) -> Result<Upload, ServiceError> {
    let refused = |why: String| ServiceError::BadRequest(format!("location '{url}': {why}"));
    let mut uri: Uri = url.parse().map_err(|e| refused(format!("{e}")))?;
    let first = uri.authority().cloned();
    let client = client(tls).map_err(&refused)?;
    for _ in 0..=REDIRECTIONS {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refused(
                "it must begin with http://, https:// or file://".to_owned(),
            ));
        }
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        if let Some(key) = api_key.filter(|_| uri.authority() == first.as_ref()) {
            let mut key = HeaderValue::from_str(key)
                .map_err(|e| ServiceError::BadRequest(format!("api_key: {e}")))?;
            key.set_sensitive(true);
            request.headers_mut().insert("api-key", key);
        }
        let answer = match tokio::time::timeout(SILENCE, client.request(request)).await {
            Err(_) => return Err(refused(format!("no answer within {SILENCE:?}"))),
            Ok(Err(error)) => return Err(refused(innermost(&error))),
            Ok(Ok(answer)) => answer,
        };
        if answer.status().is_success() {
            return Ok(body(url.to_owned(), answer));
        }
        match next(&uri, &answer) {
            Some(target) => uri = target,
            None => return Err(refused(format!("the server answered {}", answer.status()))),
        }
    }
    Err(refused(format!(
        "it was redirected more than {REDIRECTIONS} times"
    )))
}

fn client(
    tls: Option<&ClientTls>,
) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, String> {
    let config = match tls {
        Some(tls) => tls.config.clone(),
        None => brainy_http_server::tls::client(None).map_err(|e| e.to_string())?,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    let https = HttpsConnector::from((tcp, config));
    Ok(Client::builder(TokioExecutor::new()).build(https))
}

/// Where an answer sends its client.
fn next<B>(from: &Uri, answer: &Response<B>) -> Option<Uri> {
    if !answer.status().is_redirection() {
        return None;
    }
    let target = answer.headers().get(LOCATION)?.to_str().ok()?;
    let target: Uri = target.parse().ok()?;
    if target.authority().is_some() {
        return Some(target);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = target.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

fn body<B>(url: String, answer: Response<B>) -> Upload
where
    B: HttpBody<Data = Bytes, Error: std::error::Error + Send> + Send + Unpin + 'static,
{
    let pieces = answer.into_body().into_data_stream();
    let pieces = futures::stream::unfold(Some(pieces), move |pieces| {
        let url = url.clone();
        async move {
            let mut pieces = pieces?;
            let cut = |why: String| Err(format!("location '{url}': it was cut off: {why}"));
            match tokio::time::timeout(SILENCE, pieces.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
                Ok(Some(Err(error))) => Some((cut(innermost(&error)), None)),
                Err(_) => Some((cut(format!("nothing came for {SILENCE:?}")), None)),
            }
        }
    });
    Box::pin(pieces)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
