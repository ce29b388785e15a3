//! Searching one segment: payload indexes choose candidates, the plan chooses between comparing with them and walking a graph.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use brainy_index::dense::{Index, Rescore, Search};
use brainy_index::near::{Near, TopK};

use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::interrupt;
use crate::engine::payload_index::{Answer, RowSet};
use crate::engine::query::{Query, Target};

use super::Segment;
use super::dense::DenseField;
use super::plan::{Explanation, Facts, Plan, plan};
use super::sparse_index::is_worth_it;

/// Candidates of which it is looked up whether they match, to plan with.
const SAMPLE: usize = 128;
/// Width of a walk when the request names none.
const DEFAULT_EF: usize = 128;
/// Rows that a walk meets first: those around the query.
const FIRST: usize = 256;
/// So many times wider is a walk whose query lies where fewer rows match than elsewhere ([`Seen::is_elsewhere`]).
const WIDER: usize = 4;

/// Which rows count.
pub(super) struct Matching<'q> {
    segment: &'q Segment,
    /// Absent: all rows are live.
    live: Option<&'q dyn Fn(u32) -> bool>,
    /// Rows among which all that match are; absent: all.
    pub(super) within: Option<RowSet>,
    /// What payloads decide; absent: nothing.
    residual: Option<&'q CompiledFilter>,
}

impl Matching<'_> {
    /// Whether every row counts.
    pub(super) fn is_all(&self) -> bool {
        self.live.is_none() && self.within.is_none() && self.residual.is_none()
    }

    /// Whether a candidate counts.
    pub(super) fn counts(&self, row: u32) -> Result<bool, EngineError> {
        interrupt::check_at(row)?;
        if self.live.is_some_and(|live| !live(row)) {
            return Ok(false);
        }
        self.residual
            .map_or(Ok(true), |filter| self.segment.matches(row, filter))
    }

    pub(super) fn is_candidate(&self, row: u32) -> bool {
        self.within.as_ref().is_none_or(|set| set.contains(row))
    }

    pub(super) fn candidates(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.within {
            Some(set) => set.iter(),
            None => Box::new(0..self.segment.rows() as u32),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.within
            .as_ref()
            .map_or(self.segment.rows(), RowSet::len)
    }

    /// Of how many candidates how many count.
    fn sample(&self) -> Result<(usize, usize), EngineError> {
        if self.live.is_none() && self.residual.is_none() {
            return Ok((1, 1));
        }
        let sample = match &self.within {
            Some(set) => set.sample(SAMPLE),
            None => {
                let step = self.len().div_ceil(SAMPLE).max(1);
                (0..self.len() as u32).step_by(step).collect()
            }
        };
        let mut hits = 0;
        for row in &sample {
            hits += usize::from(self.counts(*row)?);
        }
        Ok((hits, sample.len()))
    }
}

/// Rows that a walk asked about, and of the [`FIRST`] of them those that count.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    asked: usize,
    accepted: usize,
}

impl Seen {
    /// Whether clearly fewer of the rows around the query matched than the `share` of all rows that do: the nearest that match lie
    /// in other places, perhaps in several, and a walk that fills up in the first of them misses the others.
    fn is_elsewhere(self, share: f64) -> bool {
        (self.accepted as f64) < 0.5 * share * self.asked.min(FIRST) as f64
    }
}

/// A search of a field with an index.
struct Indexed<'w> {
    dense: &'w DenseField,
    index: &'w Index,
    /// The query's vectors, padded.
    vectors: &'w [Vec<f32>],
    search: Search,
}

impl<'w> Indexed<'w> {
    fn new(
        (dense, index): (&'w DenseField, &'w Index),
        vectors: &'w [Vec<f32>],
        query: &Query<'_>,
        limit: usize,
    ) -> Self {
        let ef = query.ef.unwrap_or(DEFAULT_EF).max(limit);
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
        Self {
            dense,
            index,
            vectors,
            search,
        }
    }

    fn plan(&self, matching: &Matching<'_>) -> Result<Plan, EngineError> {
        if matching.len() <= self.search.ef {
            return Ok(Plan::Compare);
        }
        let (hits, sampled) = matching.sample()?;
        let slots = self.dense.slots.len();
        Ok(plan(&Facts {
            rows: slots,
            size: self.dense.vectors.dim(),
            ef: self.search.ef,
            candidates: matching.len().min(slots),
            residual: matching.residual.is_some(),
            hits,
            sampled,
        }))
    }

    /// One walk, and what it met. `None` if the budget is spent.
    fn search_within(
        &self,
        vector: &[f32],
        search: &Search,
        matching: &Matching<'_>,
    ) -> Result<(Option<Vec<Near>>, Seen), EngineError> {
        let failed = Cell::new(None);
        let seen = Cell::new(Seen::default());
        let accept = |slot: u32| {
            let row = self.dense.slots.row(slot);
            let counts = matching.is_candidate(row)
                && matching.counts(row).unwrap_or_else(|e| {
                    failed.set(Some(e));
                    false
                });
            let Seen { asked, accepted } = seen.get();
            seen.set(Seen {
                asked: asked + 1,
                accepted: accepted + usize::from(counts && asked < FIRST),
            });
            counts
        };
        let accept = (!matching.is_all()).then_some(&accept as &dyn Fn(u32) -> bool);
        let found = self
            .index
            .search_within(&self.dense.vectors, vector, search, accept);
        match failed.take() {
            Some(error) => Err(error),
            None => Ok((found, seen.get())),
        }
    }

    fn components(&self) -> impl Iterator<Item = &'w [f32]> {
        let dim = self.dense.vectors.dim();
        self.vectors.iter().map(move |vector| &vector[..dim])
    }
}

