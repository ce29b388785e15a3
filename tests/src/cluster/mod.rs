//! A cluster of real processes: `brainy-operator local` with a manifest and a data directory of its own.

mod setup;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::HarnessError;
use crate::client::{Assignments, Client};
use crate::manifest::Manifest;
use crate::process::{Process, program, signal, tail};
use crate::wait::{holds, until};

pub use setup::Setup;

/// A cluster is ready within this time, on a slow machine too.
pub const READY_WITHIN: Duration = Duration::from_secs(120);
/// Moves and restarts are over within this time.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// An orderly stop takes at most this.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A cluster. Dropping it kills the operator, whose instances end with it.
#[derive(Debug)]
pub struct LocalCluster {
    work: PathBuf,
    manifest: Manifest,
    environment: Vec<(String, String)>,
    brainyd: Option<PathBuf>,
    operator: Option<Process>,
    url: String,
    _temporary: Option<TempDir>,
}

impl LocalCluster {
    /// Starts a cluster in a temporary directory and waits until it is ready.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn start(manifest: Manifest) -> Result<Self, HarnessError> {
        Setup::new(manifest).start().await
    }

    fn launch(&mut self) -> Result<(), HarnessError> {
        let mut arguments: Vec<OsString> =
            ["local", "--plain", "--log-format", "json", "--port", "0"]
                .map(OsString::from)
                .to_vec();
        let files = [
            ("--file", self.manifest_file()),
            ("--data-dir", self.data_dir()),
            ("--ready-file", self.ready_file()),
        ];
        for (flag, path) in files {
            arguments.extend([OsString::from(flag), path.into_os_string()]);
        }
        if let Some(brainyd) = &self.brainyd {
            arguments.extend([
                OsString::from("--brainyd"),
                brainyd.clone().into_os_string(),
            ]);
        } else {
            program("brainyd")?;
        }
        let operator = program("brainy-operator")?;
        // A ready file of the run before would name an endpoint that is gone.
        match std::fs::remove_file(self.ready_file()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(HarnessError::io("remove", self.ready_file())(e));
            }
            _ => {}
        }
        let log = self.operator_log();
        self.operator = Some(Process::start(
            &operator,
            &arguments,
            &self.environment,
            log,
        )?);
        Ok(())
    }

    /// Starts the operator again on the same data directory without waiting for anything.
    ///
    /// # Errors
    /// A program is missing or cannot be started.
    pub fn launch_again(&mut self) -> Result<(), HarnessError> {
        self.launch()
    }

    /// Starts the operator again on the same data directory and waits until the cluster is ready.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub async fn start_again(&mut self) -> Result<(), HarnessError> {
        self.launch()?;
        self.wait_ready().await
    }

    /// Waits for the ready file; an operator that ends, or time that runs out, is an error that shows the logs.
    ///
    /// # Errors
    /// [`HarnessError::Ended`], [`HarnessError::Late`].
    pub async fn wait_ready(&mut self) -> Result<(), HarnessError> {
        let file = self.ready_file();
        let ready = until("the cluster is ready", READY_WITHIN, async || {
            if let Err(error) = self.check() {
                return Ok(Err(error));
            }
            match std::fs::read_to_string(&file) {
                Ok(text) if text.ends_with('\n') => {
                    Ok(Ok(text.lines().next().unwrap_or_default().to_owned()))
                }
                _ => Err(self.logs()),
            }
        })
        .await?;
        self.url = ready?;
        Ok(())
    }

    /// An error if the operator has ended.
    ///
    /// # Errors
    /// [`HarnessError::Ended`].
    pub fn check(&mut self) -> Result<(), HarnessError> {
        self.operator.as_mut().map_or(Ok(()), Process::check)
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut files = vec![self.operator_log()];
        let instances = std::fs::read_dir(self.data_dir().join("logs"));
        files.extend(instances.into_iter().flatten().flatten().map(|e| e.path()));
        let shown = files
            .iter()
            .map(|f| format!("--- {}\n{}\n", f.display(), tail(f)));
        shown.collect()
    }

    /// The endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of the endpoint.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// A client of each member, by name.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn nodes(&self) -> Result<Vec<(String, Client)>, HarnessError> {
        let table = self.client().assignments().await?.table;
        let members = table.members.iter();
        Ok(members
            .map(|(id, m)| (id.to_string(), Client::new(format!("http://{}", m.address))))
            .collect())
    }

    /// What the cluster was asked for last.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the cluster keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.work.join("data")
    }

    /// The manifest file.
    #[must_use]
    pub fn manifest_file(&self) -> PathBuf {
        self.work.join("cluster.yaml")
    }

    fn ready_file(&self) -> PathBuf {
        self.work.join("ready")
    }

    fn operator_log(&self) -> PathBuf {
        self.work.join("operator.log")
    }

    /// Everything the operator has said.
    #[must_use]
    pub fn operator_output(&self) -> String {
        self.operator
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    /// Files of objects below the embedded server's directory whose path contains `part`, in order of their paths.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn objects(&self, part: &str) -> Result<Vec<PathBuf>, HarnessError> {
        let mut found = Vec::new();
        collect(&self.data_dir().join("s3"), &mut found)?;
        found.retain(|path| {
            path.to_string_lossy().contains(part) && path.to_string_lossy().contains("/objects/")
        });
        found.sort();
        Ok(found)
    }

    /// Changes the manifest file, as an editor does: the file is replaced.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn edit(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<(), HarnessError> {
        change(&mut self.manifest);
        self.write_manifest()
    }

    /// Replaces the manifest file by any text.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_raw_manifest(&self, text: &str) -> Result<(), HarnessError> {
        let file = self.manifest_file();
        let beside = file.with_extension("new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &file))
            .map_err(HarnessError::io("write", &file))
    }

    fn write_manifest(&self) -> Result<(), HarnessError> {
        self.write_raw_manifest(&self.manifest.yaml())
    }

    /// The status file.
    #[must_use]
    pub fn status(&self) -> Value {
        let bytes = std::fs::read(self.data_dir().join("status.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Status, reason and message of a condition.
    #[must_use]
    pub fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let found = status["conditions"].as_array().into_iter().flatten();
        let found = found.into_iter().find(|c| c["type"] == type_);
        let text = |field: &str| {
            let value = found.and_then(|c| c[field].as_str());
            value.unwrap_or_default().to_owned()
        };
        (text("status"), text("reason"), text("message"))
    }

    /// Waits until a condition has this status and reason; gives its message.
    ///
    /// # Errors
    /// [`HarnessError::Late`].
    pub async fn wait_condition(
        &self,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Result<String, HarnessError> {
        let what = format!("condition {type_} is {status}, {reason}");
        until(&what, SETTLED_WITHIN, async || {
            let (s, r, message) = self.condition(type_);
            if s == status && r == reason {
                return Ok(message);
            }
            Err(format!("{s}, {r}: {message}"))
        })
        .await
    }

    /// Process id of an instance's latest process, from the operator's log.
    ///
    /// # Errors
    /// It was never started.
    pub fn pid(&self, instance: &str) -> Result<u32, HarnessError> {
        let log = self.operator_log();
        let text = std::fs::read_to_string(&log).map_err(HarnessError::io("read", &log))?;
        let lines = text
            .lines()
            .rev()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let started = |line: &Value| line["message"] == "started" && line["instance"] == instance;
        let pid = lines
            .into_iter()
            .find(started)
            .and_then(|line| line["pid"].as_u64());
        pid.and_then(|pid| u32::try_from(pid).ok())
            .ok_or_else(|| HarnessError::Content {
                path: log,
                message: format!("{instance} was never started"),
            })
    }

    /// Kills an instance as a crash would. Gives the process id it had.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, instance: &str) -> Result<u32, HarnessError> {
        let pid = self.pid(instance)?;
        signal(pid, Signal::KILL)?;
        Ok(pid)
    }

    /// Waits until another process of the instance than `before` runs and the cluster is settled and ready.
    ///
    /// # Errors
    /// [`HarnessError::Late`].
    pub async fn wait_recovered(
        &mut self,
        instance: &str,
        before: u32,
    ) -> Result<(), HarnessError> {
        until(
            &format!("{instance} runs again"),
            SETTLED_WITHIN,
            async || {
                let now = self.pid(instance).map_err(|e| e.to_string())?;
                holds(now != before, || {
                    "the operator has not started it".to_owned()
                })
            },
        )
        .await?;
        self.wait_settled().await?;
        Ok(())
    }

    /// Kills the operator as a crash would.
    ///
    /// # Errors
    /// What the system said.
    pub async fn kill_operator(&mut self) -> Result<(), HarnessError> {
        match self.operator.take() {
            Some(mut operator) => operator.kill().await,
            None => Ok(()),
        }
    }

    /// Waits until the members are exactly those that the manifest asks for, all active, nothing moves, and every one of
    /// them says that it serves what it should.
    ///
    /// # Errors
    /// [`HarnessError::Late`], or the operator has ended.
    pub async fn wait_settled(&mut self) -> Result<Assignments, HarnessError> {
        let wanted = self.manifest.instances();
        let client = self.client();
        let settled = until("the cluster is settled", SETTLED_WITHIN, async || {
            if let Err(error) = self.check() {
                return Ok(Err(error));
            }
            let assignments = client.assignments().await.map_err(|e| e.to_string())?;
            let members = &assignments.table.members;
            let names: Vec<String> = members.keys().map(ToString::to_string).collect();
            holds(names == wanted, || {
                format!("members {names:?}, wanted {wanted:?}")
            })?;
            let active = members.values().all(|m| m.state == MemberState::Active);
            holds(active && assignments.status.settled, || {
                format!("{:?}, {members:?}", assignments.status)
            })?;
            all_ready(&assignments.table).await?;
            Ok(Ok(assignments))
        })
        .await;
        match settled {
            Ok(settled) => settled,
            Err(HarnessError::Late { what, within, seen }) => Err(HarnessError::Late {
                what,
                within,
                seen: format!("{seen}\n{}", self.logs()),
            }),
            Err(error) => Err(error),
        }
    }

    /// Stops the cluster as Ctrl-C does and expects exit code 0.
    ///
    /// # Errors
    /// It ends otherwise, or not in time.
    pub async fn stop(&mut self) -> Result<(), HarnessError> {
        let Some(mut operator) = self.operator.take() else {
            return Ok(());
        };
        operator.interrupt()?;
        let status = operator.exit(STOPPED_WITHIN).await?;
        if status.success() {
            return Ok(());
        }
        Err(HarnessError::Ended {
            what: "brainy-operator after SIGINT".to_owned(),
            status: status.to_string(),
            log: self.logs(),
        })
    }

    /// Waits until the operator ends by itself; gives its exit code and everything it said.
    ///
    /// # Errors
    /// [`HarnessError::Late`].
    pub async fn wait_exit(&mut self, within: Duration) -> Result<(i32, String), HarnessError> {
        let Some(mut operator) = self.operator.take() else {
            return Ok((0, String::new()));
        };
        let status = operator.exit(within).await?;
        Ok((status.code().unwrap_or(-1), operator.output()))
    }
}

/// How many partitions have another owner in `after` than in `before`; first assignments are not moves.
#[must_use]
pub fn moves(before: &AssignmentTable, after: &AssignmentTable) -> usize {
    let changed = before.partitions.iter().filter(|(partition, entry)| {
        let now = after
            .partitions
            .get(*partition)
            .and_then(|e| e.owner.as_ref());
        entry.owner.is_some() && now != entry.owner.as_ref()
    });
    changed.count()
}

/// Runs `brainy-operator` to its end; gives its exit code and everything it said.
///
/// # Errors
/// The program is missing, or it does not end in time.
pub async fn run_operator(
    arguments: &[&str],
    environment: &[(String, String)],
    within: Duration,
) -> Result<(i32, String), HarnessError> {
    let dir = TempDir::new().map_err(HarnessError::io("create", std::env::temp_dir()))?;
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let log = dir.path().join("log");
    let mut process = Process::start(&program("brainy-operator")?, &arguments, environment, log)?;
    let status = process.exit(within).await?;
    Ok((status.code().unwrap_or(-1), process.output()))
}

/// Each member of `table` answers `/readyz` with 200.
async fn all_ready(table: &AssignmentTable) -> Result<(), String> {
    for (id, member) in &table.members {
        let node = Client::new(format!("http://{}", member.address));
        let answer = node.send(reqwest::Method::GET, "/readyz", &[], None).await;
        let answer = answer.map_err(|e| format!("{id}: {e}"))?;
        holds(answer.status == 200, || {
            format!("{id}: {}", answer.body.trim())
        })?;
    }
    Ok(())
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), HarnessError> {
    let entries = std::fs::read_dir(dir).map_err(HarnessError::io("read", dir))?;
    for entry in entries {
        let path = entry.map_err(HarnessError::io("read", dir))?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
