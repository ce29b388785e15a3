//! The HTTP server of nodes and of the local endpoint: a bounded number of connections, slow clients cut, an orderly end; over
//! TLS where it is given a certificate.

pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use tls::ServerTls;

/// A connection that has not sent the whole head of its next request by then is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// A TLS connection begins with a record of this type (RFC 8446, 5.1); no request of HTTP begins with this byte.
const HANDSHAKE: u8 = 0x16;
/// What a client that speaks plain HTTP to a TLS port is told.
const SPEAK_TLS: &str = "this port speaks HTTPS only: use https:// in the address\n";

/// Serves `app` with HTTP/1.1 until `stop`. Then connections without a request are closed at once, and requests under way may
/// take `grace`.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken, grace: Duration) {
    accept(listener, None, app, stop, grace).await;
}

/// As [`serve`], over TLS only. The handshake counts as a part of the first request's head: whoever is slow with it is cut.
/// A request in plain HTTP is refused.
pub async fn serve_tls(
    listener: TcpListener,
    tls: ServerTls,
    app: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    accept(listener, Some(tls), app, stop, grace).await;
}

async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    app: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, tls.clone(), app.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: connections that end will give some back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("requests did not finish in time and were cut");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<ServerTls>,
    app: Router,
    stop: CancellationToken,
) {
    // Small requests and answers must not wait for more bytes. A socket that refuses the option still works.
    let _refused = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return requests(stream, app, stop).await;
    };
    let secured = tokio::select! {
        secured = tokio::time::timeout(HEAD_TIMEOUT, handshake(stream, &tls)) => secured,
        // Nothing has been asked yet.
        () = stop.cancelled() => return,
    };
    match secured {
        Ok(Ok(Some(stream))) => requests(stream, app, stop).await,
        Ok(Ok(None)) => tracing::debug!("a request in plain HTTP was refused"),
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came to be"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// The secured stream; none if the client speaks plain HTTP, which it is told.
async fn handshake(
    mut stream: TcpStream,
    tls: &ServerTls,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        // What is not read would turn the close into a reset, and the answer could be lost.
        let mut sent = [0; 4096];
        let _some = stream.try_read(&mut sent);
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAK_TLS}",
            SPEAK_TLS.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    tls.acceptor().accept(stream).await.map(Some)
}

async fn requests<S>(stream: S, app: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let app = TowerToHyperService::new(app);
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |request: hyper::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            app.call(request)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            // A first request that has not arrived as a whole has had no effect.
            if !asked.load(Ordering::Relaxed) {
                return;
            }
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_requests_and_not_for_silent_clients() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, release) = (CancellationToken::new(), CancellationToken::new());
        let handler = {
            let (begun, release) = (begun.clone(), release.clone());
            move || async move {
                begun.cancel();
                release.cancelled().await;
                "late"
            }
        };
        let app = Router::new().route("/", get(handler));
        let stop = CancellationToken::new();
        let hour = Duration::from_secs(3600);
        let serving = tokio::spawn(serve(listener, app, stop.clone(), hour));

        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        begun.cancelled().await;
        stop.cancel();
        for stream in [&mut silent, &mut half] {
            let mut buffer = [0; 16];
            // The end, or a reset where bytes were not read.
            assert!(matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)));
        }
        release.cancel();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("late"), "{answer}");
        serving.await.unwrap();
    }
}
