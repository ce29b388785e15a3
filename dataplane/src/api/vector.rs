//! Checks vectors against their collection and brings them into the form in which they are stored.

use crate::engine::distance::normalise;
use crate::error::ServiceError;
use crate::model::{DenseParams, Distance};

/// Largest component, except where the distance is cosine and length does not count: squares of differences of such vectors
/// sum up to finite 32-bit floats at every dimension that a collection can have.
pub const MAX_COMPONENT: f32 = 1e15;

/// Checks length and components; where the distance is cosine makes the vector's length 1. A zero vector stays one.
///
/// # Errors
/// `BadRequest` that begins with `place()` and names the limit.
pub fn prepare(
    vector: &mut [f32],
    params: &DenseParams,
    place: impl Fn() -> String,
) -> Result<(), ServiceError> {
    let bad = |text: String| Err(ServiceError::BadRequest(format!("{}: {text}", place())));
    let size = params.size as usize;
    if vector.len() != size {
        return bad(format!(
            "the vector's dimension is {}, the collection's is {size}",
            vector.len()
        ));
    }
    let cosine = params.distance == Distance::Cosine;
    let limit = if cosine { f32::MAX } else { MAX_COMPONENT };
    let fits = |x: &f32| x.abs() <= limit;
    if let Some(index) = vector.iter().position(|x| !fits(x)) {
        return bad(format!(
            "component {index} is out of range, from -{limit:e} to {limit:e}"
        ));
    }
    if cosine {
        normalise(vector);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prepared(vector: &[f32], distance: Distance) -> Result<Vec<f32>, String> {
        let size = u32::try_from(vector.len()).unwrap();
        let mut vector = vector.to_vec();
        let place = || "points[3].vector".to_owned();
        prepare(&mut vector, &DenseParams::new(size, distance), place)
            .map(|()| vector)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_wrong_length_names_both_lengths() {
        let params = DenseParams::new(3, Distance::Dot);
        let error = prepare(&mut [1.0, 2.0], &params, || "query".to_owned());
        let text = error.unwrap_err().to_string();
        assert_eq!(
            text,
            "query: the vector's dimension is 2, the collection's is 3"
        );
    }

    #[test]
    fn components_that_are_not_numbers_or_too_large_are_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for distance in [
                Distance::Cosine,
                Distance::Dot,
                Distance::Euclid,
                Distance::Manhattan,
            ] {
                let text = prepared(&[1.0, bad], distance).unwrap_err();
                assert!(
                    text.contains("points[3].vector") && text.contains("component 1"),
                    "{text}"
                );
            }
        }
        assert!(prepared(&[1e16], Distance::Euclid).is_err());
        assert!(prepared(&[-1e15], Distance::Euclid).is_ok());
    }

    #[test]
    fn extreme_lengths_are_normalised_and_zero_stays() {
        for scale in [f32::MAX, 1e30, 1.0, 1e-30, 1e-42] {
            let unit = prepared(&[scale, 0.0], Distance::Cosine).unwrap();
            assert!((unit[0] - 1.0).abs() < 1e-6, "{scale}: {unit:?}");
        }
        assert_eq!(prepared(&[0.0, 0.0], Distance::Cosine).unwrap(), [0.0, 0.0]);
        assert_eq!(prepared(&[3.0, 4.0], Distance::Dot).unwrap(), [3.0, 4.0]);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(v in prop::collection::vec(-1e3f32..1e3, 1..64)) {
            let once = prepared(&v, Distance::Cosine).unwrap();
            let twice = prepared(&once, Distance::Cosine).unwrap();
            prop_assert_eq!(once, twice);
        }
    }
}
