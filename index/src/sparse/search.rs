//! The k rows with the highest dot product.
//!
//! Rows are gone through in windows. In each window a term's values have an upper bound, from its blocks. The terms whose
//! bounds together cannot lift a row into the result are *optional* there: only the rows of the others are looked at, and
//! an optional term is asked about a row only while that could still make it. So a search for "the cat" walks the list of "cat".
//! Windows where no row can make it are skipped, and rows that only have terms that nowhere matter are never visited.
//!
//! Sources: H. Turtle, J. Flood: Query Evaluation (1995), for MaxScore; S. Ding, T. Suel: Faster Top-k Document Retrieval
//! Using Block-Max Indexes (2011); the windows as in Lucene's `MaxScoreBulkScorer`.
//!
//! Bounds hold for values and weights that are not negative. Where one is, every term counts everywhere.
//!
//! Scores are sums in ascending order of the terms, in `f64`, where a product of two `f32` is exact. What is added in another
//! order on the way is only compared, with room for rounding, and summed again before it enters the result.

use super::format::{Word, float, int};
use super::index::{Postings, SparseIndex};
use super::vector::{SparseVector, finite};
use crate::near::{Near, TopK};

/// Rows of a window: their sums fit into half of the first-level cache.
const WINDOW: usize = 2048;

/// A term of the query.
struct Term<'a> {
    weight: f64,
    postings: Postings<'a>,
    /// The first posting that no window has passed.
    at: usize,
}

/// A term's part in a window.
#[derive(Clone, Copy)]
struct Part {
    /// Which term.
    term: usize,
    /// Its postings.
    start: usize,
    end: usize,
    /// It adds no more than this to a row.
    bound: f64,
}

impl<B: AsRef<[u8]>> SparseIndex<B> {
    /// The `k` rows whose vectors have the highest dot product with `query`, among those that share an index with it and
    /// that `accept` lets pass. Best first, ties by row. `distance` is the negated score, always finite.
    ///
    /// `accept` is asked only about rows that would enter the result. Weights of terms are multiplied into the query
    /// ([`SparseVector::weighted`]).
    pub fn search(
        &self,
        query: &SparseVector,
        k: usize,
        accept: Option<&dyn Fn(u32) -> bool>,
    ) -> Vec<Near> {
        if k == 0 {
            return Vec::new();
        }
        let mut terms: Vec<Term<'_>> = Vec::with_capacity(query.len());
        for (term, weight) in query.iter() {
            if let Some(postings) = self.postings(term) {
                terms.push(Term {
                    weight: f64::from(weight),
                    postings,
                    at: 0,
                });
            }
        }
        let bounded = !self.has_negative() && terms.iter().all(|term| term.weight >= 0.0);
        let mut search = Search::new(terms, bounded, k, accept);
        while search.window() {}
        search.top.into_sorted()
    }
}

struct Search<'a> {
    /// Ascending by id.
    terms: Vec<Term<'a>>,
    bounded: bool,
    accept: Option<&'a dyn Fn(u32) -> bool>,
    top: TopK,
    /// Sums in another order may be too low by this factor.
    rounding: f64,
    /// Sums that are not above this cannot enter the result, in whatever order they were added. Rows come in ascending
    /// order, so one that is only as good as the last of the result does not.
    needed: f64,
    parts: Vec<Part>,
    /// `reach[n]`: what the first `n` parts can add together.
    reach: Vec<f64>,
    sums: Vec<f64>,
    seen: [u64; WINDOW / 64],
}

impl<'a> Search<'a> {
    fn new(
        terms: Vec<Term<'a>>,
        bounded: bool,
        k: usize,
        accept: Option<&'a dyn Fn(u32) -> bool>,
    ) -> Self {
        Self {
            rounding: if bounded {
                1.0 + (terms.len() + 2) as f64 * f64::EPSILON
            } else {
                1.0
            },
            needed: f64::NEG_INFINITY,
            terms,
            bounded,
            accept,
            top: TopK::new(k),
            parts: Vec::new(),
            reach: Vec::new(),
            sums: vec![0.0; WINDOW],
            seen: [0; WINDOW / 64],
        }
    }

    /// Goes through the next window; whether there was one.
    fn window(&mut self) -> bool {
        let Some(first) = self.next_row() else {
            return false;
        };
        self.lay_out(first);
        let optional = self.optional();
        if optional < self.parts.len() {
            self.add_up(first, optional);
            self.collect(first, optional);
        }
        true
    }

