//! Distances between rows while a graph is built.
//!
//! The dot product is no distance: built with it, the graph would lead to long vectors only. Rows get one more component,
//! which brings all to the same length (Bachrach et al., 2014, doi:10.1145/2645710.2645741); queries have 0 there, so the
//! order of results is that of the dot product.

use crate::engine::distance::{distance, dot};
use crate::model::Distance;

use super::Rows;

/// The rows of a segment, as far from each other as their graph sees them.
pub(super) struct Space<'v> {
    rows: &'v Rows<'v>,
    /// The additional component of each row; empty unless the measure is the dot product.
    lift: Vec<f32>,
}

impl<'v> Space<'v> {
    pub(super) fn new(rows: &'v Rows<'v>) -> Self {
        let mut lift = Vec::new();
        if rows.measure == Distance::Dot {
            let squares = (0..rows.len() as u32).map(|row| dot(rows.row(row), rows.row(row)));
            let longest = squares.clone().fold(0.0, f32::max);
            // Lengths beyond 32 bits: the graph of the plain measure is all that can be had.
            if longest.is_finite() {
                lift = squares
                    .map(|square| (longest - square).max(0.0).sqrt())
                    .collect();
            }
        }
        Self { rows, lift }
    }

    /// Lower is nearer, any sign; never NaN.
    pub(super) fn between(&self, a: u32, b: u32) -> f32 {
        let distance = self.rows.to(self.rows.row(a), b);
        match self.lift.as_slice() {
            [] => distance,
            lift => distance - lift[a as usize] * lift[b as usize],
        }
    }

    /// Orders rows as [`Self::between`] does, from 0 on; never NaN. Between vectors of one length, as those of cosine
    /// collections and lifted ones are, that is the Euclidean distance.
    pub(super) fn apart(&self, a: u32, b: u32) -> f32 {
        let measure = match self.rows.measure {
            Distance::Manhattan => Distance::Manhattan,
            Distance::Cosine | Distance::Dot | Distance::Euclid => Distance::Euclid,
        };
        let apart = distance(measure, self.rows.row(a), self.rows.row(b));
        match self.lift.as_slice() {
            [] => apart,
            lift => apart + (lift[a as usize] - lift[b as usize]).powi(2),
        }
    }
}
