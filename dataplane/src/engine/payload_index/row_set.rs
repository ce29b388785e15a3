//! Sets of rows of one segment.
//!
//! A set is a sorted list while it is small and one bit a row from there on: a list is what a brute-force search goes
//! through, bits are what a graph walk asks and what sets are combined as. A row number is below the rows of a segment, so
//! the bits of a million rows are 125 kB.

use std::iter::{from_fn, once};

/// Rows that a list may hold, as a part of all rows: from there on bits take less memory than numbers.
const LIST_PART: usize = 32;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct RowSet {
    rows: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Ascending, each once.
    List(Vec<u32>),
    /// Bit `r % 64` of word `r / 64` is row `r`; and how many are set.
    Bits(Vec<u64>, usize),
}

/// Most rows that a list holds.
pub(crate) fn list_limit(rows: usize) -> usize {
    rows / LIST_PART
}

/// Words of 64 bits that hold a bit for each row.
pub(crate) fn words_for(rows: usize) -> usize {
    rows.div_ceil(64)
}

fn ones(words: &[u64]) -> usize {
    words.iter().map(|w| w.count_ones() as usize).sum()
}

impl RowSet {
    /// No row of `rows`.
    pub(crate) fn empty(rows: usize) -> Self {
        Self {
            rows,
            form: Form::List(Vec::new()),
        }
    }

    /// All of `rows`.
    pub(crate) fn all(rows: usize) -> Self {
        Self::empty(rows).complement()
    }

    /// Rows below `rows` in any order, also several times; about `count` of them.
    pub(crate) fn collect(
        rows: usize,
        count: usize,
        members: impl IntoIterator<Item = u32>,
    ) -> Self {
        if count <= list_limit(rows) {
            let mut list: Vec<u32> = members.into_iter().collect();
            list.sort_unstable();
            list.dedup();
            return Self {
                rows,
                form: Form::List(list),
            };
        }
        let mut words = vec![0u64; words_for(rows)];
        for row in members {
            words[row as usize / 64] |= 1 << (row % 64);
        }
        Self::from_words(rows, words)
    }

    /// `words` have no bit from `rows` on.
    pub(crate) fn from_words(rows: usize, words: Vec<u64>) -> Self {
        let count = ones(&words);
        Self {
            rows,
            form: Form::Bits(words, count),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.form {
            Form::List(list) => list.len(),
            Form::Bits(_, count) => *count,
        }
    }

    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        match &self.form {
            Form::List(list) => list.binary_search(&row).is_ok(),
            Form::Bits(words, _) => words
                .get(row as usize / 64)
                .is_some_and(|w| w >> (row % 64) & 1 == 1),
        }
    }

