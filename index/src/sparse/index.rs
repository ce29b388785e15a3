//! An inverted index: for each term the rows that have it.

use super::error::SparseError;
use super::format::{BLOCK, Header, Layout, Word, damaged, float, int};
use std::ops::Range;

/// The sparse vectors of a segment's rows by term, over bytes that [`SparseBuilder`](super::SparseBuilder) made: owned, or
/// mapped from a file.
///
/// The bytes are used as they are. Offsets are checked when the index is opened; a search over bytes that are damaged
/// elsewhere, which the checksum of their file should have told, gives wrong results but reads nothing out of bounds.
#[derive(Debug)]
pub struct SparseIndex<B> {
    bytes: B,
    header: Header,
    layout: Layout,
}

/// The postings of one term.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postings<'a> {
    pub(super) rows: &'a [Word],
    pub(super) values: &'a [Word],
    /// Bounds of the blocks that the postings lie in.
    blocks: &'a [Word],
    /// Where in the first of these blocks the postings begin.
    offset: usize,
    /// No value is above this.
    pub(super) highest: f32,
}

impl<B: AsRef<[u8]>> SparseIndex<B> {
    /// Checks what the bytes say about themselves. Reads the header, the terms and their offsets.
    ///
    /// # Errors
    /// Bytes that are no sparse index, of another version, of another length than they should have, or with offsets out of order.
    pub fn open(bytes: B) -> Result<Self, SparseError> {
        let (words, rest) = bytes.as_ref().as_chunks::<4>();
        let header = Header::decode(words)?;
        let layout = Layout::of(header);
        if words.len() != layout.words() || !rest.is_empty() {
            return Err(damaged(format!(
                "its {} terms and {} values need {} bytes, it has {}",
                header.terms,
                header.postings,
                layout.words() * 4,
                bytes.as_ref().len()
            )));
        }
        if !words[layout.terms.clone()].is_sorted_by(|a, b| int(*a) < int(*b)) {
            return Err(damaged("its terms are not in order"));
        }
        let starts = &words[layout.starts.clone()];
        let ends = starts.first().zip(starts.last());
        if ends.is_none_or(|(first, last)| int(*first) != 0 || int(*last) != header.postings)
            || !starts.is_sorted_by(|a, b| int(*a) <= int(*b))
        {
            return Err(damaged("the offsets of its terms are not in order"));
        }
        Ok(Self {
            bytes,
            header,
            layout,
        })
    }

    /// How many rows have a vector that is not empty.
    pub fn vectors(&self) -> u32 {
        self.header.vectors
    }

    /// How many rows have this term.
    pub fn document_frequency(&self, term: u32) -> u32 {
        self.find(term).map_or(0, |(_, range)| range.len() as u32)
    }

    /// Bytes of the index, wherever they are.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Whether a value below zero is stored.
    pub(super) fn has_negative(&self) -> bool {
        self.header.lowest < 0.0
    }

    pub(super) fn postings(&self, term: u32) -> Option<Postings<'_>> {
        let (at, range) = self.find(term)?;
        let first = range.start / BLOCK;
        Some(Postings {
            rows: self.part(&self.layout.rows).get(range.clone())?,
            values: self.part(&self.layout.values).get(range.clone())?,
            blocks: self
                .part(&self.layout.blocks)
                .get(first..range.end.div_ceil(BLOCK))?,
            offset: range.start - first * BLOCK,
            highest: float(*self.part(&self.layout.maxima).get(at)?),
        })
    }

    /// Where the term is among the terms, and which of the postings are its own.
    fn find(&self, term: u32) -> Option<(usize, Range<usize>)> {
        let terms = self.part(&self.layout.terms);
        let at = terms.binary_search_by_key(&term, |t| int(*t)).ok()?;
        let starts = self.part(&self.layout.starts);
        let range = int(*starts.get(at)?) as usize..int(*starts.get(at + 1)?) as usize;
        Some((at, range))
    }

    fn part(&self, range: &Range<usize>) -> &[Word] {
        let (words, _) = self.bytes.as_ref().as_chunks::<4>();
        words.get(range.clone()).unwrap_or_default()
    }
}

impl Postings<'_> {
    /// The first posting from `from` on whose row is not below `row`.
    ///
    /// Looks at distances 1, 2, 4 ... and then between: cheap where the next row is near, as it mostly is.
    pub(super) fn seek(&self, from: usize, row: u32) -> usize {
        let rows = self.rows.get(from..).unwrap_or_default();
        let below = |at: usize| rows.get(at).is_some_and(|r| int(*r) < row);
        if !below(0) {
            return from;
        }
        let mut step = 1;
        while below(step) {
            step *= 2;
        }
        let (low, high) = (step / 2, step.min(rows.len()));
        from + low + rows[low..high].partition_point(|r| int(*r) < row)
    }

    /// No value of the postings `range` is above this.
    pub(super) fn highest_of(&self, range: Range<usize>) -> f32 {
        let (first, end) = (
            (self.offset + range.start) / BLOCK,
            (self.offset + range.end).div_ceil(BLOCK),
        );
        self.blocks
            .get(first..end)
            .unwrap_or_default()
            .iter()
            .fold(f32::NEG_INFINITY, |high, block| high.max(float(*block)))
            .min(self.highest)
    }
}
