//! The parts of one write, one a partition: whether one that a node has no room for may wait.
//!
//! A batch that is larger than the memory for writes under way fits only when it is alone, and its parts come all at once: the first
//! that is taken would keep the others out, whenever the client tries. So a part that is refused waits as long as another is on its
//! way or taken, since room comes with it; if all of them are refused the client hears so at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// See the module.
#[derive(Debug)]
pub(super) struct Parts {
    all: usize,
    /// Parts that were refused, or failed for good.
    out: AtomicUsize,
    /// Whether one is written.
    written: AtomicBool,
}

impl Parts {
    /// Of a write of so many parts.
    pub(super) fn new(all: usize) -> Self {
        Self {
            all,
            out: AtomicUsize::new(0),
            written: AtomicBool::new(false),
        }
    }

    /// One more, which nobody has heard of yet.
    pub(super) fn part(&self) -> Part<'_> {
        Part {
            parts: self,
            is_out: false,
        }
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Part<'p> {
    parts: &'p Parts,
    is_out: bool,
}

impl Part<'_> {
    /// It is written.
    pub(super) fn written(&self) {
        self.parts.written.store(true, Ordering::Relaxed);
    }

    /// It was refused for want of room, or failed. Whether another is written or under way, so that room may come.
    pub(super) fn refused(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_out, true) {
            self.parts.out.fetch_add(1, Ordering::Relaxed);
        }
        self.parts.written.load(Ordering::Relaxed)
            || self.parts.out.load(Ordering::Relaxed) < self.parts.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_waits_for_others_and_not_for_nobody() {
        let alone = Parts::new(1);
        assert!(!alone.part().refused());
        let parts = Parts::new(3);
        let (mut a, mut b, mut c) = (parts.part(), parts.part(), parts.part());
        assert!(a.refused() && a.refused() && b.refused());
        assert!(!c.refused() && !a.refused(), "all are out");
        b.written();
        assert!(a.refused() && c.refused());
    }
}