    /// Ascending.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.form {
            Form::List(list) => Box::new(list.iter().copied()),
            Form::Bits(words, _) => Box::new((0u32..).zip(words).flat_map(|(i, word)| {
                let mut left = *word;
                from_fn(move || {
                    let bit = left.trailing_zeros();
                    (bit < 64).then(|| {
                        left &= left - 1;
                        i * 64 + bit
                    })
                })
            })),
        }
    }

    /// The first member from `row` on.
    pub(crate) fn next_from(&self, row: u32) -> Option<u32> {
        match &self.form {
            Form::List(list) => list.get(list.partition_point(|r| *r < row)).copied(),
            Form::Bits(words, _) => {
                let first = row as usize / 64;
                let head = words.get(first)? & (u64::MAX << (row % 64));
                once(head)
                    .chain(words[first + 1..].iter().copied())
                    .zip(first as u32..)
                    .find(|(word, _)| *word != 0)
                    .map(|(word, i)| i * 64 + word.trailing_zeros())
            }
        }
    }

    /// Up to about `count` members, spread over all of them.
    pub(crate) fn sample(&self, count: usize) -> Vec<u32> {
        match &self.form {
            Form::List(list) => list
                .iter()
                .step_by(list.len().div_ceil(count.max(1)).max(1))
                .copied()
                .collect(),
            // The next one after each of evenly spread places.
            Form::Bits(..) => {
                let places = (0..count).map(|i| (i * self.rows / count.max(1)) as u32);
                let mut rows: Vec<u32> = places.filter_map(|row| self.next_from(row)).collect();
                rows.dedup();
                rows
            }
        }
    }

    /// The same set, as bits: the form that answers [`Self::contains`] fastest.
    pub(crate) fn into_bits(self) -> Self {
        let count = self.len();
        Self {
            rows: self.rows,
            form: Form::Bits(self.into_words(), count),
        }
    }

    fn into_words(self) -> Vec<u64> {
        match self.form {
            Form::Bits(words, _) => words,
            Form::List(list) => {
                let mut words = vec![0u64; words_for(self.rows)];
                for row in list {
                    words[row as usize / 64] |= 1 << (row % 64);
                }
                words
            }
        }
    }

    /// What is in both.
    pub(crate) fn intersect(self, other: &Self) -> Self {
        let rows = self.rows;
        match (self.form, &other.form) {
            (Form::List(mut list), _) => {
                list.retain(|row| other.contains(*row));
                Self {
                    rows,
                    form: Form::List(list),
                }
            }
            (form, Form::List(list)) => {
                let own = Self { rows, form };
                let list = list.iter().copied().filter(|r| own.contains(*r)).collect();
                Self {
                    rows,
                    form: Form::List(list),
                }
            }
            (Form::Bits(mut words, _), Form::Bits(others, _)) => {
                for (word, other) in words.iter_mut().zip(others) {
                    *word &= other;
                }
                Self::from_words(rows, words)
            }
        }
    }

    /// What is in either.
    pub(crate) fn union(self, other: &Self) -> Self {
        let rows = self.rows;
        if let (Form::List(a), Form::List(b)) = (&self.form, &other.form) {
            let members = a.iter().chain(b).copied();
            return Self::collect(rows, a.len() + b.len(), members);
        }
        let mut words = self.into_words();
        match &other.form {
            Form::List(list) => {
                for row in list {
                    words[*row as usize / 64] |= 1 << (row % 64);
                }
            }
            Form::Bits(others, _) => {
                for (word, other) in words.iter_mut().zip(others) {
                    *word |= other;
                }
            }
        }
        Self::from_words(rows, words)
    }

    /// What is not in it.
    pub(crate) fn complement(self) -> Self {
        let rows = self.rows;
        let mut words = self.into_words();
        for word in &mut words {
            *word = !*word;
        }
        if let Some(last) = words.last_mut()
            && !rows.is_multiple_of(64)
        {
            *last &= (1 << (rows % 64)) - 1;
        }
        Self::from_words(rows, words)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn set() -> impl Strategy<Value = (usize, Vec<u32>, Vec<u32>)> {
        (1usize..3000).prop_flat_map(|rows| {
            let members = || {
                prop_oneof![
                    proptest::collection::vec(0..rows as u32, 0..8),
                    proptest::collection::vec(0..rows as u32, 0..rows)
                ]
            };
            (Just(rows), members(), members())
        })
    }

    proptest! {
        /// Against the standard library's sets.
        #[test]
        fn sets_are_sets((rows, a, b) in set(), from in 0u32..3000) {
            let made = |m: &[u32]| RowSet::collect(rows, m.len(), m.iter().copied());
            let (x, y): (BTreeSet<u32>, BTreeSet<u32>) = (a.iter().copied().collect(), b.iter().copied().collect());
            let check = |set: RowSet, expected: BTreeSet<u32>| {
                let listed: Vec<u32> = expected.iter().copied().collect();
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), listed.clone());
                prop_assert_eq!(set.len(), expected.len());
                prop_assert!((0..rows as u32 + 70).all(|r| set.contains(r) == expected.contains(&r)));
                prop_assert_eq!(set.next_from(from), expected.range(from..).next().copied());
                prop_assert_eq!(set.clone().into_bits().iter().collect::<Vec<_>>(), listed);
                Ok(())
            };
            check(made(&a), x.clone())?;
            check(made(&a).intersect(&made(&b)), x.intersection(&y).copied().collect())?;
            check(made(&a).union(&made(&b)), x.union(&y).copied().collect())?;
            check(made(&a).complement(), (0..rows as u32).filter(|r| !x.contains(r)).collect())?;
            check(RowSet::all(rows), (0..rows as u32).collect())?;
            let sample = made(&a).sample(10);
            prop_assert!(sample.iter().all(|r| x.contains(r)) && sample.is_empty() == x.is_empty());
            prop_assert!(sample.is_sorted_by(|a, b| a < b) && sample.len() <= 10);
        }
    }
}
