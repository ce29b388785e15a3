//! `brainyd` by itself.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::time::Duration;

use brainy_tests::client::Read;
use brainy_tests::history::History;
use brainy_tests::load::{Load, Shape, random_rows, write_all};
use brainy_tests::process::{Process, program};
use brainy_tests::standalone::Standalone;
use brainy_tests::wait::{holds, until};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::default();
    let rows = random_rows(0, 600, 8, 9);
    let mut brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    brainyd
        .client()
        .create_collection("things", 8, None)
        .await
        .unwrap();
    for value in 1..=3 {
        let client = brainyd.client();
        write_all(&client, "things", &history, &rows, value)
            .await
            .unwrap();
        brainyd.process.kill().await.unwrap();
        brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
        let verdict = history.verify(&brainyd.client(), "things").await.unwrap();
        assert!(verdict.is_clean(), "after {value} crashes: {verdict:?}");
        assert_eq!(verdict.distinct, 600);
    }
    let hits = brainyd
        .client()
        .search("things", &rows[5].vector, 1, &Read::Default)
        .await;
    assert_eq!(hits.unwrap()[0].id, 5);
    brainyd.process.interrupt().unwrap();
    let status = brainyd.process.exit(Duration::from_secs(30)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", brainyd.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_whenever_it_is_killed() {
    const ROUNDS: u64 = 6;
    let dir = tempfile::tempdir().unwrap();
    let history = History::default();
    let mut brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    // There is a flush or a merge under way most of the time.
    let config = json!({"flush_interval_ms": 100, "segment_merge_threshold": 2});
    let body = json!({"version": 0, "config": config}).to_string();
    let client = brainyd.client();
    let answer = client.send(Method::POST, "/sync/config", &[], Some(body.into_bytes()));
    assert_eq!(answer.await.unwrap().status, 200);
    client.create_collection("things", 8, None).await.unwrap();
    for round in 0..ROUNDS {
        // What a killed process was asked is never written again.
        let rows = random_rows(round * 1000, 200, 8, round);
        let clients = [brainyd.client().with_patience(Duration::ZERO)];
        let shape = Shape {
            readers: 0,
            pause: Duration::from_millis(1),
            ..Shape::default()
        };
        let before = history.writes().await;
        let load = Load::start(&clients, "things", &history, &rows, 1, &shape);
        let enough = before + 300 + round * 150;
        until(
            "enough is acknowledged",
            Duration::from_secs(60),
            async || {
                let now = history.writes().await;
                holds(now >= enough, || format!("{} writes", now - before))
            },
        )
        .await
        .unwrap();
        brainyd.process.kill().await.unwrap();
        load.stop().await;
        brainyd = Standalone::start(dir.path(), &[], &[]).await.unwrap();
        let verdict = history.verify(&brainyd.client(), "things").await.unwrap();
        assert!(verdict.is_clean(), "after {round} crashes: {verdict:?}");
    }
    let segments = brainyd
        .client()
        .collection("things")
        .await
        .unwrap()
        .segments;
    assert!(segments > 0, "nothing was flushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_allow_what_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [
        ("BRAINY_API_KEY".to_owned(), "admin-key".to_owned()),
        (
            "BRAINY_READ_WRITE_API_KEY".to_owned(),
            "write-key".to_owned(),
        ),
        ("BRAINY_READ_ONLY_API_KEY".to_owned(), "read-key".to_owned()),
    ];
    let brainyd = Standalone::start(dir.path(), &[], &keys).await.unwrap();
    let (open, wrong) = (brainyd.client(), brainyd.client().with_key("guess"));
    let [admin, write, read] =
        ["admin-key", "write-key", "read-key"].map(|key| brainyd.client().with_key(key));
    admin.create_collection("things", 2, None).await.unwrap();
    let rows = random_rows(0, 3, 2, 10);
    let point = rows[0].point(1);
    write
        .upsert("things", std::slice::from_ref(&point))
        .await
        .unwrap();
    assert_eq!(read.count("things", &Read::Strong).await.unwrap(), 1);

    for (client, status, named) in [(&open, 401, "api-key"), (&wrong, 401, "not known")] {
        let answer = client
            .send(Method::GET, "/collections", &[], None)
            .await
            .unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.message().contains(named), "{}", answer.message());
    }
    let refused = read
        .upsert("things", &[point])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("403") && refused.contains("read-write"),
        "{refused}"
    );
    let refused = write
        .create_collection("more", 2, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("403") && refused.contains("admin"),
        "{refused}"
    );
    // What nodes say to one another needs the admin key as well.
    for path in [
        "/internal/rpc",
        "/internal/hint",
        "/coordinate/quarantine/things-x/0/1:1",
    ] {
        let answer = write
            .send(Method::POST, path, &[], Some(b"{}".to_vec()))
            .await
            .unwrap();
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
    }
    // Probes of an orchestrator carry no key.
    let answer = open.send(Method::GET, "/readyz", &[], None).await.unwrap();
    assert_eq!(answer.status, 200);
}

async fn refused_start(arguments: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let arguments: Vec<std::ffi::OsString> = arguments.iter().map(Into::into).collect();
    let log = dir.path().join("log");
    let mut process = Process::start(&program("brainyd").unwrap(), &arguments, &[], log).unwrap();
    let status = process.exit(Duration::from_secs(30)).await.unwrap();
    (status.code(), process.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_succeed_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let _running = Standalone::start(dir.path(), &[], &[]).await.unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, code, named) in [
        (
            vec!["--listen", &address],
            75,
            vec![address.as_str(), "--listen"],
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--data-dir", data],
            75,
            vec![data, "in use by another brainyd", "--data-dir"],
        ),
        (vec!["--role", "writer"], 2, vec!["--s3-bucket"]),
        (
            vec!["--listen", "127.0.0.1:0", "--log", "=nonsense="],
            2,
            vec!["--log"],
        ),
    ] {
        let (ended, output) = refused_start(&arguments).await;
        assert_eq!(ended, Some(code), "{arguments:?}: {output}");
        for text in named {
            assert!(
                output.contains(text),
                "{arguments:?}: '{text}' is not in: {output}"
            );
        }
    }
}
