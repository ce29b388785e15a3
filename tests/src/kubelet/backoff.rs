//! How long to wait before something is tried again.

use std::time::Duration;

/// Delays that double: the first, and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Before the second attempt that follows a failure.
    pub first: Duration,
    /// It grows no longer than this.
    pub longest: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Backoff {
    delays: Delays,
    /// What the next failure waits; `None` before the first.
    next: Option<Duration>,
}

impl Backoff {
    pub(super) fn new(delays: Delays) -> Self {
        Self { delays, next: None }
    }

    /// After a failure that is followed by a wait at once, as of an image.
    pub(super) fn after_failure(&mut self) -> Duration {
        let delay = self.next.unwrap_or(self.delays.first);
        self.next = Some((delay * 2).min(self.delays.longest));
        delay.min(self.delays.longest)
    }

    /// After a container that ran for `time`: the first end costs nothing, and one that ran for long is forgiven.
    pub(super) fn after_run(&mut self, time: Duration) -> Duration {
        if self.next.is_none() || time >= self.delays.longest * 2 {
            self.next = Some(self.delays.first);
            return Duration::ZERO;
        }
        self.after_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(delay: Duration) -> u64 {
        delay.as_secs()
    }

    #[test]
    fn delays_double_up_to_the_longest_and_a_long_run_is_forgiven() {
        let delays = Delays {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(30),
        };
        let mut backoff = Backoff::new(delays);
        let short = Duration::from_secs(1);
        let waits: Vec<u64> = (0..5).map(|_| seconds(backoff.after_run(short))).collect();
        assert_eq!(waits, [0, 10, 20, 30, 30]);
        assert_eq!(seconds(backoff.after_run(Duration::from_secs(60))), 0);
        assert_eq!(seconds(backoff.after_run(short)), 10);
        let mut pulls = Backoff::new(delays);
        let waits: Vec<u64> = (0..3).map(|_| seconds(pulls.after_failure())).collect();
        assert_eq!(waits, [10, 20, 30]);
    }
}
