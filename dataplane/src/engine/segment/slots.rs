//! Which rows the vectors of a dense field belong to.
//!
//! Vectors are numbered by *slots*, in the order of their rows. Where every row has exactly one, slot and row are the same
//! number; elsewhere `slots-{field}.u32` holds the row of each slot: some rows have none, those of multi-vectors several.

use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub(super) enum Slots {
    /// Every row has one slot, its own number.
    Identity(u32),
    /// Row of each slot, not descending.
    Table(Vec<u32>),
}

impl Slots {
    /// From the row of each slot, in the order in which rows came.
    pub(super) fn of_rows(slots: Vec<u32>, rows: usize) -> Self {
        let identity = slots.len() == rows && (0u32..).zip(&slots).all(|(row, slot)| row == *slot);
        if identity {
            Self::Identity(rows as u32)
        } else {
            Self::Table(slots)
        }
    }

    /// Checks what was stored for a segment of `rows` rows.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn check(slots: Vec<u32>, rows: usize) -> Result<Self, String> {
        if !slots.is_sorted() {
            return Err("its rows are not ascending".into());
        }
        match slots.last() {
            Some(last) if *last as usize >= rows => Err(format!("{last} is no row")),
            _ => Ok(Self::Table(slots)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Identity(rows) => *rows as usize,
            Self::Table(slots) => slots.len(),
        }
    }

    /// The row that a slot belongs to.
    #[inline]
    pub(super) fn row(&self, slot: u32) -> u32 {
        match self {
            Self::Identity(_) => slot,
            Self::Table(slots) => slots[slot as usize],
        }
    }

    /// The slots of a row.
    pub(super) fn of(&self, row: u32) -> Range<usize> {
        match self {
            Self::Identity(_) => row as usize..row as usize + 1,
            Self::Table(slots) => {
                let start = slots.partition_point(|r| *r < row);
                start..start + slots[start..].partition_point(|r| *r == row)
            }
        }
    }

    /// Bytes held in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Identity(_) => 0,
            Self::Table(slots) => size_of_val(slots.as_slice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_slots() {
        let one_each = Slots::of_rows(vec![0, 1, 2], 3);
        assert!(matches!(one_each, Slots::Identity(3)));
        assert_eq!((one_each.row(2), one_each.of(1)), (2, 1..2));
        for slots in [vec![0, 1], vec![0, 1, 1], vec![1, 2, 3]] {
            assert!(matches!(Slots::of_rows(slots, 3), Slots::Table(_)));
        }
        let table = Slots::of_rows(vec![1, 1, 1, 4], 5);
        let of: Vec<_> = (0..5).map(|row| table.of(row)).collect();
        assert_eq!(of, [0..0, 0..3, 3..3, 3..3, 3..4]);
        assert_eq!((table.len(), table.row(2), table.row(3)), (4, 1, 4));
    }

    #[test]
    fn stored_tables_are_checked() {
        assert!(Slots::check(vec![0, 0, 2], 3).is_ok());
        assert!(Slots::check(vec![0, 2, 1], 3).is_err());
        assert!(Slots::check(vec![0, 3], 3).is_err());
        assert!(Slots::check(vec![], 0).is_ok());
    }
}
