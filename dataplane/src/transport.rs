//! Requests of a node to nodes: HTTP/1.1, over TLS where the cluster has it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

/// Longest time to a connection: name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Below the time after which a node closes a silent connection: a request must not meet that.
const IDLE: Duration = Duration::from_secs(5);
/// Connections that are kept for each node.
const IDLE_CONNECTIONS: usize = 64;

/// How servers are believed.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Whose certificates.
    pub config: Arc<ClientConfig>,
    /// The name in the certificate; the host that is asked if not given.
    pub name: Option<ServerName<'static>>,
}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config, name: None }
    }
}

/// A client that keeps its connections; clones share them.
#[derive(Clone, Debug)]
pub struct HttpClient(Connections);

#[derive(Clone, Debug)]
enum Connections {
    Plain(Client<Connector<TokioIo<TcpStream>>, Full<Bytes>>),
    Tls(Client<Connector<MaybeHttpsStream<TokioIo<TcpStream>>>, Full<Bytes>>),
}

/// Makes connections, within [`CONNECT_TIMEOUT`] or not at all.
type Connector<S> = BoxCloneSyncService<Uri, S, BoxError>;

/// A request to one node.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// What to do.
    pub method: Method,
    /// Where the node listens, `host:port`.
    pub address: &'a str,
    /// Path of the resource.
    pub path: &'a str,
    /// An API key.
    pub key: Option<&'a str>,
    /// What is sent.
    pub body: Bytes,
    /// Longest time to the whole answer.
    pub timeout: Duration,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// All of it.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection came to be: nothing was asked.
    #[error("{0}")]
    Connect(String),
    /// The request may have arrived.
    #[error("{0}")]
    Unanswered(String),
}

impl HttpClient {
    /// A client over TLS, or, without `tls`, in plain HTTP.
    #[must_use]
    pub fn new(tls: Option<ClientTls>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self(match tls {
            None => Connections::Plain(builder.build(in_time(tcp))),
            Some(ClientTls { config, name }) => {
                tcp.enforce_http(false);
                let https = match name {
                    None => HttpsConnector::from((tcp, config)),
                    Some(name) => {
                        let fixed = Arc::new(FixedServerNameResolver::new(name));
                        HttpsConnector::new(tcp, config, true, fixed)
                    }
                };
                Connections::Tls(builder.build(in_time(https)))
            }
        })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`TransportError`] tells whether the request can have arrived.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, TransportError> {
        let timeout = call.timeout;
        let request = self.request(call).map_err(TransportError::Connect)?;
        let answered = async {
            let sent = match &self.0 {
                Connections::Plain(client) => client.request(request),
                Connections::Tls(client) => client.request(request),
            };
            let answer = sent.await.map_err(|e| match e.is_connect() {
                true => TransportError::Connect(innermost(&e)),
                false => TransportError::Unanswered(innermost(&e)),
            })?;
            let status = answer.status();
            let body = answer.into_body().collect().await;
            let body = body.map_err(|e| TransportError::Unanswered(innermost(&e)))?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(TransportError::Unanswered(format!(
                "no answer within {timeout:?}"
            ))),
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, String> {
        let scheme = match &self.0 {
            Connections::Plain(_) => "http",
            Connections::Tls(_) => "https",
        };
        let uri: Uri = format!("{scheme}://{}{}", call.address, call.path)
            .parse()
            .map_err(|e| format!("'{}' is not an address: {e}", call.address))?;
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if let Some(key) = call.key {
            let mut key = HeaderValue::from_str(key).map_err(|e| format!("the API key: {e}"))?;
            key.set_sensitive(true);
            headers.insert("api-key", key);
        }
        Ok(request)
    }
}

fn in_time<C>(connector: C) -> Connector<C::Response>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    C::Response: 'static,
{
    BoxCloneSyncService::new(Timeout::new(connector, CONNECT_TIMEOUT))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
