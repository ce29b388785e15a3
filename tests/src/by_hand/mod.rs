//! A cluster that nobody planned: `brainyd` processes with nothing in common but a bucket of a `brainy-s3` process.

mod story;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::types::InstanceId;
use clap::Parser;
use futures::future::try_join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::HarnessError;
use crate::client::{Assignments, Client};
use crate::process::{self, Process, program, tail};
use crate::standalone::Standalone;
use crate::wait::{holds, until};

pub use story::{Story, tell};

/// Keys of the bucket.
const ACCESS: &str = "by-hand";
const SECRET: &str = "by-hand-secret";
/// Elections, moves and takeovers are over within this time, on a slow machine too.
const SETTLED_WITHIN: Duration = Duration::from_secs(150);
/// An orderly stop takes at most this.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// Shows nodes that coordinate themselves: they are started by hand on one bucket, elect one that plans, lose three to
/// `kill -9`, the planner among them, get them back, and hand over on SIGTERM. Writes and reads go on meanwhile, and at the
/// end every acknowledged write is looked up.
#[derive(Debug, Parser)]
#[command(
    name = "brainy-self-coordinated",
    version,
    after_help = "EXIT CODES\n  0    everything acknowledged was found once\n  1    something was lost, came twice, was stale, or a step did not complete in time\n  130  interrupted"
)]
pub struct Args {
    /// Nodes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(5..=50))]
    nodes: u16,
}

