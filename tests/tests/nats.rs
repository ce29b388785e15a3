//! Events by way of a real NATS server: what arrives, what does not, and that losing all of it costs time only.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::events::Event;
use brainy_coordination::types::InstanceId;
use brainy_dataplane::events::nats::{Nats, NatsCredentials, NatsOptions, subject};
use brainy_dataplane::events::{Backend, Deliver, Direction, Envelope, EventMetrics};
use brainy_tests::client::{Client, Point, Read};
use brainy_tests::cluster::{LocalCluster, SETTLED_WITHIN};
use brainy_tests::manifest::Manifest;
use brainy_tests::nats::NatsServer;
use brainy_tests::wait::{holds, until};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

const WITHIN: Duration = Duration::from_secs(30);

/// One node's end.
struct End {
    me: InstanceId,
    backend: Arc<Nats>,
    metrics: EventMetrics,
    heard: UnboundedReceiver<Envelope>,
    _stop: DropGuard,
}

fn options(url: &str, name: &str) -> NatsOptions {
    NatsOptions {
        servers: vec![url.parse().unwrap()],
        credentials: NatsCredentials::None,
        authorities: Vec::new(),
        client_name: name.to_owned(),
        subject: subject("bucket", "cluster"),
    }
}

impl End {
    fn run(name: &str, options: NatsOptions) -> Self {
        let metrics = EventMetrics::default();
        let backend = Arc::new(Nats::new(options, metrics.clone()).unwrap());
        let (says, heard) = unbounded_channel();
        let stop = CancellationToken::new();
        let deliver = Deliver::new(move |envelope| says.send(envelope).unwrap_or_default());
        tokio::spawn(backend.clone().run(deliver, stop.clone()));
        Self {
            me: InstanceId::new(name).unwrap(),
            backend,
            metrics,
            heard,
            _stop: stop.drop_guard(),
        }
    }

    fn say(&self, epoch: u64) {
        let event = Event::AssignmentChanged { epoch };
        self.backend.publish(&Envelope::new(self.me.clone(), event));
    }

    fn is_connected(&self) -> bool {
        self.metrics.connections("pubsub", Direction::Out) == 1
    }

