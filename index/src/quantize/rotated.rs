//! Codes of rotated vectors: RaBitQ with 1 bit (arXiv:2405.12497) and, extended, with 4 (arXiv:2409.09913).
//!
//! With m the mean, v' = v - m, and R the rotation, a row keeps a direction c near R v', as integers, and
//! `f = |v'|^2 / <R v', c>`. Then `f <R q', c>` estimates `<q', v'>`: exact for q' along v', unbiased over rotations, with an
//! error of `O(1 / sqrt(dimensions))` of the lengths. Rows are padded with dimensions that carry a share of the vector: what
//! aligned rows need anyway makes codes more exact.
//!
//! | distance | base (query) | added (row) | scale (row) |
//! |---|---|---|---|
//! | Euclid: `abs(q')^2 + abs(v')^2 - 2 <q', v'>` | `abs(q')^2` | `abs(v')^2` | `f` |
//! | dot: `-(<q', v'> + <q, m> + <m, v'>)` | `-<q, m>` | `-<m, v'>` | `f` |

use super::query::{CodeQuery, round_to};
use super::rotation::Rotation;
use super::{finite, max_abs};
use crate::kernels::{kernels, vectorized};
use crate::measure::Measure;

/// Bits of a number of the query where rows have one. For normal numbers the step is then about a tenth of their deviation,
/// whose rounding is an error of 0.03 of it, against 0.6 for the signs of the row.
const PLANES: usize = 6;

/// Steps of the 4-bit grid that are tried per row, in root mean squares of its numbers; for normal ones the best is 0.335.
const STEPS: [f32; 7] = [0.25, 0.28, 0.31, 0.335, 0.36, 0.39, 0.43];

#[derive(Clone, Debug)]
pub(super) struct Rotated {
    bits: u32,
    measure: Measure,
    mean: Vec<f32>,
    rotation: Rotation,
}

impl Rotated {
    pub(super) fn new(bits: u32, measure: Measure, mean: &[f32], seed: u64) -> Self {
        let bytes = (mean.len() * bits as usize).div_ceil(8);
        // A code below 64 bytes never crosses a cache line; none is below 8.
        let stride = if bits == 1 && bytes <= 32 {
            bytes.next_power_of_two().max(8)
        } else {
            bytes.next_multiple_of(64)
        };
        let rotation = Rotation::new(stride * 8 / bits as usize, seed);
        Self {
            bits,
            measure,
            mean: mean.to_vec(),
            rotation,
        }
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    pub(super) fn seed(&self) -> u64 {
        self.rotation.seed()
    }

    pub(super) fn stride(&self) -> usize {
        self.rotation.dim() * self.bits as usize / 8
    }

    /// Puts R v' into `values`, divided by what is returned, the largest magnitude of v' (0 if v' is zero): sums of squares of
    /// the numbers cannot overflow.
    fn rotate(&self, vector: &[f32], values: &mut Vec<f32>) -> f32 {
        values.clear();
        values.extend(
            vector
                .iter()
                .zip(&self.mean)
                .map(|(x, mean)| finite(x - mean)),
        );
        values.resize(self.rotation.dim(), 0.0);
        let size = max_abs(values);
        if size == 0.0 {
            return 0.0;
        }
        for x in values.iter_mut() {
            *x /= size;
        }
        self.rotation.apply(values);
        size
    }

    pub(super) fn encode(
        &self,
        vector: &[f32],
        code: &mut [u8],
        factors: &mut [f32],
        values: &mut Vec<f32>,
    ) {
        code.fill(0);
        let size = self.rotate(vector, values);
        let (added, scale) = if size == 0.0 {
            (0.0, 0.0)
        } else {
            let square = sum(values, |x| x * x);
            let along = if self.bits == 1 {
                signs(values, code)
            } else {
                vectorized(|| nibbles(values, (square / values.len() as f32).sqrt(), code))
            };
            let added = match self.measure {
                Measure::Euclid => size * size * square,
                _ => -self.times_mean(vector, true),
            };
            (added, size * (square / along))
        };
        factors.copy_from_slice(&[finite(added), finite(scale)]);
    }

    /// `<m, v>`, or `<m, v'>`.
    fn times_mean(&self, vector: &[f32], centred: bool) -> f32 {
        let take = |mean: f64| if centred { mean } else { 0.0 };
        let pairs = vector
            .iter()
            .zip(&self.mean)
            .map(|(x, mean)| (f64::from(*x), f64::from(*mean)));
        finite(pairs.map(|(x, mean)| (x - take(mean)) * mean).sum::<f64>() as f32)
    }

    pub(super) fn query(&self, vector: &[f32], query: &mut CodeQuery) {
        let mut values = std::mem::take(&mut query.values);
        let size = self.rotate(vector, &mut values);
        if size == 0.0 {
            values.fill(0.0);
        }
        let (base, factor) = match self.measure {
            Measure::Euclid => (size * size * sum(&values, |x| x * x), -2.0),
            _ => (-self.times_mean(vector, false), -1.0),
        };
        let (step, offset) = if self.bits == 1 {
            planes(&values, query)
        } else {
            bytes(&values, query)
        };
        query.base = finite(base);
        query.offset = offset;
        // Bits stand for -1 and 1, nibbles for odd halves from -7.5 to 7.5: both are `(2 n - offset)`, the latter in halves.
        query.times = 2;
        query.scale = finite(factor * if self.bits == 1 { 1.0 } else { 0.5 } * step * size);
        query.values = values;
    }

    #[inline]
    pub(super) fn compare(&self, query: &CodeQuery, codes: &[u8], rows: &[u32], out: &mut [i32]) {
        let (set, stride) = (kernels(), self.stride());
        if self.bits == 1 {
            (set.bits)(query.unsigned(), codes, stride, rows, out);
        } else {
            (set.dot4)(query.signed(), codes, stride, rows, out);
        }
    }
}

/// The sum of `term` over numbers, in parts for the compiler to vectorise; all lengths here are multiples of 16.
#[inline(always)]
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0f32; 16];
    for chunk in values.as_chunks::<16>().0 {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *part += term(*x);
        }
    }
    parts.iter().sum()
}

