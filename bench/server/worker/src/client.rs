//! One client: one connection, one request at a time.

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::Error;

/// Most of what the server said that is repeated in an error.
const EXCERPT: usize = 400;

pub(crate) struct Client {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to `host:port`. Needs a runtime of one thread, or of more.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end shows in the sender.
        tokio::spawn(connection);
        Ok(Self {
            address: address.to_owned(),
            sender,
        })
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// The connection broke; [`Error::Refused`] for any status but 200.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let mut answer = self.sender.send_request(request).await?;
        let mut bytes = BytesMut::new();
        while let Some(frame) = answer.body_mut().frame().await {
            if let Some(data) = frame?.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        match answer.status().as_u16() {
            200 => Ok(bytes.freeze()),
            status => Err(Error::Refused {
                status,
                text: String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]).into_owned(),
            }),
        }
    }
}
