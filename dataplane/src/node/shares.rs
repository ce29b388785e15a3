//! How a node's memory budget is divided: pure arithmetic.

/// Parts of the memory budget, in bytes. What is left is for segments and for building them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Write buffers, applied and not in segments yet.
    pub(super) buffers: u64,
    /// Writes on their way into the log and the buffers.
    pub(super) queued_writes: u64,
    /// Requests under way: bodies and what is made of them.
    pub(super) requests: u64,
    /// Requests of other nodes: apart from those of clients, which may wait for them at the other node.
    pub(super) calls: u64,
}

impl Shares {
    /// The parts of a budget of so many bytes.
    pub(super) fn of(budget: u64) -> Self {
        Self {
            buffers: budget / 4,
            queued_writes: budget / 8,
            requests: budget / 8,
            calls: budget / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_budget_is_left_for_segments() {
        for budget in [64 << 20, 1 << 30, 1 << 40] {
            let Shares {
                buffers,
                queued_writes,
                requests,
                calls,
            } = Shares::of(budget);
            assert!(buffers + queued_writes + requests + calls <= budget / 8 * 5);
        }
    }
}
