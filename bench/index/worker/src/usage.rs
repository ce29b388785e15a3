//! What this process uses: processor time and memory.

use std::path::Path;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::protocol::Memory;

/// Both clocks, started.
pub(crate) struct Watch {
    wall: Instant,
    cpu: f64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu(),
        }
    }

    /// Seconds since the start: by the clock, and of the processor in all threads.
    pub(crate) fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), cpu() - self.cpu)
    }
}

/// Processor seconds of all threads so far, ended ones included.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// What is resident now.
pub(crate) fn memory() -> Result<Memory, Error> {
    let path = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(path).map_err(Error::file(path))?;
    parse(&status).ok_or_else(|| Error::Data {
        path: path.to_owned(),
        reason: "RssAnon and RssFile are not there".into(),
    })
}

fn parse(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory {
        anon: bytes("RssAnon:")?,
        file: bytes("RssFile:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernel_s_table() {
        let status = "VmRSS:\t 12 kB\nRssAnon:\t     100 kB\nRssFile:\t    7 kB\n";
        let expected = Memory {
            anon: 102_400,
            file: 7_168,
        };
        assert_eq!(parse(status), Some(expected));
        assert_eq!(parse("RssAnon:\t 100 kB\n"), None);
        assert!(memory().unwrap().anon > 0);
    }

    #[test]
    fn work_takes_processor_time() {
        let watch = Watch::start();
        while watch.read().1 < 0.001 {}
        let (wall, cpu) = watch.read();
        assert!(wall > 0.0 && cpu >= 0.001);
    }
}
