//! Measures and scores.
//!
//! Inside the engine every measure is a *distance*: lower is nearer, any sign ([`brainy_index::measure`]). [`score`] turns it
//! into what users see: similarity for cosine and dot product (higher is better), true distance for Euclid and Manhattan
//! (lower is better). The score of a multi-vector is that of the sum of its internal distances.
//!
//! | measure   | internal distance | score           |
//! |-----------|-------------------|-----------------|
//! | cosine    | -(a . b), unit a,b| a . b           |
//! | dot       | -(a . b)          | a . b           |
//! | Euclid    | sum (a-b)^2       | its square root |
//! | Manhattan | sum abs(a-b)      | the same        |

use brainy_index::measure::Measure;

use crate::model::Distance;

/// The engine's measure of a distance.
#[must_use]
pub fn measure(distance: Distance) -> Measure {
    match distance {
        Distance::Cosine => Measure::Cosine,
        Distance::Dot => Measure::Dot,
        Distance::Euclid => Measure::Euclid,
        Distance::Manhattan => Measure::Manhattan,
    }
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

    #[test]
    fn scores_are_finite_and_follow_the_direction_users_see() {
        for distance in [
            Distance::Cosine,
            Distance::Dot,
            Distance::Euclid,
            Distance::Manhattan,
        ] {
            for d in [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0] {
                assert!(score(distance, 1, d).is_finite());
            }
            let better = score(distance, 1, 0.25) > score(distance, 1, 0.5);
            assert_eq!(better, higher_is_better(distance));
        }
        assert_eq!(score(Distance::Cosine, 1, -1.0001), 1.0);
        assert_eq!(score(Distance::Cosine, 3, -2.5), 2.5);
        assert_eq!(score(Distance::Euclid, 1, 9.0), 3.0);
    }

    #[test]
    fn normalising_twice_changes_nothing_and_zero_stays() {
        let mut v: Vec<f32> = (0..100).map(|i| (i as f32 - 37.5) * 1e30).collect();
        normalise(&mut v);
        let square: f32 = v.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-5);
        let once = v.clone();
        normalise(&mut v);
        assert_eq!(once, v);
        let mut zero = vec![0.0; 8];
        normalise(&mut zero);
        assert_eq!(zero, vec![0.0; 8]);
    }
}
