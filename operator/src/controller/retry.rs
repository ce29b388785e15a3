//! When something that failed may be tried again: by itself, so that a bad object costs the others nothing.

use std::time::{Duration, Instant};

use rand::RngExt;

/// First pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When a step that failed may be tried again: each cluster by itself, so that a bad one costs the others nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    at: Option<Instant>,
    basis: u64,
}

impl Retry {
    /// Whether to try: the time has come, or what is tried (`basis`) is not what failed.
    pub(super) fn is_due(&self, basis: u64, now: Instant) -> bool {
        self.basis != basis || self.at.is_none_or(|at| now >= at)
    }

    /// The next try is later.
    pub(super) fn failed(&mut self, basis: u64, now: Instant) {
        if self.basis != basis {
            *self = Self::default();
        }
        self.basis = basis;
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        self.at = Some(now + jittered(pause.min(LONGEST_PAUSE)));
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// When to look again because of a failure.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }
}

/// Somewhat less, so that many do not come at the same moment.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_something_else_is_tried_at_once() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        assert!(retry.is_due(1, now));
        let mut longest = Duration::ZERO;
        for n in 0..20 {
            retry.failed(1, now);
            let pause = retry.at().unwrap() - now;
            let whole = (FIRST_PAUSE * 2_u32.pow(n.min(10))).min(LONGEST_PAUSE);
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{n}: {pause:?} of {whole:?}"
            );
            longest = longest.max(pause);
        }
        assert!(longest <= LONGEST_PAUSE && !retry.is_due(1, now));
        assert!(retry.is_due(1, now + LONGEST_PAUSE));
        assert!(retry.is_due(2, now), "it is something else");
        retry.failed(2, now);
        assert!(
            retry.at().unwrap() <= now + FIRST_PAUSE,
            "from the beginning"
        );
        retry.succeeded();
        assert!(retry.is_due(2, now));
    }
}
