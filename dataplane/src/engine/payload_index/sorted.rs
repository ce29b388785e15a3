//! Values in ascending order, each with its row: ranges are found by binary search.

use std::cmp::Ordering;
use std::ops::Range;

use bytemuck::Pod;

use super::image::{Image, ImageWriter, Section};

/// Sections of sorted values.
pub(super) const SECTIONS: usize = 2;

/// A value that can be put in order.
pub(super) trait Ordered: Pod {
    fn order(&self, other: &Self) -> Ordering;
    fn is_ordered(&self) -> bool {
        true
    }
}

impl Ordered for i64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Ordered for u64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Ordered for f64 {
    /// Zeros are equal whatever their sign: payloads hold no NaN.
    fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
    fn is_ordered(&self) -> bool {
        !self.is_nan()
    }
}

/// Adds the sections for values with their rows, in any order.
pub(super) fn write<T: Ordered>(writer: &mut ImageWriter, mut entries: Vec<(T, u32)>) {
    entries.sort_by(|a, b| a.0.order(&b.0).then(a.1.cmp(&b.1)));
    writer.add(&entries.iter().map(|e| e.0).collect::<Vec<_>>());
    writer.add(&entries.iter().map(|e| e.1).collect::<Vec<_>>());
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    values: Section<T>,
    rows: Section<u32>,
}

impl<T: Ordered> Sorted<T> {
    /// Checks the sections from `first` on.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(image: &Image, first: usize, rows: usize) -> Result<Self, String> {
        let own = Self {
            values: image.section(first)?,
            rows: image.section(first + 1)?,
        };
        let (values, of) = (image.get(&own.values), image.get(&own.rows));
        if values.len() != of.len() || of.iter().any(|row| *row as usize >= rows) {
            return Err("its values do not fit its rows".into());
        }
        if !values.iter().all(Ordered::is_ordered)
            || !values.is_sorted_by(|a, b| a.order(b).is_le())
        {
            return Err("its values are not in order".into());
        }
        Ok(own)
    }

    pub(super) fn len(&self, image: &Image) -> usize {
        image.get(&self.rows).len()
    }

    /// Entries from the first that is not `below` to the first that is `above`; each holds for one end of the values.
    pub(super) fn between(
        &self,
        image: &Image,
        below: impl Fn(&T) -> bool,
        above: impl Fn(&T) -> bool,
    ) -> Range<usize> {
        let values = image.get(&self.values);
        let from = values.partition_point(below);
        let to = values.partition_point(|v| !above(v));
        from..to.max(from)
    }

    /// Entries equal to a value.
    pub(super) fn equal(&self, image: &Image, value: &T) -> Range<usize> {
        self.between(
            image,
            |v| v.order(value).is_lt(),
            |v| v.order(value).is_gt(),
        )
    }

    /// All values, ascending.
    pub(super) fn values<'i>(&self, image: &'i Image) -> &'i [T] {
        image.get(&self.values)
    }

    /// Rows of some entries, in the order of their values.
    pub(super) fn rows<'i>(&self, image: &'i Image, entries: &Range<usize>) -> &'i [u32] {
        image
            .get(&self.rows)
            .get(entries.clone())
            .unwrap_or_default()
    }
}
