//! Ends processes and removes their directory when their owner is gone, however it went.
//!
//! A control plane that tests share is a static, which Rust never drops, and a test program can be killed. So a shell
//! waits at the other end of a pipe: when the pipe closes, because the owner was dropped, exited or died, it kills what it
//! was told of. (The kernel's parent-death signal would not do: it follows the thread that started the child.)

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::HarnessError;

/// Reads `add <process id>` and `forget <process id>`; at the end of the input kills those that are left and removes the
/// directory `$1`. Signals of the terminal are not for it.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
pids=' '
while read -r verb pid; do
  case $verb in
    add) pids="$pids$pid " ;;
    forget) pids="${pids%% $pid *} ${pids##* $pid }" ;;
  esac
done
[ -z "${pids# }" ] || kill -9 $pids
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// The shell. Dropping it makes it do its work and waits for it.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    /// Taken when dropped: closing it is the signal.
    pipe: Option<ChildStdin>,
}

impl Keeper {
    /// Starts it for a directory.
    pub(crate) fn start(dir: &Path) -> Result<Self, HarnessError> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(HarnessError::io("start", "/bin/sh"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// A process to end.
    pub(crate) fn add(&self, pid: u32) -> Result<(), HarnessError> {
        self.say("add", pid)
    }

    /// A process that has ended: its number may become another's.
    pub(crate) fn forget(&self, pid: u32) -> Result<(), HarnessError> {
        self.say("forget", pid)
    }

    fn say(&self, verb: &str, pid: u32) -> Result<(), HarnessError> {
        let line = format!("{verb} {pid}\n");
        let pipe = self.pipe.as_ref();
        let written = pipe.map_or(Ok(()), |mut pipe| pipe.write_all(line.as_bytes()));
        written.map_err(HarnessError::io("write to", "the keeper's pipe"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It has nothing to report, and a drop has nobody to tell.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn processes_end_and_the_directory_goes_with_their_owner() {
        let dir = tempfile::tempdir().unwrap().keep();
        std::fs::write(dir.join("file"), "").unwrap();
        let keeper = Keeper::start(&dir).unwrap();
        let start = || Command::new("sleep").arg("1000").spawn().unwrap();
        let (mut first, mut forgotten, mut last) = (start(), start(), start());
        for child in [&first, &forgotten, &last] {
            keeper.add(child.id()).unwrap();
        }
        keeper.forget(forgotten.id()).unwrap();
        drop(keeper);
        for child in [&mut first, &mut last] {
            assert!(!child.wait().unwrap().success());
        }
        assert_eq!(forgotten.try_wait().unwrap(), None);
        assert!(!dir.exists());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
