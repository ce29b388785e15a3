//! How many sparse vectors have a term, which decides its weight in queries of fields with the modifier `idf`.
//!
//! Counted in one partition, over all its layers: vectors of memtables while they live, those of segments until a merge drops
//! them; of a corpus that a query names, always those that live. Empty vectors do not count.

use std::collections::HashMap;

use brainy_index::text::idf;

use crate::model::{SparseVector, VectorSchema};

/// Counts of the live vectors of a field of a memtable.
#[derive(Debug, Default)]
pub(crate) struct TermCounts {
    vectors: u64,
    having: HashMap<u32, u32>,
}

impl TermCounts {
    /// Bytes that a term takes, about.
    const TERM_BYTES: usize = 16;

    /// One for each sparse field whose terms have weights.
    pub(crate) fn of_fields(schema: &VectorSchema) -> Vec<Option<Self>> {
        let fields = schema.sparse_vectors.values();
        fields
            .map(|params| params.idf.then(Self::default))
            .collect()
    }

    /// Counts a vector; returns by how many bytes the counts grew, at most.
    pub(crate) fn add(&mut self, indices: &[u32]) -> usize {
        let before = self.having.len();
        self.vectors += u64::from(!indices.is_empty());
        for term in indices {
            *self.having.entry(*term).or_default() += 1;
        }
        (self.having.len() - before) * Self::TERM_BYTES
    }

    /// Takes a vector that was counted away.
    pub(crate) fn remove(&mut self, indices: &[u32]) {
        self.vectors -= u64::from(!indices.is_empty());
        for term in indices {
            if let Some(count) = self.having.get_mut(term) {
                *count -= 1;
                if *count == 0 {
                    self.having.remove(term);
                }
            }
        }
    }

    /// Vectors that are not empty.
    pub(crate) fn vectors(&self) -> u64 {
        self.vectors
    }

    /// Vectors that have a term.
    pub(crate) fn having(&self, term: u32) -> u64 {
        self.having.get(&term).copied().unwrap_or(0).into()
    }
}

/// Counts of the terms of a query, added up over layers.
#[derive(Debug)]
pub(crate) struct Frequencies<'q> {
    terms: &'q [u32],
    vectors: u64,
    having: Vec<u64>,
}

impl<'q> Frequencies<'q> {
    /// For these terms, which ascend.
    pub(crate) fn of(terms: &'q [u32]) -> Self {
        Self {
            terms,
            vectors: 0,
            having: vec![0; terms.len()],
        }
    }

    /// Adds a layer with so many vectors.
    pub(crate) fn add(&mut self, vectors: u64, having: impl Fn(u32) -> u64) {
        self.vectors += vectors;
        for (sum, term) in self.having.iter_mut().zip(self.terms) {
            *sum += having(*term);
        }
    }

    /// Adds one vector by its ascending terms.
    pub(crate) fn add_vector(&mut self, indices: &[u32]) {
        if !indices.is_empty() {
            self.add(1, |term| indices.binary_search(&term).is_ok().into());
        }
    }

    /// The query with the weights of its terms.
    pub(crate) fn weigh(&self, query: &SparseVector) -> SparseVector {
        query.clone().weighted(|term| {
            let at = self.terms.binary_search(&term);
            at.map_or(0.0, |at| idf(self.vectors, self.having[at]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_away_is_as_if_it_had_never_been() {
        let mut counts = TermCounts::default();
        assert_eq!(counts.add(&[1, 5]), 2 * TermCounts::TERM_BYTES);
        assert_eq!(counts.add(&[5, 7]), TermCounts::TERM_BYTES);
        counts.add(&[]);
        assert_eq!((counts.vectors(), counts.having(5)), (2, 2));
        counts.remove(&[5, 7]);
        counts.remove(&[]);
        assert_eq!((counts.vectors(), counts.having(5)), (1, 1));
        assert!(!counts.having.contains_key(&7));
    }

    #[test]
    fn layers_count_together() {
        let query = SparseVector::new(vec![5, 9], vec![2.0, 1.0]).unwrap();
        let mut found = Frequencies::of(query.indices());
        found.add(6, |term| u64::from(term == 5) * 3);
        found.add(4, |term| u64::from(term == 5));
        let weighed = found.weigh(&query);
        assert_eq!(weighed.indices(), query.indices());
        assert_eq!(weighed.values(), [2.0 * idf(10, 4), idf(10, 0)]);
    }
}
