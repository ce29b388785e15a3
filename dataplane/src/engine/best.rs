//! The first places of an order, out of a stream of places in any order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::model::{ListOrder, Place};

/// Keeps the first `limit` of the places that it is shown, each of which is shown once.
pub(crate) struct Best<'o> {
    order: &'o ListOrder,
    limit: usize,
    heap: BinaryHeap<Kept<'o>>,
}

struct Kept<'o> {
    order: &'o ListOrder,
    place: Place,
}

impl Ord for Kept<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&self.place, &other.place)
    }
}

impl PartialOrd for Kept<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kept<'_> {}

impl<'o> Best<'o> {
    /// `limit` may be far above what will be shown: nothing is reserved for it.
    pub(crate) fn new(order: &'o ListOrder, limit: usize) -> Self {
        Self {
            order,
            limit,
            heap: BinaryHeap::new(),
        }
    }

    pub(crate) fn order(&self) -> &'o ListOrder {
        self.order
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether this place would be kept.
    pub(crate) fn admits(&self, place: &Place) -> bool {
        self.heap.len() < self.limit
            || self
                .heap
                .peek()
                .is_some_and(|last| self.order.compare(place, &last.place).is_lt())
    }

    /// Shows it a place.
    pub(crate) fn push(&mut self, place: Place) {
        if !self.admits(&place) {
            return;
        }
        if self.heap.len() == self.limit {
            self.heap.pop();
        }
        let order = self.order;
        self.heap.push(Kept { order, place });
    }

    /// What was kept, in order.
    pub(crate) fn into_sorted(self) -> Vec<Place> {
        let kept = self.heap.into_sorted_vec();
        kept.into_iter().map(|kept| kept.place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FieldOrder, OrderValue, OrderedValues, PointId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_all_are_kept(
            values in proptest::collection::btree_set((-3i64..3, 0u64..9), 0..40),
            limit in 0usize..20,
            descending in any::<bool>(),
        ) {
            let order = ListOrder::Field(FieldOrder {
                key: "n".into(),
                values: OrderedValues::Integers,
                descending,
                start_from: None,
            });
            let mut best = Best::new(&order, limit);
            for (value, id) in &values {
                best.push(Place::of_value(PointId::Num(*id), OrderValue::Int(*value)));
            }
            let found: Vec<(i64, u64)> = best
                .into_sorted()
                .into_iter()
                .map(|place| match (place.value, place.id) {
                    (Some(OrderValue::Int(n)), PointId::Num(id)) => (n, id),
                    other => panic!("{other:?}"),
                })
                .collect();
            let mut expected: Vec<(i64, u64)> = values.into_iter().collect();
            if descending {
                expected.reverse();
            }
            expected.truncate(limit);
            prop_assert_eq!(found, expected);
        }
    }
}
