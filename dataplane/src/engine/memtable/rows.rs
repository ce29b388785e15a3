//! Live points one after the other.

use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::model::PointId;

use super::{Memtable, Slot, matches};

/// A live point.
pub(crate) struct LiveRow<'m> {
    slot: &'m Slot,
}

impl LiveRow<'_> {
    pub(crate) fn id(&self) -> PointId {
        self.slot.id
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.slot.payload.as_deref().unwrap_or_default()
    }

    pub(crate) fn matches(&self, filter: Option<&CompiledFilter>) -> Result<bool, EngineError> {
        matches(self.slot, filter)
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
            let slot = &inner.slots[number as usize];
            each(LiveRow { slot })
        })
    }
}
