//! What a process uses, as the kernel accounts for it.

use std::time::Duration;

use crate::HarnessError;

/// A look at a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Resident memory, MiB.
    pub(super) resident: f64,
    /// The part of it that is no file: heap and stacks, MiB.
    pub(super) anonymous: f64,
    /// The most that was ever resident, MiB.
    pub(super) peak: f64,
    /// Processor time of its threads so far.
    pub(super) processor: Duration,
}

impl Usage {
    /// Looks at process `pid`.
    ///
    /// # Errors
    /// There is no such process.
    pub(super) fn of(pid: u32) -> Result<Self, HarnessError> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).map_err(HarnessError::io("read", &path))?;
        let mib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        Ok(Self {
            resident: mib("VmRSS:"),
            anonymous: mib("RssAnon:"),
            peak: mib("VmHWM:"),
            processor: processor_time(pid)?,
        })
    }
}

/// Time that the threads of a process have run; the first number of `schedstat` is nanoseconds.
fn processor_time(pid: u32) -> Result<Duration, HarnessError> {
    let path = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&path).map_err(HarnessError::io("read", &path))?;
    let nanoseconds = threads.filter_map(Result::ok).filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(Duration::from_nanos(nanoseconds.sum()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(
            usage.resident > 1.0
                && usage.anonymous < usage.resident
                && usage.peak >= usage.resident
        );
        assert!(usage.processor > Duration::ZERO);
    }
}
