//! Opening a connection to a peer.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::types::InstanceId;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, handshake::client::Request};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{INSTANCE, PATH};
use crate::events::MAX_ENVELOPE;
use crate::transport::ClientTls;

/// Longest time to an open connection: name, TCP, TLS and the handshake of WebSocket.
const WITHIN: Duration = Duration::from_secs(3);
/// Bytes that are gathered before they are written, and that may wait at most.
const WRITE_BUFFER: usize = 16 << 10;

/// Bytes both ways, plain or over TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("'{address}' is not an address: {reason}")]
    Address { address: String, reason: String },
    #[error("no connection: {0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {WITHIN:?}")]
    Late,
    #[error("the peer has another API key")]
    Key,
    #[error("the peer answers with status {0}")]
    Refused(StatusCode),
    #[error("no WebSocket: {0}")]
    Handshake(tungstenite::Error),
}

impl DialError {
    /// Whether waiting alone will not help: keys or certificates do not fit.
    pub(super) fn needs_a_person(&self) -> bool {
        match self {
            DialError::Key | DialError::Address { .. } => true,
            DialError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
            DialError::Late | DialError::Refused(_) | DialError::Handshake(_) => false,
        }
    }
}

/// Connects to the node at `address` (`host:port`) as `me`.
pub(super) async fn dial(
    address: &str,
    me: &InstanceId,
    key: Option<&str>,
    tls: Option<&ClientTls>,
) -> Result<Socket, DialError> {
    let request = request(address, me, key, tls.is_some())?;
    let dialed = async {
        let stream = open(address, tls).await?;
        let answered = client_async_with_config(request, stream, Some(config())).await;
        let (socket, _) = answered.map_err(|e| match e {
            tungstenite::Error::Http(answer) => match answer.status() {
                StatusCode::FORBIDDEN => DialError::Key,
                other => DialError::Refused(other),
            },
            other => DialError::Handshake(other),
        })?;
        Ok(socket)
    };
    let dialed = tokio::time::timeout(WITHIN, dialed).await;
    dialed.map_err(|_| DialError::Late)?
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 2 * MAX_ENVELOPE)
        .max_message_size(Some(MAX_ENVELOPE))
        .max_frame_size(Some(MAX_ENVELOPE))
}

fn request(
    address: &str,
    me: &InstanceId,
    key: Option<&str>,
    secure: bool,
) -> Result<Request, DialError> {
    let bad = |reason: String| DialError::Address {
        address: address.to_owned(),
        reason,
    };
    let scheme = if secure { "wss" } else { "ws" };
    let mut request = format!("{scheme}://{address}{PATH}")
        .into_client_request()
        .map_err(|e| bad(e.to_string()))?;
    let headers = request.headers_mut();
    let instance = HeaderValue::from_str(me.as_str()).map_err(|e| bad(e.to_string()))?;
    headers.insert(INSTANCE, instance);
    if let Some(key) = key {
        let mut key = HeaderValue::from_str(key).map_err(|e| bad(format!("the API key: {e}")))?;
        key.set_sensitive(true);
        headers.insert("api-key", key);
    }
    Ok(request)
}

async fn open(address: &str, tls: Option<&ClientTls>) -> Result<Box<dyn Stream>, DialError> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let Some(ClientTls { config, name }) = tls else {
        return Ok(Box::new(tcp));
    };
    let name = match name {
        Some(name) => name.clone(),
        None => server_name(address)?,
    };
    let connector = TlsConnector::from(Arc::clone(config));
    Ok(Box::new(connector.connect(name, tcp).await?))
}

/// The host in `host:port`, as certificates name it.
fn server_name(address: &str) -> Result<ServerName<'static>, DialError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|e| DialError::Address {
        address: address.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_for_the_host_of_an_address() {
        for (address, host) in [
            ("writer-0.brainy:6333", "writer-0.brainy"),
            ("10.0.0.7:6333", "10.0.0.7"),
            ("[fd00::7]:6333", "fd00::7"),
        ] {
            let name = server_name(address).unwrap();
            assert_eq!(name.to_str(), host);
        }
        assert!(server_name("a b:1").is_err());
    }

    #[test]
    fn the_key_is_presented_and_does_not_show_in_logs() {
        let me = InstanceId::new("reader-1").unwrap();
        let request = request("a:1", &me, Some("secret-1"), true).unwrap();
        assert_eq!(request.uri().to_string(), "wss://a:1/internal/events");
        assert_eq!(request.headers()["brainy-instance"], "reader-1");
        assert_eq!(request.headers()["api-key"], "secret-1");
        assert!(!format!("{request:?}").contains("secret-1"));
    }
}
