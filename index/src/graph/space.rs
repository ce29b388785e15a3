//! Exact distances between rows while a graph is built.
//!
//! With the dot product the graph is one of inner products (ip-NSW: Morozov and Babenko, 2018), as hnswlib builds it. Bringing
//! all rows to one length by one more component (Bachrach et al., 2014, doi:10.1145/2645710.2645741) was tried: long rows are
//! then near to long rows only, searches begin among short ones, and where a few rows are much longer than the rest nearly
//! no answer is found (recall 0.16 instead of 0.96).

use std::cell::RefCell;

use crate::kernels::{FloatPair, FloatRows, kernels};
use crate::measure::Measure;
use crate::vectors::Vectors;

use super::walk::Scorer;

/// The rows of a segment, as far from each other as their graph sees them.
pub(crate) struct Space<'v> {
    pub(crate) vectors: &'v Vectors,
    pub(crate) measure: Measure,
    rows: FloatRows,
    pair: FloatPair,
}

impl<'v> Space<'v> {
    pub(crate) fn new(vectors: &'v Vectors, measure: Measure) -> Self {
        Self {
            vectors,
            measure,
            rows: kernels().rows(measure),
            pair: kernels().pair(measure),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.vectors.len()
    }

    /// Lower is nearer, any sign; never NaN.
    pub(crate) fn between(&self, a: u32, b: u32) -> f32 {
        (self.pair)(self.vectors.padded(a), self.vectors.padded(b))
    }

    /// [`Self::between`] for several rows.
    pub(crate) fn between_rows(&self, row: u32, others: &[u32], out: &mut [f32]) {
        let (floats, stride) = (self.vectors.floats(), self.vectors.stride());
        (self.rows)(self.vectors.padded(row), floats, stride, others, out);
    }
}

/// Exact distances from a query.
pub(crate) struct Exact<'v> {
    floats: &'v [f32],
    stride: usize,
    rows: FloatRows,
    /// Padded as rows are.
    query: &'v [f32],
    /// Rows that are not in memory, and where they are copied to.
    paged: Option<(&'v Vectors, RefCell<Gathered>)>,
}

/// Copies of some rows, and their numbers in it.
#[derive(Default)]
struct Gathered {
    floats: Vec<f32>,
    numbers: Vec<u32>,
}

impl<'v> Exact<'v> {
    /// `query` is padded as rows are.
    pub(crate) fn new(vectors: &'v Vectors, measure: Measure, query: &'v [f32]) -> Self {
        Self {
            floats: vectors.floats(),
            stride: vectors.stride(),
            rows: kernels().rows(measure),
            query,
            paged: vectors.is_paged().then(|| (vectors, RefCell::default())),
        }
    }

    #[cold]
    fn gather(&self, vectors: &Vectors, gathered: &mut Gathered, rows: &[u32], out: &mut [f32]) {
        let Gathered { floats, numbers } = gathered;
        floats.resize(rows.len() * self.stride, 0.0);
        for (row, place) in rows.iter().zip(floats.chunks_mut(self.stride)) {
            vectors.read_rows(*row as usize, place);
        }
        numbers.clear();
        numbers.extend(0..rows.len() as u32);
        (self.rows)(self.query, floats, self.stride, numbers, out);
    }
}

impl Scorer for Exact<'_> {
    #[inline]
    fn distances(&self, rows: &[u32], out: &mut [f32]) {
        if let Some((vectors, gathered)) = &self.paged {
            return self.gather(vectors, &mut gathered.borrow_mut(), rows, out);
        }
        (self.rows)(self.query, self.floats, self.stride, rows, out);
    }
}
