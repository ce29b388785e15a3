//! Which requests a partition has applied, so that a client's retry is applied once (design rule 6).
//!
//! The table is part of the replicated state: it is rebuilt from the log, and its newest part travels in the partition
//! manifest. It remembers the last [`REMEMBERED`] requests of the partition; a retry that comes later than that many
//! writes is a new request.

use std::collections::{HashMap, VecDeque};

use crate::partition::AppliedRequest;
use crate::types::{LogPosition, Nonce};

/// Requests remembered in memory and in the manifest: more than an owner can have in flight ([`crate::wal::AppenderConfig`]),
/// so that those whose answer was lost with it are all known to its successor.
pub const REMEMBERED: usize = 4096;

/// The most recent requests, in log order.
#[derive(Clone, Debug, Default)]
pub struct RequestTable {
    order: VecDeque<AppliedRequest>,
    at: HashMap<Nonce, LogPosition>,
}

impl RequestTable {
    /// Where `id` was logged, if it is remembered.
    #[must_use]
    pub fn get(&self, id: Nonce) -> Option<LogPosition> {
        self.at.get(&id).copied()
    }

    /// Remembers `id`, logged at `at`, which is not before anything remembered already.
    pub fn insert(&mut self, id: Nonce, at: LogPosition) {
        if self.at.insert(id, at).is_some() {
            return;
        }
        self.order.push_back(AppliedRequest { id, at });
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest.id);
        }
    }

    /// Starts over from what a manifest remembers.
    pub fn reset(&mut self, requests: &[AppliedRequest]) {
        self.order.clear();
        self.at.clear();
        for r in requests {
            self.insert(r.id, r.at);
        }
    }

    /// What a manifest that contains the log up to `applied` has to remember.
    #[must_use]
    pub fn up_to(&self, applied: LogPosition) -> Vec<AppliedRequest> {
        self.order
            .iter()
            .filter(|r| r.at <= applied)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first_and_a_manifest_carries_only_its_own_part() {
        let mut table = RequestTable::default();
        for n in 0..(REMEMBERED as u64 + 10) {
            table.insert(Nonce(n.into()), LogPosition::new(1, n + 1));
        }
        assert_eq!(table.get(Nonce(9)), None);
        assert_eq!(table.get(Nonce(10)), Some(LogPosition::new(1, 11)));
        let carried = table.up_to(LogPosition::new(1, 20));
        assert_eq!(carried.len(), 10);
        let mut other = RequestTable::default();
        other.reset(&carried);
        assert_eq!(other.get(Nonce(19)), Some(LogPosition::new(1, 20)));
        assert_eq!(other.get(Nonce(20)), None);
    }
}
