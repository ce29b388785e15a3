//! Comparing vectors.
//!
//! Inside the engine every measure is a *distance*: lower is nearer, any sign. [`score`] turns it into what users see:
//! similarity for cosine and dot product (higher is better), true distance for Euclid and Manhattan (lower is better). The
//! score of a multi-vector is that of the sum of its internal distances.
//!
//! | measure   | internal distance | score           |
//! |-----------|-------------------|-----------------|
//! | cosine    | -(a . b), unit a,b| a . b           |
//! | dot       | -(a . b)          | a . b           |
//! | Euclid    | sum (a-b)^2       | its square root |
//! | Manhattan | sum abs(a-b)      | the same        |

use crate::model::Distance;

/// Independent sums per kernel: enough to fill the vector units and to hide the latency of an addition. With fewer, the
/// compiler (1.95, opt-level 2) keeps half of them out of registers and the kernels take four times as long.
const LANES: usize = 32;

/// Sums `term` over both slices with [`LANES`] accumulators, in an order that does not depend on the machine.
#[inline(always)]
fn fold(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(x[lane], y[lane]);
        }
    }
    let tail: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| term(*x, *y)).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + tail
}

/// Dot product.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    fold(a, b, |x, y| x * y)
}

/// Squared Euclidean distance.
#[must_use]
pub fn squared_euclid(a: &[f32], b: &[f32]) -> f32 {
    fold(a, b, |x, y| (x - y) * (x - y))
}

/// Manhattan distance.
#[must_use]
pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    fold(a, b, |x, y| (x - y).abs())
}

/// Internal distance between two vectors of equal length; lower is nearer. Never NaN: sums that overflow to one count as
/// farthest.
#[must_use]
#[inline]
pub fn distance(measure: Distance, a: &[f32], b: &[f32]) -> f32 {
    let d = match measure {
        Distance::Cosine | Distance::Dot => -dot(a, b),
        Distance::Euclid => squared_euclid(a, b),
        Distance::Manhattan => manhattan(a, b),
    };
    if d.is_nan() { f32::INFINITY } else { d }
}

/// What users see for an internal distance to a query of `vectors` vectors (1 unless it is a multi-vector); always finite.
#[must_use]
pub fn score(measure: Distance, vectors: usize, distance: f32) -> f32 {
    let most = vectors as f32;
    let score = match measure {
        Distance::Cosine => (-distance).clamp(-most, most),
        Distance::Dot => -distance,
        Distance::Euclid => distance.max(0.0).sqrt(),
        Distance::Manhattan => distance,
    };
    score.clamp(f32::MIN, f32::MAX)
}

/// Whether users see similarities (true) or distances (false).
#[must_use]
pub fn higher_is_better(measure: Distance) -> bool {
    matches!(measure, Distance::Cosine | Distance::Dot)
}

/// Scales a vector to unit length. The zero vector and vectors of unit length (within rounding) stay as they are, so that
/// normalising twice changes nothing.
pub fn normalise(vector: &mut [f32]) {
    // In 64 bits: the squares of large finite components overflow 32.
    let square: f64 = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    if square == 0.0 || (square - 1.0).abs() < 1e-6 {
        return;
    }
    let length = square.sqrt();
    for v in vector {
        *v = (f64::from(*v) / length) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Distance; 4] = [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ];

    #[test]
    fn kernels_agree_with_plain_sums_at_every_length() {
        for n in 0..70usize {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.91).cos()).collect();
            let near = |x: f32, y: f64| assert!((f64::from(x) - y).abs() < 1e-4, "{n}: {x} {y}");
            let pairs = || {
                a.iter()
                    .zip(&b)
                    .map(|(x, y)| (f64::from(*x), f64::from(*y)))
            };
            near(dot(&a, &b), pairs().map(|(x, y)| x * y).sum());
            near(
                squared_euclid(&a, &b),
                pairs().map(|(x, y)| (x - y).powi(2)).sum(),
            );
            near(manhattan(&a, &b), pairs().map(|(x, y)| (x - y).abs()).sum());
        }
    }

    #[test]
    fn extreme_vectors_give_finite_scores_and_ordered_distances() {
        let huge = vec![f32::MAX; 33];
        let mixed: Vec<f32> = (0..33)
            .map(|i| if i % 2 == 0 { f32::MAX } else { f32::MIN })
            .collect();
        for measure in ALL {
            for (a, b) in [(&huge, &huge), (&huge, &mixed), (&mixed, &mixed)] {
                let d = distance(measure, a, b);
                assert!(!d.is_nan());
                assert!(score(measure, 1, d).is_finite());
            }
        }
    }

    #[test]
    fn normalising_twice_changes_nothing_and_zero_stays() {
        let mut v: Vec<f32> = (0..100).map(|i| (i as f32 - 37.5) * 1e30).collect();
        normalise(&mut v);
        assert!((dot(&v, &v) - 1.0).abs() < 1e-5);
        let once = v.clone();
        normalise(&mut v);
        assert_eq!(once, v);
        let mut zero = vec![0.0; 8];
        normalise(&mut zero);
        assert_eq!(zero, vec![0.0; 8]);
    }
}
