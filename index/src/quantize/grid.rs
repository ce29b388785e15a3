//! One grid for all dimensions and rows, around the mean: 8 bits for every measure, 4 bits for Manhattan.

use super::finite;
use super::query::{CodeQuery, round_to};
use crate::kernels::kernels;
use crate::measure::Measure;

/// How many numbers of the sample decide on the step, about.
const NUMBERS_TRIED: usize = 1 << 17;
/// Steps tried: one for the largest magnitude, and these, each `SMALLER` times the one before, from `FIRST` times the median
/// of the vectors' largest magnitudes to a twentieth of it.
const STEPS_TRIED: i32 = 32;
const SMALLER: f32 = 0.85;
const FIRST: f32 = 8.0;

#[derive(Clone, Debug)]
pub(super) struct Grid {
    bits: u32,
    measure: Measure,
    mean: Vec<f32>,
    step: f32,
}

impl Grid {
    pub(super) fn new(bits: u32, measure: Measure, mean: &[f32], step: f32) -> Self {
        Self {
            bits,
            measure,
            mean: mean.to_vec(),
            step,
        }
    }

    /// Takes the step with the least squared error relative to each vector's length: no outlier, dimension or vector, is
    /// paid for by all others.
    pub(super) fn train(bits: u32, measure: Measure, mean: &[f32], sample: &[&[f32]]) -> Self {
        let every = (sample.len() * mean.len())
            .div_ceil(NUMBERS_TRIED)
            .min(sample.len());
        let centred: Vec<Vec<f32>> = sample
            .iter()
            .step_by(every)
            .map(|vector| {
                vector
                    .iter()
                    .zip(mean)
                    .map(|(x, mean)| finite(x - mean))
                    .collect()
            })
            .collect();
        let mut magnitudes: Vec<f32> = centred
            .iter()
            .map(|vector| super::max_abs(vector))
            .collect();
        magnitudes.sort_by(f32::total_cmp);
        let largest = magnitudes.last().copied().unwrap_or_default();
        let median = magnitudes[magnitudes.len() / 2];
        let mut grid = Self::new(bits, measure, mean, largest / grid_limit(bits));
        if grid.step < f32::MIN_POSITIVE {
            // All equal: any step is right for what was seen, so take one for what was not.
            grid.step = 1.0;
            return grid;
        }
        let first = if median > 0.0 {
            largest.min(FIRST * median)
        } else {
            largest
        } / grid_limit(bits);
        let tried = (0..STEPS_TRIED)
            .map(|i| first * SMALLER.powi(i))
            .filter(|step| *step >= f32::MIN_POSITIVE);
        let tried = tried.chain([grid.step]);
        let errors = tried.map(|step| {
            let candidate = Self {
                step,
                mean: Vec::new(),
                ..grid.clone()
            };
            (
                centred
                    .iter()
                    .map(|vector| candidate.relative_error(vector))
                    .sum::<f64>(),
                step,
            )
        });
        if let Some((_, step)) = errors.min_by(|a, b| a.0.total_cmp(&b.0)) {
            grid.step = step;
        }
        grid
    }

