//! How long searches of a partition take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Part of the difference by which a shorter search lowers the estimate: one in so many.
const DECAY: u64 = 16;

/// An estimate of how long the next search takes: a longer one than expected raises it at once, shorter ones lower it by and by.
/// So a partition that is asked for long and short searches in turn counts as slow.
#[derive(Debug, Default)]
pub(in crate::node) struct Pace {
    /// 0 before the first.
    nanos: AtomicU64,
}

impl Pace {
    /// How long the next one is expected to take; `None` before the first.
    pub(in crate::node) fn expected(&self) -> Option<Duration> {
        match self.nanos.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Times a search, until what is returned is dropped.
    pub(in crate::node) fn time(&self) -> Timed<'_> {
        Timed {
            pace: self,
            since: Instant::now(),
        }
    }

    fn took(&self, time: Duration) {
        let took = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let before = self.nanos.load(Ordering::Relaxed);
        let after = if took >= before {
            took
        } else {
            before - (before - took).div_ceil(DECAY)
        };
        // Of two that end at once one is not counted, which an estimate can bear.
        self.nanos.store(after, Ordering::Relaxed);
    }
}

/// A search under way.
pub(in crate::node) struct Timed<'p> {
    pace: &'p Pace,
    since: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.pace.took(self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_search_counts_at_once_and_is_forgotten_slowly() {
        let pace = Pace::default();
        assert_eq!(pace.expected(), None);
        pace.took(Duration::from_micros(100));
        assert_eq!(pace.expected(), Some(Duration::from_micros(100)));
        pace.took(Duration::from_millis(50));
        assert_eq!(pace.expected(), Some(Duration::from_millis(50)));
        let needed = (1..).find(|_| {
            pace.took(Duration::from_micros(100));
            pace.expected() < Some(Duration::from_micros(200))
        });
        assert!((50..200).contains(&needed.unwrap()), "{needed:?}");
        for _ in 0..10_000 {
            pace.took(Duration::from_micros(100));
        }
        assert_eq!(pace.expected(), Some(Duration::from_micros(100)));
    }
}