impl Segment {
    /// The nearest matching rows of those that `live` lets through (all, without), nearest first.
    pub(crate) fn search(
        &self,
        query: &Query<'_>,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<Near>, EngineError> {
        self.uses.searches.fetch_add(1, Ordering::Relaxed);
        let found = self.search_parts(query, live);
        // A read that failed is the reason of whatever followed from it.
        interrupt::check_reads()?;
        found
    }

    fn search_parts(
        &self,
        query: &Query<'_>,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<Near>, EngineError> {
        let limit = query.limit.min(self.rows());
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut matching = self.matching(query.filter, live);
        if let Target::Dense { field, vectors, .. } = &query.target
            && let dense = &self.dense[*field]
            && let Some(index) = &dense.index
            && !query.exact
        {
            let indexed = Indexed::new((dense, index), vectors, query, limit);
            if let Plan::Walk { budget, share } = indexed.plan(&matching)? {
                matching.within = matching.within.map(RowSet::into_bits);
                // Fewer than asked for: the walk may have missed rows that nothing leads to, a comparison does not.
                if let Some(found) = self.walk(query, &indexed, (budget, share), &matching)?
                    && found.len() >= limit
                {
                    return Ok(found);
                }
            }
            if matching.residual.is_none() && !dense.has_lists() {
                let found = scan(&indexed, &matching);
                // It ends early when it is interrupted.
                interrupt::check()?;
                return Ok(found);
            }
        }
        if let Target::Sparse { field, vector } = &query.target
            && let Some(index) = &self.terms[*field]
            && is_worth_it(index, vector, &matching)
        {
            matching.within = matching.within.map(RowSet::into_bits);
            return self.search_terms(index, vector, limit, &matching);
        }
        self.compare(query, limit, &matching)
    }

    /// How [`Self::search`] would go about a search.
    pub(crate) fn explain(
        &self,
        query: &Query<'_>,
        live: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Explanation, EngineError> {
        let matching = self.matching(query.filter, live);
        let mut plan = Plan::Compare;
        if let Target::Dense { field, vectors, .. } = &query.target
            && let dense = &self.dense[*field]
            && let Some(index) = &dense.index
            && !query.exact
        {
            plan = Indexed::new((dense, index), vectors, query, query.limit).plan(&matching)?;
        }
        Ok(Explanation {
            candidates: matching.len(),
            exact: matching.residual.is_none(),
            plan,
        })
    }

    /// Which rows count.
    pub(super) fn matching<'q>(
        &'q self,
        filter: Option<&'q CompiledFilter>,
        live: Option<&'q dyn Fn(u32) -> bool>,
    ) -> Matching<'q> {
        let answer = filter.and_then(|filter| self.candidates(filter));
        let exact = answer.as_ref().is_some_and(|a| a.exact);
        Matching {
            segment: self,
            live,
            within: answer.map(|Answer { rows, .. }| rows),
            residual: filter.filter(|_| !exact),
        }
    }

    /// Walks the index from each of the query's vectors, of whose rows a `share` matches. Where rows have lists, those that any
    /// of the walks finds are compared as a whole. `None` if the budget is spent.
    fn walk(
        &self,
        query: &Query<'_>,
        indexed: &Indexed<'_>,
        (budget, share): (usize, f64),
        matching: &Matching<'_>,
    ) -> Result<Option<Vec<Near>>, EngineError> {
        let dense = indexed.dense;
        let mut found = Vec::new();
        for vector in indexed.components() {
            let search = Search {
                budget,
                ..indexed.search
            };
            let (mut near, seen) = indexed.search_within(vector, &search, matching)?;
            if near.is_some() && seen.is_elsewhere(share) {
                let search = Search {
                    ef: search.ef.saturating_mul(WIDER),
                    budget: budget.saturating_sub(seen.asked),
                    ..search
                };
                near = indexed.search_within(vector, &search, matching)?.0;
            }
            let Some(near) = near else { return Ok(None) };
            found.extend(near);
        }
        for near in &mut found {
            near.key = dense.slots.row(near.key);
        }
        if !dense.has_lists() {
            return Ok(Some(found));
        }
        let mut rows: Vec<u32> = found.iter().map(|near| near.key).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut top = TopK::new(query.limit);
        for row in rows {
            if let Some(distance) = query.distance(&self.vectors(row)) {
                top.push(Near { distance, key: row });
            }
        }
        Ok(Some(top.into_sorted()))
    }

    /// Compares with every candidate, in full precision.
    fn compare(
        &self,
        query: &Query<'_>,
        limit: usize,
        matching: &Matching<'_>,
    ) -> Result<Vec<Near>, EngineError> {
        let mut top = TopK::new(limit);
        for row in matching.candidates() {
            interrupt::check_at(row)?;
            // Distances are cheaper than payloads: what is too far is not worth decoding.
            let Some(distance) = query.distance(&self.vectors(row)) else {
                continue;
            };
            if top.admits(distance) && matching.counts(row)? {
                top.push(Near { distance, key: row });
            }
        }
        Ok(top.into_sorted())
    }
}

/// Compares with every candidate, by codes first where there are. Rows have one vector at most, and no payload decides.
fn scan(indexed: &Indexed<'_>, matching: &Matching<'_>) -> Vec<Near> {
    let dense = indexed.dense;
    let mut found = Vec::new();
    for vector in indexed.components() {
        let live = |row: &u32| matching.live.is_none_or(|live| live(*row));
        let slots = matching
            .candidates()
            .take_while(|row| interrupt::goes_on_at(*row))
            .filter(live)
            .flat_map(|row| dense.slots.of(row))
            .map(|slot| slot as u32);
        found.extend(
            indexed
                .index
                .scan(&dense.vectors, vector, &indexed.search, slots),
        );
    }
    for near in &mut found {
        near.key = dense.slots.row(near.key);
    }
    found
}
