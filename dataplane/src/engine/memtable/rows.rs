//! Live points one after the other, and whether they match.

use crate::engine::error::EngineError;
use crate::engine::filter::{CompiledFilter, Subject};
use crate::engine::payload;
use crate::engine::stored;
use crate::model::{Payload, PointId};

use super::{Inner, Memtable};

/// A live point.
pub(crate) struct LiveRow<'m> {
    memtable: &'m Memtable,
    inner: &'m Inner,
    number: u32,
}

impl LiveRow<'_> {
    pub(crate) fn id(&self) -> PointId {
        self.inner.slots[self.number as usize].id
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let slot = &self.inner.slots[self.number as usize];
        slot.payload.as_deref().unwrap_or_default()
    }

    pub(crate) fn matches(&self, filter: Option<&CompiledFilter>) -> Result<bool, EngineError> {
        self.memtable.matches(self.inner, self.number, filter)
    }
}

impl Memtable {
    /// Calls `each` with every point that is live at `tick`.
    pub(crate) fn each_live(
        &self,
        tick: u64,
        mut each: impl FnMut(LiveRow<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.for_live(tick, |inner, number| {
            each(LiveRow {
                memtable: self,
                inner,
                number,
            })
        })
    }

    /// Whether the point in a slot matches.
    pub(super) fn matches(
        &self,
        inner: &Inner,
        number: u32,
        filter: Option<&CompiledFilter>,
    ) -> Result<bool, EngineError> {
        let slot = &inner.slots[number as usize];
        let (Some(filter), Some(bytes)) = (filter, &slot.payload) else {
            return Ok(true);
        };
        let fields = match filter.keys() {
            [] => Payload::new(),
            keys => payload::decode_keys(bytes, keys)?,
        };
        let point = Subject {
            id: slot.id,
            has_vector: &|name| stored::has(&self.schema, &inner.vectors(number), name),
        };
        Ok(filter.matches(point, &fields))
    }
}
