//! Values of objectives ([`Objective`]), with the arithmetic of Qdrant's public API.

use crate::model::{Objective, Pair};

/// What a positive example must be nearer by to count as nearer in a context.
const MARGIN: f32 = f32::EPSILON;

/// Between -1 and 1, cheaper than the logistic function.
fn sigmoid(x: f32) -> f32 {
    if x.is_infinite() {
        x
    } else {
        x / (1.0 + x.abs())
    }
}

/// Between 0 and 1.
fn scaled(x: f32) -> f32 {
    0.5 * (sigmoid(x) + 1.0)
}

/// The value of a point whose similarities to the examples are these, finite; higher is better. None if one of them is.
pub(crate) fn value<V>(
    objective: &Objective<V>,
    similarity: impl Fn(&V) -> Option<f32>,
) -> Option<f32> {
    let value = match objective {
        Objective::BestScore { positive, negative } => {
            let best = |examples: &[V]| -> Option<f32> {
                examples
                    .iter()
                    .try_fold(f32::NEG_INFINITY, |best, example| {
                        Some(similarity(example)?.max(best))
                    })
            };
            let (positive, negative) = (best(positive)?, best(negative)?);
            if positive > negative {
                scaled(positive)
            } else {
                -scaled(negative)
            }
        }
        Objective::Weighted(examples) => {
            let sum = examples.iter().try_fold(0.0, |sum, (example, weight)| {
                Some(sum + f64::from(similarity(example)?) * weight)
            })?;
            sum as f32
        }
        Objective::Discover { target, context } => {
            let mut rank = 0.0;
            for Pair { positive, negative } in context {
                let (positive, negative) = (similarity(positive)?, similarity(negative)?);
                rank += f32::from(i8::from(positive > negative) - i8::from(positive < negative));
            }
            rank + scaled(similarity(target)?)
        }
        Objective::Context(context) => {
            let mut sum = 0.0;
            for Pair { positive, negative } in context {
                let lead = similarity(positive)? - similarity(negative)? - MARGIN;
                sum += sigmoid(lead.min(0.0));
            }
            sum
        }
    };
    // Not even vectors that are out of all proportion make it infinite or no number.
    Some(if value.is_nan() {
        f32::MIN
    } else {
        value.clamp(f32::MIN, f32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(objective: &Objective<f32>) -> f32 {
        value(objective, |s| Some(*s)).unwrap()
    }

    #[test]
    fn the_most_similar_example_decides() {
        let best = |positive: &[f32], negative: &[f32]| {
            of(&Objective::BestScore {
                positive: positive.to_vec(),
                negative: negative.to_vec(),
            })
        };
        assert_eq!(best(&[1.0, 3.0], &[2.0]), 0.875);
        assert_eq!(best(&[1.0], &[3.0, 2.0]), -0.875);
        assert_eq!(best(&[1.0], &[1.0]), -0.75, "a tie is the negative's");
        assert_eq!(best(&[-1.0], &[]), 0.25);
        assert_eq!(best(&[], &[-1.0]), -0.25);
    }

    #[test]
    fn targets_order_what_is_on_the_same_side_of_all_pairs() {
        let pair = |positive, negative| Pair { positive, negative };
        let discover = |target, context: &[Pair<f32>]| {
            of(&Objective::Discover {
                target,
                context: context.to_vec(),
            })
        };
        let context = [
            pair(2.0, 1.0),
            pair(1.0, 2.0),
            pair(0.0, 0.0),
            pair(1.0, 0.0),
        ];
        assert_eq!(discover(1.0, &context), 1.75);
        assert_eq!(discover(0.0, &[]), 0.5);
        assert_eq!(discover(-1.0, &context[1..2]), -0.75);
    }

    #[test]
    fn nearer_to_all_positives_is_as_good_as_it_gets() {
        let context = |pairs: &[(f32, f32)]| {
            let pairs = pairs.iter().map(|(positive, negative)| Pair {
                positive: *positive,
                negative: *negative,
            });
            of(&Objective::Context(pairs.collect()))
        };
        assert_eq!(context(&[(2.0, 1.0), (5.0, 1.0)]), 0.0);
        assert!((context(&[(2.0, 1.0), (1.0, 2.0)]) + 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_point_without_the_vector_has_no_value() {
        let none = |objective: &Objective<f32>| value(objective, |_| None);
        assert_eq!(none(&Objective::Weighted(vec![(1.0, 1.0)])), None);
        let (target, context) = (1.0, Vec::new());
        assert_eq!(none(&Objective::Discover { target, context }), None);
    }

    proptest! {
        #[test]
        fn values_are_finite(
            similarities in proptest::collection::vec(prop_oneof![
                Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), any::<i16>().prop_map(f32::from),
            ], 2..6),
            weight in -1e300f64..1e300,
        ) {
            let (positive, negative) = similarities.split_at(1);
            let pairs: Vec<Pair<f32>> = similarities
                .windows(2)
                .map(|w| Pair { positive: w[0], negative: w[1] })
                .collect();
            for objective in [
                Objective::BestScore { positive: positive.to_vec(), negative: negative.to_vec() },
                Objective::Weighted(similarities.iter().map(|s| (*s, weight)).collect()),
                Objective::Discover { target: similarities[0], context: pairs.clone() },
                Objective::Context(pairs.clone()),
            ] {
                prop_assert!(of(&objective).is_finite());
            }
        }
    }
}
