//! What is worth its bytes: a pure function.
//!
//! Things (parts of segments in memory, segments on the disk) are taken in the order of their reads per byte, recent reads counting
//! more, until the room is full. What is in already counts for half as much again, so that things of about equal use do not change
//! places, and one pass over everything (a scan, a scroll) moves nothing: it reads all of them alike. Parts that nobody read are
//! ordered by how often a search would.

use crate::node::mode::Promotion;

/// What is in counts for so many times its reads.
const STAYS: f64 = 1.5;
/// A part that nobody read counts for so many searches.
const IDLE: f64 = 1e-6;

/// Something that may be in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) bytes: u64,
    /// Whether it is in.
    pub(super) held: bool,
    /// Reads of late.
    pub(super) heat: f64,
    /// Reads of a search.
    pub(super) per_search: u64,
}

impl Candidate {
    fn worth(&self) -> f64 {
        let stays = if self.held { STAYS } else { 1.0 };
        let idle = IDLE * self.per_search as f64;
        (self.heat + idle) * stays / self.bytes.max(1) as f64
    }

    /// Whether it may come in at all, be there room or not.
    fn may_come(&self, promotion: Promotion) -> bool {
        match promotion {
            Promotion::Never => false,
            Promotion::AfterSearches(searches) => self.heat >= (searches * self.per_search) as f64,
            Promotion::OnTouch => true,
        }
    }
}

/// Bytes for parts where `limit` may be held, `held` are, `parts` of these by parts that are in, and `leaving` by parts that are not in
/// any more but for reads that run. These are as good as gone: a look that made room for them again, and the next one for what it put
/// out, would empty the memory while one long read lasts.
pub(super) fn room(limit: u64, held: u64, parts: u64, leaving: u64) -> u64 {
    let fixed = held.saturating_sub(parts.saturating_add(leaving));
    limit.saturating_sub(fixed)
}

/// Which of `candidates` are to be in `room` bytes.
pub(super) fn plan(candidates: &[Candidate], room: u64, promotion: Promotion) -> Vec<bool> {
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|i| candidates[*i].held || candidates[*i].may_come(promotion))
        .collect();
    order.sort_by(|a, b| {
        let (a, b) = (&candidates[*a], &candidates[*b]);
        b.worth().total_cmp(&a.worth())
    });
    let mut wanted = vec![false; candidates.len()];
    let mut left = room;
    for i in order {
        if let Some(rest) = left.checked_sub(candidates[i].bytes) {
            wanted[i] = true;
            left = rest;
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(bytes: u64, held: bool, heat: f64) -> Candidate {
        Candidate {
            bytes,
            held,
            heat,
            per_search: 1,
        }
    }

    #[test]
    fn the_most_read_bytes_are_held() {
        let all = [
            candidate(100, true, 10.0),
            candidate(100, false, 500.0),
            candidate(10, false, 60.0),
        ];
        assert_eq!(plan(&all, 110, Promotion::OnTouch), [false, true, true]);
        assert_eq!(plan(&all, 1000, Promotion::OnTouch), [true; 3]);
        assert_eq!(plan(&all, 1000, Promotion::Never), [true, false, false]);
        assert_eq!(
            plan(&all, 1000, Promotion::AfterSearches(100)),
            [true, true, false]
        );
        // What is larger than all there is stays out, and what is smaller comes in nevertheless.
        assert_eq!(plan(&all, 50, Promotion::OnTouch), [false, false, true]);
    }

    #[test]
    fn what_a_long_read_keeps_puts_nothing_else_out() {
        assert_eq!(room(100, 90, 60, 0), 70);
        // A part of 20 left and is still read: the others have the same room as if it were gone.
        assert_eq!(room(100, 90, 40, 20), 70);
        assert_eq!(room(100, 70, 40, 0), 70);
        assert_eq!(room(10, 90, 0, 0), 0);
    }

    #[test]
    fn a_scan_over_everything_moves_nothing() {
        let mut all: Vec<Candidate> = (0..20).map(|i| candidate(100, i < 5, 0.0)).collect();
        let held: Vec<bool> = all.iter().map(|c| c.held).collect();
        assert_eq!(plan(&all, 500, Promotion::OnTouch), held);
        for candidate in &mut all {
            candidate.heat = 1000.0;
        }
        assert_eq!(plan(&all, 500, Promotion::OnTouch), held);
    }

    proptest! {
        /// The room is never exceeded, and nothing that would fit beside what is in is left out.
        #[test]
        fn plans_fit_and_leave_no_room(
            parts in proptest::collection::vec((1u64..1000, any::<bool>(), 0u32..1000), 0..60),
            room in 0u64..10_000,
        ) {
            let all: Vec<Candidate> =
                parts.iter().map(|(bytes, held, heat)| candidate(*bytes, *held, f64::from(*heat))).collect();
            let wanted = plan(&all, room, Promotion::OnTouch);
            let bytes: u64 = all.iter().zip(&wanted).filter(|(_, w)| **w).map(|(c, _)| c.bytes).sum();
            prop_assert!(bytes <= room);
            for (candidate, wanted) in all.iter().zip(&wanted) {
                prop_assert!(*wanted || bytes + candidate.bytes > room);
            }
        }
    }
}
