//! Answers about disjoint sets of points put together.

use std::collections::HashMap;

use crate::model::{FacetCount, FacetValue, ListRequest, ScoredPoint};

/// Lists of several nodes or partitions, one for each request.
#[must_use]
pub(super) fn merge_lists(
    requests: &[ListRequest],
    answers: impl Iterator<Item = Vec<Vec<ScoredPoint>>>,
) -> Vec<Vec<ScoredPoint>> {
    let mut merged: Vec<Vec<ScoredPoint>> = vec![Vec::new(); requests.len()];
    for lists in answers {
        for (all, list) in merged.iter_mut().zip(lists) {
            all.extend(list);
        }
    }
    for (points, ListRequest { order, limit, .. }) in merged.iter_mut().zip(requests) {
        points.sort_by(|a, b| order.compare(&order.place(a), &order.place(b)));
        points.truncate(*limit);
    }
    merged
}

/// Counts added up by value. All of them are kept: which are the most frequent shows only in the sums of all partitions.
#[must_use]
pub(super) fn add_counts(answers: impl Iterator<Item = Vec<FacetCount>>) -> Vec<FacetCount> {
    let mut answers: Vec<Vec<FacetCount>> = answers.collect();
    if answers.len() == 1
        && let Some(only) = answers.pop()
    {
        return only;
    }
    let mut sums: HashMap<FacetValue, u64> = HashMap::new();
    for FacetCount { value, count } in answers.into_iter().flatten() {
        *sums.entry(value).or_default() += count;
    }
    let sums = sums.into_iter();
    sums.map(|(value, count)| FacetCount { value, count })
        .collect()
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
