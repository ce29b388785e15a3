//! What a search asks for, until the vectors of the points that it names are known. No I/O.

use std::collections::BTreeMap;

use crate::engine::{EngineError, prepare};
use crate::error::ServiceError;
use crate::model::{
    Formula, MultiVector, Objective, PointId, SearchQuery, SparseVector, Vector, VectorSchema,
};

/// A vector of a query, or the point that has it.
#[derive(Clone, Debug)]
pub(super) enum Example {
    /// The vector.
    Vector(Vector),
    /// The point.
    Point(PointId),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// The nearest points.
    Nearest(Example),
    /// The nearest points to twice the average of some less that of others.
    Average {
        /// At least one.
        positive: Vec<Example>,
        /// Perhaps none.
        negative: Vec<Example>,
    },
    /// The best points by several examples.
    Objective(Objective<Example>),
    /// The best points by a formula.
    Formula(Box<Formula>),
}

/// Where the vectors of named points are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Absent: the collection that is searched.
    pub(super) collection: Option<String>,
    /// Their name.
    pub(super) vector: String,
}

/// Coefficients of naive relevance feedback: the score is `a` times the similarity to the target, and for every two examples of
/// which one is worth more by d: d^`b` times `c` times how much more similar the point is to that one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naive {
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) c: f64,
}

impl Naive {
    /// The same as one sum of similarities, each with a weight.
    pub(super) fn asked(
        self,
        target: Example,
        items: Vec<(Example, f64)>,
    ) -> Result<Objective<Example>, ServiceError> {
        let Self { a, b, c } = self;
        let worth: Vec<f64> = items.iter().map(|(_, score)| *score).collect();
        let weight = |mine: f64| -> f64 {
            let shares = worth.iter().map(|other| {
                let lead = mine - other;
                if lead > 0.0 {
                    lead.powf(b) * c
                } else if lead < 0.0 {
                    -(-lead).powf(b) * c
                } else {
                    0.0
                }
            });
            shares.sum()
        };
        let items = items
            .into_iter()
            .map(|(example, score)| (example, weight(score)));
        let examples: Vec<_> = std::iter::once((target, a)).chain(items).collect();
        if examples.iter().any(|(_, weight)| !weight.is_finite()) {
            return Err(ServiceError::BadRequest(
                "the scores of 'feedback' with 'a', 'b' and 'c' of 'strategy.naive' give weights that are not finite numbers"
                    .to_owned(),
            ));
        }
        Ok(Objective::Weighted(examples))
    }
}

impl Asked {
    fn for_each<'a>(&'a self, each: &mut dyn FnMut(&'a Example)) {
        match self {
            Self::Nearest(example) => each(example),
            Self::Average { positive, negative } => {
                positive.iter().chain(negative).for_each(each);
            }
            Self::Objective(objective) => objective.for_each(each),
            Self::Formula(_) => {}
        }
    }

    /// The points that it names.
    pub(super) fn points(&self) -> Vec<PointId> {
        let mut ids = Vec::new();
        self.for_each(&mut |example| {
            if let Example::Point(id) = example {
                ids.push(*id);
            }
        });
        ids
    }

    /// What is asked for with the vectors of the points it names, in the form of stored ones of the name `using`.
    ///
    /// # Errors
    /// Those of `vector_of`, and `BadRequest` for vectors that do not fit.
    pub(super) fn resolve(
        self,
        schema: &VectorSchema,
        using: &str,
        vector_of: &dyn Fn(PointId) -> Result<Vector, ServiceError>,
    ) -> Result<SearchQuery, ServiceError> {
        let given = |example: Example| match example {
            Example::Vector(vector) => Ok(vector),
            Example::Point(id) => vector_of(id),
        };
        let fit = |mut vector: Vector| -> Result<Vector, ServiceError> {
            prepare(schema, using, &mut vector).map_err(|e: EngineError| {
                ServiceError::BadRequest(format!("a vector of the query: {e}"))
            })?;
            Ok(vector)
        };
        Ok(match self {
            Self::Nearest(example) => SearchQuery::Nearest(fit(given(example)?)?),
            Self::Average { positive, negative } => {
                let all = |examples: Vec<Example>| -> Result<Vec<Vector>, ServiceError> {
                    examples.into_iter().map(given).collect()
                };
                let average = average(&all(positive)?, &all(negative)?)?;
                SearchQuery::Nearest(fit(average)?)
            }
            Self::Objective(objective) => {
                SearchQuery::Objective(objective.try_map(|example| fit(given(example)?))?)
            }
            Self::Formula(formula) => SearchQuery::Formula(formula),
        })
    }
}