/// Runs the demo.
pub async fn run(args: Args) -> ExitCode {
    let play = async {
        let mut cluster = ByHand::new().await?;
        tell(&mut cluster, usize::from(args.nodes), &say).await
    };
    let told = tokio::select! {
        told = play => told,
        interrupted = interrupted() => interrupted,
    };
    match told {
        Ok(story) => {
            say(&story.to_string());
            ExitCode::SUCCESS
        }
        Err(HarnessError::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("brainy-self-coordinated: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is told belongs on standard output.
#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}

async fn interrupted() -> Result<Story, HarnessError> {
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(HarnessError::io("await", "SIGINT"))?;
    interrupt.recv().await;
    Err(HarnessError::Interrupted)
}

/// The bucket's process and the nodes'. Dropping it kills them all.
#[derive(Debug)]
pub struct ByHand {
    work: TempDir,
    _s3: Process,
    endpoint: String,
    nodes: BTreeMap<String, Standalone>,
    /// Directories that were used, also by nodes that are gone.
    lives: usize,
}

impl ByHand {
    /// Starts the bucket.
    ///
    /// # Errors
    /// A program is missing, or the server does not start.
    pub async fn new() -> Result<Self, HarnessError> {
        let work = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
        let log = work.path().join("s3.log");
        let mut arguments: Vec<OsString> = ["--listen", "127.0.0.1:0", "--data-dir"]
            .map(OsString::from)
            .to_vec();
        arguments.push(work.path().join("s3").into_os_string());
        let mut s3 = Process::start(&program("brainy-s3")?, &arguments, &keys(), log.clone())?;
        let endpoint = until("brainy-s3 serves", Duration::from_secs(60), async || {
            if let Err(error) = s3.check() {
                return Ok(Err(error));
            }
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let mut lines = said.lines();
            let endpoint = lines.find_map(|line| line.strip_prefix("brainy-s3: "));
            endpoint.map(|e| Ok(e.to_owned())).ok_or(said.clone())
        })
        .await??;
        Ok(Self {
            work,
            _s3: s3,
            endpoint,
            nodes: BTreeMap::new(),
            lives: 0,
        })
    }

    /// Starts hybrid nodes of these names at once and waits until each is ready. One that ran under a name goes on running, if it
    /// does, and is forgotten here: it is returned.
    ///
    /// # Errors
    /// One ends, or is not ready in time; with the end of its log.
    pub async fn start(&mut self, names: &[String]) -> Result<Vec<Standalone>, HarnessError> {
        let starts = names.iter().enumerate().map(|(n, name)| {
            let dir = self.work.path().join(format!("{name}-{}", self.lives + n));
            let endpoint = self.endpoint.clone();
            async move {
                std::fs::create_dir_all(&dir).map_err(HarnessError::io("create", &dir))?;
                let arguments = [
                    "--role",
                    "hybrid",
                    "--instance",
                    name,
                    "--grpc-listen",
                    "off",
                    "--s3-bucket",
                    "brainy",
                    "--s3-prefix",
                    "by-hand",
                    "--s3-endpoint",
                    &endpoint,
                    "--s3-path-style",
                    "--s3-region",
                    "us-east-1",
                    "--heartbeat-interval-ms",
                    "1000",
                    "--lease-ttl-ms",
                    "6000",
                    "--memory-budget-bytes",
                    "134217728",
                ];
                let node = Standalone::start(&dir, &arguments, &keys()).await?;
                Ok::<_, HarnessError>((name.clone(), node))
            }
        });
        let started = try_join_all(starts).await?;
        self.lives += names.len();
        let started = started.into_iter();
        Ok(started
            .filter_map(|(name, node)| self.nodes.insert(name, node))
            .collect())
    }

    /// Names of the nodes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// A client of a node.
    ///
    /// # Errors
    /// There is no such node.
    pub fn client(&self, name: &str) -> Result<Client, HarnessError> {
        self.nodes
            .get(name)
            .map(Standalone::client)
            .ok_or_else(|| no_node(name))
    }

    /// Ends a node by SIGKILL.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn kill(&mut self, name: &str) -> Result<(), HarnessError> {
        let mut node = self.nodes.remove(name).ok_or_else(|| no_node(name))?;
        node.process.kill().await
    }

    /// Asks a node to stop by SIGTERM and waits until it has. Returns what it said.
    ///
    /// # Errors
    /// It does not end well, or not in time.
    pub async fn stop(&mut self, name: &str) -> Result<String, HarnessError> {
        let mut node = self.nodes.remove(name).ok_or_else(|| no_node(name))?;
        process::signal(node.process.pid(), Signal::TERM)?;
        let status = node.process.exit(STOPPED_WITHIN).await?;
        let said = node.process.output();
        if status.success() {
            return Ok(said);
        }
        Err(HarnessError::Ended {
            what: name.to_owned(),
            status: status.to_string(),
            log: said,
        })
    }

    /// Waits until the table lists exactly `names` as active members, one of them as the planner, nothing moves, and each owns its
    /// share of `partitions`.
    ///
    /// # Errors
    /// Not in time.
    pub async fn settled(
        &self,
        names: &[String],
        partitions: usize,
    ) -> Result<Assignments, HarnessError> {
        let asked = names.first().map_or("", String::as_str);
        let client = self.client(asked)?;
        let what = format!("{} nodes share {partitions} partitions", names.len());
        let found = until(&what, SETTLED_WITHIN, async || {
            let now = client.assignments().await.map_err(|e| e.to_string())?;
            let is_active = |id: &InstanceId| names.iter().any(|name| name == id.as_str());
            let members = &now.table.members;
            let active = members.len() == names.len()
                && members
                    .iter()
                    .all(|(id, m)| is_active(id) && m.state == MemberState::Active);
            let planner = planner_of(&now).is_some_and(|planner| names.contains(&planner));
            let least = partitions / names.len();
            let most = partitions.div_ceil(names.len());
            let balanced = members
                .keys()
                .all(|id| (least..=most).contains(&now.table.owned_by(id).count()));
            let owned = now.table.partitions.values().filter(|p| p.owner.is_some());
            let all = owned.count() == partitions;
            holds(
                active && planner && balanced && all && now.status.settled,
                || format!("{now:?}"),
            )?;
            Ok(now)
        })
        .await;
        found.map_err(|error| self.explain(error))
    }

    /// `error` with the ends of all logs.
    fn explain(&self, error: HarnessError) -> HarnessError {
        let HarnessError::Late { what, within, seen } = error else {
            return error;
        };
        let logs = std::fs::read_dir(self.work.path()).into_iter().flatten();
        let logs = logs.filter_map(|entry| Some(entry.ok()?.path().join("brainyd.log")));
        let logs: Vec<PathBuf> = logs.filter(|log| log.exists()).collect();
        let told = |log: &PathBuf| format!("\n{}\n{}", log.display(), last_lines(log));
        let seen = seen + &logs.iter().map(told).collect::<String>();
        HarnessError::Late { what, within, seen }
    }
}

/// The node that plans.
#[must_use]
pub fn planner_of(assignments: &Assignments) -> Option<String> {
    let lease = assignments.table.planner.as_ref()?;
    let holder = lease.holder.as_ref()?;
    Some(holder.instance.to_string())
}

fn last_lines(log: &Path) -> String {
    let text = tail(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn no_node(name: &str) -> HarnessError {
    HarnessError::Unexpected {
        request: format!("node {name}"),
        message: "it does not run".to_owned(),
    }
}

fn keys() -> Vec<(String, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID".to_owned(), ACCESS.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned()),
    ]
}
