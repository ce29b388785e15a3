//! Which segments to merge: size-tiered.
//!
//! Segments fall into tiers by size, each tier `threshold` times as large as the one below (the lowest holds everything
//! below [`BASE_BYTES`]). A tier that has `threshold` segments is merged into one, lowest tier first.
//!
//! - A byte is rewritten at most once a tier, as a merged tier lands in a higher one: 9 times for 1 TiB at a threshold of 10.
//!   Only in the lowest tier it may happen more often, to fewer than `threshold` x [`BASE_BYTES`] bytes at a time.
//! - At most `threshold - 1` segments a tier remain, so a read visits at most (threshold - 1) x tiers segments.
//! - Rows hidden by newer versions, and deletions that hide nothing any more, go away when their tier is merged. A segment
//!   that consists mostly of deletions counts by its size like any other.

use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::SegmentId;

/// Segments below this size are one tier.
pub const BASE_BYTES: u64 = 64 << 10;

/// Fewest segments that make a merge.
const MIN_THRESHOLD: usize = 2;

/// The next merge, if one is due. A `threshold` below 2 counts as 2.
#[must_use]
pub fn pick_merge(segments: &[SegmentMeta], threshold: usize) -> Option<Vec<SegmentId>> {
    pick_merge_within(segments, threshold, u64::MAX)
}

/// As [`pick_merge`], of at most `room` bytes: the smallest of a full tier that fit, if those are two at least. Where none fit, more
/// segments remain, and reads visit all of them.
#[must_use]
pub fn pick_merge_within(
    segments: &[SegmentMeta],
    threshold: usize,
    room: u64,
) -> Option<Vec<SegmentId>> {
    let threshold = threshold.max(MIN_THRESHOLD);
    let mut tiers: Vec<Vec<(u64, SegmentId)>> = Vec::new();
    for segment in segments {
        let tier = tier(segment.bytes(), threshold);
        if tiers.len() <= tier {
            tiers.resize(tier + 1, Vec::new());
        }
        tiers[tier].push((segment.bytes(), segment.id.clone()));
    }
    let full = tiers.into_iter().filter(|tier| tier.len() >= threshold);
    full.map(|tier| fitting(tier, room))
        .find(|ids| ids.len() >= MIN_THRESHOLD)
}

/// Of a tier what fits into `room`, the smallest first; all of it in the order it came if that does.
fn fitting(mut tier: Vec<(u64, SegmentId)>, room: u64) -> Vec<SegmentId> {
    let sum = |tier: &[(u64, SegmentId)]| {
        tier.iter()
            .fold(0u64, |sum, (bytes, _)| sum.saturating_add(*bytes))
    };
    if sum(&tier) > room {
        tier.sort();
        while sum(&tier) > room {
            tier.pop();
        }
    }
    tier.into_iter().map(|(_, id)| id).collect()
}

fn tier(bytes: u64, threshold: usize) -> usize {
    let mut limit = BASE_BYTES;
    let mut tier = 0;
    while bytes >= limit {
        limit = limit.saturating_mul(threshold as u64);
        tier += 1;
        if limit == u64::MAX {
            break;
        }
    }
    tier
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_coordination::partition::FileMeta;
    use brainy_coordination::types::LogPosition;
    use proptest::prelude::*;

    fn segment(bytes: u64) -> SegmentMeta {
        SegmentMeta {
            id: SegmentId::generate(1),
            rows: 1,
            tombstones: 0,
            newest: LogPosition::default(),
            files: vec![FileMeta {
                name: "f".into(),
                bytes,
                crc32c: 0,
            }],
        }
    }

    #[test]
    fn nothing_is_merged_below_the_threshold() {
        assert_eq!(pick_merge(&[], 4), None);
        let three: Vec<_> = (0..3).map(|_| segment(10)).collect();
        assert_eq!(pick_merge(&three, 4), None);
        let mixed = [segment(10), segment(10), segment(10), segment(BASE_BYTES)];
        assert_eq!(
            pick_merge(&mixed, 4),
            None,
            "a large segment is of another tier"
        );
    }

    #[test]
    fn a_full_tier_is_merged_and_others_are_left_alone() {
        let mut all: Vec<_> = (0..4).map(|_| segment(100)).collect();
        all.push(segment(BASE_BYTES * 50));
        let expected: Vec<_> = all[..4].iter().map(|s| s.id.clone()).collect();
        assert_eq!(pick_merge(&all, 4), Some(expected));
        assert_eq!(pick_merge(&[segment(u64::MAX), segment(1)], 0), None);
    }

    #[test]
    fn what_has_no_room_is_not_merged() {
        let all: Vec<_> = [100, 400, 200, 300].map(segment).into();
        let picked = |room| pick_merge_within(&all, 4, room).map(|ids| ids.len());
        assert_eq!(picked(1000), Some(4));
        assert_eq!(picked(999), Some(3));
        assert_eq!(picked(300), Some(2));
        assert_eq!(picked(299), None, "one is no merge");
    }

    proptest! {
        /// Flushes of any sizes, merged whenever a merge is due: few segments remain and bytes are rewritten at most once a
        /// tier.
        #[test]
        fn amplification_is_bounded(
            threshold in 2usize..12,
            flushes in proptest::collection::vec(BASE_BYTES..BASE_BYTES * 30, 1..400),
        ) {
            let mut segments: Vec<SegmentMeta> = Vec::new();
            let (mut flushed, mut rewritten) = (0u64, 0u64);
            for bytes in flushes {
                flushed += bytes;
                segments.push(segment(bytes));
                while let Some(ids) = pick_merge(&segments, threshold) {
                    let (merged, kept): (Vec<_>, Vec<_>) = segments.into_iter().partition(|s| ids.contains(&s.id));
                    let bytes = merged.iter().map(SegmentMeta::bytes).sum();
                    rewritten += bytes;
                    segments = kept;
                    segments.push(segment(bytes));
                }
            }
            let tiers = tier(flushed, threshold) as u64 + 1;
            prop_assert!(segments.len() as u64 <= (threshold as u64 - 1) * tiers);
            prop_assert!(rewritten <= flushed * tiers, "{rewritten} of {flushed} in {tiers} tiers");
        }
    }
}
