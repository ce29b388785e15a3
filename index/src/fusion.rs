//! Several ranked lists as one.
//!
//! Lists of different searches (dense, sparse, filtered) have scores that do not compare. Fusion looks at ranks, or at where a
//! score lies among those of its own list.

use std::collections::HashMap;
use std::hash::Hash;

/// The `k` that Qdrant uses where none is given.
pub const DEFAULT_RRF_K: u32 = 2;

/// Something with a score, higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<Id> {
    /// What.
    pub id: Id,
    /// How good.
    pub score: f32,
}

/// Reciprocal-rank fusion: an id's score is the sum over the lists that have it of
///
/// ```text
/// 1 / ((rank + 1) / weight + k - 1)
/// ```
///
/// with ranks from 0, which is `1 / (rank + k)` for weight 1. A list of weight 3 is read as if it had three results at each
/// rank; one of weight 0 or below counts nothing, but its ids are in the result. A list without a weight has 1. `k` below 1 is
/// taken as 1.
///
/// Best first, ties by id. An id that a list has twice counts at its first place.
///
/// Source: G. Cormack, C. Clarke, S. Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
/// Methods (2009), where ranks start from 1 and k is 60, which is 61 here. Weights as in Qdrant.
#[must_use]
pub fn reciprocal_rank<Id: Copy + Ord + Hash>(
    lists: &[Vec<Id>],
    k: u32,
    weights: &[f32],
) -> Vec<Scored<Id>> {
    let k = k.max(1) as f32;
    fuse(lists.iter().enumerate().map(|(n, list)| {
        let weight = weights.get(n).copied().unwrap_or(1.0);
        list.iter().enumerate().map(move |(rank, id)| Scored {
            id: *id,
            score: if weight > 0.0 {
                ((rank + 1) as f32 / weight + k - 1.0).recip()
            } else {
                0.0
            },
        })
    }))
}

/// Distribution-based score fusion: each list's scores are mapped linearly so that the mean minus three (sample) standard
/// deviations becomes 0 and the mean plus three becomes 1, and an id's score is the sum over the lists that have it.
/// Scores of a list that are all equal become 0.5.
///
/// Best first, ties by id. An id that a list has twice counts at its first place. Scores must be finite.
///
/// Source: M. Mazzeschi: Distribution-Based Score Fusion (2023); equal scores as in Qdrant.
#[must_use]
pub fn distribution_based<Id: Copy + Ord + Hash>(lists: &[Vec<Scored<Id>>]) -> Vec<Scored<Id>> {
    fuse(lists.iter().map(|list| {
        let (mean, deviation) = distribution(list);
        list.iter().map(move |scored| Scored {
            id: scored.id,
            score: if deviation > 0.0 {
                let low = mean - 3.0 * deviation;
                ((f64::from(scored.score) - low) / (6.0 * deviation)) as f32
            } else {
                0.5
            },
        })
    }))
}

/// Mean and sample standard deviation of a list's scores; no deviation if there are fewer than two.
fn distribution<Id>(list: &[Scored<Id>]) -> (f64, f64) {
    let count = list.len() as f64;
    if list.len() < 2 {
        return (0.0, 0.0);
    }
    let mean = list.iter().map(|s| f64::from(s.score)).sum::<f64>() / count;
    let squares: f64 = list
        .iter()
        .map(|s| (f64::from(s.score) - mean).powi(2))
        .sum();
    // Equal scores may leave a rest of rounding, which must not be blown up to 0 and 1.
    let deviation = (squares / (count - 1.0)).sqrt();
    let noise = mean.abs() * f64::EPSILON * count;
    (mean, if deviation > noise { deviation } else { 0.0 })
}

