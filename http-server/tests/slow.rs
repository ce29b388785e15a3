//! Clients that are slow, silent or greedy lose their connection; others are served meanwhile.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise, like tests"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use brainy_http_server::{Limits, Options, ServerMetrics, SlowBody, serve_with};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// No test waits longer for what must come.
const LONG: Duration = Duration::from_secs(30);
/// Large enough for no socket's buffers.
const LARGE: usize = 64 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Nothing is cut but what a test is about.
fn patient() -> Limits {
    Limits {
        head_timeout: LONG,
        idle_timeout: LONG,
        patience: LONG,
        ..Limits::default()
    }
}

struct Server {
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let stop = CancellationToken::new();
        let options = Options {
            limits,
            metrics: ServerMetrics::register(&mut registry),
            ..Options::default()
        };
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/large", get(|| async { vec![7_u8; LARGE] }))
            .route("/body", post(length));
        tokio::spawn(serve_with(listener, app, stop.clone(), options));
        Self {
            address,
            registry,
            stop,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends, then reads until the server ends the connection.
    async fn exchange(&self, sent: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent).await.unwrap();
        String::from_utf8_lossy(&ends(&mut stream).await).into_owned()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// The length of a body, or why it did not come.
async fn length(body: Body) -> String {
    match axum::body::to_bytes(body, LARGE).await {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(at) = cause {
                if at.is::<SlowBody>() {
                    return "slow".to_owned();
                }
                cause = at.source();
            }
            format!("failed: {error}")
        }
    }
}

/// What the server still sends before it ends the connection. A reset ends it too.
async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("the connection is still open");
    all
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let server = Server::start(Limits {
        head_timeout: Duration::from_secs(1),
        ..patient()
    })
    .await;
    assert_eq!(server.exchange(b"").await, "");
    assert_eq!(server.exchange(b"GET / HTTP/1.1\r\nhost:").await, "");
    assert!(!server.exchange(PREFACE).await.contains("hello"));
    // The second head of a connection that was of use before.
    let mut second = server.connect().await;
    second
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        answer.push(second.read_u8().await.unwrap());
    }
    second.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    assert_eq!(ends(&mut second).await, b"");
    let metrics = server.metrics();
    assert!(
        metrics.contains("brainy_connections_cut_total{reason=\"head\"} 4"),
        "{metrics}"
    );
    assert!(metrics.contains("brainy_connections 0"), "{metrics}");
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let server = Server::start(Limits {
        idle_timeout: Duration::from_millis(100),
        ..patient()
    })
    .await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    let metrics = server.metrics();
    assert!(metrics.contains("{reason=\"idle\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_body_that_does_not_come_fails_and_a_steady_one_does_not() {
    let server = Server::start(Limits {
        patience: Duration::from_secs(2),
        min_rate: 20,
        ..patient()
    })
    .await;
    let head = b"POST /body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 30\r\n\r\n";
    let answer = server.exchange(&[head, &b"some"[..]].concat()).await;
    assert!(answer.ends_with("slow"), "{answer}");
    assert!(server.metrics().contains("{reason=\"body\"} 1"));

    let mut steady = server.connect().await;
    steady.write_all(head).await.unwrap();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        steady.write_all(b"x").await.unwrap();
    }
    let answer = String::from_utf8(ends(&mut steady).await).unwrap();
    assert!(answer.ends_with("30 bytes"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_the_connection() {
    let server = Server::start(Limits {
        patience: Duration::from_millis(200),
        ..patient()
    })
    .await;
    let mut greedy = server.connect().await;
    greedy
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let cut = async {
        while !server.metrics().contains("{reason=\"answer\"} 1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, cut).await.expect("still open");
    assert!(ends(&mut greedy).await.len() < LARGE);
    let answer = server
        .exchange(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.ends_with("hello"), "{answer}");
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET` of a path that HPACK's static table does not have, or of `/`.
fn get_request(stream: u32, path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x86];
    match path {
        "/" => fields.push(0x84),
        other => {
            // A literal value of the name with index 4, not indexed.
            fields.extend([0x04, u8::try_from(other.len()).unwrap()]);
            fields.extend(other.as_bytes());
        }
    }
    // The end of the headers, and of the stream.
    frame(1, 0x5, stream, &fields)
}

fn greeting() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

#[tokio::test]
async fn http_2_is_served_on_the_same_port() {
    let server = Server::start(Limits {
        idle_timeout: Duration::from_millis(200),
        ..patient()
    })
    .await;
    let answer = server
        .exchange(&[greeting(), get_request(1, "/")].concat())
        .await;
    assert!(answer.contains("hello"), "{answer:?}");
}

#[tokio::test]
async fn a_window_that_stays_closed_ends_the_connection() {
    let server = Server::start(Limits {
        patience: Duration::from_millis(200),
        min_rate: u64::MAX,
        ..patient()
    })
    .await;
    // The window that a connection has at first is 64 KiB: the client reads that, and never gives another.
    let answer = server
        .exchange(&[greeting(), get_request(1, "/large")].concat())
        .await;
    assert!(answer.len() < 100_000, "{}", answer.len());
    assert!(server.metrics().contains("{reason=\"answer\"} 1"));
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let server = Server::start(patient()).await;
    let mut flood = greeting();
    for n in 0..2000 {
        let stream = 2 * n + 1;
        flood.extend(get_request(stream, "/"));
        // CANCEL.
        flood.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    let mut stream = server.connect().await;
    // The server may end it before all is written.
    let _cut = stream.write_all(&flood).await;
    ends(&mut stream).await;
}
