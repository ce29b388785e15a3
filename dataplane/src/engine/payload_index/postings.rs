//! For each of several keys, the rows that have it.
//!
//! ```text
//! counts  u32 per key: rows that have it
//! ends    u32 per key: where its rows end in `data`; they begin where those of the key before end
//! data    u32: ascending rows, or, where that is shorter, a bit a row in pairs of 32
//! ```

use super::image::{Image, ImageWriter, Section};
use super::row_set::{RowSet, words_for};

/// Sections of postings.
pub(super) const SECTIONS: usize = 3;

/// Numbers that a bit for each row takes.
fn bitmap_len(rows: usize) -> usize {
    2 * words_for(rows)
}

/// Adds the sections for the rows of each key, ascending.
///
/// # Errors
/// More than 2^32 numbers.
pub(super) fn write<'r>(
    writer: &mut ImageWriter,
    rows: usize,
    keys: impl Iterator<Item = &'r [u32]>,
) -> Result<(), String> {
    let (mut counts, mut ends, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for members in keys {
        if members.len() > bitmap_len(rows) {
            let start = data.len();
            data.resize(start + bitmap_len(rows), 0u32);
            for row in members {
                data[start + *row as usize / 32] |= 1 << (row % 32);
            }
        } else {
            data.extend_from_slice(members);
        }
        counts.push(members.len() as u32);
        ends.push(u32::try_from(data.len()).map_err(|_| "it is too large for one segment")?);
    }
    writer.add(&counts);
    writer.add(&ends);
    writer.add(&data);
    Ok(())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Postings {
    rows: usize,
    counts: Section<u32>,
    ends: Section<u32>,
    data: Section<u32>,
}

impl Postings {
    /// Checks the sections from `first` on.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(image: &Image, first: usize, rows: usize) -> Result<Self, String> {
        let own = Self {
            rows,
            counts: image.section(first)?,
            ends: image.section(first + 1)?,
            data: image.section(first + 2)?,
        };
        let (counts, ends) = (image.get(&own.counts), image.get(&own.ends));
        let data = image.get(&own.data);
        if counts.len() != ends.len() || ends.last().copied().unwrap_or(0) as usize != data.len() {
            return Err("its lists of rows do not fit each other".into());
        }
        let mut start = 0;
        for (count, end) in counts.iter().zip(ends) {
            let (count, end) = (*count as usize, *end as usize);
            let list = data
                .get(start..end)
                .filter(|list| list.len() == count.min(bitmap_len(rows)))
                .ok_or("a list of rows has another length")?;
            let fits = if count > bitmap_len(rows) {
                let ones: usize = list.iter().map(|w| w.count_ones() as usize).sum();
                let beyond = |(i, w): (usize, &u32)| match rows.saturating_sub(i * 32) {
                    left if left < 32 => w >> left != 0,
                    _ => false,
                };
                ones == count && !list.iter().enumerate().any(beyond)
            } else {
                list.is_sorted_by(|a, b| a < b) && list.last().is_none_or(|r| (*r as usize) < rows)
            };
            if !fits {
                return Err("a list of rows is not in order".into());
            }
            start = end;
        }
        Ok(own)
    }

    /// How many keys there are.
    pub(super) fn len(&self, image: &Image) -> usize {
        image.get(&self.counts).len()
    }

    /// How many rows have a key.
    pub(super) fn count(&self, image: &Image, key: usize) -> usize {
        image
            .get(&self.counts)
            .get(key)
            .copied()
            .unwrap_or_default() as usize
    }

    /// Rows that have a key.
    pub(super) fn rows(&self, image: &Image, key: usize) -> RowSet {
        match self.find(image, key) {
            List::Rows(list) => RowSet::collect(self.rows, list.len(), list.iter().copied()),
            List::Bits(pairs) => RowSet::from_words(self.rows, pairs.map(word).collect()),
        }
    }

    /// How many rows of `within` have a key.
    pub(super) fn count_within(&self, image: &Image, key: usize, within: &RowSet) -> usize {
        match self.find(image, key) {
            List::Rows(list) => list.iter().filter(|row| within.contains(**row)).count(),
            List::Bits(pairs) => RowSet::from_words(self.rows, pairs.map(word).collect())
                .intersect(within)
                .len(),
        }
    }

    /// Rows that have one of the keys.
    pub(super) fn union(&self, image: &Image, keys: &[u32]) -> RowSet {
        if let [key] = keys {
            return self.rows(image, *key as usize);
        }
        let total: usize = keys.iter().map(|k| self.count(image, *k as usize)).sum();
        if total <= super::row_set::list_limit(self.rows) {
            let rows = keys
                .iter()
                .flat_map(|key| match self.find(image, *key as usize) {
                    List::Rows(list) => list.iter().copied(),
                    List::Bits(_) => [].iter().copied(),
                });
            return RowSet::collect(self.rows, total, rows);
        }
        let mut words = vec![0u64; words_for(self.rows)];
        for key in keys {
            match self.find(image, *key as usize) {
                List::Rows(list) => {
                    for row in list {
                        words[*row as usize / 64] |= 1 << (row % 64);
                    }
                }
                List::Bits(pairs) => {
                    for (own, pair) in words.iter_mut().zip(pairs) {
                        *own |= word(pair);
                    }
                }
            }
        }
        RowSet::from_words(self.rows, words)
    }

    fn find<'i>(
        &self,
        image: &'i Image,
        key: usize,
    ) -> List<'i, impl Iterator<Item = &'i [u32; 2]>> {
        let ends = image.get(&self.ends);
        let start = match key {
            0 => 0,
            _ => ends.get(key - 1).copied().unwrap_or_default() as usize,
        };
        let end = ends.get(key).copied().unwrap_or_default() as usize;
        let list = image.get(&self.data).get(start..end).unwrap_or_default();
        if self.count(image, key) > bitmap_len(self.rows) {
            List::Bits(list.as_chunks::<2>().0.iter())
        } else {
            List::Rows(list)
        }
    }
}

