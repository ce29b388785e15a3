//! One process of the data plane: started, signalled, waited for.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

/// A log that has grown beyond this is moved aside when its process starts.
const LOG_LIMIT: u64 = 16 << 20;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Variables added to those of the operator; an empty value removes one.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// A process that was started. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its process id.
    pub(crate) pid: u32,
    signals: UnboundedSender<Signal>,
    _waiter: AbortOnDropHandle<()>,
}

impl Launch {
    /// Starts the process; `on_exit` is called once it has ended and was reaped.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn start(
        &self,
        on_exit: impl FnOnce(String) + Send + 'static,
    ) -> std::io::Result<Process> {
        let log = open_log(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            // Not the terminal's group: Ctrl-C reaches the operator alone, which stops everything in order.
            .process_group(0)
            // Held open as long as the operator lives; its end tells the process to end, too.
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        for (name, value) in &self.environment {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let (signals, wanted) = unbounded_channel();
        let log = self.log.clone();
        let waiter = tokio::spawn(async move {
            let why = wait(child, wanted).await;
            on_exit(with_last_words(&why, &log));
        });
        Ok(Process {
            pid,
            signals,
            _waiter: AbortOnDropHandle::new(waiter),
        })
    }
}

impl Process {
    /// Asks it to flush, release and end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // The waiter is gone if the process is; then there is nothing to signal.
        let _ended = self.signals.send(signal);
    }

    /// Resident memory in bytes, if the system tells.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
}

/// Delivers signals until the process has ended. A process id is used only while the child was not reaped, so that a signal
/// never meets a stranger with the same number.
async fn wait(
    mut child: Child,
    mut wanted: UnboundedReceiver<Signal>,
) -> Result<ExitStatus, std::io::Error> {
    let mut stdin = child.stdin.take();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(signal) = wanted.recv() => {
                deliver(&child, signal);
                // A process that waits for its input's end must not be kept from ending by it.
                stdin = None;
            }
        }
    };
    drop(stdin);
    status
}

fn deliver(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(pid = pid.as_raw_nonzero().get(), ?signal, %error, "cannot signal a process");
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    let meaning = match status.code() {
        Some(0) => "",
        Some(2) => " (wrong command line)",
        Some(69) => " (the store refused)",
        Some(70) => " (internal error)",
        Some(75) => " (temporary failure)",
        _ => "",
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}{meaning}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// How it ended and, if that was a failure, the last line of its log.
fn with_last_words(status: &Result<ExitStatus, std::io::Error>, log: &Path) -> String {
    let status = match status {
        Ok(status) => *status,
        Err(error) => return format!("cannot be waited for: {error}"),
    };
    let how = describe(status);
    if status.code().is_none_or(|code| code == 0) {
        return how;
    }
    match last_line(log) {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

fn last_line(log: &Path) -> Option<String> {
    const TAIL: u64 = 4096;
    const LONGEST: usize = 240;
    let mut file = File::open(log).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(
        line.trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST)
            .collect(),
    )
}

/// Opens a log for appending; a large one is moved to `<name>.1` first.
fn open_log(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LOG_LIMIT) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        std::fs::rename(path, aside)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn shell(dir: &Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("GREETING", "hello".to_owned()), ("PATH", String::new())],
            log: dir.join("log"),
        }
    }

    fn start(launch: &Launch) -> (Process, oneshot::Receiver<String>) {
        let (ended, end) = oneshot::channel();
        let process = launch.start(move |why| ended.send(why).unwrap()).unwrap();
        (process, end)
    }

    #[tokio::test]
    async fn a_failure_is_told_with_the_last_line_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let launch = shell(dir.path(), "echo first; echo $GREETING no bucket; exit 69");
        let (_process, end) = start(&launch);
        assert_eq!(
            end.await.unwrap(),
            "exited with 69 (the store refused): hello no bucket"
        );
    }

    #[tokio::test]
    async fn a_process_that_is_asked_to_stop_ends_in_its_own_way() {
        let dir = tempfile::tempdir().unwrap();
        let launch = shell(
            dir.path(),
            "trap 'kill $!; exit 0' TERM; /bin/sleep 1000 & echo ready; wait",
        );
        let (process, end) = start(&launch);
        while !std::fs::read_to_string(dir.path().join("log"))
            .unwrap()
            .contains("ready")
        {
            tokio::task::yield_now().await;
        }
        assert!(process.resident_bytes().is_some_and(|bytes| bytes > 0));
        process.terminate();
        assert_eq!(end.await.unwrap(), "exited with 0");
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (process, end) = start(&shell(dir.path(), "while true; do read line; done"));
        let proc_entry = PathBuf::from(format!("/proc/{}", process.pid));
        drop(process);
        assert!(end.await.is_err(), "nobody is told");
        let is_running = || {
            let stat = std::fs::read_to_string(proc_entry.join("stat")).unwrap_or_default();
            // A zombie waits for the runtime to reap it.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_running() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_long_log_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        open_log(&path).unwrap().set_len(LOG_LIMIT + 1).unwrap();
        assert_eq!(open_log(&path).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(
            std::fs::metadata(dir.path().join("log.1")).unwrap().len(),
            LOG_LIMIT + 1
        );
    }
}
