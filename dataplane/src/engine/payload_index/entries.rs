//! The values of an index in order, each with its row.

use std::ops::Range;

use crate::model::{FacetValue, FieldOrder, OrderValue};

use super::image::Image;
use super::row_set::RowSet;
use super::sorted::Sorted;

/// Values, ascending, equal ones by row; a row that has a value several times comes as often.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entries<'i> {
    /// Integers and their rows.
    Ints(&'i [i64], &'i [u32]),
    /// Numbers and their rows.
    Floats(&'i [f64], &'i [u32]),
}

impl<'i> Entries<'i> {
    pub(super) fn of_ints(sorted: &Sorted<i64>, image: &'i Image) -> Self {
        let rows = sorted.rows(image, &(0..sorted.len(image)));
        Self::Ints(sorted.values(image), rows)
    }

    pub(super) fn of_floats(sorted: &Sorted<f64>, image: &'i Image) -> Self {
        let rows = sorted.rows(image, &(0..sorted.len(image)));
        Self::Floats(sorted.values(image), rows)
    }

    /// Value and row of an entry.
    pub(crate) fn get(&self, i: usize) -> Option<(OrderValue, u32)> {
        match self {
            Self::Ints(values, rows) => Some((OrderValue::Int(*values.get(i)?), *rows.get(i)?)),
            Self::Floats(values, rows) => Some((OrderValue::Float(*values.get(i)?), *rows.get(i)?)),
        }
    }

    /// The entries that an order does not leave out.
    pub(crate) fn span(&self, order: &FieldOrder) -> Range<usize> {
        let out = |value| order.is_before_start(value);
        let (first, len) = match self {
            Self::Ints(values, _) => (
                values.partition_point(|v| out(OrderValue::Int(*v)) != order.descending),
                values.len(),
            ),
            Self::Floats(values, _) => (
                values.partition_point(|v| out(OrderValue::Float(*v)) != order.descending),
                values.len(),
            ),
        };
        if order.descending {
            0..first
        } else {
            first..len
        }
    }

    /// Calls `each` with every integer that some row of `within` (all rows, without) has and how many of them have it.
    pub(super) fn count(&self, within: Option<&RowSet>, each: &mut dyn FnMut(FacetValue, usize)) {
        let Self::Ints(values, rows) = self else {
            return;
        };
        let mut rest = rows.iter();
        for run in values.chunk_by(|a, b| a == b) {
            let mut last = None;
            let mut count = 0;
            for row in rest.by_ref().take(run.len()) {
                if last.replace(*row) != Some(*row) && within.is_none_or(|set| set.contains(*row)) {
                    count += 1;
                }
            }
            if let (Some(value), 1..) = (run.first(), count) {
                each(FacetValue::Int(*value), count);
            }
        }
    }
}
