//! Which partitions of a peer's collection hold points of one of ours.

use std::ops::RangeInclusive;

/// The numbers of those of a collection's `theirs` partitions that share points with partition `index` of `ours`. A partition is
/// a range of the hashes of ids ([`crate::manifest::partition_index`]), so two of them share points where their ranges overlap:
/// with equal counts exactly the one of the same number.
#[must_use]
pub fn overlap(index: u32, ours: u32, theirs: u32) -> RangeInclusive<u32> {
    if theirs == 0 || ours == 0 {
        return RangeInclusive::new(1, 0);
    }
    let (index, ours, wide) = (u64::from(index), u64::from(ours), u64::from(theirs));
    let first = index * wide / ours;
    let last = ((index + 1) * wide).div_ceil(ours) - 1;
    // Below `theirs`, as `index` is below `ours`.
    first as u32..=(last as u32).min(theirs - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::partition_index;
    use proptest::prelude::*;

    #[test]
    fn equal_counts_pair_partitions_and_one_takes_from_all() {
        for count in [1, 2, 7, 16_384] {
            assert!((0..count).all(|index| overlap(index, count, count) == (index..=index)));
        }
        assert_eq!(overlap(0, 1, 12), 0..=11);
        assert_eq!(overlap(5, 12, 4), 1..=1);
        assert_eq!(overlap(1, 3, 4), 1..=2);
        assert_eq!(overlap(0, 3, 0).count(), 0);
    }

    proptest! {
        #[test]
        fn every_point_is_in_a_partition_that_is_followed(
            hash in any::<u64>(), ours in 1_u32..=16_384, theirs in 1_u32..=16_384,
        ) {
            let followed = overlap(partition_index(hash, ours), ours, theirs);
            prop_assert!(followed.contains(&partition_index(hash, theirs)));
            // And not many more: neighbours of the borders at most.
            let most = u64::from(theirs).div_ceil(u64::from(ours)) + 1;
            prop_assert!(followed.count() as u64 <= most);
        }
    }
}
