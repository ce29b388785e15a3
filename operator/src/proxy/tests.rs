//! The endpoint against small servers that count what arrives.

use axum::routing::any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// What arrived somewhere: method, path, body, request id.
type Arrival = (Method, String, Bytes, Option<String>);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// An instance that answers everything with `status` and its name.
async fn instance(
    name: &'static str,
    status: StatusCode,
    seen: UnboundedSender<Arrival>,
) -> String {
    let (listener, address) = listen().await;
    let handler = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let id = parts
            .headers
            .get(REQUEST_ID)
            .map(|id| id.to_str().unwrap().to_owned());
        seen.send((parts.method, parts.uri.to_string(), body, id))
            .unwrap();
        (status, [("x-answered-by", name)], name)
    };
    let router = Router::new().fallback(any(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// An address where nobody listens.
async fn dead() -> String {
    listen().await.1
}

/// Reads requests and hangs up without an answer.
async fn hangs_up(seen: UnboundedSender<()>) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _partly = stream.read(&mut buffer).await;
            let _closed = stream.shutdown().await;
            seen.send(()).unwrap();
        }
    });
    address
}

fn routes(addresses: &[String], max_body: usize) -> Routes {
    let ready = addresses.iter().enumerate();
    let ready = ready
        .map(|(n, a)| (InstanceId::new(format!("writer-{n}")).unwrap(), a.clone()))
        .collect();
    Routes {
        ready,
        missing: "writer-0 does not answer yet".to_owned(),
        max_body,
    }
}

/// The endpoint's URL.
async fn endpoint(routes: Routes) -> (Proxy, String) {
    let client = crate::local::http::client().unwrap();
    let proxy = Proxy::with_deadline(client, routes, Duration::from_millis(300));
    let (listener, address) = listen().await;
    tokio::spawn(proxy.clone().serve(listener, CancellationToken::new()));
    (proxy, format!("http://{address}"))
}

fn client() -> reqwest::Client {
    crate::local::http::client().unwrap()
}

fn arrivals() -> (UnboundedSender<Arrival>, UnboundedReceiver<Arrival>) {
    unbounded_channel()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_and_gets_an_identity() {
    let (seen, mut arrived) = arrivals();
    let (_proxy, url) = endpoint(routes(
        &[instance("a", StatusCode::OK, seen).await],
        1 << 20,
    ))
    .await;
    let answer = client()
        .put(format!("{url}/collections/a/points?wait=true"))
        .body("points")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-answered-by"], "a");
    assert_eq!(answer.text().await.unwrap(), "a");
    let (method, path, body, id) = arrived.recv().await.unwrap();
    assert_eq!(
        (method, path.as_str(), &body[..]),
        (
            Method::PUT,
            "/collections/a/points?wait=true",
            &b"points"[..]
        )
    );
    let id = id.unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );

    client()
        .post(format!("{url}/x"))
        .header(REQUEST_ID, "mine")
        .send()
        .await
        .unwrap();
    assert_eq!(arrived.recv().await.unwrap().3.as_deref(), Some("mine"));
    client().get(format!("{url}/x")).send().await.unwrap();
    assert_eq!(arrived.recv().await.unwrap().3, None, "reads need none");
}

#[tokio::test]
async fn a_dead_instance_and_one_that_refuses_cost_the_client_nothing() {
    let (seen, mut arrived) = arrivals();
    let addresses = [
        dead().await,
        instance("misdirected", StatusCode::MISDIRECTED_REQUEST, seen.clone()).await,
        instance("unavailable", StatusCode::SERVICE_UNAVAILABLE, seen.clone()).await,
        instance("good", StatusCode::OK, seen).await,
    ];
    let (_proxy, url) = endpoint(routes(&addresses, 1 << 20)).await;
    for _ in 0..addresses.len() {
        let answer = client()
            .put(format!("{url}/collections/a/points"))
            .body("b")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), answer.text().await.unwrap().as_str()),
            (StatusCode::OK, "good")
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Ok((_, _, body, id)) = arrived.try_recv() {
        assert_eq!(&body[..], b"b");
        ids.insert(id.unwrap());
    }
    assert_eq!(
        ids.len(),
        addresses.len(),
        "one identity for all tries of a request"
    );
}

#[tokio::test]
async fn an_unknown_outcome_is_tried_elsewhere_only_where_that_is_harmless() {
    let (seen, mut arrived) = arrivals();
    let (hung_up, mut hung) = unbounded_channel();
    let broken = hangs_up(hung_up).await;
    let good = instance("good", StatusCode::OK, seen).await;
    // Two requests each, so that one of them meets the broken instance first.
    let (_proxy, url) = endpoint(routes(&[broken.clone(), good.clone()], 1 << 20)).await;
    for _ in 0..2 {
        let answer = client()
            .put(format!("{url}/collections/a/points"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        arrived.recv().await.unwrap();
    }
    hung.recv().await.unwrap();

    let (_proxy, url) = endpoint(routes(&[broken, good], 1 << 20)).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(
            client()
                .put(format!("{url}/collections/a"))
                .send()
                .await
                .unwrap()
                .status(),
        );
    }
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::BAD_GATEWAY]);
    arrived.recv().await.unwrap();
    assert!(
        arrived.try_recv().is_err(),
        "the broken one was not tried elsewhere"
    );
}