    /// The next row of a term that can lift a row into the result with the help of the weaker ones.
    fn next_row(&mut self) -> Option<u32> {
        self.parts.clear();
        for (n, term) in self.terms.iter().enumerate() {
            self.parts.push(Part {
                term: n,
                start: term.at,
                end: term.postings.rows.len(),
                bound: term.weight * f64::from(term.postings.highest),
            });
        }
        let optional = self.optional();
        let next = |part: &Part| self.terms[part.term].postings.rows.get(part.start);
        self.parts[optional..]
            .iter()
            .filter_map(next)
            .map(|row| int(*row))
            .min()
    }

    /// The terms' parts in the window from row `first` on.
    fn lay_out(&mut self, first: u32) {
        self.parts.clear();
        for (n, term) in self.terms.iter_mut().enumerate() {
            let start = term.postings.seek(term.at, first);
            let end = match first.checked_add(WINDOW as u32) {
                Some(row) => term.postings.seek(start, row),
                None => term.postings.rows.len(),
            };
            term.at = end;
            if start < end {
                self.parts.push(Part {
                    term: n,
                    start,
                    end,
                    bound: term.weight * f64::from(term.postings.highest_of(start..end)),
                });
            }
        }
    }

    /// Orders the parts by what they can add, and gives the number of those that cannot lift a row into the result together.
    fn optional(&mut self) -> usize {
        self.reach.clear();
        self.reach.push(0.0);
        if !self.bounded {
            return 0;
        }
        self.parts
            .sort_unstable_by(|a, b| a.bound.total_cmp(&b.bound).then(a.term.cmp(&b.term)));
        let mut optional = 0;
        let mut sum = 0.0;
        for part in &self.parts {
            sum += part.bound;
            self.reach.push(sum);
            if optional + 2 == self.reach.len() && sum <= self.needed {
                optional += 1;
            }
        }
        // With all terms needed, sums in the order of the terms are final.
        if optional == 0 {
            self.parts.sort_unstable_by_key(|part| part.term);
        }
        optional
    }

    /// Adds what the other parts have for the rows of the window.
    fn add_up(&mut self, first: u32, optional: usize) {
        for part in &self.parts[optional..] {
            let Term {
                weight, postings, ..
            } = &self.terms[part.term];
            let rows = postings.rows.get(part.start..part.end).unwrap_or_default();
            let values = postings
                .values
                .get(part.start..part.end)
                .unwrap_or_default();
            for (row, value) in rows.iter().zip(values) {
                let slot = int(*row).wrapping_sub(first) as usize;
                // Always there, unless the rows are damaged.
                if let Some(sum) = self.sums.get_mut(slot) {
                    *sum += weight * f64::from(float(*value));
                    self.seen[slot / 64] |= 1 << (slot % 64);
                }
            }
        }
    }

    /// Shows the result the rows that were added to, and clears them.
    fn collect(&mut self, first: u32, optional: usize) {
        for word in 0..self.seen.len() {
            let mut bits = std::mem::take(&mut self.seen[word]);
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let sum = std::mem::take(&mut self.sums[slot]);
                if sum + self.reach[optional] > self.needed {
                    self.consider(first.wrapping_add(slot as u32), sum, optional);
                }
            }
        }
    }

    /// Shows the result a row that has `sum` without the optional parts.
    fn consider(&mut self, row: u32, mut sum: f64, optional: usize) {
        for n in (0..optional).rev() {
            if sum + self.reach[n + 1] <= self.needed {
                return;
            }
            let part = &mut self.parts[n];
            let Term {
                weight, postings, ..
            } = &self.terms[part.term];
            part.start = postings.seek(part.start, row);
            if let Some(value) = value_at(postings, part.start, row) {
                sum += weight * f64::from(value);
            }
        }
        if sum <= self.needed || self.accept.is_some_and(|accept| !accept(row)) {
            return;
        }
        let score = finite(if optional == 0 { sum } else { self.score(row) });
        self.top.push(Near {
            distance: 0.0 - score,
            key: row,
        });
        if let Some(distance) = self.top.farthest() {
            self.needed = f64::from(0.0 - distance) / self.rounding;
        }
    }

    /// The sum in the order of the terms.
    fn score(&self, row: u32) -> f64 {
        let value = |postings: &Postings<'_>| {
            let at = postings.rows.partition_point(|r| int(*r) < row);
            value_at(postings, at, row)
        };
        self.terms
            .iter()
            .filter_map(|term| Some(term.weight * f64::from(value(&term.postings)?)))
            .sum()
    }
}

fn value_at(postings: &Postings<'_>, at: usize, row: u32) -> Option<f32> {
    let at_row = |word: &Word| int(*word) == row;
    postings.rows.get(at).is_some_and(at_row).then_some(())?;
    postings.values.get(at).map(|value| float(*value))
}
