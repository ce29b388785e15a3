//! Events between nodes: what is pushed is seen at once, and what is lost costs time only.

use std::time::Duration;

use brainy_coordination::assignment::{MemberState::Active, Role};
use brainy_coordination::config::SharedConfig;
use brainy_dataplane::events::websocket;
use brainy_dataplane::node::Coordination;
use brainy_dataplane::service::DataService;
use brainy_dataplane::transport::{Call, HttpClient};
use bytes::Bytes;
use http::Method;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::proxy::Proxy;
use crate::support::{Certificates, Cluster, KEY, Kind, Served, WITHIN};

/// Settings of nodes that look by themselves this rarely.
fn polling(tail_ms: u64) -> SharedConfig {
    SharedConfig {
        tail_poll_interval_ms: Some(tail_ms),
        ..SharedConfig::default()
    }
}

/// The longest interval of polling that there is.
const NEVER: u64 = 60_000;

fn pushing<'a>(role: Role, tail_ms: u64) -> Kind<'a> {
    Kind {
        role,
        coordination: Coordination::WebSocket,
        settings: polling(tail_ms),
        ..Kind::default()
    }
}

/// Waits until a node's own state has so many points, for less time than the longest polling takes.
async fn hears(node: &Served, points: u64) {
    let heard = async {
        while node.count_here().await != points {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let within = Duration::from_millis(NEVER / 2);
    tokio::time::timeout(within, heard).await.unwrap();
}

/// The figure of this name and labels in a node's metrics.
fn figure(node: &Served, line: &str) -> u64 {
    let text = node.node.metrics();
    let value = text
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |v| v.parse().unwrap())
}

async fn a_reader_hears_of_every_write(certificates: Option<&Certificates>) {
    let cluster = Cluster::new();
    let kind = |role| Kind {
        certificates,
        ..pushing(role, NEVER)
    };
    let a = cluster.start_as("a", kind(Role::Writer)).await;
    let b = cluster.start_as("b", kind(Role::Reader)).await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.create().await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    for round in 0..20 {
        let first = round * 10;
        a.write(first..first + 10).await;
        hears(&b, first + 10).await;
    }
    let received = "brainy_events_received_total{backend=\"websocket\",kind=\"log_advanced\"}";
    assert!(figure(&b, received) > 0, "{}", b.node.metrics());
    // Readers say nothing of logs, and writers do not follow their own.
    assert_eq!(figure(&a, received), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_writes_long_before_it_would_look() {
    a_reader_hears_of_every_write(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_over_tls_where_the_cluster_does() {
    a_reader_hears_of_every_write(Some(&Certificates::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_wire_costs_time_only_and_a_mended_one_tells_what_it_swallowed() {
    let (cluster, wire) = (Cluster::new(), Proxy::start());
    let a = cluster.start_as("a", pushing(Role::Writer, NEVER)).await;
    let kind = Kind {
        behind: Some(&wire),
        ..pushing(Role::Reader, NEVER)
    };
    let b = cluster.start_as("b", kind).await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.create().await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.write(0..10).await;
    hears(&b, 10).await;

    wire.cut();
    a.write(10..20).await;
    let refused = async {
        while wire.refused() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, refused).await.unwrap();
    a.write(20..30).await;
    // What asks for it sees everything meanwhile.
    assert_eq!(b.count().await, 30);
    a.write(30..40).await;
    wire.mend();
    hears(&b, 40).await;
    assert!(figure(&a, "brainy_event_failures_total{backend=\"websocket\"}") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_event_polling_finds_the_same() {
    let (cluster, wire) = (Cluster::new(), Proxy::start());
    wire.cut();
    let a = cluster.start_as("a", pushing(Role::Writer, NEVER)).await;
    let kind = Kind {
        behind: Some(&wire),
        ..pushing(Role::Reader, 50)
    };
    let b = cluster.start_as("b", kind).await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.create().await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.write(0..50).await;
    hears(&b, 50).await;
    assert_eq!(b.count().await, 50);
    let received = "brainy_events_received_total{backend=\"websocket\",kind=\"log_advanced\"}";
    assert_eq!(figure(&b, received), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_elsewhere_is_found() {
    let cluster = Cluster::new();
    let a = cluster.start_as("a", pushing(Role::Writer, NEVER)).await;
    let b = cluster.start_as("b", pushing(Role::Reader, NEVER)).await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.create().await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.write(0..10).await;
    hears(&b, 10).await;
    b.node.shutdown().await;
    drop(b);
    a.write(10..20).await;
    let b = cluster.start_as("b", pushing(Role::Reader, NEVER)).await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.write(20..30).await;
    hears(&b, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_for_events_need_the_key_and_a_name_and_are_not_for_web_pages() {
    let cluster = Cluster::new();
    let a = cluster.start("a", None).await;
    let dial = async |headers: &[(&'static str, &str)]| {
        let address = format!("ws://{}{}", a.address, websocket::PATH);
        let mut request = address.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = tokio::net::TcpStream::connect(&a.address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((_socket, answer)) => answer.status().as_u16(),
            Err(Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    let (key, name) = (("api-key", KEY), ("brainy-instance", "b"));
    assert_eq!(dial(&[name]).await, 403);
    assert_eq!(dial(&[name, ("api-key", "another")]).await, 403);
    assert_eq!(dial(&[key]).await, 400);
    assert_eq!(
        dial(&[key, name, ("origin", "https://page.example")]).await,
        403
    );
    assert_eq!(dial(&[key, name]).await, 101);

    let call = Call {
        method: Method::GET,
        address: &a.address,
        path: websocket::PATH,
        key: Some(KEY),
        body: Bytes::new(),
        timeout: WITHIN,
    };
    let plain = HttpClient::new(None).send(call).await.unwrap();
    assert_eq!(plain.status, 400);
}
