//! A wire between nodes that can be cut for events alone: requests between nodes go on.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use brainy_dataplane::events::websocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module; ends with the test's runtime.
pub(crate) struct Proxy {
    address: String,
    target: Arc<AtomicU16>,
    /// Whether connections for events are let through.
    whole: watch::Sender<bool>,
    refused: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let proxy = Self {
            address: format!("localhost:{}", listener.local_addr().unwrap().port()),
            target: Arc::default(),
            whole: watch::Sender::new(true),
            refused: Arc::default(),
        };
        let listener = TcpListener::from_std(listener).unwrap();
        let (target, refused) = (proxy.target.clone(), proxy.refused.clone());
        let whole = proxy.whole.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let at = target.load(Ordering::SeqCst);
                tokio::spawn(carry(stream, at, whole.clone(), refused.clone()));
            }
        });
        proxy
    }

    /// Leads to this port of this machine from now on; returns its own address.
    pub(crate) fn lead_to(&self, port: u16) -> String {
        self.target.store(port, Ordering::SeqCst);
        self.address.clone()
    }

    /// Cuts connections for events, and refuses new ones.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets them through again.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }

    /// Connections for events that were refused so far.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut from: TcpStream,
    port: u16,
    mut whole: watch::Receiver<bool>,
    refused: Arc<AtomicUsize>,
) {
    let mut first = vec![0; 64];
    let Ok(read) = from.read(&mut first).await else {
        return;
    };
    first.truncate(read);
    let events = first.starts_with(format!("GET {}", websocket::PATH).as_bytes());
    if events && !*whole.borrow_and_update() {
        refused.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    if to.write_all(&first).await.is_err() {
        return;
    }
    let cut = async {
        match events {
            true => drop(whole.wait_for(|whole| !whole).await),
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => {}
        () = cut => {}
    }
}