fn word(pair: &[u32; 2]) -> u64 {
    u64::from(pair[0]) | u64::from(pair[1]) << 32
}

/// Rows as they are stored.
enum List<'i, B> {
    Rows(&'i [u32]),
    Bits(B),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_back_under_their_keys(
            rows in 1usize..700,
            keys in proptest::collection::vec(proptest::collection::btree_set(0u32..700, 0..700), 0..5),
        ) {
            let keys: Vec<Vec<u32>> =
                keys.into_iter().map(|k| k.into_iter().filter(|r| (*r as usize) < rows).collect()).collect();
            let mut writer = ImageWriter::default();
            write(&mut writer, rows, keys.iter().map(Vec::as_slice)).unwrap();
            let image = Image::open(writer.finish(), SECTIONS).unwrap();
            let postings = Postings::open(&image, 0, rows).unwrap();
            prop_assert_eq!(postings.len(&image), keys.len());
            for (i, key) in keys.iter().enumerate() {
                prop_assert_eq!(postings.count(&image, i), key.len());
                prop_assert_eq!(&postings.rows(&image, i).iter().collect::<Vec<_>>(), key);
            }
            let even = RowSet::collect(rows, rows, (0..rows as u32).step_by(2));
            for (i, key) in keys.iter().enumerate() {
                let expected = key.iter().filter(|row| **row % 2 == 0).count();
                prop_assert_eq!(postings.count_within(&image, i, &even), expected);
            }
            let all: Vec<u32> = (0..keys.len() as u32).collect();
            let mut union: Vec<u32> = keys.concat();
            union.sort_unstable();
            union.dedup();
            prop_assert_eq!(postings.union(&image, &all).iter().collect::<Vec<_>>(), union);
        }
    }
}
