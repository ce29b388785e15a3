//! Starts that cannot succeed: each says what is wrong, where, and what to do, with an exit code of its own.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use brainy_embedded_s3::{EmbeddedS3, EmbeddedS3Config};
use brainy_tests::cluster::{Setup, run_operator};
use brainy_tests::history::History;
use brainy_tests::load::{random_rows, write_all};
use brainy_tests::manifest::Manifest;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(90);

/// Runs `local` on the manifest to its end, which is expected to come by itself.
async fn run(manifest: &str, more: &[&str], environment: &[(String, String)]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.yaml");
    std::fs::write(&file, manifest).unwrap();
    let data = dir.path().join("data");
    let mut arguments = vec!["local", "--plain", "--file", file.to_str().unwrap()];
    arguments.extend(["--data-dir", data.to_str().unwrap()]);
    if !more.contains(&"--port") {
        arguments.extend(["--port", "0"]);
    }
    arguments.extend(more);
    run_operator(&arguments, environment, WITHIN).await.unwrap()
}

fn expect((code, output): (i32, String), expected: i32, named: &[&str]) {
    assert_eq!(code, expected, "{output}");
    for text in named {
        assert!(output.contains(text), "'{text}' is not in: {output}");
    }
    assert!(!output.contains("panicked"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_followed() {
    let missing = ["local", "--file", "no-such-file.yaml", "--port", "0"];
    let ended = run_operator(&missing, &[], WITHIN).await.unwrap();
    expect(ended, 66, &["no-such-file.yaml", "with -f"]);
    let good = Manifest::new(1, 1);
    for (text, named) in [
        ("{".to_owned(), &["not valid YAML"][..]),
        (
            "kind: Pod\napiVersion: v1\n".to_owned(),
            &["apiVersion", "brainy.io/v1alpha1"],
        ),
        (
            good.clone().with("spec.writers.replica", 2).yaml(),
            &["replica", "spec.writers"],
        ),
        (
            good.clone().with("spec.writers.replicas", "two").yaml(),
            &["spec.writers.replicas"],
        ),
        (
            good.clone()
                .with("spec.coordination.method", "pubsub")
                .yaml(),
            &["spec.coordination.natsUrl", "choose s3-polling"],
        ),
        (
            good.clone()
                .with("spec.coordination.pollInterval", "soon")
                .yaml(),
            &["spec.coordination.pollInterval"],
        ),
    ] {
        expect(run(&text, &[], &[]).await, 65, named);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_and_a_program_that_is_missing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let manifest = Manifest::new(1, 1).yaml();
    expect(
        run(&manifest, &["--port", &port], &[]).await,
        75,
        &[&port, "--port 0"],
    );
    expect(
        run(&manifest, &["--s3-port", &port], &[]).await,
        75,
        &[&port, "--s3-port"],
    );
    let ended = run(&manifest, &["--brainyd", "/nowhere/brainyd"], &[]).await;
    expect(ended, 70, &["/nowhere/brainyd", "--brainyd"]);
}

fn keys(secret: &str) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", "known"),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn external(endpoint: &str, bucket: &str) -> Manifest {
    Manifest::new(1, 1)
        .with("spec.storage.bucket", bucket)
        .with("spec.storage.endpoint", endpoint)
        .with("spec.storage.region", "us-east-1")
        .with("spec.storage.pathStyle", true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_refuses_and_the_same_one_when_all_is_right() {
    let dir = TempDir::new().unwrap();
    let server = EmbeddedS3::start(EmbeddedS3Config {
        root: dir.path().to_owned(),
        bucket: "vectors".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        access_key: "known".to_owned(),
        secret_key: "right".to_owned(),
    })
    .await
    .unwrap();
    let endpoint = server.endpoint();
    let wrong_bucket = external(&endpoint, "other-bucket").yaml();
    expect(
        run(&wrong_bucket, &[], &keys("right")).await,
        69,
        &["other-bucket"],
    );
    let right = external(&endpoint, "vectors");
    expect(
        run(&right.yaml(), &[], &keys("wrong")).await,
        69,
        &["403", "Correct the secret key"],
    );

    let mut setup = Setup::new(right.clone());
    for (name, value) in keys("right") {
        setup = setup.with_env(&name, &value);
    }
    let mut cluster = setup.start().await.unwrap();
    let (client, history) = (cluster.client(), History::default());
    client.create_collection("things", 4, None).await.unwrap();
    let rows = random_rows(0, 50, 4, 11);
    write_all(&client, "things", &history, &rows, 1)
        .await
        .unwrap();
    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    cluster.stop().await.unwrap();

    let gone = server.endpoint();
    server.shutdown().await;
    let ended = run(&external(&gone, "vectors").yaml(), &[], &keys("right")).await;
    expect(ended, 75, &["does not answer", "spec.storage.endpoint"]);
}

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

/// Answers as some gateways do: every PUT is taken, whatever its condition says.
async fn careless(
    State(objects): State<Objects>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let tag = |body: &Bytes| {
        let sum = body.iter().fold(7u64, |sum, b| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*b))
        });
        [("etag", format!("\"{sum:032x}\""))]
    };
    let mut objects = objects.lock().unwrap();
    let key = uri.path().to_owned();
    match method {
        Method::PUT => {
            let tag = tag(&body);
            objects.insert(key, body);
            (StatusCode::OK, tag).into_response()
        }
        Method::DELETE => {
            objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => match objects.get(&key) {
            Some(body) => (StatusCode::OK, tag(body), body.clone()).into_response(),
            None => {
                let error = "<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>";
                (StatusCode::NOT_FOUND, error).into_response()
            }
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .fallback(careless)
        .with_state(Objects::default());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let manifest = external(&endpoint, "vectors").yaml();
    let ended = run(&manifest, &[], &keys("right")).await;
    expect(
        ended,
        69,
        &["failed the check", "conditional writes", "gateway"],
    );
    serving.abort();
}
