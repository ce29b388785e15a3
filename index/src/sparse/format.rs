//! The bytes of a sparse index.
//!
//! Little-endian words of four bytes, used where they lie; no alignment is needed. Version 1:
//!
//! ```text
//! header   magic "brsparse", version, vectors, terms T, postings P, lowest value (f32), 0 ...     16 words
//! terms    ids, ascending                                                                         T
//! starts   where each term's postings begin; at the end P                                         T + 1
//! maxima   the highest value of each term (f32)                                                   T
//! blocks   the highest value of each 128 postings, whichever terms they belong to (f32)           ceil(P / 128)
//! rows     of each posting, ascending within a term                                               P
//! values   of each posting (f32)                                                                  P
//! ```
//!
//! A posting is 8 bytes, a block 4, a term 12.

use super::error::SparseError;
use std::ops::Range;

/// A word as it is stored.
pub(super) type Word = [u8; 4];

/// Postings that share a maximum.
pub(super) const BLOCK: usize = 128;

pub(super) const MAGIC: [u8; 8] = *b"brsparse";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_WORDS: usize = 16;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    /// Vectors in the index, empty ones not counted.
    pub(super) vectors: u32,
    pub(super) terms: u32,
    pub(super) postings: u32,
    /// The lowest of all values; infinite if there is none.
    pub(super) lowest: f32,
}

impl Header {
    pub(super) fn encode(self) -> [Word; HEADER_WORDS] {
        let mut words = [[0; 4]; HEADER_WORDS];
        let [a, b, c, d, e, f, g, h] = MAGIC;
        words[0] = [a, b, c, d];
        words[1] = [e, f, g, h];
        words[2] = VERSION.to_le_bytes();
        words[3] = self.vectors.to_le_bytes();
        words[4] = self.terms.to_le_bytes();
        words[5] = self.postings.to_le_bytes();
        words[6] = self.lowest.to_le_bytes();
        words
    }

    pub(super) fn decode(words: &[Word]) -> Result<Self, SparseError> {
        let Some(header) = words.first_chunk::<HEADER_WORDS>() else {
            return Err(damaged("it is shorter than its header"));
        };
        if [header[0], header[1]].as_flattened() != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let found = int(header[2]);
        if found != VERSION {
            return Err(SparseError::UnknownFormat {
                found,
                supported: VERSION,
            });
        }
        Ok(Self {
            vectors: int(header[3]),
            terms: int(header[4]),
            postings: int(header[5]),
            lowest: float(header[6]),
        })
    }
}

/// Where the parts lie, in words.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) terms: Range<usize>,
    pub(super) starts: Range<usize>,
    pub(super) maxima: Range<usize>,
    pub(super) blocks: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) values: Range<usize>,
}

impl Layout {
    pub(super) fn of(header: Header) -> Self {
        let (terms, postings) = (header.terms as usize, header.postings as usize);
        let mut end = HEADER_WORDS;
        let mut part = |words: usize| {
            let start = end;
            end += words;
            start..end
        };
        Self {
            terms: part(terms),
            starts: part(terms + 1),
            maxima: part(terms),
            blocks: part(postings.div_ceil(BLOCK)),
            rows: part(postings),
            values: part(postings),
        }
    }

    /// Words of the whole index.
    pub(super) fn words(&self) -> usize {
        self.values.end
    }
}

#[inline]
pub(super) fn int(word: Word) -> u32 {
    u32::from_le_bytes(word)
}

#[inline]
pub(super) fn float(word: Word) -> f32 {
    f32::from_le_bytes(word)
}

pub(super) fn damaged(reason: impl Into<String>) -> SparseError {
    SparseError::Damaged(reason.into())
}