fn fuse<Id, List>(lists: impl Iterator<Item = List>) -> Vec<Scored<Id>>
where
    Id: Copy + Ord + Hash,
    List: Iterator<Item = Scored<Id>>,
{
    // Score so far, and the list that added last.
    let mut sums: HashMap<Id, (f32, usize)> = HashMap::new();
    for (n, list) in lists.enumerate() {
        for scored in list {
            let (sum, last) = sums.entry(scored.id).or_insert((0.0, usize::MAX));
            if *last != n {
                *sum += scored.score;
                *last = n;
            }
        }
    }
    let mut fused: Vec<Scored<Id>> = sums
        .into_iter()
        .map(|(id, (score, _))| Scored { id, score })
        .collect();
    fused.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(fused: &[Scored<u32>]) -> Vec<u32> {
        fused.iter().map(|scored| scored.id).collect()
    }

    #[test]
    fn ranks_add_up() {
        let fused = reciprocal_rank(
            &[vec![2, 1], vec![1, 2, 3], vec![5, 3, 1]],
            DEFAULT_RRF_K,
            &[],
        );
        assert_eq!(ids(&fused), [1, 2, 3, 5]);
        let scores: Vec<f32> = fused.iter().map(|scored| scored.score).collect();
        for (score, expected) in scores.iter().zip([
            1.0 / 3.0 + 1.0 / 2.0 + 1.0 / 4.0,
            1.0 / 2.0 + 1.0 / 3.0,
            1.0 / 4.0 + 1.0 / 3.0,
            0.5,
        ]) {
            assert!((score - expected).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn a_list_of_weight_three_gives_three_results_for_one_of_another() {
        let lists = [(10..30).collect::<Vec<u32>>(), (50..70).collect()];
        let fused = reciprocal_rank(&lists, 60, &[3.0, 1.0]);
        let first = ids(&fused)[..12].iter().filter(|id| **id < 50).count();
        assert_eq!(first, 9);
    }

    #[test]
    fn a_list_of_weight_zero_only_brings_its_ids() {
        let fused = reciprocal_rank(&[vec![1], vec![2]], 2, &[1.0, 0.0]);
        assert_eq!(
            fused,
            [Scored { id: 1, score: 0.5 }, Scored { id: 2, score: 0.0 }]
        );
    }

    #[test]
    fn scores_count_by_where_they_lie_in_their_list() {
        let list = |scores: &[(u32, f32)]| {
            scores
                .iter()
                .map(|(id, score)| Scored {
                    id: *id,
                    score: *score,
                })
                .collect::<Vec<_>>()
        };
        // The same distribution on another scale: the same share.
        let fused = distribution_based(&[
            list(&[(1, 3.0), (2, 2.0), (3, 1.0)]),
            list(&[(3, 300.0), (2, 200.0), (1, 100.0)]),
        ]);
        assert_eq!(ids(&fused), [1, 2, 3]);
        for scored in &fused {
            assert!((scored.score - 1.0).abs() < 1e-6, "{fused:?}");
        }
        // Mean 2, deviation 1: 3 lies at (3 - (2 - 3)) / 6.
        let fused = distribution_based(&[list(&[(1, 3.0), (2, 2.0), (3, 1.0)])]);
        assert!((fused[0].score - 4.0 / 6.0).abs() < 1e-6);
        // One score, or equal ones, say nothing.
        assert_eq!(distribution_based(&[list(&[(7, 9.0)])])[0].score, 0.5);
        assert_eq!(
            distribution_based(&[list(&[(7, 0.1), (8, 0.1), (9, 0.1)])])[2].score,
            0.5
        );
        assert!(distribution_based::<u32>(&[vec![]]).is_empty());
    }

    proptest! {
        #[test]
        fn every_id_comes_once_best_first_whatever_the_order_of_the_lists(
            lists in proptest::collection::vec(proptest::collection::vec(0u32..20, 0..12), 0..4),
            k in 0u32..70,
        ) {
            let fused = reciprocal_rank(&lists, k, &[]);
            let unique: std::collections::BTreeSet<u32> = lists.iter().flatten().copied().collect();
            prop_assert_eq!(fused.len(), unique.len());
            prop_assert!(fused.is_sorted_by(|a, b| a.score > b.score || a.score == b.score && a.id < b.id));
            let reversed: Vec<_> = lists.iter().rev().cloned().collect();
            for (a, b) in fused.iter().zip(reciprocal_rank(&reversed, k, &[])) {
                prop_assert!((a.score - b.score).abs() < 1e-5);
            }
            let scored: Vec<Vec<Scored<u32>>> = lists.iter()
                .map(|list| list.iter().map(|id| Scored { id: *id, score: *id as f32 - 10.0 }).collect()).collect();
            let by_score = distribution_based(&scored);
            prop_assert_eq!(by_score.len(), unique.len());
            prop_assert!(by_score.iter().all(|s| s.score.is_finite()));
        }
    }
}
