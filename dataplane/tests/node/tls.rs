//! Nodes that speak TLS only.

use std::time::Duration;

use brainy_coordination::assignment::MemberState::Active;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::node::rpc::{Request, RpcClient};
use brainy_dataplane::transport::{Answer, Call, HttpClient, TransportError};
use brainy_http_server::tls;
use bytes::Bytes;
use http::Method;

use crate::support::{Certificates, Cluster, KEY, Served, WITHIN};

async fn ask(
    client: &HttpClient,
    node: &Served,
    method: Method,
    path: &str,
    key: Option<&str>,
) -> Result<Answer, TransportError> {
    let call = Call {
        method,
        address: &node.address,
        path,
        key,
        body: Bytes::new(),
        timeout: WITHIN,
    };
    client.send(call).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_route_writes_and_reads_and_hand_partitions_over_by_tls() {
    let (cluster, files) = (Cluster::new(), Certificates::new());
    let a = cluster.start("a", Some(&files)).await;
    cluster.settle(&[(&a, Active)]).await;
    a.create().await;
    a.write(0..50).await;
    // Partitions move to the second node by requests between the two.
    let b = cluster.start("b", Some(&files)).await;
    let table = cluster.settle(&[(&a, Active), (&b, Active)]).await;
    for node in [&a, &b] {
        assert_eq!(table.owned_by(&node.id).count(), 2, "{table:?}");
    }
    // Each of these writes has points for partitions of both.
    a.write(50..100).await;
    b.write(100..150).await;
    assert_eq!((a.count().await, b.count().await), (150, 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_hints_need_tls_a_known_authority_and_the_key() {
    let (cluster, files, others) = (Cluster::new(), Certificates::new(), Certificates::new());
    let a = cluster.start("a", Some(&files)).await;
    cluster.settle(&[(&a, Active)]).await;
    let client = HttpClient::new(Some(tls::client(Some(&files.ca())).unwrap().into()));
    let get = |path, key| ask(&client, &a, Method::GET, path, key);
    assert_eq!(get("/livez", None).await.unwrap().status, 200);
    assert_eq!(get("/health", None).await.unwrap().status, 401);
    assert_eq!(get("/health", Some(KEY)).await.unwrap().status, 200);
    let hint = |key| ask(&client, &a, Method::POST, "/internal/hint", key);
    assert_eq!(hint(None).await.unwrap().status, 403);
    assert_eq!(hint(Some(KEY)).await.unwrap().status, 204);

    let plain = HttpClient::new(None);
    let refused = ask(&plain, &a, Method::GET, "/livez", None).await.unwrap();
    assert_eq!(refused.status, 400);
    let stranger = tls::client(Some(&others.ca())).unwrap();
    let stranger = RpcClient::new(Some(KEY.to_owned()), Some(stranger.into()));
    let request = Request::Release {
        partition: "things-0/0".parse().unwrap(),
        to: a.id.clone(),
        tell: false,
    };
    let error = stranger
        .call(&a.address, &request, Duration::from_secs(10))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ServiceError::Unavailable(text) if text.contains("UnknownIssuer")),
        "{error}"
    );
}
