//! What makes a point a good result of a search.

use serde::{Deserialize, Serialize};

use super::{Formula, Vector};

/// What a search looks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SearchQuery {
    /// The points nearest to a vector. Users see its similarity or distance.
    Nearest(Vector),
    /// The points that are best by comparisons with several vectors. Users see the value of the objective: higher is better
    /// whatever the distance.
    Objective(Objective),
    /// The points to which a formula gives the highest values, of those that other searches found.
    Formula(Box<Formula>),
}

impl From<Vector> for SearchQuery {
    fn from(vector: Vector) -> Self {
        Self::Nearest(vector)
    }
}

/// An example of what is wanted beside one of what is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair<V = Vector> {
    /// Points should be nearer to this one.
    pub positive: V,
    /// Than to this one.
    pub negative: V,
}

/// A value of a point that follows from its similarity to several examples, of which there is at least one. `V` is a vector, or
/// what stands for one.
///
/// Similarity is the dot product (of unit vectors where the distance is cosine), minus the squared Euclidean distance, or minus
/// the Manhattan distance. These are the objectives of Qdrant's public API, with its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Objective<V = Vector> {
    /// The similarity s to the most similar example of all: (s / (1 + |s|) + 1) / 2 if it is a positive one, minus that if it is
    /// a negative one.
    BestScore {
        /// What is wanted.
        positive: Vec<V>,
        /// What is not.
        negative: Vec<V>,
    },
    /// The sum of similarities, each times a finite weight.
    Weighted(Vec<(V, f64)>),
    /// How many pairs have the nearer positive, less how many have the nearer negative, plus the similarity s to the target as
    /// (s / (1 + |s|) + 1) / 2, which is below 1.
    Discover {
        /// What is wanted.
        target: V,
        /// Where it is to be found; may be empty.
        context: Vec<Pair<V>>,
    },
    /// Minus the sum of what is missing to being nearer to the positives: 0 where it is nearer to all of them.
    Context(Vec<Pair<V>>),
}

impl<V> Objective<V> {
    /// The same objective over other things.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn try_map<U, E>(self, mut each: impl FnMut(V) -> Result<U, E>) -> Result<Objective<U>, E> {
        let each = &mut each;
        Ok(match self {
            Self::BestScore { positive, negative } => Objective::BestScore {
                positive: all(positive, each)?,
                negative: all(negative, each)?,
            },
            Self::Weighted(examples) => Objective::Weighted(
                examples
                    .into_iter()
                    .map(|(example, weight)| Ok((each(example)?, weight)))
                    .collect::<Result<_, E>>()?,
            ),
            Self::Discover { target, context } => Objective::Discover {
                target: each(target)?,
                context: pairs(context, each)?,
            },
            Self::Context(context) => Objective::Context(pairs(context, each)?),
        })
    }

    /// Calls `each` for every example.
    pub fn for_each<'o>(&'o self, each: &mut dyn FnMut(&'o V)) {
        let of_pairs = |pairs: &'o [Pair<V>], each: &mut dyn FnMut(&'o V)| {
            for Pair { positive, negative } in pairs {
                each(positive);
                each(negative);
            }
        };
        match self {
            Self::BestScore { positive, negative } => {
                positive.iter().chain(negative).for_each(each);
            }
            Self::Weighted(examples) => examples.iter().for_each(|(example, _)| each(example)),
            Self::Discover { target, context } => {
                each(target);
                of_pairs(context, each);
            }
            Self::Context(context) => of_pairs(context, each),
        }
    }
}

fn all<V, U, E>(examples: Vec<V>, each: &mut impl FnMut(V) -> Result<U, E>) -> Result<Vec<U>, E> {
    examples.into_iter().map(each).collect()
}

fn pairs<V, U, E>(
    pairs: Vec<Pair<V>>,
    each: &mut impl FnMut(V) -> Result<U, E>,
) -> Result<Vec<Pair<U>>, E> {
    let pair = |Pair { positive, negative }: Pair<V>| -> Result<Pair<U>, E> {
        Ok(Pair {
            positive: each(positive)?,
            negative: each(negative)?,
        })
    };
    pairs.into_iter().map(pair).collect()
}
