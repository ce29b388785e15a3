//! A query in the form that the kernels take.
#![allow(unsafe_code)]

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

/// Rounds to integers of at most `most` in magnitude, with one step for all; returns the step (0 if all are zero) and calls
/// `put(i, integer)`.
pub(super) fn round_to(values: &[f32], most: i32, mut put: impl FnMut(usize, i32)) -> f32 {
    let largest = super::max_abs(values).min(f32::MAX);
    let step = largest / most as f32;
    let per_unit = 1.0 / step;
    if step == 0.0 || !per_unit.is_finite() {
        return 0.0;
    }
    let half_up = most as f32 + 0.5;
    for (i, x) in values.iter().enumerate() {
        put(i, ((x * per_unit + half_up) as i32 - most).min(most));
    }
    step
}
