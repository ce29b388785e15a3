//! Searching one segment: walk the graph, or scan.
//!
//! A walk that collects ef rows, of which a share s matches, takes about as long as a scan of [`COST_PER_HIT`] x ef / s rows; it is
//! taken where the segment has more. The share is estimated from a sample of rows. When no sampled row matches, so
//! few do that a scan is the safe choice: it costs one pass and misses nothing.

use std::cell::Cell;

use brainy_index::dense::{Index, Rescore, Search};
use brainy_index::near::{Near, TopK};

use crate::engine::error::EngineError;
use crate::engine::query::{Query, Target};

use super::Segment;

/// Rows sampled to estimate how many match.
const SAMPLE: usize = 512;
/// Rows that a scan compares in the time in which a walk collects one: a walk jumps about in memory, compares with rows that
/// it does not collect, and decodes payloads of rows that do not match. Measured: 40 to 65 (384 dimensions, m = 16).
const COST_PER_HIT: usize = 40;
/// Width of a walk when the request names none.
const DEFAULT_EF: usize = 128;

impl Segment {
    /// The nearest matching rows of those that `live` lets through (all, without), nearest first.
    pub(crate) fn search(
        &self,
        query: &Query<'_>,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<Near>, EngineError> {
        let limit = query.limit.min(self.rows());
        if limit == 0 {
            return Ok(Vec::new());
        }
        let ef = query.ef.unwrap_or(DEFAULT_EF).max(limit);
        if let Target::Dense { field, vectors, .. } = &query.target
            && let Some(index) = &self.dense[*field].index
            && !query.exact
            && self.walk_is_cheaper(*field, query, ef, live)?
        {
            let found = self.walk((*field, index), query, vectors, limit, ef, live)?;
            // Fewer than asked for: the walk may have missed rows that nothing leads to, a scan does not.
            if found.len() >= limit {
                return Ok(found);
            }
        }
        self.scan(query, limit, live)
    }

    /// Walks the index of a dense field from each of the query's vectors. Where rows have lists, those that any of the walks
    /// finds are compared as a whole.
    fn walk(
        &self,
        (field, index): (usize, &Index),
        query: &Query<'_>,
        vectors: &[Vec<f32>],
        limit: usize,
        ef: usize,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<Near>, EngineError> {
        let dense = &self.dense[field];
        let failed = Cell::new(None);
        let accept = |slot: u32| {
            let row = dense.slots.row(slot);
            live.is_none_or(|live| live(row))
                && query.filter.is_none_or(|filter| {
                    self.matches(row, filter).unwrap_or_else(|e| {
                        failed.set(Some(e));
                        false
                    })
                })
        };
        let all = live.is_none() && query.filter.is_none();
        let accept = (!all).then_some(&accept as &dyn Fn(u32) -> bool);
        let lists = dense.has_lists();
        let search = Search {
            rescore: match (query.codes.rescore, query.codes.oversampling) {
                (Some(false), _) => Rescore::Off,
                // Whole rows are compared afterwards.
                _ if lists => Rescore::Off,
                (_, Some(times)) => Rescore::Times(times),
                (_, None) => Rescore::Default,
            },
            ignore_codes: query.codes.ignore,
            ..Search::new(if lists { ef } else { limit }, ef)
        };
        let mut found = Vec::new();
        for vector in vectors {
            let vector = &vector[..dense.vectors.dim()];
            found.extend(index.search(&dense.vectors, vector, &search, accept));
        }
        if let Some(error) = failed.take() {
            return Err(error);
        }
        for near in &mut found {
            near.key = dense.slots.row(near.key);
        }
        if !lists {
            return Ok(found);
        }
        let mut rows: Vec<u32> = found.iter().map(|near| near.key).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut top = TopK::new(limit);
        for row in rows {
            if let Some(distance) = query.distance(&self.vectors(row)) {
                top.push(Near { distance, key: row });
            }
        }
        Ok(top.into_sorted())
    }

    /// Compares with every live row that matches.
    fn scan(
        &self,
        query: &Query<'_>,
        limit: usize,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<Near>, EngineError> {
        let mut top = TopK::new(limit);
        for row in (0..self.rows() as u32).filter(|row| live.is_none_or(|live| live(*row))) {
            // Distances are cheaper than payloads: what is too far is not worth decoding.
            let Some(distance) = query.distance(&self.vectors(row)) else {
                continue;
            };
            if !top.admits(distance) {
                continue;
            }
            if let Some(filter) = query.filter
                && !self.matches(row, filter)?
            {
                continue;
            }
            top.push(Near { distance, key: row });
        }
        Ok(top.into_sorted())
    }

    fn walk_is_cheaper(
        &self,
        field: usize,
        query: &Query<'_>,
        ef: usize,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<bool, EngineError> {
        let dense = &self.dense[field];
        let slots = dense.slots.len();
        let sample = slots.min(SAMPLE);
        let mut hits = 0;
        for i in 0..sample {
            let row = dense.slots.row((i * slots / sample) as u32);
            if live.is_none_or(|live| live(row))
                && match query.filter {
                    Some(filter) => self.matches(row, filter)?,
                    None => true,
                }
            {
                hits += 1;
            }
        }
        Ok(is_walk_cheaper(slots, ef, hits, sample))
    }
}

/// Pure part of the plan: `hits` of `sample` rows match.
fn is_walk_cheaper(rows: usize, ef: usize, hits: usize, sample: usize) -> bool {
    hits > 0 && ef.saturating_mul(COST_PER_HIT).saturating_mul(sample) < rows.saturating_mul(hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selective_filters_scan_and_loose_ones_walk() {
        assert!(is_walk_cheaper(1_000_000, 128, 512, 512));
        assert!(
            is_walk_cheaper(1_000_000, 128, 5, 512),
            "1% of a million rows is worth a walk"
        );
        assert!(
            !is_walk_cheaper(10_000, 128, 5, 512),
            "100 of 10,000 rows are not"
        );
        assert!(
            !is_walk_cheaper(1_000_000, 128, 0, 512),
            "nothing in the sample matches"
        );
        assert!(
            !is_walk_cheaper(600, 128, 512, 512),
            "as wide as the segment"
        );
        assert!(!is_walk_cheaper(usize::MAX, usize::MAX, 1, 1));
    }
}
