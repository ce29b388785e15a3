//! Rows of a segment in another order than that of distance, and how often values occur in them.

use std::collections::HashMap;

use crate::engine::best::Best;
use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::interrupt;
use crate::engine::path::Path;
use crate::engine::payload_index::{Entries, RowSet};
use crate::engine::values;
use crate::model::{FacetValue, FacetValues, FieldOrder, Place};

use super::Segment;
use super::plan::reads_instead;
use super::search::Matching;

impl Segment {
    /// Shows `best` the matching rows, in an order that ids alone decide.
    pub(crate) fn list_by_id(
        &self,
        filter: Option<&CompiledFilter>,
        live: Option<&dyn Fn(u32) -> bool>,
        best: &mut Best<'_>,
    ) -> Result<(), EngineError> {
        let matching = self.matching(filter, live);
        for row in matching.candidates() {
            interrupt::check_at(row)?;
            let place = best.order().place_of(self.row_id(row));
            // Places are cheaper than payloads.
            if best.admits(&place) && matching.counts(row)? {
                best.push(place);
            }
        }
        Ok(())
    }

    /// Shows `best` the matching rows by their values at `path`: an index goes through them in order until no later one can
    /// be among the best; without one, or where few rows can match, their payloads are read.
    pub(crate) fn list_by_value(
        &self,
        (order, path): (&FieldOrder, &Path),
        filter: Option<&CompiledFilter>,
        live: Option<&dyn Fn(u32) -> bool>,
        best: &mut Best<'_>,
    ) -> Result<(), EngineError> {
        let mut matching = self.matching(filter, live);
        let index = self.payload_index();
        let entries = index
            .field(path)
            .and_then(|field| field.in_order(order.values));
        if let Some(entries) = entries {
            let span = entries.span(order);
            let rows = matching.len().max(1) as f64;
            // As if those that match were spread evenly over all values.
            let share = (best.limit() as f64 * self.rows() as f64 / rows).min(span.len() as f64);
            if matching.within.is_none() || !reads_instead(matching.len(), share) {
                matching.within = matching.within.map(RowSet::into_bits);
                return if order.descending {
                    self.walk_values(entries, span.rev(), &matching, best)
                } else {
                    self.walk_values(entries, span, &matching, best)
                };
            }
        }
        for row in matching.candidates() {
            interrupt::check_at(row)?;
            if !matching.counts(row)? {
                continue;
            }
            let payload = self.payload(row);
            interrupt::check_reads()?;
            for value in values::ordered(path, &payload, order.values)? {
                if !order.is_before_start(value) {
                    best.push(Place::of_value(self.row_id(row), value));
                }
            }
        }
        Ok(())
    }

    fn walk_values(
        &self,
        entries: Entries<'_>,
        span: impl Iterator<Item = usize>,
        matching: &Matching<'_>,
        best: &mut Best<'_>,
    ) -> Result<(), EngineError> {
        let mut last = None;
        for (value, row) in span.filter_map(|i| entries.get(i)) {
            interrupt::check_at(row)?;
            let place = Place::of_value(self.row_id(row), value);
            if !best.admits(&place) {
                break;
            }
            let again = last.replace((value, row)) == Some((value, row));
            if !again && matching.is_candidate(row) && matching.counts(row)? {
                best.push(place);
            }
        }
        Ok(())
    }

    /// Adds in how many matching rows each value at `path` occurs: from an index by lists of rows, without one or where few
    /// rows match from their payloads.
    pub(crate) fn count_values(
        &self,
        (wanted, path): (FacetValues, &Path),
        filter: Option<&CompiledFilter>,
        live: Option<&dyn Fn(u32) -> bool>,
        counts: &mut HashMap<FacetValue, u64>,
    ) -> Result<(), EngineError> {
        let matching = self.matching(filter, live);
        let within = if matching.is_all() {
            None
        } else {
            Some(self.rows_of(&matching)?)
        };
        let index = self.payload_index();
        if let Some(field) = index.field(path) {
            let few = within.as_ref().map_or(self.rows(), RowSet::len);
            let reads = within.is_some() && reads_instead(few, field.points() as f64);
            let mut add = |value, count| *counts.entry(value).or_default() += count as u64;
            if !reads && field.count_values(wanted, within.as_ref(), &mut add) {
                return Ok(());
            }
        }
        let within = within.unwrap_or_else(|| RowSet::all(self.rows()));
        for row in within.iter() {
            interrupt::check_at(row)?;
            let payload = self.payload(row);
            interrupt::check_reads()?;
            for value in values::counted(path, &payload, wanted)? {
                *counts.entry(value).or_default() += 1;
            }
        }
        Ok(())
    }

    fn rows_of(&self, matching: &Matching<'_>) -> Result<RowSet, EngineError> {
        let mut rows = Vec::new();
        for row in matching.candidates() {
            interrupt::check_at(row)?;
            if matching.counts(row)? {
                rows.push(row);
            }
        }
        Ok(RowSet::collect(self.rows(), rows.len(), rows))
    }
}