#[tokio::test]
async fn requests_take_turns() {
    let (seen, _arrived) = arrivals();
    let addresses = [
        instance("a", StatusCode::OK, seen.clone()).await,
        instance("b", StatusCode::OK, seen.clone()).await,
    ];
    let (_proxy, url) = endpoint(routes(&addresses, 1 << 20)).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(
            client()
                .get(&url)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
        );
    }
    assert_eq!(names, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn without_a_ready_instance_the_answer_names_what_is_missing() {
    let (_proxy, url) = endpoint(routes(&[], 1 << 20)).await;
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    let body: serde_json::Value = answer.json().await.unwrap();
    let text = body["status"]["error"].as_str().unwrap();
    assert!(text.contains("writer-0 does not answer yet"), "{text}");
}

#[tokio::test]
async fn a_request_waits_for_an_instance_to_become_ready() {
    let (seen, _arrived) = arrivals();
    let (proxy, url) = endpoint(routes(&[], 1 << 20)).await;
    let good = instance("good", StatusCode::OK, seen).await;
    let (waiting, ()) = tokio::join!(client().get(&url).send(), async {
        proxy.route(routes(&[good], 1 << 20))
    });
    assert_eq!(waiting.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_last_refusal_is_passed_on_when_nobody_helps() {
    let (seen, _arrived) = arrivals();
    let busy = instance("busy", StatusCode::SERVICE_UNAVAILABLE, seen).await;
    let (_proxy, url) = endpoint(routes(&[busy], 1 << 20)).await;
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(
        (answer.status(), answer.text().await.unwrap().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "busy")
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_here() {
    let (seen, mut arrived) = arrivals();
    let (_proxy, url) = endpoint(routes(&[instance("a", StatusCode::OK, seen).await], 8)).await;
    let answer = client().put(&url).body("123456789").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(arrived.try_recv().is_err());
    assert_eq!(
        client()
            .put(&url)
            .body("12345678")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn headers_of_one_hop_stay_on_it() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "1"),
        ("api-key", "k"),
    ] {
        headers.append(name, value.parse().unwrap());
    }
    let kept = without_per_connection(&headers);
    assert_eq!(
        kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["api-key"]
    );
}

#[tokio::test]
async fn a_closed_endpoint_lets_requests_finish() {
    let (listener, address) = listen().await;
    let (arrived, mut arrival) = unbounded_channel();
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _request = stream.read(&mut buffer).await;
        arrived.send(()).unwrap();
        held.await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
            .await
            .unwrap();
    });
    let proxy = Proxy::new(client(), routes(&[address], 8));
    let (listener, address) = listen().await;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(proxy.serve(listener, stop.clone()));
    let request = tokio::spawn(client().get(format!("http://{address}")).send());
    arrival.recv().await.unwrap();
    stop.cancel();
    release.send(()).unwrap();
    assert_eq!(
        request.await.unwrap().unwrap().text().await.unwrap(),
        "late"
    );
    serving.await.unwrap();
}

/// Sends back what it gets, in capitals.
async fn shouts() -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    buffer[..n].make_ascii_uppercase();
                    stream.write_all(&buffer[..n]).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn connections_are_passed_on_to_who_takes_them_and_cut_at_the_end() {
    let proxy = Proxy::new(client(), routes(&[dead().await, shouts().await], 0));
    let (listener, address) = listen().await;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(proxy.clone().serve_streams(listener, stop.clone()));
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"hello").await.unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HELLO");
        }
        streams.push(stream);
    }
    stop.cancel();
    serving.await.unwrap();
    for mut stream in streams {
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_closed() {
    let proxy = Proxy::new(client(), routes(&[dead().await], 0));
    let (listener, address) = listen().await;
    tokio::spawn(proxy.serve_streams(listener, CancellationToken::new()));
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn snapshots_are_passed_on_whatever_their_size() {
    let (seen, mut arrivals) = unbounded_channel();
    let taking = instance("a", StatusCode::OK, seen).await;
    let (_proxy, url) = endpoint(routes(&[dead().await, taking], 8)).await;
    let client = client();
    let body = vec![7; 1 << 20];
    for _ in 0..2 {
        let path = format!("{url}/collections/c/snapshots/upload?wait=true");
        let answer = client.post(path).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let (method, path, arrived, _) = arrivals.recv().await.unwrap();
        assert_eq!(method, Method::POST);
        assert_eq!(path, "/collections/c/snapshots/upload?wait=true");
        assert!(arrived == body);
    }
    let (_proxy, url) = endpoint(routes(&[dead().await], 8)).await;
    let answer = client
        .post(format!("{url}/snapshots"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
