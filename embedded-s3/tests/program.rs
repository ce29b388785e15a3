//! The server as a program: what a container runs.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::s3::{Credentials, S3Config, S3Store};
use bytes::Bytes;

const BUCKET: &str = "brainy-test";
const SECRET: &str = "a secret for tests";

struct Program {
    child: Child,
    endpoint: String,
}

impl Program {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_brainy-s3"))
            .args(["--listen", "127.0.0.1:0", "--bucket", BUCKET])
            .arg("--data-dir")
            .arg(dir)
            .env("AWS_ACCESS_KEY_ID", "tester")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoint = line.trim().strip_prefix("brainy-s3: ").map(str::to_owned);
        Self {
            child,
            endpoint: endpoint.unwrap_or_else(|| panic!("no endpoint in '{line}'")),
        }
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

async fn connect(program: &Program) -> Arc<S3Store> {
    let config = S3Config {
        endpoint: Some(program.endpoint.clone()),
        path_style: true,
        credentials: Credentials::Static {
            access_key: "tester".to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: None,
        },
        ..S3Config::new(BUCKET)
    };
    S3Store::connect(config).await.unwrap()
}

#[tokio::test]
async fn it_serves_until_it_is_terminated_and_finds_its_objects_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Program::start(dir.path());
    let store = connect(&first).await;
    store.put("a/b", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(first.terminate(), Some(0));

    let second = Program::start(dir.path());
    let store = connect(&second).await;
    let object = store.get("a/b").await.unwrap();
    assert_eq!(object.body, Bytes::from_static(b"1"));
    assert_eq!(second.terminate(), Some(0));
}

#[test]
fn without_keys_it_refuses_to_start_and_names_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_brainy-s3"))
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("--access-key"), "{message}");
}
