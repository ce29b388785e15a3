//! Builds the bytes of a sparse index.

use super::error::SparseError;
use super::format::{BLOCK, Header, Layout};
use super::vector::SparseVector;
use std::collections::HashMap;

/// Collects the vectors of a segment, row by row.
#[derive(Debug, Default)]
pub struct SparseBuilder {
    postings: HashMap<u32, Vec<(u32, f32)>>,
    count: u64,
    vectors: u32,
    last: Option<u32>,
}

impl SparseBuilder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the vector of a row. Rows come in ascending order; those without a vector are left out. An empty vector is never
    /// found and not counted.
    ///
    /// # Errors
    /// A row that is not above the one before.
    pub fn push(&mut self, row: u32, vector: &SparseVector) -> Result<(), SparseError> {
        if let Some(previous) = self.last.filter(|previous| *previous >= row) {
            return Err(SparseError::RowOrder { row, previous });
        }
        self.last = Some(row);
        if vector.is_empty() {
            return Ok(());
        }
        for (term, value) in vector.iter() {
            self.postings.entry(term).or_default().push((row, value));
        }
        self.count += vector.len() as u64;
        self.vectors += 1;
        Ok(())
    }

    /// The bytes of the index; `format.rs` says what they are.
    ///
    /// # Errors
    /// More values than offsets can count.
    pub fn finish(self) -> Result<Vec<u8>, SparseError> {
        let mut lists: Vec<(u32, Vec<(u32, f32)>)> = self.postings.into_iter().collect();
        lists.sort_unstable_by_key(|(term, _)| *term);
        let all = || lists.iter().flat_map(|(_, list)| list);
        let header = Header {
            vectors: self.vectors,
            terms: u32::try_from(lists.len()).map_err(|_| SparseError::TooLarge)?,
            postings: u32::try_from(self.count).map_err(|_| SparseError::TooLarge)?,
            lowest: all().fold(f32::INFINITY, |low, (_, value)| low.min(*value)),
        };

        let mut bytes = Vec::with_capacity(Layout::of(header).words() * 4);
        bytes.extend_from_slice(header.encode().as_flattened());
        let mut put = |word: [u8; 4]| bytes.extend_from_slice(&word);
        lists.iter().for_each(|(term, _)| put(term.to_le_bytes()));
        let mut start = 0u32;
        put(start.to_le_bytes());
        for (_, list) in &lists {
            // Cannot overflow: the sum of the lengths is `header.postings`.
            start += list.len() as u32;
            put(start.to_le_bytes());
        }
        for (_, list) in &lists {
            put(highest(list.iter().map(|(_, value)| *value)).to_le_bytes());
        }
        let mut values = all().map(|(_, value)| *value);
        for _ in 0..(header.postings as usize).div_ceil(BLOCK) {
            put(highest(values.by_ref().take(BLOCK)).to_le_bytes());
        }
        all().for_each(|(row, _)| put(row.to_le_bytes()));
        all().for_each(|(_, value)| put(value.to_le_bytes()));
        Ok(bytes)
    }
}

fn highest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, f32::max)
}
