//! Peers that are slow, and what they cost.

use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, Member, Role};
use brainy_coordination::document::Versioned;
use brainy_coordination::events::Event;
use brainy_coordination::store::ETag;
use brainy_coordination::types::{LogPosition, Nonce};
use futures::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;

const WITHIN: Duration = Duration::from_secs(60);

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

/// A peer, and the connection that it accepts.
struct Peer {
    address: String,
    accepted: JoinHandle<WebSocketStream<TcpStream>>,
}

impl Peer {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            accept_async(stream).await.unwrap()
        });
        Self { address, accepted }
    }
}

/// A running back end of node `me`, which knows these peers.
struct Running {
    backend: Arc<WebSocket>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _views: watch::Sender<Arc<View>>,
}

fn backend(peers: &[(&str, &str)]) -> (Arc<WebSocket>, watch::Sender<Arc<View>>) {
    let mut table = AssignmentTable::default();
    for (name, address) in [("me", "localhost:1")].iter().chain(peers) {
        let member = Member::new(Role::Hybrid, *address);
        table.members.insert(id(name), member);
    }
    let view = View {
        table: Some(Arc::new(Versioned {
            version: 1,
            nonce: Nonce(1),
            etag: ETag("1".to_owned()),
            body: table,
        })),
        manifest: None,
    };
    let (views, view) = watch::channel(Arc::new(view));
    let backend = WebSocket::new(id("me"), None, None, view, EventMetrics::default());
    (backend, views)
}

fn run(peers: &[(&str, &str)]) -> Running {
    let (backend, views) = backend(peers);
    let stop = CancellationToken::new();
    let deliver = Deliver::new(|_| {});
    let task = tokio::spawn(backend.clone().run(deliver, stop.clone()));
    Running {
        backend,
        stop,
        task,
        _views: views,
    }
}

fn said(event: Event) -> Envelope {
    Envelope::new(id("me"), event)
}

fn advanced(seq: u64) -> Envelope {
    said(Event::LogAdvanced {
        partition: "things-0/0".parse().unwrap(),
        position: LogPosition::new(1, seq),
    })
}

fn joined(n: usize) -> Envelope {
    said(Event::MemberJoined {
        member: id(&format!("member-{n}")),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_costs_a_bounded_buffer_and_nobody_else_waits() {
    let (stuck, quick) = (Peer::listen().await, Peer::listen().await);
    let running = run(&[("stuck", &stuck.address), ("quick", &quick.address)]);
    let _held = stuck.accepted.await.unwrap();
    let mut reads = quick.accepted.await.unwrap();
    // More than the buffers of the network hold.
    let flood = async {
        for n in 0..100_000 {
            running.backend.publish(&joined(n));
            if n % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        running.backend.publish(&advanced(7));
    };
    let heard = async {
        loop {
            let message = reads.next().await.unwrap().unwrap();
            if !message.is_text() {
                continue;
            }
            let heard = Envelope::decode(&message.into_data()).unwrap();
            if let Event::LogAdvanced { position, .. } = heard.event {
                return position;
            }
        }
    };
    let both = async { tokio::join!(flood, heard).1 };
    let position = tokio::time::timeout(WITHIN, both).await.unwrap();
    assert_eq!(position, LogPosition::new(1, 7));
    let waiting = {
        let links = running.backend.links.read();
        links[&id("stuck")].outbox().len()
    };
    assert!(waiting <= OUTBOX, "{waiting}");
    assert!(running.backend.metrics.dropped_at(NAME) > 0);
    // It does not hold up the end either.
    running.stop.cancel();
    tokio::time::timeout(WITHIN, running.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_connects_late_hears_the_last_word_and_a_farewell_arrives() {
    let (backend, _views) = backend(&[]);
    let stop = CancellationToken::new();
    for seq in 1..=1000 {
        backend.publish(&advanced(seq));
    }
    let peer = Peer::listen().await;
    let link = Link::new(id("late"), peer.address.clone(), OUTBOX, stop.child_token());
    let link = Arc::new(link);
    let links = &backend.links;
    links.write().insert(id("late"), link.clone());
    let kept = tokio::spawn(link::keep(backend.clone(), link));
    let mut reads = peer.accepted.await.unwrap();
    let mut next = async || loop {
        let message = reads.next().await.unwrap().unwrap();
        if message.is_text() {
            return Envelope::decode(&message.into_data()).unwrap().event;
        }
    };
    let first = tokio::time::timeout(WITHIN, next()).await.unwrap();
    assert_eq!(first, advanced(1000).event);
    backend.publish(&joined(1));
    stop.cancel();
    let last = tokio::time::timeout(WITHIN, next()).await.unwrap();
    assert_eq!(last, joined(1).event);
    kept.await.unwrap();
}