    /// The next epoch that is heard of.
    async fn hears(&mut self) -> u64 {
        let heard = tokio::time::timeout(WITHIN, self.heard.recv()).await;
        match heard.expect("something is heard").unwrap().event {
            Event::AssignmentChanged { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until `to` hears what `from` says: both are connected and listen. Says growing numbers from `first` on; gives the next.
async fn meet(from: &End, to: &mut End, first: u64) -> u64 {
    let mut epoch = first;
    loop {
        from.say(epoch);
        epoch += 1;
        let heard = tokio::time::timeout(Duration::from_millis(200), to.heard.recv()).await;
        if heard.is_ok() {
            break;
        }
        assert!(epoch < first + 300, "nothing arrives");
    }
    // All that is under way.
    from.say(epoch);
    while to.hears().await != epoch {}
    epoch + 1
}

#[tokio::test]
async fn events_arrive_and_nothing_else_does() {
    let server = NatsServer::start(&[]).await.unwrap();
    let a = End::run("a", options(&server.url(), "a"));
    let mut b = End::run("b", options(&server.url(), "b"));
    let foreign = NatsOptions {
        subject: subject("bucket", "another"),
        ..options(&server.url(), "c")
    };
    let mut foreign = End::run("c", foreign);
    let next = meet(&a, &mut b, 1).await;
    until("the other cluster is connected", WITHIN, async || {
        holds(foreign.is_connected(), || "it is not".to_owned())
    })
    .await
    .unwrap();

    let here = subject("bucket", "cluster");
    for garbage in [
        &b""[..],
        b"\xff\xfe",
        b"{}",
        br#"{"from":"NOT A NAME","id":"1","event":{}}"#,
        &[b' '; 100_000],
    ] {
        server.say(&here, garbage).await.unwrap();
    }
    foreign.say(99);
    a.say(next);
    assert_eq!(
        b.hears().await,
        next,
        "garbage and strangers are passed over"
    );
    // What a client of another language says in the right form is taken: hints need no more.
    server
        .say(
            &here,
            br#"{"from":"x","id":"00000000000000000000000000000001","event":{"kind":"assignment_changed","epoch":77}}"#,
        )
        .await
        .unwrap();
    assert_eq!(b.hears().await, 77);
    assert!(foreign.heard.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_comes_late_or_comes_back_is_found() {
    let mut server = NatsServer::start(&[]).await.unwrap();
    server.kill().await.unwrap();
    let a = End::run("a", options(&server.url(), "a"));
    let mut b = End::run("b", options(&server.url(), "b"));
    for epoch in 0..10_000 {
        a.say(epoch);
    }
    assert!(!a.is_connected());
    server.start_again().await.unwrap();
    let mut next = meet(&a, &mut b, 10_000).await;
    for _ in 0..2 {
        server.kill().await.unwrap();
        until("the loss is noticed", WITHIN, async || {
            holds(!a.is_connected() && !b.is_connected(), || {
                "connected".to_owned()
            })
        })
        .await
        .unwrap();
        server.start_again().await.unwrap();
        next = meet(&a, &mut b, next).await;
    }
}

#[tokio::test]
async fn a_server_that_asks_who_it_is_is_told() {
    let server = NatsServer::start(&["--user", "ann", "--pass", "hunter2"])
        .await
        .unwrap();
    let with = |password: &str| NatsOptions {
        credentials: NatsCredentials::User("ann".to_owned(), password.to_owned()),
        ..options(&server.url(), "n")
    };
    let wrong = End::run("w", with("guess"));
    let a = End::run("a", with("hunter2"));
    let mut b = End::run("b", with("hunter2"));
    meet(&a, &mut b, 1).await;
    assert!(!wrong.is_connected());

    let server = NatsServer::start(&["--auth", "t0ken"]).await.unwrap();
    let with = || NatsOptions {
        credentials: NatsCredentials::Token("t0ken".to_owned()),
        ..options(&server.url(), "n")
    };
    let a = End::run("a", with());
    let mut b = End::run("b", with());
    meet(&a, &mut b, 1).await;
}

#[tokio::test]
async fn a_server_with_a_certificate_of_a_private_authority_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let arguments = [
        "--tls",
        "--tlscert",
        cert.to_str().unwrap(),
        "--tlskey",
        key.to_str().unwrap(),
    ];
    let server = NatsServer::start(&arguments).await.unwrap();
    let url = format!("tls://localhost:{}", server.port());
    let with = || NatsOptions {
        authorities: vec![cert.clone(), path("there-is-none.pem")],
        ..options(&url, "n")
    };
    let a = End::run("a", with());
    let mut b = End::run("b", with());
    meet(&a, &mut b, 1).await;
}

fn point(id: u64) -> Point {
    Point {
        id,
        vector: vec![1.0, id as f32, 0.5, 0.25],
        payload: serde_json::json!({"id": id}),
    }
}

/// Writes points and waits until each reader has seen each of them by an eventual read; gives the longest that one took.
async fn written_and_seen(
    client: &Client,
    readers: &[Client],
    ids: std::ops::Range<u64>,
) -> Duration {
    let mut longest = Duration::ZERO;
    for id in ids {
        client.upsert("things", &[point(id)]).await.unwrap();
        let written = tokio::time::Instant::now();
        for reader in readers {
            until("the write is seen", SETTLED_WITHIN, async || {
                let found = reader.retrieve("things", &[id], &Read::Eventual).await;
                let found = found.map_err(|e| e.to_string())?;
                holds(!found.is_empty(), || format!("no point {id}"))
            })
            .await
            .unwrap();
        }
        longest = longest.max(written.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_hears_through_nats_and_goes_on_without_it() {
    let mut nats = NatsServer::start(&[]).await.unwrap();
    let poll = Duration::from_secs(20);
    let manifest = Manifest::new(2, 2)
        .with("spec.coordination.method", "pubsub")
        .with("spec.coordination.natsUrl", nats.url())
        .with("spec.sharedConfig.tailPollIntervalMs", 20_000);
    let mut cluster = LocalCluster::start(manifest).await.unwrap();
    let client = cluster.client();
    client
        .create_collection("things", 4, Some(4))
        .await
        .unwrap();
    cluster.wait_settled().await.unwrap();
    let nodes = cluster.nodes().await.unwrap();
    let readers: Vec<Client> = nodes
        .into_iter()
        .filter(|(name, _)| name.starts_with("reader-"))
        .map(|(_, node)| node)
        .collect();
    assert_eq!(readers.len(), 2);

    let pushed = written_and_seen(&client, &readers, 0..20).await;
    assert!(
        pushed < poll / 2,
        "{pushed:?}, polled every {poll:?}: {}",
        cluster.logs()
    );

    nats.kill().await.unwrap();
    let polled = written_and_seen(&client, &readers, 20..22).await;
    assert!(polled < poll * 2, "{polled:?}, polled every {poll:?}");

    nats.start_again().await.unwrap();
    until("hints arrive again", SETTLED_WITHIN, async || {
        let pushed = written_and_seen(&client, &readers, 22..23).await;
        holds(pushed < poll / 10, || format!("seen after {pushed:?}"))
    })
    .await
    .unwrap();
    cluster.stop().await.unwrap();
}
