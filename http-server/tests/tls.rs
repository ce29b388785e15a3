//! Serving over TLS: who gets an answer, who is refused, and which certificates are not even tried.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stop at the first surprise, like tests"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use brainy_http_server::tls::{self, ServerTls, TlsError};
use brainy_http_server::{serve, serve_tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// An authority and what it signed for `localhost`, as files.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities are looked up by their names: each has its own.
        let name = dir.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let files = Self { dir };
        std::fs::write(files.path("ca.crt"), authority.pem()).unwrap();
        std::fs::write(files.path("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(files.path("tls.key"), key.serialize_pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self) -> Result<ServerTls, TlsError> {
        ServerTls::load(&self.path("tls.crt"), &self.path("tls.key"))
    }
}

/// A server over TLS, until the test ends.
async fn server(files: &Files) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(|| async { "hello" }));
    let tls = files.server().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve_tls(listener, tls, app, stop, Duration::ZERO));
    address
}

/// What the server at `address` answers over TLS to somebody who trusts `ca`.
async fn ask(address: SocketAddr, ca: &Path, name: &'static str) -> std::io::Result<String> {
    ask_as(address, tls::client(Some(ca)).unwrap(), name).await
}

async fn ask_as(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<String> {
    let name = ServerName::try_from(name).unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(REQUEST).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn ask_plain(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn those_who_trust_the_authority_are_answered_and_plain_http_is_refused_in_words() {
    let files = Files::new();
    let address = server(&files).await;
    let answer = ask(address, &files.path("ca.crt"), "localhost")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
    let refused = ask_plain(address).await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(refused.contains("https://"), "{refused}");
    assert!(!refused.contains("hello"), "{refused}");
}

#[tokio::test]
async fn another_authority_and_another_name_are_not_believed() {
    let (files, others) = (Files::new(), Files::new());
    let address = server(&files).await;
    for (ca, name, said) in [
        (others.path("ca.crt"), "localhost", "UnknownIssuer"),
        (files.path("ca.crt"), "elsewhere", "not valid for name"),
    ] {
        let error = ask(address, &ca, name).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// As a program beside the server that asks it at a loopback address. A renewed certificate file is not the server's any more.
#[tokio::test]
async fn a_certificate_at_hand_is_believed_by_any_name_and_another_one_only_by_its_own() {
    let (files, renewed) = (Files::new(), Files::new());
    let address = server(&files).await;
    let (own, ca) = (files.path("tls.crt"), files.path("ca.crt"));
    let missing = files.path("missing");
    let config = tls::client_of(&own, Some(&missing)).unwrap();
    ask_as(address, config, "127.0.0.1").await.unwrap();
    let config = tls::client_of(&renewed.path("tls.crt"), Some(&ca)).unwrap();
    let by_address = ask_as(address, Arc::clone(&config), "127.0.0.1").await;
    assert!(
        by_address
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
    ask_as(address, config, "localhost").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_with_its_handshake_is_cut() {
    let files = Files::new();
    let address = server(&files).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let mut buffer = [0; 16];
        // The end, or a reset where bytes were not read.
        assert!(matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_handshake() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let hour = Duration::from_secs(3600);
    let tls = files.server().unwrap();
    let serving = tokio::spawn(serve_tls(listener, tls, Router::new(), stop.clone(), hour));
    let _silent = TcpStream::connect(address).await.unwrap();
    // Its answer shows that the connection before it was accepted.
    ask_plain(address).await;
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_plain_http_is_served_as_before() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(|| async { "hello" }));
    tokio::spawn(serve(
        listener,
        app,
        CancellationToken::new(),
        Duration::ZERO,
    ));
    assert!(ask_plain(address).await.ends_with("hello"));
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let files = Files::new();
    files.server().unwrap();
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let others = Files::new();
    std::fs::write(files.path("empty"), "").unwrap();
    let (empty, missing) = (files.path("empty"), files.path("missing"));
    for (cert, key, named) in [
        (&missing, &key, "missing"),
        (&cert, &missing, "missing"),
        (&empty, &key, "empty"),
        (&cert, &empty, "empty"),
        (&cert, &cert, "private key"),
        (&cert, &others.path("tls.key"), "belongs to it"),
    ] {
        let error = ServerTls::load(cert, key).unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
    let error = tls::client(Some(&empty)).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}
