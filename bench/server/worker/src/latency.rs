//! Percentiles.

use std::time::Duration;

use crate::protocol::Answer;

/// The smallest of `sorted` that at least `share` of them do not exceed, in seconds; 0 of none.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, Duration::as_secs_f64)
}

/// What is told of requests that took so long each, in `wall` altogether.
pub(crate) fn summary(wall: Duration, mut each: Vec<Duration>) -> Answer {
    each.sort_unstable();
    Answer::Timed {
        wall: wall.as_secs_f64(),
        requests: each.len(),
        p50: percentile(&each, 0.50),
        p99: percentile(&each, 0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_secs).collect();
        assert_eq!(percentile(&sorted, 0.50), 100.0);
        assert_eq!(percentile(&sorted, 0.99), 198.0);
        assert_eq!(percentile(&sorted[..1], 0.99), 1.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }
}
