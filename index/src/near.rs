//! What a search finds: rows at distances, and the k nearest of a stream of them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something at a distance. Ordered by distance, ties by `key`: results are the same whatever the order of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Near<K = u32> {
    /// Lower is nearer; never NaN.
    pub distance: f32,
    /// A row, unless the context says otherwise.
    pub key: K,
}

impl<K: Ord> Ord for Near<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance
            .total_cmp(&other.distance)
            .then_with(|| self.key.cmp(&other.key))
    }
}

impl<K: Ord> PartialOrd for Near<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Near<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Near<K> {}

/// Keeps the nearest `k` of what it is shown.
#[derive(Debug)]
pub struct TopK<K = u32> {
    k: usize,
    heap: BinaryHeap<Near<K>>,
}

impl<K: Ord> TopK<K> {
    /// `k` may be far above what will be shown: nothing is reserved for it.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
        }
    }

    /// Whether something at this distance could still enter.
    #[inline]
    pub fn admits(&self, distance: f32) -> bool {
        self.heap.len() < self.k
            || self
                .heap
                .peek()
                .is_some_and(|worst| distance.total_cmp(&worst.distance).is_le())
    }

    /// Whether something at this distance would displace something farther.
    #[inline]
    pub fn improves(&self, distance: f32) -> bool {
        self.heap.len() < self.k
            || self
                .heap
                .peek()
                .is_some_and(|worst| distance.total_cmp(&worst.distance).is_lt())
    }

    /// Shows it something.
    pub fn push(&mut self, near: Near<K>) {
        if self.heap.len() < self.k {
            self.heap.push(near);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && near < *worst
        {
            *worst = near;
        }
    }

    /// Whether it holds `k`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.heap.len() >= self.k
    }

    /// The distance of the farthest, if it holds `k`: nothing farther can enter.
    #[must_use]
    pub fn farthest(&self) -> Option<f32> {
        self.heap
            .peek()
            .filter(|_| self.is_full())
            .map(|near| near.distance)
    }

    /// Nearest first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Near<K>> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_sorting_and_cutting(values in proptest::collection::vec((-3i8..3, 0u32..50), 0..60), k in 0usize..20) {
            let all: Vec<Near<u32>> =
                values.iter().map(|(d, key)| Near { distance: f32::from(*d), key: *key }).collect();
            let mut top = TopK::new(k);
            for near in &all {
                if top.admits(near.distance) {
                    top.push(*near);
                }
            }
            let mut expected = all;
            expected.sort();
            expected.truncate(k);
            prop_assert_eq!(top.into_sorted(), expected);
        }
    }
}
