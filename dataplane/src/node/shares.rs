//! How a node's memory budget is divided: pure arithmetic.

use super::mode::{OperationalMode, SHARED};

/// Parts of the memory budget, in bytes; together all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Segments.
    pub(super) cache: u64,
    /// Write buffers, applied and not in segments yet.
    pub(super) buffers: u64,
    /// Building segments; merges may take what the cache has left besides.
    pub(super) building: u64,
    /// Writes on their way into the log and the buffers.
    pub(super) queued_writes: u64,
    /// Requests under way: bodies and what is made of them.
    pub(super) requests: u64,
    /// Requests of other nodes: apart from those of clients, which may wait for them at the other node.
    pub(super) calls: u64,
}

impl Shares {
    /// The parts of a budget of so many bytes.
    pub(super) fn of(mode: OperationalMode, budget: u64) -> Self {
        // cache, buffers, building, queued writes, requests, calls
        let thousandths: [u64; 6] = match mode {
            OperationalMode::Reader => [800, 40, 0, 10, 90, 60],
            OperationalMode::Writer => [200, 330, 185, 100, 110, 75],
            OperationalMode::Hybrid => [500, 150, 60, 85, 125, 80],
        };
        let [cache, buffers, building, queued_writes, requests, calls] =
            thousandths.map(|part| budget / 1000 * part);
        Self {
            cache,
            buffers,
            building,
            queued_writes,
            requests,
            calls,
        }
    }

    /// Cache and write buffers with the border between them at `cache` percent of the budget.
    pub(super) fn divided(budget: u64, cache: u64) -> (u64, u64) {
        let cache = cache.min(SHARED);
        (budget / 100 * cache, budget / 100 * (SHARED - cache))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_budget_and_the_cache_has_its_mode_s_share() {
        for mode in [
            OperationalMode::Reader,
            OperationalMode::Writer,
            OperationalMode::Hybrid,
        ] {
            for budget in [64 << 20, 1 << 30, 1 << 40] {
                let Shares {
                    cache,
                    buffers,
                    building,
                    queued_writes,
                    requests,
                    calls,
                } = Shares::of(mode, budget);
                let sum = cache + buffers + building + queued_writes + requests + calls;
                assert!(sum <= budget && sum >= budget - 6000, "{mode:?} {budget}");
                assert_eq!(cache, budget / 1000 * (mode.cache().percent * 10));
            }
        }
        let hybrid = Shares::of(OperationalMode::Hybrid, 1 << 30);
        let (cache, buffers) = Shares::divided(1 << 30, 50);
        assert!(cache.abs_diff(hybrid.cache) < 1000 && buffers.abs_diff(hybrid.buffers) < 1000);
    }
}
