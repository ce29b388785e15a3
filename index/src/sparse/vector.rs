//! A sparse vector: values at some of 2^32 dimensions.

use super::error::SparseError;
use std::collections::BTreeSet;

/// Values at ascending, unique indices; every value is finite. Where an index is absent the value is zero.
///
/// A value of zero may be stored: the vector then still *has* that index, so a search for it finds the vector, with score 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseVector {
    /// The vector of `values[i]` at `indices[i]`, in any order.
    ///
    /// # Errors
    /// If the lengths differ, an index occurs twice, or a value is not finite.
    pub fn new(indices: Vec<u32>, values: Vec<f32>) -> Result<Self, SparseError> {
        if indices.len() != values.len() {
            return Err(SparseError::Lengths {
                indices: indices.len(),
                values: values.len(),
            });
        }
        if let Some((&index, _)) = indices.iter().zip(&values).find(|(_, v)| !v.is_finite()) {
            return Err(SparseError::NotFinite { index });
        }
        if indices.is_sorted_by(|a, b| a < b) {
            return Ok(Self { indices, values });
        }
        let mut pairs: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
        pairs.sort_unstable_by_key(|(index, _)| *index);
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SparseError::Duplicate { index: twice[0].0 });
        }
        let (indices, values) = pairs.into_iter().unzip();
        Ok(Self { indices, values })
    }

    /// 1 at each of `indices`.
    #[must_use]
    pub fn ones(indices: BTreeSet<u32>) -> Self {
        Self {
            values: vec![1.0; indices.len()],
            indices: indices.into_iter().collect(),
        }
    }

    /// The indices, ascending.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values, in the order of the indices.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How many values are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Index and value, ascending by index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, f32)> + '_ {
        self.indices
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// Indices and values, for storing.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u32>, Vec<f32>) {
        (self.indices, self.values)
    }

    /// Every value times the weight of its index, as a query is weighted by inverse document frequency
    /// ([`idf`](crate::text::idf)). A product that is too large becomes the largest finite number; a weight that is not a number
    /// counts as zero.
    #[must_use]
    pub fn weighted(mut self, weight: impl Fn(u32) -> f32) -> Self {
        for (index, value) in self.indices.iter().zip(&mut self.values) {
            let product = f64::from(*value) * f64::from(weight(*index));
            *value = if product.is_nan() {
                0.0
            } else {
                finite(product)
            };
        }
        self
    }

    /// The dot product, or nothing if the vectors share no index. The same number, to the last bit, as
    /// [`SparseIndex::search`](super::SparseIndex::search) gives.
    #[must_use]
    pub fn dot(&self, other: &Self) -> Option<f32> {
        let (mut a, mut b) = (0, 0);
        let mut sum = 0.0;
        let mut shared = false;
        while let (Some(left), Some(right)) = (self.indices.get(a), other.indices.get(b)) {
            if left == right {
                shared = true;
                sum += f64::from(self.values[a]) * f64::from(other.values[b]);
            }
            a += usize::from(left <= right);
            b += usize::from(right <= left);
        }
        shared.then(|| finite(sum))
    }
}

/// A score or value that stays within what JSON and the engine can carry.
///
/// Products of two `f32` are exact in `f64` and cannot overflow it, so a sum of them is a number; only the way back can be too large.
pub(crate) fn finite(sum: f64) -> f32 {
    (sum as f32).clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            SparseVector::new(vec![1, 2], vec![0.5]),
            Err(SparseError::Lengths {
                indices: 2,
                values: 1
            })
        );
        assert_eq!(
            SparseVector::new(vec![9, 7, 9], vec![0.1, 0.2, 0.3]),
            Err(SparseError::Duplicate { index: 9 })
        );
        assert_eq!(
            SparseVector::new(vec![3, 4], vec![0.1, f32::NAN]),
            Err(SparseError::NotFinite { index: 4 })
        );
    }

    #[test]
    fn weights_never_leave_the_finite_numbers() {
        let vector = SparseVector::new(vec![1, 2, 3], vec![f32::MAX, -2.0, 1.0]).unwrap();
        let weighted = vector.weighted(|index| match index {
            1 => 10.0,
            2 => f32::INFINITY,
            _ => f32::NAN,
        });
        assert_eq!(weighted.values(), [f32::MAX, f32::MIN, 0.0]);
    }

    proptest! {
        #[test]
        fn order_of_the_input_does_not_matter(
            pairs in proptest::collection::btree_map(any::<u32>(), -10.0f32..10.0, 0..20),
            seed in any::<u64>(),
        ) {
            let (indices, values): (Vec<u32>, Vec<f32>) = pairs.clone().into_iter().unzip();
            let sorted = SparseVector::new(indices, values).unwrap();
            let mut shuffled: Vec<(u32, f32)> = pairs.into_iter().collect();
            shuffled.sort_by_key(|(index, _)| u64::from(*index).wrapping_mul(seed | 1).rotate_left(29));
            let (indices, values) = shuffled.into_iter().unzip();
            prop_assert_eq!(SparseVector::new(indices, values).unwrap(), sorted);
        }

        #[test]
        fn dot_is_the_sum_over_shared_indices(
            a in proptest::collection::btree_map(0u32..30, -10.0f32..10.0, 0..20),
            b in proptest::collection::btree_map(0u32..30, -10.0f32..10.0, 0..20),
        ) {
            let shared = a.keys().filter(|index| b.contains_key(index)).count();
            let expected: f64 = a.iter().filter_map(|(index, v)| b.get(index).map(|w| f64::from(*v) * f64::from(*w))).sum();
            let vector = |map: std::collections::BTreeMap<u32, f32>| {
                let (indices, values) = map.into_iter().unzip();
                SparseVector::new(indices, values).unwrap()
            };
            let dot = vector(a).dot(&vector(b));
            prop_assert_eq!(dot.is_some(), shared > 0);
            if let Some(dot) = dot {
                prop_assert!((f64::from(dot) - expected).abs() < 1e-3);
            }
        }
    }
}
