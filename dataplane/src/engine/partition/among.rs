//! Comparing a query with points that are known already, and what it needs to know of all points before.

use crate::engine::error::EngineError;
use crate::engine::query::{Query, Target};
use crate::engine::terms::Frequencies;
use crate::model::{PointId, VectorSchema};

use brainy_index::near::{Near, TopK};

use super::layers::Snapshot;

impl Snapshot {
    /// Weighs the terms of a sparse query by how rare they are here, where the field wants it.
    pub(super) fn weigh(&self, schema: &VectorSchema, query: &mut Query<'_>) {
        let Target::Sparse { field, vector } = &mut query.target else {
            return;
        };
        let params = schema.sparse_vectors.values().nth(*field);
        if !params.is_some_and(|params| params.idf) {
            return;
        }
        let mut found = Frequencies::of(vector.indices());
        for view in &self.layers.segments {
            view.segment.count_terms(*field, &mut found);
        }
        for memtable in self.layers.memtables() {
            memtable.count_terms(*field, &mut found);
        }
        let weighed = found.weigh(vector);
        *vector = weighed;
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
                _ => Ok(query.distance(&segment.vectors(row))),
            };
        }
        Ok(None)
    }
}
