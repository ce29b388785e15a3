//! Requests that cannot be served: each is answered by name, and harms nothing.

#![allow(clippy::unwrap_used)]

use brainy_tests::client::{Client, Read};
use brainy_tests::cluster::LocalCluster;
use brainy_tests::history::History;
use brainy_tests::load::{random_rows, write_all};
use brainy_tests::manifest::Manifest;
use brainy_tests::standalone::Standalone;
use reqwest::Method;

/// Every request that is wrong: method, path, body, status, and what the answer must name.
fn wrong_requests() -> Vec<(Method, &'static str, String, u16, Vec<&'static str>)> {
    let points = "/collections/things/points?wait=true";
    let query = "/collections/things/points/query";
    let many = vec!["1"; 20_000].join(",");
    vec![
        (
            Method::PUT,
            points,
            r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#.to_owned(),
            400,
            vec!["points[0]", "dimension is 3", "collection's is 4"],
        ),
        (
            Method::PUT,
            points,
            r#"{"points":[{"id":1,"vector":[NaN,0,0,0]}]}"#.to_owned(),
            400,
            vec!["line 1"],
        ),
        (
            Method::PUT,
            points,
            r#"{"points":[{"id":1,"vector":[1e39,0,0,0]}]}"#.to_owned(),
            400,
            vec!["component 0"],
        ),
        (
            Method::PUT,
            points,
            r#"{"points":[{"id":-1,"vector":[1,0,0,0]}]}"#.to_owned(),
            400,
            vec!["id"],
        ),
        (
            Method::PUT,
            points,
            r#"{"points":[{"id":1,"vector":[1,0,0,0],"colour":1}]}"#.to_owned(),
            400,
            vec!["colour"],
        ),
        (Method::PUT, points, "{".to_owned(), 400, vec!["EOF"]),
        (
            Method::PUT,
            "/collections/nothing/points",
            r#"{"points":[{"id":1,"vector":[1,0,0,0]}]}"#.to_owned(),
            404,
            vec!["nothing", "doesn't exist"],
        ),
        (
            Method::POST,
            query,
            r#"{"query":[1,0],"limit":1}"#.to_owned(),
            400,
            vec!["dimension is 2", "collection's is 4"],
        ),
        (
            Method::POST,
            query,
            r#"{"query":[1,0,0,0],"limit":1000000000}"#.to_owned(),
            400,
            vec!["limit"],
        ),
        (
            Method::POST,
            query,
            r#"{"query":[1,0,0,0],"limit":1,"shard_key":"a"}"#.to_owned(),
            501,
            vec!["shard_key"],
        ),
        (
            Method::POST,
            "/collections/things/points",
            format!(r#"{{"ids":[{many}]}}"#),
            400,
            vec!["ids"],
        ),
        (
            Method::PUT,
            "/collections/things",
            r#"{"vectors":{"size":4,"distance":"Cosine"}}"#.to_owned(),
            409,
            vec!["things", "already exists"],
        ),
        (
            Method::PUT,
            "/collections/flat",
            r#"{"vectors":{"size":0,"distance":"Cosine"}}"#.to_owned(),
            400,
            vec!["vectors.size"],
        ),
        (
            Method::PUT,
            "/collections/far",
            r#"{"vectors":{"size":4,"distance":"Miles"}}"#.to_owned(),
            400,
            vec!["Miles"],
        ),
        (
            Method::GET,
            "/nowhere",
            String::new(),
            404,
            vec!["no such route"],
        ),
        (Method::DELETE, query, String::new(), 405, vec!["method"]),
    ]
}

async fn check(client: &Client) {
    for (method, path, body, status, named) in wrong_requests() {
        let shown: String = body.chars().take(80).collect();
        let body = (!body.is_empty()).then(|| body.into_bytes());
        let answer = client.send(method.clone(), path, &[], body).await.unwrap();
        let message = answer.message();
        assert_eq!(answer.status, status, "{method} {path} {shown}: {message}");
        for text in named {
            assert!(
                message.contains(text),
                "{method} {path} {shown}: '{text}' is not in: {message}"
            );
        }
    }
    for (header, value, named) in [
        ("brainy-consistency", "sometimes", "bounded:<milliseconds>"),
        ("brainy-token", "nonsense", "brainy-token"),
    ] {
        let body = Some(br#"{"ids":[1]}"#.to_vec());
        let headers = [(header, value.to_owned())];
        let sent = client.send(Method::POST, "/collections/things/points", &headers, body);
        let answer = sent.await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains(named), "{}", answer.message());
    }
    let headers = [("brainy-request-id", "first".to_owned())];
    let body = Some(br#"{"points":[{"id":1,"vector":[1,0,0,0]}]}"#.to_vec());
    let sent = client.send(Method::PUT, "/collections/things/points", &headers, body);
    let answer = sent.await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(
        answer.message().contains("32 hexadecimal digits"),
        "{}",
        answer.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_each_wrong_request_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    let (client, history) = (brainyd.client(), History::default());
    client.create_collection("things", 4, None).await.unwrap();
    let rows = random_rows(0, 50, 4, 12);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    check(&client).await;
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_answers_as_a_node_does_and_refuses_what_is_too_large() {
    let manifest = Manifest::new(1, 1).with("spec.sharedConfig.maxRequestBytes", 200_000);
    let mut cluster = LocalCluster::start(manifest).await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client
        .create_collection("things", 4, Some(3))
        .await
        .unwrap();
    let rows = random_rows(0, 50, 4, 13);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    check(&client).await;
    let filler = "x".repeat(300_000);
    let body = format!(
        r#"{{"points":[{{"id":999,"vector":[1,0,0,0],"payload":{{"text":"{filler}"}}}}]}}"#
    );
    for (_, node) in cluster
        .nodes()
        .await
        .unwrap()
        .iter()
        .chain([&("endpoint".to_owned(), client.clone())])
    {
        let body = Some(body.clone().into_bytes());
        let answer = node
            .send(Method::PUT, "/collections/things/points", &[], body)
            .await
            .unwrap();
        let message = answer.message();
        assert_eq!(answer.status, 413, "{message}");
        assert!(
            message.contains("200000") && message.contains("maxRequestBytes"),
            "{message}"
        );
    }
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(client.count("things", &Read::Strong).await.unwrap(), 50);
    cluster.stop().await.unwrap();
}