    /// Squared error of a centred vector over its squared length.
    fn relative_error(&self, centred: &[f32]) -> f64 {
        let (mut error, mut length) = (0f64, 0f64);
        for x in centred {
            let found = f64::from(self.value(self.cell(*x)));
            error += (f64::from(*x) - found).powi(2);
            length += f64::from(*x).powi(2);
        }
        if length > 0.0 { error / length } else { 0.0 }
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    pub(super) fn step(&self) -> f32 {
        self.step
    }

    pub(super) fn stride(&self) -> usize {
        (self.mean.len() * self.bits as usize)
            .div_ceil(8)
            .next_multiple_of(64)
    }

    /// The cell of a centred number; with 8 bits cell 128 is the mean, with 4 bits the mean is between cells 7 and 8.
    #[inline]
    fn cell(&self, x: f32) -> u8 {
        // The cast rounds down, and to the ends what is outside; only 4 bits have another upper end.
        let shifted = x / self.step + if self.bits == 8 { 128.5 } else { 8.0 };
        if self.bits == 8 {
            shifted as u8
        } else {
            (shifted as u8).min(15)
        }
    }

    /// The middle of a cell, centred.
    fn value(&self, cell: u8) -> f32 {
        (f32::from(cell) - if self.bits == 8 { 128.0 } else { 7.5 }) * self.step
    }

    fn cells(&self, vector: &[f32]) -> impl Iterator<Item = u8> {
        vector
            .iter()
            .zip(&self.mean)
            .map(|(x, mean)| self.cell(x - mean))
    }

    pub(super) fn encode(&self, vector: &[f32], code: &mut [u8], factors: &mut [f32]) {
        code.fill(0);
        if self.bits == 8 {
            code.iter_mut()
                .zip(self.cells(vector))
                .for_each(|(code, cell)| *code = cell);
        } else {
            let stride = code.len();
            for (i, cell) in self.cells(vector).enumerate() {
                code[i % stride] |= if i < stride { cell } else { cell << 4 };
            }
        }
        if let [factor] = factors {
            // |q - v|^2 = |q|^2 + |v|^2 - 2 <q, v>. With v = c + e (code, error) the kernel finds <q, c>. A row that matters is
            // near, q is about v and <q, e> about <v, e>: with |v|^2 - 2 <v, e> = |c|^2 - |e|^2 for a factor what remains of
            // the error is 2 <q - v, e>. Not so where v is far outside of the grid: such rows must not seem near.
            let rounded = 0.5001 * f64::from(self.step);
            let squares =
                vector
                    .iter()
                    .zip(&self.mean)
                    .zip(code.iter())
                    .map(|((x, mean), cell)| {
                        let (v, c) = (
                            f64::from(*x) - f64::from(*mean),
                            f64::from(self.value(*cell)),
                        );
                        let e = v - c;
                        if e.abs() <= rounded.max(0.25 * c.abs()) {
                            c * c - e * e
                        } else {
                            v * v
                        }
                    });
            *factor = finite(squares.sum::<f64>() as f32);
        }
    }

    pub(super) fn query(&self, vector: &[f32], query: &mut CodeQuery) {
        if self.measure == Measure::Manhattan {
            self.query_on_grid(vector, query);
            return;
        }
        let euclid = self.measure == Measure::Euclid;
        let mut values = std::mem::take(&mut query.values);
        values.clear();
        values.extend(
            vector
                .iter()
                .zip(&self.mean)
                .map(|(x, mean)| if euclid { finite(x - mean) } else { *x }),
        );
        let numbers = query.reset(self.stride());
        let (step, sum) = round_to(&values, 127, numbers);
        let (factor, base) = if euclid {
            (
                -2.0,
                values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>(),
            )
        } else {
            (
                -1.0,
                -values
                    .iter()
                    .zip(&self.mean)
                    .map(|(x, mean)| f64::from(*x) * f64::from(*mean))
                    .sum::<f64>(),
            )
        };
        query.base = finite(base as f32);
        query.scale = finite(factor * step * self.step);
        query.times = 1;
        query.offset = sum.wrapping_mul(128);
        query.values = values;
    }

    /// The query as cells; how far it is outside of the grid is the same for all rows inside.
    fn query_on_grid(&self, vector: &[f32], query: &mut CodeQuery) {
        let stride = self.stride();
        let numbers = query.reset(if self.bits == 8 { stride } else { 2 * stride });
        let mut outside = 0f64;
        for ((number, cell), (x, mean)) in numbers
            .iter_mut()
            .zip(self.cells(vector))
            .zip(vector.iter().zip(&self.mean))
        {
            *number = cell;
            let over = f64::from(x - mean).abs() - f64::from(self.value(cell)).abs();
            if over > 0.5 * f64::from(self.step) {
                outside += over;
            }
        }
        query.base = finite(outside as f32);
        query.scale = self.step;
        query.times = 1;
        query.offset = 0;
    }

    #[inline]
    pub(super) fn compare(&self, query: &CodeQuery, codes: &[u8], rows: &[u32], out: &mut [i32]) {
        let (set, stride) = (kernels(), self.stride());
        match (self.measure, self.bits) {
            (Measure::Manhattan, 8) => (set.sad8)(query.unsigned(), codes, stride, rows, out),
            (Measure::Manhattan, _) => (set.sad4)(query.unsigned(), codes, stride, rows, out),
            _ => (set.dot8)(query.signed(), codes, stride, rows, out),
        }
    }
}

/// Steps from the mean to the outermost cell.
fn grid_limit(bits: u32) -> f32 {
    if bits == 8 { 127.0 } else { 7.5 }
}
