//! States of points that several instances write.

use crate::model::{PointId, VectorSelector};

use super::{MemPoint, Memtable};
use crate::engine::stored;

/// The newest change of a point in a layer.
#[derive(Debug)]
pub(crate) struct Newest {
    /// The point; none if it was deleted.
    pub(crate) point: Option<MemPoint>,
    /// Its state, if it was written where several instances write.
    pub(crate) state: Option<Box<[u8]>>,
}

impl Memtable {
    /// The newest change of the id up to `tick`, if there is one.
    pub(crate) fn newest(&self, id: PointId, tick: u64) -> Option<Newest> {
        let inner = self.inner.read();
        let mut number = *inner.newest.get(&id)?;
        while inner.slots[number as usize].born > tick {
            number = inner.slots[number as usize].previous;
            // No earlier slot has this number.
            inner.slots.get(number as usize)?;
        }
        let slot = &inner.slots[number as usize];
        let point = slot.payload.clone().map(|payload| MemPoint {
            version: slot.version,
            payload,
            vectors: stored::collect(&self.schema, &inner.vectors(number), &VectorSelector::All),
        });
        let state = inner.states.get(&number).cloned();
        Some(Newest { point, state })
    }
}
