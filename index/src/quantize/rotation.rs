//! A random rotation in `O(d log d)`: whatever the distribution of a vector's numbers, afterwards each number is about normal.
//!
//! Rounds of random signs and a Hadamard transform. A transform needs a power of two; other lengths take turns with the first
//! and the last such window. Windows may hardly overlap, so once both had their turn a butterfly between the halves mixes
//! them. (A butterfly after each round, as elsewhere, leaves a number of the last window only a quarter of itself.) Each step
//! preserves length, and so does the whole, but for rounding.

use std::f32::consts::FRAC_1_SQRT_2;

use crate::kernels::vectorized;

/// For a power of two. After two rounds a single large number is spread like noise; the third is for adverse data.
const ROUNDS_WHOLE: usize = 3;
/// Each window twice.
const ROUNDS_WINDOWS: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Rotation {
    seed: u64,
    dim: usize,
    /// The largest power of two in `dim`.
    window: usize,
    /// Per round `dim` factors: random signs, with the scale of the transform inside of the window.
    signs: Vec<f32>,
}

impl Rotation {
    /// Of `dim` dimensions, an even number; equal seeds give equal rotations on every machine.
    pub(super) fn new(dim: usize, seed: u64) -> Self {
        let window = 1 << dim.ilog2();
        let rounds = if window == dim {
            ROUNDS_WHOLE
        } else {
            ROUNDS_WINDOWS
        };
        let mut random = SplitMix64(seed);
        let scale = 1.0 / (window as f32).sqrt();
        let mut signs = Vec::with_capacity(rounds * dim);
        for round in 0..rounds {
            let inside = Self::window_of(dim, window, round);
            for start in (0..dim).step_by(64) {
                let bits = random.next();
                for i in start..dim.min(start + 64) {
                    let size = if inside.contains(&i) { scale } else { 1.0 };
                    signs.push(if bits >> (i - start) & 1 == 1 {
                        -size
                    } else {
                        size
                    });
                }
            }
        }
        Self {
            seed,
            dim,
            window,
            signs,
        }
    }

    fn window_of(dim: usize, window: usize, round: usize) -> std::ops::Range<usize> {
        if round.is_multiple_of(2) {
            0..window
        } else {
            dim - window..dim
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Rotates in place. Numbers of at most 1 in magnitude cannot overflow.
    pub(super) fn apply(&self, values: &mut [f32]) {
        vectorized(|| self.apply_here(values));
    }

    #[inline(always)]
    fn apply_here(&self, values: &mut [f32]) {
        for (round, signs) in self.signs.chunks_exact(self.dim).enumerate() {
            for (x, sign) in values.iter_mut().zip(signs) {
                *x *= sign;
            }
            hadamard(&mut values[Self::window_of(self.dim, self.window, round)]);
            if self.window != self.dim && round == 1 {
                let (low, high) = values.split_at_mut(self.dim / 2);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = ((*a + *b) * FRAC_1_SQRT_2, (*a - *b) * FRAC_1_SQRT_2);
                }
            }
        }
    }
}

/// The Walsh-Hadamard transform of a power of two of numbers, not scaled.
#[inline(always)]
fn hadamard(values: &mut [f32]) {
    const SMALL: usize = 16;
    let (blocks, rest) = values.as_chunks_mut::<SMALL>();
    for block in blocks {
        butterflies::<8>(block);
        butterflies::<4>(block);
        butterflies::<2>(block);
        butterflies::<1>(block);
    }
    let mut half = if rest.is_empty() { SMALL } else { 1 };
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[inline(always)]
fn butterflies<const HALF: usize>(block: &mut [f32; 16]) {
    let from = *block;
    for i in 0..16 {
        block[i] = if i & HALF == 0 {
            from[i] + from[i | HALF]
        } else {
            from[i ^ HALF] - from[i]
        };
    }
}

/// Sebastiano Vigna's generator (public domain), here because its numbers are part of the format.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(
            [random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn hadamard_is_the_matrix_product() {
        for len in [2usize, 8, 16, 64] {
            let from: Vec<f32> = (0..len).map(|i| (i * i % 7) as f32).collect();
            let mut found = from.clone();
            hadamard(&mut found);
            let row = |i: usize| {
                (0..len)
                    .map(|j| {
                        if (i & j).count_ones().is_multiple_of(2) {
                            from[j]
                        } else {
                            -from[j]
                        }
                    })
                    .sum::<f32>()
            };
            assert_eq!(found, (0..len).map(row).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn lengths_and_products_are_preserved(blocks in 1usize..20, seed: u64) {
            let dim = blocks * 64;
            let rotation = Rotation::new(dim, seed);
            let mut random = SplitMix64(seed);
            let mut vector = || -> Vec<f32> { (0..dim).map(|_| random.next() as f32 / u64::MAX as f32 - 0.3).collect() };
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (mut a, mut b) = (vector(), vector());
            let (aa, ab) = (product(&a, &a), product(&a, &b));
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            prop_assert!((product(&a, &a) / aa - 1.0).abs() < 1e-5);
            prop_assert!((product(&a, &b) - ab).abs() < 1e-5 * aa.max(product(&b, &b)));
        }

        #[test]
        fn one_number_is_spread_over_all(blocks in 2usize..16, at in 0usize..4096, seed: u64) {
            let dim = blocks * 64;
            let mut vector = vec![0f32; dim];
            vector[at % dim] = 1.0;
            Rotation::new(dim, seed).apply(&mut vector);
            let largest = vector.iter().fold(0f32, |most, x| most.max(x.abs()));
            prop_assert!(largest * (dim as f32).sqrt() < 7.0, "{largest} of {dim}");
        }
    }
}
