//! How long a slow client is waited for: pure arithmetic.

use std::time::Duration;

use tokio::time::Instant;

use crate::Limits;

/// Patience runs out while a client is waited for, and comes back with every byte that it moves, up to what it was.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    full: Duration,
    left: Duration,
    /// Bytes that buy a second.
    rate: u64,
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            full: limits.patience,
            left: limits.patience,
            rate: limits.min_rate.max(1),
            since: None,
        }
    }

    /// The client is waited for; says until when.
    pub(crate) fn wait(&mut self, now: Instant) -> Instant {
        *self.since.get_or_insert(now) + self.left
    }

    /// The client moved so many bytes.
    pub(crate) fn moved(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.duration_since(since));
        }
        let bought = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.left = self.full.min(self.left + bought);
    }

    /// Whether the client was waited for too long.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.duration_since(since) >= self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience::new(&Limits {
            patience: Duration::from_secs(10),
            min_rate: 100,
            ..Limits::default()
        })
    }

    #[test]
    fn silence_is_borne_for_so_long_and_bytes_buy_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silent = patience();
        assert_eq!(silent.wait(at(0)), at(10));
        assert_eq!(silent.wait(at(5)), at(10), "the clock is not set back");
        assert!(!silent.is_over(at(9)) && silent.is_over(at(10)));

        let mut steady = patience();
        for second in 0..100 {
            steady.wait(at(second));
            steady.moved(at(second + 1), 100);
            assert!(!steady.is_over(at(second + 1)));
        }
        assert_eq!(steady.wait(at(100)), at(110), "no more than at first");
    }

    #[test]
    fn one_byte_now_and_then_is_not_enough() {
        let start = Instant::now();
        let mut dribble = patience();
        let mut second = 0;
        while !dribble.is_over(start + Duration::from_secs(second)) {
            dribble.moved(start + Duration::from_secs(second), 1);
            dribble.wait(start + Duration::from_secs(second));
            second += 1;
            assert!(second < 12);
        }
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let start = Instant::now();
        let mut patience = patience();
        patience.wait(start);
        patience.moved(start + Duration::from_secs(9), 0);
        let later = start + Duration::from_secs(1000);
        assert!(!patience.is_over(later));
        assert_eq!(patience.wait(later), later + Duration::from_secs(1));
    }
}
