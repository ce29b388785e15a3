//! Programs of this workspace as child processes.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};

use crate::HarnessError;
use crate::wait::until;

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 60;

/// A program built by the same profile as this one, beside it in the target directory.
///
/// # Errors
/// [`HarnessError::NoProgram`]: nothing is skipped when it was not built.
pub fn program(name: &str) -> Result<PathBuf, HarnessError> {
    let own = std::env::current_exe().map_err(HarnessError::io("find", "this program"))?;
    let mut dir = own.parent().unwrap_or(Path::new("."));
    if dir.ends_with("deps") {
        dir = dir.parent().unwrap_or(dir);
    }
    let path = dir.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(HarnessError::NoProgram { path })
    }
}

/// A child with its log. Dropping it kills the child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its output is appended to `log`. It is in a process group of its own, so that a Ctrl-C of the
    /// terminal reaches only us.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[(String, String)],
        log: PathBuf,
    ) -> Result<Self, HarnessError> {
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(HarnessError::io("open", &log))?;
        let errors = output.try_clone().map_err(HarnessError::io("open", &log))?;
        let mut command = Command::new(program);
        // What the user's shell holds for other clusters must not leak into ours.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("BRAINY_") || text.starts_with("AWS_") {
                command.env_remove(&name);
            }
        }
        let child = command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(HarnessError::io("start", program))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            child,
            log,
        })
    }

    /// Its process id; 0 once it was reaped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// An error if it has ended.
    ///
    /// # Errors
    /// [`HarnessError::Ended`] with the end of its log.
    pub fn check(&mut self) -> Result<(), HarnessError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(&status.to_string())),
            Err(source) => Err(HarnessError::io("wait for", &self.name)(source)),
        }
    }

    fn ended(&self, status: &str) -> HarnessError {
        HarnessError::Ended {
            what: self.name.clone(),
            status: status.to_owned(),
            log: tail(&self.log),
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// It has ended already.
    pub fn interrupt(&self) -> Result<(), HarnessError> {
        signal(self.pid(), Signal::INT)
    }

    /// Sends SIGKILL and reaps it.
    ///
    /// # Errors
    /// What the system said.
    pub async fn kill(&mut self) -> Result<(), HarnessError> {
        let killed = self.child.kill().await;
        killed.map_err(HarnessError::io("kill", &self.name))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// [`HarnessError::Late`].
    pub async fn exit(&mut self, within: Duration) -> Result<ExitStatus, HarnessError> {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.map_err(HarnessError::io("wait for", &self.name)),
            Err(_) => Err(HarnessError::Late {
                what: format!("{} ends", self.name),
                within,
                seen: tail(&self.log),
            }),
        }
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Sends a signal to a process that we started, directly or through the operator.
///
/// # Errors
/// There is no such process.
pub fn signal(pid: u32, signal: Signal) -> Result<(), HarnessError> {
    let valid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = match valid {
        Some(pid) => kill_process(pid, signal).map_err(std::io::Error::from),
        None => Err(std::io::Error::other("not a process id")),
    };
    sent.map_err(HarnessError::io("signal", format!("process {pid}")))
}

/// Whether there is a process with this id, be it a zombie.
#[must_use]
pub fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Waits until nobody listens at `address`: a process that has ended, reaped or not, does not.
///
/// # Errors
/// [`HarnessError::Late`].
pub async fn wait_silent(address: &str, within: Duration) -> Result<(), HarnessError> {
    let parsed: Result<SocketAddr, _> = address.parse();
    let parsed = parsed.map_err(|e| HarnessError::Unexpected {
        request: format!("address {address}"),
        message: e.to_string(),
    })?;
    until(
        &format!("{address} is silent"),
        within,
        async || match tokio::net::TcpStream::connect(parsed).await {
            Ok(_) => Err("somebody listens".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
