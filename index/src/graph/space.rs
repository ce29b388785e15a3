//! Exact distances between rows while a graph is built.
//!
//! The dot product is no distance: built with it, the graph would lead to long vectors only. Rows get one more component,
//! which brings all to the same length (Bachrach et al., 2014, doi:10.1145/2645710.2645741); queries have 0 there, so the
//! order of results is that of the dot product.

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
    /// The additional component of each row; empty unless the measure is the dot product.
    lift: Vec<f32>,
}

impl<'v> Space<'v> {
    pub(crate) fn new(vectors: &'v Vectors, measure: Measure) -> Self {
        let mut lift = Vec::new();
        let pair = kernels().pair(measure);
        if measure == Measure::Dot {
            let square = |row| -pair(vectors.padded(row), vectors.padded(row));
            let squares = (0..vectors.len() as u32).map(square);
            let longest = squares.clone().fold(0.0, f32::max);
            // Lengths beyond 32 bits: the graph of the plain measure is all that can be had.
            if longest.is_finite() {
                lift = squares
                    .map(|square| (longest - square).max(0.0).sqrt())
                    .collect();
            }
        }
        Self {
            vectors,
            measure,
            rows: kernels().rows(measure),
            pair,
            lift,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.vectors.len()
    }

    /// Takes the lifts of `row` and `others` into account in distances that were computed without.
    pub(crate) fn lift(&self, row: u32, others: &[u32], distances: &mut [f32]) {
        if let [_, ..] = self.lift.as_slice() {
            let own = self.lift[row as usize];
            for (other, distance) in others.iter().zip(distances) {
                *distance -= own * self.lift[*other as usize];
            }
        }
    }

    /// Lower is nearer, any sign; never NaN.
    pub(crate) fn between(&self, a: u32, b: u32) -> f32 {
        let mut distance = [(self.pair)(self.vectors.padded(a), self.vectors.padded(b))];
        self.lift(a, &[b], &mut distance);
        distance[0]
    }

    /// [`Self::between`] for several rows.
    pub(crate) fn between_rows(&self, row: u32, others: &[u32], out: &mut [f32]) {
        let (floats, stride) = (self.vectors.floats(), self.vectors.stride());
        (self.rows)(self.vectors.padded(row), floats, stride, others, out);
        self.lift(row, others, out);
    }

    /// Orders rows as [`Self::between`] does, from 0 on; never NaN. Between vectors of one length, as those of cosine
    /// collections and lifted ones are, that is the Euclidean distance.
    pub(crate) fn apart(&self, a: u32, b: u32) -> f32 {
        let measure = match self.measure {
            Measure::Manhattan => Measure::Manhattan,
            Measure::Cosine | Measure::Dot | Measure::Euclid => Measure::Euclid,
        };
        let (a_row, b_row) = (self.vectors.padded(a), self.vectors.padded(b));
        let apart = kernels().pair(measure)(a_row, b_row);
        match self.lift.as_slice() {
            [] => apart,
            lift => apart + (lift[a as usize] - lift[b as usize]).powi(2),
        }
    }
}

/// Exact distances from a query.
pub(crate) struct Exact<'v> {
    floats: &'v [f32],
    stride: usize,
    rows: FloatRows,
    /// Padded as rows are.
    query: &'v [f32],
}

impl<'v> Exact<'v> {
    /// `query` is padded as rows are.
    pub(crate) fn new(vectors: &'v Vectors, measure: Measure, query: &'v [f32]) -> Self {
        Self {
            floats: vectors.floats(),
            stride: vectors.stride(),
            rows: kernels().rows(measure),
            query,
        }
    }
}

impl Scorer for Exact<'_> {
    #[inline]
    fn distances(&self, rows: &[u32], out: &mut [f32]) {
        (self.rows)(self.query, self.floats, self.stride, rows, out);
    }
}
