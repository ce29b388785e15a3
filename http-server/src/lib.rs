//! The HTTP server of nodes and of the local endpoint: HTTP/1.1 and HTTP/2 on one port, a bounded number of connections, slow
//! clients cut, an orderly end; over TLS where it is given a certificate.

mod activity;
mod body;
mod io;
mod limits;
mod metrics;
mod patience;
pub mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use activity::{Activity, Slow};
use body::{Answer, Paced};
use io::Watched;
use tls::ServerTls;

pub use body::SlowBody;
pub use limits::Limits;
pub use metrics::ServerMetrics;

/// A TLS connection begins with a record of this type (RFC 8446, 5.1); no request of HTTP begins with this byte.
const HANDSHAKE: u8 = 0x16;
/// What a client that speaks plain HTTP to a TLS port is told.
const SPEAK_TLS: &str = "this port speaks HTTPS only: use https:// in the address\n";
/// Streams of HTTP/2 that a client opened and reset before they were looked at (CVE-2023-44487): more end the connection.
const MAX_RESETS: usize = 20;
/// Silent connections of HTTP/2 with requests under way are asked whether they are still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Longest time between two looks at a connection's [`Activity`].
const LOOK: Duration = Duration::from_secs(1);

/// What is served how: everything but the listener and the application.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificate and key; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// Limits.
    pub limits: Limits,
    /// Where connections are counted.
    pub metrics: ServerMetrics,
    /// How long requests under way may take after the stop.
    pub grace: Duration,
}

/// Serves `app` until `stop`. Then connections without a request are closed at once, and requests under way may take `grace`.
pub async fn serve(listener: TcpListener, app: Router, stop: CancellationToken, grace: Duration) {
    let options = Options {
        grace,
        ..Options::default()
    };
    serve_with(listener, app, stop, options).await;
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
    let options = Options {
        tls: Some(tls),
        grace,
        ..Options::default()
    };
    serve_with(listener, app, stop, options).await;
}

/// As [`serve`], with limits, metrics and perhaps TLS.
pub async fn serve_with(
    listener: TcpListener,
    app: Router,
    stop: CancellationToken,
    options: Options,
) {
    let max = options.limits.connections;
    let server = Server {
        app,
        tls: options.tls,
        limits: Arc::new(options.limits),
        metrics: options.metrics,
        stop,
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < max => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(server.clone().connection(stream));
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
    if tokio::time::timeout(options.grace, finished).await.is_err() {
        tracing::warn!("requests did not finish in time and were cut");
        connections.shutdown().await;
    }
}

#[derive(Clone)]
struct Server {
    app: Router,
    tls: Option<ServerTls>,
    limits: Arc<Limits>,
    metrics: ServerMetrics,
    stop: CancellationToken,
}

impl Server {
    async fn connection(self, stream: TcpStream) {
        let _open = self.metrics.opened();
        // Small requests and answers must not wait for more bytes. A socket that refuses the option still works.
        let _refused = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.requests(stream).await;
        };
        let secured = tokio::select! {
            secured = tokio::time::timeout(self.limits.head_timeout, handshake(stream, tls)) => secured,
            // Nothing has been asked yet.
            () = self.stop.cancelled() => return,
        };
        match secured {
            Ok(Ok(Some(stream))) => self.requests(stream).await,
            Ok(Ok(None)) => tracing::debug!("a request in plain HTTP was refused"),
            Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came to be"),
            Err(_) => {
                self.metrics.cut(Slow::Head);
                tracing::debug!("a TLS handshake took too long");
            }
        }
    }

    async fn requests<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new(self.limits.clone());
        let stream = Watched::new(stream, activity.clone());
        let builder = self.protocols();
        let service = service_fn(|request| self.answer(&activity, request));
        let mut serving =
            std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut looks = tokio::time::interval(self.look());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = serving.as_mut() => break ended,
                () = self.stop.cancelled(), if !stopping => {
                    // A first request that has not arrived as a whole has had no effect.
                    if !activity.was_asked() {
                        return;
                    }
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
                _ = looks.tick() => {
                    let Some(reason) = activity.overdue(Instant::now()) else {
                        continue;
                    };
                    self.metrics.cut(reason);
                    tracing::debug!(?reason, "a connection was cut");
                    if reason == Slow::Idle {
                        // A request that crosses this on the way is answered, or its client is told to send it again.
                        serving.as_mut().graceful_shutdown();
                        let _ended = tokio::time::timeout(LOOK, serving).await;
                    }
                    return;
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    /// Often enough for the shortest of the limits.
    fn look(&self) -> Duration {
        let Limits {
            head_timeout,
            idle_timeout,
            patience,
            ..
        } = *self.limits;
        let shortest = head_timeout.min(idle_timeout).min(patience);
        (shortest / 4).clamp(Duration::from_millis(10), LOOK)
    }

    fn protocols(&self) -> auto::Builder<TokioExecutor> {
        let head = self.limits.max_head_bytes;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // The activity has its own clock, which tells an idle connection from a slow head.
            .header_read_timeout(None)
            .max_buf_size((head as usize).max(8 << 10));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.max_streams)
            .max_header_list_size(head)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(self.limits.patience);
        builder
    }

    fn answer(
        &self,
        activity: &Arc<Activity>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<> {
        let running = activity.begin(request.version() == Version::HTTP_2);
        let request =
            request.map(|body| Body::new(Paced::new(body, &self.limits, self.metrics.clone())));
        let answered = TowerToHyperService::new(self.app.clone()).call(request);
        async move {
            let response = answered.await?;
            Ok(response.map(|body| Answer::new(body, running)))
        }
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
