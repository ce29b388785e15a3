//! The program itself: how it starts, how it is told to stop.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Certificates;

/// `brainyd` without anything that the environment of the tests holds for another one.
pub(crate) fn brainyd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brainyd"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("BRAINY_") || text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Exit code and standard error of one that ends by itself.
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// One that is killed at the end.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Its address, once it serves.
    pub(crate) fn address(&mut self) -> String {
        let mut said = String::new();
        for line in BufReader::new(self.0.stderr.as_mut().unwrap()).lines() {
            let line = line.unwrap();
            said.push_str(&line);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "serving" {
                return line["address"].as_str().unwrap().to_owned();
            }
        }
        panic!("it does not serve: {said}");
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Its exit code, and what it said that was not read yet.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_node_that_is_told_to_stop_while_it_waits_for_the_bucket_ends_well_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Takes requests and never answers.
    let bucket = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", bucket.local_addr().unwrap());
    let mut command = brainyd(&["--role", "writer", "--instance", "writer-0"]);
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir", text(dir.path())])
        .args(["--s3-bucket", "b", "--s3-region", "us-east-1"])
        .args(["--s3-path-style", "--s3-endpoint", &endpoint])
        .envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let mut node = Running::start(&mut command);
    let (_request, _) = bucket.accept().unwrap();
    node.terminate();
    let (code, said) = node.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped before it owned anything"), "{said}");
}

#[test]
fn certificates_that_cannot_be_used_are_refused_by_name_at_the_start() {
    let (files, others) = (Certificates::new(), Certificates::new());
    let dir = tempfile::tempdir().unwrap();
    let start = |more: &[&str]| {
        let mut command = brainyd(&["--listen", "127.0.0.1:0", "--data-dir", text(dir.path())]);
        ended(command.args(more))
    };
    let (cert, key) = (files.cert(), files.key());
    let (code, said) = start(&["--tls-cert", text(&cert)]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--tls-key"), "{said}");
    let missing = dir.path().join("missing.pem");
    for (cert, key, named) in [
        (&missing, &key, "missing.pem"),
        (&cert, &missing, "missing.pem"),
        (&cert, &others.key(), "belongs to it"),
    ] {
        let (code, said) = start(&["--tls-cert", text(cert), "--tls-key", text(key)]);
        assert_eq!(code, Some(69), "{said}");
        assert!(
            said.contains(named) && said.contains("--tls-cert"),
            "{said}"
        );
    }
}

#[test]
fn a_port_for_grpc_that_is_taken_is_refused_by_the_name_of_its_option() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = brainyd(&["--listen", "127.0.0.1:0", "--data-dir", text(dir.path())]);
    let (code, said) = ended(command.args(["--grpc-listen", &address]));
    assert_eq!(code, Some(75), "{said}");
    assert!(
        said.contains(&address) && said.contains("--grpc-listen off"),
        "{said}"
    );
}

#[test]
fn pre_stop_ends_well_whatever_it_meets_and_says_why() {
    let files = Certificates::new();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (files.cert(), files.key());
    let mut node = brainyd(&["--listen", "127.0.0.1:0", "--log-format", "json"]);
    node.args(["--tls-cert", text(&cert), "--tls-key", text(&key)])
        .args(["--tls-ca", text(&files.ca())])
        .args(["--data-dir", text(&dir.path().join("data"))]);
    let mut node = Running::start(&mut node);
    let url = format!("https://{}", node.address());
    // As in a pod: the settings come from the environment.
    let mut hook = brainyd(&["pre-stop"]);
    hook.envs([
        ("BRAINY_PRE_STOP_URL", url.as_str()),
        ("BRAINY_TLS_CERT", text(&cert)),
        ("BRAINY_ROLE", "writer"),
        ("BRAINY_S3_BUCKET", "b"),
    ]);
    let (code, said) = ended(&mut hook);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("standalone"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let plain = url.replace("https", "http");
    let (code, said) = ended(&mut brainyd(&[
        "pre-stop",
        "--url",
        &plain,
        "--timeout",
        "0s",
    ]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("HTTPS only"), "{said}");

    node.terminate();
    let (code, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
    let (code, said) = ended(&mut brainyd(&[
        "pre-stop",
        "--url",
        &url,
        "--timeout",
        "300ms",
    ]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the time is over"), "{said}");
    let (code, said) = ended(&mut brainyd(&["pre-stop", "--timeout", "soon"]));
    assert_eq!(code, Some(2), "{said}");
}
