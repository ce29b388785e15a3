//! One client: one connection, one request at a time.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::wire::Wire;

/// Most of what the server said that is repeated in an error.
const EXCERPT: usize = 400;

enum Sender {
    Rest(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

pub(crate) struct Client {
    address: String,
    sender: Sender,
}

impl Client {
    /// Connects to `host:port`. Needs a runtime of one thread, or of more.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(address: &str, wire: Wire) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // The end of a connection shows in the sender.
        let sender = match wire {
            Wire::Rest => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Rest(sender)
            }
            Wire::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Grpc(sender)
            }
        };
        Ok(Self {
            address: address.to_owned(),
            sender,
        })
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// The connection broke; [`Error::Refused`] for any status but 200, or but 0 of gRPC.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let request = Request::builder().method(method);
        let mut answer = match &mut self.sender {
            Sender::Rest(sender) => {
                let request = request
                    .uri(path)
                    .header(header::HOST, &self.address)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::new(body))?;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Grpc(sender) => {
                let request = request
                    .uri(format!("http://{}{path}", self.address))
                    .version(Version::HTTP_2)
                    .header(header::CONTENT_TYPE, "application/grpc")
                    .header(header::TE, "trailers")
                    .body(Full::new(body))?;
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let mut bytes = BytesMut::new();
        let mut trailers = HeaderMap::new();
        while let Some(frame) = answer.body_mut().frame().await {
            match frame?.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        let status = answer.status().as_u16();
        if status != 200 {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]).into_owned();
            return Err(Error::Refused { status, text });
        }
        if matches!(self.sender, Sender::Grpc(_)) {
            // A refusal has no body, and its status among the headers.
            trailers.extend(std::mem::take(answer.headers_mut()));
            accepted(&trailers)?;
        }
        Ok(bytes.freeze())
    }
}

fn accepted(trailers: &HeaderMap) -> Result<(), Error> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status").and_then(|status| status.parse().ok());
    match status.ok_or(Error::Answer("grpc-status"))? {
        0 => Ok(()),
        status => Err(Error::Refused {
            status,
            text: text("grpc-message").unwrap_or_default().to_owned(),
        }),
    }
}