/// Writes the signs, bit i of the code for number i; returns `<values, c>`.
fn signs(values: &[f32], code: &mut [u8]) -> f32 {
    for (code, eight) in code.iter_mut().zip(values.as_chunks::<8>().0) {
        *code = eight
            .iter()
            .enumerate()
            .fold(0, |code, (i, x)| code | u8::from(*x > 0.0) << i);
    }
    sum(values, f32::abs)
}

#[inline(always)]
fn cell(x: f32, per_step: f32) -> f32 {
    // Truncation is rounding down here: the sum is clamped to be positive.
    ((x * per_step + 8.0).clamp(0.0, 15.0) as i32) as f32
}

/// Writes 4-bit cells of the step whose direction is nearest; returns `<values, c>`, c in cells from -7.5 to 7.5.
#[inline(always)]
fn nibbles(values: &[f32], root_mean_square: f32, code: &mut [u8]) -> f32 {
    let along = |per_step: f32| sum(values, |x| x * (cell(x, per_step) - 7.5));
    let (mut best, mut best_cosine, mut best_along) = (0.0, -1.0, 0.0);
    for step in STEPS {
        let per_step = 1.0 / (step * root_mean_square);
        let along = along(per_step);
        let length = sum(values, |x| {
            let c = cell(x, per_step) - 7.5;
            c * c
        });
        let cosine = along / length.sqrt();
        if cosine > best_cosine {
            (best, best_cosine, best_along) = (per_step, cosine, along);
        }
    }
    let (low, high) = values.split_at(code.len());
    for ((code, low), high) in code.iter_mut().zip(low).zip(high) {
        *code = cell(*low, best) as u8 | (cell(*high, best) as u8) << 4;
    }
    best_along
}

/// Writes a query of signed bytes; returns its step, and what to take off twice the kernel's sum.
fn bytes(values: &[f32], query: &mut CodeQuery) -> (f32, i32) {
    let (step, sum) = round_to(values, 127, query.reset(values.len()));
    (step, 15 * sum)
}

/// Writes a query of planes of bits; returns its step, and what to take off twice the kernel's sum.
fn planes(values: &[f32], query: &mut CodeQuery) -> (f32, i32) {
    let stride = values.len() / 8;
    let mut numbers = std::mem::take(&mut query.numbers);
    numbers.clear();
    numbers.resize(values.len(), 0);
    let (step, sum) = round_to(values, (1 << (PLANES - 1)) - 1, &mut numbers);
    let bits = query.reset(PLANES * stride);
    for (i, eight) in numbers.as_chunks::<8>().0.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        for plane in 0..PLANES {
            bits[plane * stride + i] = lowest_bits(eight >> plane);
        }
    }
    query.numbers = numbers;
    (step, sum)
}

/// The lowest bit of each byte, as bit i for byte i: the product moves bit `8 i` to bit `56 + i`, and no two to one place.
fn lowest_bits(eight: u64) -> u8 {
    ((eight & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}
