//! Maximal marginal relevance (Carbonell and Goldstein, 1998, doi:10.1145/290941.291025): of the points nearest to a query those
//! that are also unlike each other. No I/O.

use crate::engine::{EngineError, Target};
use crate::model::{ScoredPoint, Vector, VectorSchema};

/// What to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mmr {
    /// How much likeness to the query counts, 0 to 1; the rest is how much likeness to what was chosen before counts against.
    pub(super) relevance: f32,
    /// How many (offset already added).
    pub(super) limit: usize,
}

impl Mmr {
    /// Chooses from `hits`, which have their vectors of the name `using`: the most similar to `query` first, then again and again
    /// the one of which relevance less likeness to the most similar one before is highest. Of equally good ones the last is
    /// chosen, and the last of those that are left takes its place, as in Qdrant. Scores stay as they are.
    ///
    /// # Errors
    /// [`EngineError::Invalid`]: a vector that does not fit.
    pub(super) fn choose(
        self,
        schema: &VectorSchema,
        using: &str,
        query: Vector,
        hits: Vec<ScoredPoint>,
    ) -> Result<Vec<ScoredPoint>, EngineError> {
        let query = Target::new(schema, using, query)?;
        let mut left = Vec::with_capacity(hits.len());
        for hit in hits {
            let vectors = hit.record.vectors.as_ref();
            // Every hit of the search has the vector that it was compared by.
            let Some(vector) = vectors.and_then(|vectors| vectors.get(using)) else {
                continue;
            };
            let target = Target::new(schema, using, vector.clone())?;
            left.push(Candidate {
                relevance: query.similarity_to(&target),
                likeness: f32::NEG_INFINITY,
                target,
                hit,
            });
        }
        let mut chosen = Vec::new();
        while chosen.len() < self.limit {
            let worth = |candidate: &Candidate| match chosen.is_empty() {
                true => candidate.relevance,
                false => {
                    self.relevance * candidate.relevance
                        - (1.0 - self.relevance) * candidate.likeness
                }
            };
            let best = left
                .iter()
                .enumerate()
                .max_by(|a, b| worth(a.1).total_cmp(&worth(b.1)));
            let Some((at, _)) = best else { break };
            let Candidate { target, hit, .. } = left.swap_remove(at);
            for candidate in &mut left {
                let likeness = candidate.target.similarity_to(&target);
                candidate.likeness = candidate.likeness.max(likeness);
            }
            chosen.push(hit);
        }
        Ok(chosen)
    }
}

struct Candidate {
    target: Target,
    hit: ScoredPoint,
    /// Similarity to the query.
    relevance: f32,
    /// Similarity to the most similar one that was chosen.
    likeness: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DenseParams, Distance, PointId, Record, Vectors};

    fn hit(id: u64, vector: [f32; 2]) -> ScoredPoint {
        ScoredPoint {
            record: Record {
                id: PointId::Num(id),
                payload: None,
                vectors: Some(Vectors::unnamed(vector.to_vec())),
                order_value: None,
            },
            score: id as f32,
            version: Default::default(),
        }
    }

    fn chosen(distance: Distance, relevance: f32, limit: usize) -> Vec<u64> {
        let schema = VectorSchema::unnamed(DenseParams::new(2, distance));
        let hits = vec![
            hit(1, [1.0, 0.0]),
            hit(2, [0.99, 0.02]),
            hit(3, [0.9, -0.4]),
            hit(4, [0.0, 1.0]),
        ];
        let found = Mmr { relevance, limit }
            .choose(&schema, "", vec![1.0, 0.1].into(), hits)
            .unwrap();
        let ids = found.iter().map(|hit| match hit.record.id {
            PointId::Num(n) => {
                assert_eq!(hit.score, n as f32);
                n
            }
            PointId::Uuid(id) => panic!("{id}"),
        });
        ids.collect()
    }

    #[test]
    fn relevance_alone_is_the_order_of_similarity() {
        assert_eq!(chosen(Distance::Dot, 1.0, 4), [1, 2, 3, 4]);
        assert_eq!(chosen(Distance::Euclid, 1.0, 9), [2, 1, 3, 4]);
    }

    #[test]
    fn likeness_counts_against() {
        assert_eq!(chosen(Distance::Dot, 0.5, 3), [1, 4, 2]);
        assert_eq!(chosen(Distance::Dot, 0.0, 2), [1, 4]);
        assert_eq!(chosen(Distance::Euclid, 0.3, 2), [2, 4]);
    }
}
