//! Short talks with members: that the assignments changed, which they would find out by themselves, only later; and how they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const TIMEOUT: Duration = Duration::from_secs(1);
/// A member describes all its partitions.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest description that is read, in bytes.
const HEALTH_LIMIT: usize = 16 << 20;
/// Members that are told at the same time.
const AT_ONCE: usize = 32;
/// Below the ten seconds after which members close a silent connection: a hint must not meet that.
const IDLE: Duration = Duration::from_secs(5);

/// Carries hints, and keeps connections for the next. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Messenger {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    scheme: &'static str,
}

/// Whom to tell.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    /// Host and port of each member.
    pub(crate) addresses: Vec<String>,
    /// The key that may do everything, if requests must carry one.
    pub(crate) admin_key: Option<String>,
}

impl Messenger {
    /// For members that speak plain HTTP.
    ///
    /// # Errors
    /// What the TLS library said of its own defaults.
    pub(crate) fn plain() -> Result<Self, String> {
        Self::new("http", RootCertStore::empty())
    }

    /// For members with TLS, whose authority is in the PEM text `ca`, or is one that this system knows.
    ///
    /// # Errors
    /// What is wrong with the authority.
    pub(crate) fn tls(ca: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(ca) => {
                for certificate in CertificateDer::pem_slice_iter(ca) {
                    let certificate = certificate.map_err(|error| format!("ca.crt: {error}"))?;
                    let added = roots.add(certificate);
                    added.map_err(|error| format!("ca.crt: {error}"))?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        Self::new("https", roots)
    }

    fn new(scheme: &'static str, roots: RootCertStore) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(HttpsConnector::from((tcp, config)));
        Ok(Self { client, scheme })
    }

    /// Tells all members. A hint that is lost costs one poll interval.
    pub(crate) async fn send(self, hint: Hint) {
        let Hint {
            addresses,
            admin_key,
        } = hint;
        stream::iter(addresses)
            .for_each_concurrent(AT_ONCE, |address| {
                let told = self.tell(address.clone(), admin_key.as_deref());
                async move {
                    match tokio::time::timeout(TIMEOUT, told).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%address, error, "hint not taken"),
                        Err(_) => tracing::debug!(%address, "hint not taken in time"),
                    }
                }
            })
            .await;
    }

    /// What a member says of itself: the body of its `GET /health`.
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    pub(crate) async fn health(&self, address: &str, key: Option<&str>) -> Result<Bytes, String> {
        let asked = async {
            let path = format!("{address}/health");
            let answer = self.request(Method::GET, &path, key, Bytes::new()).await?;
            let body = Limited::new(answer, HEALTH_LIMIT).collect().await;
            body.map(Collected::to_bytes)
                .map_err(|error| error.to_string())
        };
        let answered = tokio::time::timeout(HEALTH_TIMEOUT, asked).await;
        answered.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn tell(&self, address: String, key: Option<&str>) -> Result<(), String> {
        let path = format!("{address}/internal/hint");
        let body = Bytes::from_static(b"{}");
        self.request(Method::POST, &path, key, body).await.map(drop)
    }

    /// The body of an answer with a status of 2xx.
    async fn request(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Incoming, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}://{path}", self.scheme))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            let mut key = HeaderValue::from_str(key).map_err(|error| error.to_string())?;
            key.set_sensitive(true);
            request = request.header("api-key", key);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(answer.into_body()),
            status => Err(status.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn hints_carry_the_admin_key_and_survive_a_dead_member() {
        let (seen, mut keys) = unbounded_channel();
        let router = Router::new().route(
            "/internal/hint",
            post(move |headers: HeaderMap| async move {
                seen.send(headers["api-key"].to_str().unwrap().to_owned())
                    .unwrap();
                StatusCode::NO_CONTENT
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let hint = Hint {
            addresses: vec!["127.0.0.1:1".to_owned(), address],
            admin_key: Some("secret".to_owned()),
        };
        Messenger::plain().unwrap().send(hint).await;
        assert_eq!(keys.recv().await.as_deref(), Some("secret"));
    }

    #[test]
    fn an_authority_that_is_none_is_said() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = Messenger::tls(Some(broken.as_bytes())).unwrap_err();
        assert!(error.starts_with("ca.crt: "), "{error}");
    }
}
