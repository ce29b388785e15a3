//! A query in the form that the kernels take.
#![allow(unsafe_code)]

use crate::kernels::vectorized;

/// 64 bytes that start at a multiple of 64: no load of a query crosses a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Line([u8; 64]);

// SAFETY: all zeros are a value of an array of bytes.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: an array of bytes without padding (64 bytes, aligned to 64), valid for every bit pattern, Copy and 'static.
unsafe impl bytemuck::Pod for Line {}

/// A query for the codes of one codec. An empty one (`default()`) is only good for [`super::Codec::query_into`].
#[derive(Clone, Debug, Default)]
pub struct CodeQuery {
    /// What the kernels take: signed or unsigned bytes, or planes of bits.
    lines: Vec<Line>,
    /// How many of these bytes count.
    len: usize,
    /// Room for the vector, centred and rotated.
    pub(super) values: Vec<f32>,
    /// Room for its numbers before they become planes.
    pub(super) numbers: Vec<u8>,
    /// What does not depend on the row.
    pub(super) base: f32,
    /// Per unit of `times * n - offset`, where `n` is what the kernel finds for a row.
    pub(super) scale: f32,
    /// A small factor that keeps halves out of integers.
    pub(super) times: i32,
    /// See `scale`.
    pub(super) offset: i32,
}

impl CodeQuery {
    /// `len` zero bytes to be written.
    pub(super) fn reset(&mut self, len: usize) -> &mut [u8] {
        self.lines.clear();
        self.lines.resize(len.div_ceil(64), Line([0; 64]));
        self.len = len;
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..len]
    }

    #[inline]
    pub(super) fn unsigned(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    #[inline]
    pub(super) fn signed(&self) -> &[i8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// What a row adds, from what the kernel found, whose bits are in a float's place.
    #[inline]
    pub(super) fn term(&self, found: f32) -> f32 {
        let found = found.to_bits().cast_signed();
        // Wrapping: the result fits, an intermediate one need not.
        let units = found.wrapping_mul(self.times).wrapping_sub(self.offset);
        self.scale * units as f32
    }
}

/// Rounds to integers of at most `most`, up to 127, in magnitude, with one step for all. Returns the step, 0 if all are zero,
/// and the sum of the integers. `out` has at least as many places; the rest stays as it is.
pub(super) fn round_to(values: &[f32], most: i8, out: &mut [u8]) -> (f32, i32) {
    let largest = super::max_abs(values).min(f32::MAX);
    let step = largest / f32::from(most);
    let per_unit = 1.0 / step;
    if step == 0.0 || !per_unit.is_finite() {
        return (0.0, 0);
    }
    let most = i32::from(most);
    let half_up = most as f32 + 0.5;
    let mut sum = 0;
    vectorized(|| {
        for (out, x) in out.iter_mut().zip(values) {
            // Values are finite and at most `most` steps: truncation rounds a positive number down.
            let number = ((x * per_unit + half_up) as i32 - most).min(most);
            sum += number;
            *out = (number as i8).cast_unsigned();
        }
    });
    (step, sum)
}