/// Twice the average of `positive` less that of `negative`, where there is one; of lists, all their vectors, the negative ones
/// turned round.
fn average(positive: &[Vector], negative: &[Vector]) -> Result<Vector, ServiceError> {
    let mixed = || {
        ServiceError::BadRequest(
            "the examples are vectors of different kinds or sizes, which have no average"
                .to_owned(),
        )
    };
    match positive.first() {
        Some(Vector::Dense(first)) => {
            let size = first.len();
            let mean = |examples: &[Vector]| -> Result<Vec<f64>, ServiceError> {
                let mut sum = vec![0.0; size];
                for example in examples {
                    let Vector::Dense(row) = example else {
                        return Err(mixed());
                    };
                    if row.len() != size {
                        return Err(mixed());
                    }
                    for (sum, x) in sum.iter_mut().zip(row) {
                        *sum += f64::from(*x) / examples.len() as f64;
                    }
                }
                Ok(sum)
            };
            let (positive, away) = (mean(positive)?, mean(negative)?);
            let average = positive.iter().zip(away).map(|(p, n)| match negative {
                [] => *p as f32,
                _ => (p + p - n) as f32,
            });
            Ok(Vector::Dense(average.collect()))
        }
        Some(Vector::Sparse(_)) => {
            let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
            let times = if negative.is_empty() { 1.0 } else { 2.0 };
            for (examples, factor) in [(positive, times), (negative, -1.0)] {
                for example in examples {
                    let Vector::Sparse(vector) = example else {
                        return Err(mixed());
                    };
                    for (index, value) in vector.iter() {
                        let share = factor * f64::from(value) / examples.len() as f64;
                        *sums.entry(index).or_default() += share;
                    }
                }
            }
            let (indices, values) = sums.into_iter().map(|(i, v)| (i, v as f32)).unzip();
            SparseVector::new(indices, values)
                .map(Vector::Sparse)
                .map_err(|e| ServiceError::BadRequest(format!("the average of the examples: {e}")))
        }
        Some(Vector::Multi(first)) => {
            let mut data = Vec::new();
            for (examples, sign) in [(positive, 1.0), (negative, -1.0)] {
                for example in examples {
                    let Vector::Multi(list) = example else {
                        return Err(mixed());
                    };
                    if list.size() != first.size() {
                        return Err(mixed());
                    }
                    data.extend(list.data().iter().map(|x| sign * x));
                }
            }
            MultiVector::from_flat(first.size(), data)
                .map(Vector::Multi)
                .map_err(|e| ServiceError::BadRequest(format!("the average of the examples: {e}")))
        }
        None => Err(mixed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DenseParams, Distance};

    fn dense(x: f32, y: f32) -> Vector {
        vec![x, y].into()
    }

    fn sparse(pairs: &[(u32, f32)]) -> Vector {
        let (indices, values) = pairs.iter().copied().unzip();
        SparseVector::new(indices, values).unwrap().into()
    }

    #[test]
    fn averages_lead_away_from_negatives() {
        let up = [dense(2.0, 0.0), dense(0.0, 2.0)];
        assert_eq!(average(&up, &[]).unwrap(), dense(1.0, 1.0));
        let down = [dense(1.0, 0.0)];
        assert_eq!(average(&up, &down).unwrap(), dense(1.0, 2.0));

        let up = [sparse(&[(1, 2.0), (5, 4.0)]), sparse(&[(5, 2.0)])];
        assert_eq!(average(&up, &[]).unwrap(), sparse(&[(1, 1.0), (5, 3.0)]));
        let down = [sparse(&[(1, 1.0), (7, 2.0)])];
        let expected = sparse(&[(1, 1.0), (5, 6.0), (7, -2.0)]);
        assert_eq!(average(&up, &down).unwrap(), expected);

        let list = |rows: &[Vec<f32>]| Vector::from(MultiVector::new(rows).unwrap());
        let found = average(&[list(&[vec![1.0], vec![2.0]])], &[list(&[vec![3.0]])]);
        assert_eq!(found.unwrap(), list(&[vec![1.0], vec![2.0], vec![-3.0]]));
        assert!(average(&[dense(1.0, 0.0)], &[sparse(&[])]).is_err());
        assert!(average(&[dense(1.0, 0.0), vec![1.0].into()], &[]).is_err());
    }

    #[test]
    fn points_become_vectors_that_fit() {
        let schema = VectorSchema::unnamed(DenseParams::new(2, Distance::Cosine));
        let asked = Asked::Average {
            positive: vec![
                Example::Point(PointId::Num(1)),
                Example::Vector(dense(2.0, 4.0)),
            ],
            negative: Vec::new(),
        };
        assert_eq!(asked.points(), [PointId::Num(1)]);
        let query = asked
            .resolve(&schema, "", &|_| Ok(dense(4.0, 4.0)))
            .unwrap();
        assert_eq!(query, SearchQuery::Nearest(dense(0.6, 0.8)));
        let asked = Asked::Nearest(Example::Point(PointId::Num(1)));
        let wrong = asked.resolve(&schema, "", &|_| Ok(vec![1.0].into()));
        assert!(
            matches!(wrong, Err(ServiceError::BadRequest(_))),
            "{wrong:?}"
        );
    }

    #[test]
    fn feedback_weighs_what_is_worth_more_against_what_is_worth_less() {
        let example = || Example::Vector(dense(1.0, 0.0));
        let weights = |b, scores: &[f64]| {
            let items = scores.iter().map(|s| (example(), *s)).collect();
            match (Naive { a: 0.5, b, c: 2.0 }).asked(example(), items) {
                Ok(Objective::Weighted(w)) => w.into_iter().map(|(_, w)| w).collect::<Vec<_>>(),
                _ => Vec::new(),
            }
        };
        assert_eq!(weights(1.0, &[1.0, 0.0, 0.5]), [0.5, 3.0, -3.0, 0.0]);
        assert_eq!(weights(2.0, &[3.0, 0.0]), [0.5, 18.0, -18.0]);
        assert_eq!(weights(1.0, &[1.0, 1.0]), [0.5, 0.0, 0.0]);
        assert!(weights(-500.0, &[1e-3, 0.0]).is_empty());
    }
}
