//! Points in another order than that of distance, and how often values occur.

use std::collections::HashMap;

use crate::engine::best::Best;
use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::path::Path;
use crate::engine::payload::Selection;
use crate::engine::values;
use crate::model::{
    FacetCount, FacetRequest, FacetValue, FieldOrder, ListOrder, ListRequest, Place, Record,
    ScoredPoint,
};

use super::PartitionState;
use super::layers::{SegmentView, Snapshot};

/// What Qdrant gives as the score of points that no vector ranked.
const SCORE: f32 = 1.0;

impl PartitionState {
    /// The first matching points of an order.
    ///
    /// # Errors
    /// Unreadable paths, or a payload that does not decode.
    pub fn list(&self, request: &ListRequest) -> Result<Vec<ScoredPoint>, EngineError> {
        let selection = Selection::new(&request.with_payload)?;
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let mut points = Vec::new();
        for place in snapshot.first(&request.order, filter.as_ref(), request.limit)? {
            if let Some(found) = snapshot.find(place.id, &selection, &request.with_vector)? {
                points.push(ScoredPoint {
                    version: found.version,
                    record: Record {
                        order_value: place.value,
                        ..found.into_record(place.id)
                    },
                    score: SCORE,
                });
            }
        }
        Ok(points)
    }

    /// In how many matching points each value of a field occurs, in no particular order.
    ///
    /// # Errors
    /// Unreadable paths, or a payload that does not decode.
    pub fn facet(&self, request: &FacetRequest) -> Result<Vec<FacetCount>, EngineError> {
        let path = Path::parse(&request.key)?;
        let filter = self.compiled(request.filter.as_ref())?;
        let snapshot = self.snapshot();
        let mut counts: HashMap<FacetValue, u64> = HashMap::new();
        for view in &snapshot.layers.segments {
            view.reading(snapshot.tick, |live| {
                let facet = (request.values, &path);
                view.segment
                    .count_values(facet, filter.as_ref(), live, &mut counts)
            })?;
        }
        for memtable in snapshot.layers.memtables() {
            memtable.each_live(snapshot.tick, |row| {
                if row.matches(filter.as_ref())? {
                    for value in values::counted(&path, row.payload(), request.values)? {
                        *counts.entry(value).or_default() += 1;
                    }
                }
                Ok(())
            })?;
        }
        let counts = counts.into_iter();
        Ok(counts
            .map(|(value, count)| FacetCount { value, count })
            .collect())
    }
}

impl Snapshot {
    fn first(
        &self,
        order: &ListOrder,
        filter: Option<&CompiledFilter>,
        limit: usize,
    ) -> Result<Vec<Place>, EngineError> {
        match order {
            ListOrder::Id => {
                let mut ids = self.ids_from(None, filter, limit)?;
                let mut places = Vec::new();
                while places.len() < limit
                    && let Some(id) = ids.next()?
                {
                    places.push(order.place_of(id));
                }
                Ok(places)
            }
            ListOrder::Random(_) => self.first_by_id(order, filter, limit),
            ListOrder::Field(field) => self.first_by_value(order, field, filter, limit),
        }
    }

    fn first_by_id(
        &self,
        order: &ListOrder,
        filter: Option<&CompiledFilter>,
        limit: usize,
    ) -> Result<Vec<Place>, EngineError> {
        let mut best = Best::new(order, limit);
        for view in &self.layers.segments {
            view.reading(self.tick, |live| {
                view.segment.list_by_id(filter, live, &mut best)
            })?;
        }
        for memtable in self.layers.memtables() {
            memtable.each_live(self.tick, |row| {
                let place = order.place_of(row.id());
                if best.admits(&place) && row.matches(filter)? {
                    best.push(place);
                }
                Ok(())
            })?;
        }
        Ok(best.into_sorted())
    }

    fn first_by_value(
        &self,
        order: &ListOrder,
        field: &FieldOrder,
        filter: Option<&CompiledFilter>,
        limit: usize,
    ) -> Result<Vec<Place>, EngineError> {
        let path = Path::parse(&field.key)?;
        let mut best = Best::new(order, limit);
        for view in &self.layers.segments {
            view.reading(self.tick, |live| {
                view.segment
                    .list_by_value((field, &path), filter, live, &mut best)
            })?;
        }
        for memtable in self.layers.memtables() {
            memtable.each_live(self.tick, |row| {
                let mut found = values::ordered(&path, row.payload(), field.values)?;
                found.retain(|value| !field.is_before_start(*value));
                let places = found
                    .into_iter()
                    .map(|value| Place::of_value(row.id(), value));
                let places: Vec<Place> = places.filter(|place| best.admits(place)).collect();
                if !places.is_empty() && row.matches(filter)? {
                    places.into_iter().for_each(|place| best.push(place));
                }
                Ok(())
            })?;
        }
        Ok(best.into_sorted())
    }
}

impl SegmentView {
    /// Calls `read` with which rows are live at `tick`, or nothing if all are.
    fn reading<T>(&self, tick: u64, read: impl FnOnce(Option<&dyn Fn(u32) -> bool>) -> T) -> T {
        let live = |row| self.is_live(row, tick);
        read(self.has_dead().then_some(&live as &dyn Fn(u32) -> bool))
    }
}
