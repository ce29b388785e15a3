//! Two clusters of real processes that exchange: each has an S3 server of its own, and reads the other's through a link that can be cut.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::HarnessError;
use crate::client::Client;
use crate::process::{Process, program};
use crate::standalone::Standalone;
use crate::wait::until;

const ACCESS: &str = "exchange";
const SECRET: &str = "exchange-secret";
const NODE: &str = "hybrid-0";

/// A TCP connection's way that can be cut and mended.
#[derive(Debug)]
pub struct Link {
    port: u16,
    open: watch::Sender<bool>,
}

impl Link {
    async fn to(target: String) -> Result<Self, HarnessError> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(HarnessError::io("listen at", "127.0.0.1:0"))?;
        let address = listener.local_addr();
        let port = address
            .map_err(HarnessError::io("listen at", "127.0.0.1:0"))?
            .port();
        let open = watch::Sender::new(true);
        let seen = open.subscribe();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (target, mut seen) = (target.clone(), seen.clone());
                tokio::spawn(async move {
                    if !*seen.borrow_and_update() {
                        return;
                    }
                    let Ok(mut to) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ended = copy_bidirectional(&mut from, &mut to) => {}
                        // Cut, or nobody is left to cut it.
                        _cut = seen.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Ok(Self { port, open })
    }

    /// Cuts all connections and takes no more, or takes them again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

/// One cluster: an S3 server and a node, which takes writes for everything.
#[derive(Debug)]
pub struct Side {
    /// `a` or `b`.
    pub name: &'static str,
    /// How the other one reads it.
    pub link: Link,
    work: PathBuf,
    endpoint: String,
    node: Option<Standalone>,
    _s3: Process,
}

/// How the nodes of both clusters are started.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--conflict-resolution`.
    pub policy: &'static str,
    /// `--exchange-poll-interval-ms`.
    pub poll_ms: u32,
    /// `--gc-grace-ms`.
    pub gc_grace_ms: u32,
    /// `--flush-interval-ms`.
    pub flush_ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: "last-write-wins",
            poll_ms: 100,
            gc_grace_ms: 600_000,
            flush_ms: 60_000,
        }
    }
}

/// Both clusters. Dropping them kills all processes.
#[derive(Debug)]
pub struct TwoClusters {
    /// They.
    pub sides: [Side; 2],
    options: Options,
    _work: TempDir,
}

impl TwoClusters {
    /// Starts both, each of which follows the other.
    ///
    /// # Errors
    /// A program is missing, or does not start.
    pub async fn start(options: Options) -> Result<Self, HarnessError> {
        let work = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
        let side = async |name: &'static str| {
            let dir = work.path().join(name);
            std::fs::create_dir_all(&dir).map_err(HarnessError::io("create", &dir))?;
            let (s3, endpoint) = serve_bucket(&dir).await?;
            let target = endpoint.trim_start_matches("http://").to_owned();
            Ok::<_, HarnessError>(Side {
                name,
                link: Link::to(target).await?,
                work: dir,
                endpoint,
                node: None,
                _s3: s3,
            })
        };
        let sides = [side("a").await?, side("b").await?];
        let mut both = Self {
            sides,
            options,
            _work: work,
        };
        both.start_node(0).await?;
        both.start_node(1).await?;
        Ok(both)
    }

    /// Starts the node of a cluster, with the data directory that it had.
    ///
    /// # Errors
    /// It ends before it is ready.
    pub async fn start_node(&mut self, side: usize) -> Result<(), HarnessError> {
        let other = &self.sides[1 - side];
        let peer = format!(
            "{}=s3://brainy/{}?endpoint=http://127.0.0.1:{}&region=us-east-1&path-style=true",
            other.name, other.name, other.link.port
        );
        let own = &self.sides[side];
        let (poll, grace, flush) = (
            self.options.poll_ms.to_string(),
            self.options.gc_grace_ms.to_string(),
            self.options.flush_ms.to_string(),
        );
        let arguments = [
            "--role",
            "hybrid",
            "--instance",
            NODE,
            "--grpc-listen",
            "off",
            "--s3-bucket",
            "brainy",
            "--s3-prefix",
            own.name,
            "--s3-endpoint",
            &own.endpoint,
            "--s3-path-style",
            "--s3-region",
            "us-east-1",
            "--heartbeat-interval-ms",
            "500",
            "--lease-ttl-ms",
            "3000",
            "--memory-budget-bytes",
            "268435456",
            "--tail-poll-interval-ms",
            "100",
            "--multi-writer",
            "--conflict-resolution",
            self.options.policy,
            "--exchange-with",
            &peer,
            "--exchange-poll-interval-ms",
            &poll,
            "--gc-grace-ms",
            &grace,
            "--flush-interval-ms",
            &flush,
        ];
        let node = Standalone::start(&own.work, &arguments, &keys()).await?;
        self.sides[side].node = Some(node);
        Ok(())
    }

    /// Ends the node of a cluster by SIGKILL.
    ///
    /// # Errors
    /// It does not end.
    pub async fn kill_node(&mut self, side: usize) -> Result<(), HarnessError> {
        match self.sides[side].node.take() {
            Some(mut node) => node.process.kill().await,
            None => Ok(()),
        }
    }

    /// A client of a cluster.
    ///
    /// # Errors
    /// Its node does not run.
    pub fn client(&self, side: usize) -> Result<Client, HarnessError> {
        let node = self.sides[side].node.as_ref();
        node.map(Standalone::client)
            .ok_or_else(|| HarnessError::Unexpected {
                request: format!("the node of cluster {}", self.sides[side].name),
                message: "it does not run".to_owned(),
            })
    }

    /// What `GET /coordinate/exchange` of a cluster says of the other one.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn exchange(&self, side: usize) -> Result<Value, HarnessError> {
        let client = self.client(side)?;
        let path = "/coordinate/exchange";
        let answer = client.send(reqwest::Method::GET, path, &[], None).await?;
        let parsed: Result<Value, _> = serde_json::from_str(&answer.body);
        let body = parsed.map_err(|e| HarnessError::Unexpected {
            request: path.to_owned(),
            message: format!("{e}: {}", answer.body),
        })?;
        Ok(body["peers"][0].clone())
    }

    /// The ends of both nodes' logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = self.sides.iter().map(|side| {
            let log = side.work.join("brainyd.log");
            format!("--- {}\n{}\n", side.name, crate::process::tail(&log))
        });
        logs.collect()
    }
}

async fn serve_bucket(dir: &std::path::Path) -> Result<(Process, String), HarnessError> {
    let log = dir.join("s3.log");
    let mut arguments: Vec<OsString> = ["--listen", "127.0.0.1:0", "--data-dir"]
        .map(OsString::from)
        .to_vec();
    arguments.push(dir.join("s3").into_os_string());
    let mut s3 = Process::start(&program("brainy-s3")?, &arguments, &keys(), log.clone())?;
    let endpoint = until("brainy-s3 serves", Duration::from_secs(60), async || {
        if let Err(error) = s3.check() {
            return Ok(Err(error));
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let endpoint = said
            .lines()
            .find_map(|line| line.strip_prefix("brainy-s3: "));
        endpoint.map(|e| Ok(e.to_owned())).ok_or(said.clone())
    })
    .await??;
    Ok((s3, endpoint))
}

fn keys() -> Vec<(String, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID".to_owned(), ACCESS.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned()),
    ]
}
