//! Comparing a query with points that are known already, and what it needs to know of all points before.

use crate::engine::error::EngineError;
use crate::engine::filter::{CompiledFilter, Subject};
use crate::engine::formula::CompiledFormula;
use crate::engine::interrupt;
use crate::engine::payload;
use crate::engine::query::{Query, Target};
use crate::engine::stored;
use crate::engine::terms::Frequencies;
use crate::model::{Payload, PointId, VectorSchema, VectorSelector};

use brainy_index::near::{Near, TopK};

use super::layers::Snapshot;

/// Makes something of a point and its payload, if there is something to make.
type ReadPoint<'r, T> = dyn Fn(Subject<'_>, &[u8]) -> Result<Option<T>, EngineError> + 'r;

impl Snapshot {
    /// Weighs the terms of the sparse vectors of a query by how rare they are here, where the field wants it: among all points, or
    /// those that match `corpus`.
    pub(super) fn weigh(
        &self,
        schema: &VectorSchema,
        target: Target,
        corpus: Option<&CompiledFilter>,
    ) -> Result<Target, EngineError> {
        let (mut asked, mut terms) = (None, Vec::new());
        target.each_sparse(&mut |field, vector| {
            asked = Some(field);
            terms.extend_from_slice(vector.indices());
        });
        let params = asked.and_then(|field| schema.sparse_vectors.values().nth(field));
        let Some(field) = asked.filter(|_| params.is_some_and(|params| params.idf)) else {
            return Ok(target);
        };
        terms.sort_unstable();
        terms.dedup();
        let mut found = Frequencies::of(&terms);
        match corpus {
            None => {
                for view in &self.layers.segments {
                    view.segment.count_terms(field, &mut found);
                }
                for memtable in self.layers.memtables() {
                    memtable.count_terms(field, &mut found);
                }
            }
            Some(corpus) => {
                for view in &self.layers.segments {
                    let live = |row| view.is_live(row, self.tick);
                    view.segment
                        .count_terms_in(field, corpus, &live, &mut found)?;
                }
                for memtable in self.layers.memtables() {
                    memtable.count_terms_in(field, corpus, self.tick, &mut found)?;
                }
            }
        }
        Ok(target.with_sparse(&|vector| found.weigh(&vector)))
    }

    /// Those of the points `ids`, each given once, that match, nearest first.
    pub(super) fn compare(
        &self,
        ids: &[PointId],
        query: &Query<'_>,
    ) -> Result<Vec<Near<PointId>>, EngineError> {
        let mut top = TopK::new(query.limit);
        for id in ids {
            if let Some(distance) = self.distance(*id, query)? {
                top.push(Near { distance, key: *id });
            }
        }
        Ok(top.into_sorted())
    }

    /// Those of the points `ids`, each given once, that match, by the value of a formula: the highest first, as the lowest distance.
    pub(super) fn rank(
        &self,
        ids: &[PointId],
        formula: &CompiledFormula,
        filter: Option<&CompiledFilter>,
        limit: usize,
    ) -> Result<Vec<Near<PointId>>, EngineError> {
        let mut keys = formula.keys().to_vec();
        keys.extend_from_slice(filter.map_or(&[], CompiledFilter::keys));
        let mut top = TopK::new(limit);
        for id in ids {
            let value = self.with_point(*id, &|subject, bytes| {
                let fields = match keys.as_slice() {
                    [] => Payload::new(),
                    keys => payload::decode_keys(bytes, keys)?,
                };
                match filter {
                    Some(filter) if !filter.matches(subject, &fields) => Ok(None),
                    _ => formula.value(subject, &fields).map(Some),
                }
            })?;
            if let Some(value) = value {
                let distance = 0.0 - value;
                top.push(Near { distance, key: *id });
            }
        }
        Ok(top.into_sorted())
    }

    /// What `read` makes of a live point and its payload; none if there is no such point.
    fn with_point<T>(
        &self,
        id: PointId,
        read: &ReadPoint<'_, T>,
    ) -> Result<Option<T>, EngineError> {
        for memtable in self.layers.memtables() {
            if let Some(point) = memtable.get(id, self.tick, &VectorSelector::All) {
                let has_vector = &|name: &str| point.vectors.get(name).is_some();
                return read(Subject { id, has_vector }, &point.payload);
            }
        }
        for view in &self.layers.segments {
            let segment = &view.segment;
            let row = segment.find_row(id);
            if let Some(row) = row.filter(|row| view.is_live(*row, self.tick)) {
                let has_vector =
                    &|name: &str| stored::has(segment.schema(), &segment.vectors(row), name);
                let payload = segment.payload(row);
                interrupt::check_reads()?;
                return read(Subject { id, has_vector }, &payload);
            }
        }
        Ok(None)
    }

    fn distance(&self, id: PointId, query: &Query<'_>) -> Result<Option<f32>, EngineError> {
        for memtable in self.layers.memtables() {
            let distance = memtable.distance(id, query, self.tick)?;
            if distance.is_some() {
                return Ok(distance);
            }
        }
        for view in &self.layers.segments {
            let segment = &view.segment;
            let row = segment.find_row(id);
            let Some(row) = row.filter(|row| view.is_live(*row, self.tick)) else {
                continue;
            };
            return match query.filter {
                Some(filter) if !segment.matches(row, filter)? => Ok(None),
                _ => {
                    let distance = query.distance(&segment.vectors(row));
                    interrupt::check_reads()?;
                    Ok(distance)
                }
            };
        }
        Ok(None)
    }
}
