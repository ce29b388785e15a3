//! The account of memory for segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that segments may hold, and those that they do.
#[derive(Debug)]
pub(in crate::node) struct Memory {
    limit: AtomicU64,
    held: AtomicU64,
}

/// Bytes taken of [`Memory`]; dropping gives them back.
#[derive(Debug)]
pub(in crate::node) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Memory {
    /// An account of `limit` bytes.
    pub(in crate::node) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit),
            held: AtomicU64::new(0),
        })
    }

    /// Bytes that may be held.
    pub(in crate::node) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. What is held above it is given back by who holds it.
    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that are held.
    pub(in crate::node) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that are left.
    pub(in crate::node) fn free(&self) -> u64 {
        self.limit().saturating_sub(self.held())
    }

    /// Takes `bytes` if they are there.
    pub(in crate::node) fn try_hold(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let limit = self.limit();
        let fits = |held: u64| held.checked_add(bytes).filter(|all| *all <= limit);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Held {
            memory: Arc::clone(self),
            bytes,
        })
    }

    /// Takes `bytes` that cannot be done without.
    pub(in crate::node) fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Held {
            memory: Arc::clone(self),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_given_and_comes_back() {
        let memory = Memory::new(100);
        let one = memory.try_hold(60).unwrap();
        assert!(memory.try_hold(41).is_none());
        let _rest = memory.try_hold(40).unwrap();
        assert_eq!((memory.held(), memory.free()), (100, 0));
        // What must be held is held, and nothing else until there is room again.
        let fixed = memory.hold(10);
        drop(one);
        assert_eq!(memory.held(), 50);
        memory.set_limit(49);
        assert!(memory.try_hold(0).is_none());
        drop(fixed);
        assert!(memory.try_hold(9).is_some());
    }
}
