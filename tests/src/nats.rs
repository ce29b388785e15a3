//! A real NATS server as a child process, and what somebody else could say to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::HarnessError;
use crate::process::{Process, tail};
use crate::wait::until;

/// A server listens within this time.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// Where distributions put the program, which not every user's PATH has.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct NatsServer {
    dir: TempDir,
    port: u16,
    more: Vec<OsString>,
    process: Option<Process>,
}

/// `nats-server`, of the PATH or where distributions put it.
///
/// # Errors
/// [`HarnessError::NoNats`]: nothing is skipped when it is not installed.
pub fn program() -> Result<PathBuf, HarnessError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.iter().map(PathBuf::from))
        .map(|dir| dir.join("nats-server"))
        .find(|program| program.is_file())
        .ok_or(HarnessError::NoNats)
}

impl NatsServer {
    /// Starts one on a free port, with more arguments of `nats-server`.
    ///
    /// # Errors
    /// It is not installed, or does not listen.
    pub async fn start(more: &[&str]) -> Result<Self, HarnessError> {
        let dir = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
        let mut server = Self {
            dir,
            port: 0,
            more: more.iter().map(OsString::from).collect(),
            process: None,
        };
        server.run("-1").await?;
        Ok(server)
    }

    async fn run(&mut self, port: &str) -> Result<(), HarnessError> {
        let ports = self.dir.path();
        let mut arguments: Vec<OsString> =
            ["--addr", "127.0.0.1", "--port", port, "--ports_file_dir"]
                .map(OsString::from)
                .to_vec();
        arguments.push(ports.as_os_str().to_owned());
        arguments.extend(self.more.iter().cloned());
        let log = ports.join("log");
        let mut process = Process::start(&program()?, &arguments, &[], log.clone())?;
        let file = ports.join(format!("nats-server_{}.ports", process.pid()));
        let found = until("nats-server listens", LISTENS_WITHIN, async || {
            if let Err(error) = process.check() {
                return Ok(Err(error));
            }
            read_port(&file).map(Ok).ok_or_else(|| tail(&log))
        })
        .await?;
        self.port = found?;
        self.process = Some(process);
        Ok(())
    }

    /// Its address as a client is told it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// What the system said.
    pub async fn kill(&mut self) -> Result<(), HarnessError> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_again(&mut self) -> Result<(), HarnessError> {
        let port = self.port.to_string();
        self.run(&port).await
    }

    /// Publishes any bytes, as any client can; returns when the server has taken them.
    ///
    /// # Errors
    /// What the connection said.
    pub async fn say(&self, subject: &str, payload: &[u8]) -> Result<(), HarnessError> {
        let failed = HarnessError::io("talk to", PathBuf::from(self.url()));
        say(self.port, subject, payload).await.map_err(failed)
    }
}

/// The protocol of NATS is text; a PONG comes after everything before the PING is taken.
async fn say(port: u16, subject: &str, payload: &[u8]) -> std::io::Result<()> {
    let mut connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let head = format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n",
        payload.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(payload).await?;
    connection.write_all(b"\r\nPING\r\n").await?;
    let mut line = String::new();
    while line.trim() != "PONG" {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("the server hung up"));
        }
    }
    Ok(())
}

/// The port in the file that the server writes once it listens.
fn read_port(file: &Path) -> Option<u16> {
    let text = std::fs::read(file).ok()?;
    let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let url = ports["nats"][0].as_str()?;
    url.rsplit(':').next()?.parse().ok()
}
