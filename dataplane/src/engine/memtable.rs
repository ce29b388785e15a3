//! Recent changes: what the segments do not contain yet.
//!
//! Slots are only ever added. A newer version of a point is a new slot; the older one is marked superseded from the tick of
//! the change on, so that snapshots taken before still see it. Vectors are contiguous and compared one after the other.
//! Long reads let go of the lock every [`STRIDE`] slots.
//!
//! Memory per slot: [`SLOT_BYTES`], the payload's bytes and 4 bytes a dimension; deletions have neither payload nor vector.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::types::LogPosition;
use parking_lot::RwLock;

use crate::model::{Distance, Payload, PointId, VectorParams};

use super::distance::distance;
use super::error::EngineError;
use super::filter::CompiledFilter;
use super::payload;
use super::segment::Query;
use super::topk::{Near, TopK};

/// Slots read under one hold of the lock.
const STRIDE: usize = 1024;
/// Bytes of a slot and its place in the order of ids, without payload and vector.
const SLOT_BYTES: usize = size_of::<Slot>() + 40;
/// A slot that was not superseded.
const NEVER: u64 = u64::MAX;
/// No earlier slot.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    id: PointId,
    version: LogPosition,
    born: u64,
    dead: AtomicU64,
    previous: u32,
    /// Payload bytes and number of the vector; absent for deletions.
    put: Option<(Box<[u8]>, u32)>,
}

impl Slot {
    fn is_live(&self, tick: u64) -> bool {
        self.put.is_some() && self.born <= tick && tick < self.dead.load(Ordering::Relaxed)
    }

    /// Ends the slot's life at `tick`; whether a point ended with it.
    fn supersede(&self, tick: u64) -> bool {
        let first = self
            .dead
            .compare_exchange(NEVER, tick, Ordering::Relaxed, Ordering::Relaxed);
        first.is_ok() && self.put.is_some()
    }
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Slot>,
    vectors: Vec<f32>,
    /// Newest slot of each id.
    newest: BTreeMap<PointId, u32>,
    /// Points that are not superseded.
    live: usize,
    bytes: usize,
    last: LogPosition,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Memtable {
    vector: VectorParams,
    inner: RwLock<Inner>,
}

/// A point read from a memtable.
#[derive(Debug)]
pub(crate) struct MemPoint {
    pub(crate) version: LogPosition,
    pub(crate) payload: Box<[u8]>,
    pub(crate) vector: Vec<f32>,
}

/// One change as a segment stores it.
pub(crate) enum Latest<'m> {
    Put(&'m [u8], &'m [f32]),
    Deleted,
}

impl Inner {
    fn add(
        &mut self,
        id: PointId,
        version: LogPosition,
        born: u64,
        put: Option<(Box<[u8]>, &[f32])>,
    ) -> bool {
        let slot = self.slots.len() as u32;
        let previous = self.newest.insert(id, slot);
        let ended = previous.is_some_and(|p| self.slots[p as usize].supersede(born));
        self.live -= usize::from(ended);
        self.live += usize::from(put.is_some());
        self.bytes += SLOT_BYTES;
        let put = put.map(|(payload, vector)| {
            self.bytes += payload.len() + size_of_val(vector);
            let number = self.vectors.len() / vector.len().max(1);
            self.vectors.extend_from_slice(vector);
            (payload, number as u32)
        });
        self.slots.push(Slot {
            id,
            version,
            born,
            dead: AtomicU64::new(NEVER),
            previous: previous.unwrap_or(NONE),
            put,
        });
        self.last = self.last.max(version);
        ended
    }

    fn live_slot(&self, id: PointId, tick: u64) -> Option<u32> {
        let mut slot = *self.newest.get(&id)?;
        loop {
            let s = &self.slots[slot as usize];
            if s.is_live(tick) {
                return Some(slot);
            }
            if s.previous == NONE {
                return None;
            }
            slot = s.previous;
        }
    }

    fn vector(&self, number: u32, size: usize) -> &[f32] {
        &self.vectors[number as usize * size..][..size]
    }
}

impl Memtable {
    pub(crate) fn new(vector: VectorParams) -> Self {
        Self {
            vector,
            inner: RwLock::default(),
        }
    }

    fn size(&self) -> usize {
        self.vector.size as usize
    }

    /// Adds a version of a point. The vector fits the parameters.
    pub(crate) fn put(
        &self,
        id: PointId,
        version: LogPosition,
        born: u64,
        payload: Vec<u8>,
        vector: &[f32],
    ) {
        self.inner
            .write()
            .add(id, version, born, Some((payload.into(), vector)));
    }

    /// Adds a deletion.
    pub(crate) fn delete(&self, id: PointId, version: LogPosition, born: u64) {
        self.inner.write().add(id, version, born, None);
    }

    /// Whether the id has a point that is not superseded.
    pub(crate) fn has_live(&self, id: PointId) -> bool {
        let inner = self.inner.read();
        inner.newest.get(&id).is_some_and(|slot| {
            let slot = &inner.slots[*slot as usize];
            slot.put.is_some() && slot.dead.load(Ordering::Relaxed) == NEVER
        })
    }

    /// Ends the life of the id's newest slot, if it has one; whether a point ended with it.
    pub(crate) fn supersede(&self, id: PointId, tick: u64) -> bool {
        let mut inner = self.inner.write();
        let ended = inner
            .newest
            .get(&id)
            .is_some_and(|slot| inner.slots[*slot as usize].supersede(tick));
        inner.live -= usize::from(ended);
        ended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.read().slots.is_empty()
    }

    pub(crate) fn live(&self) -> usize {
        self.inner.read().live
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    /// Newest version in it.
    pub(crate) fn last(&self) -> LogPosition {
        self.inner.read().last
    }

    /// Id and version of every slot from number `from` on; returns how many slots there are.
    pub(crate) fn versions_from(
        &self,
        from: usize,
        mut each: impl FnMut(PointId, LogPosition),
    ) -> usize {
        let inner = self.inner.read();
        for slot in inner.slots.get(from..).unwrap_or_default() {
            each(slot.id, slot.version);
        }
        inner.slots.len()
    }

    /// The newest change of every id, in id order.
    pub(crate) fn latest<E>(
        &self,
        mut each: impl FnMut(PointId, LogPosition, Latest<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let inner = self.inner.read();
        for (id, slot) in &inner.newest {
            let slot = &inner.slots[*slot as usize];
            let change = match &slot.put {
                Some((payload, number)) => Latest::Put(payload, inner.vector(*number, self.size())),
                None => Latest::Deleted,
            };
            each(*id, slot.version, change)?;
        }
        Ok(())
    }

    /// A copy without the changes up to `position`.
    pub(crate) fn after(&self, position: LogPosition) -> Self {
        let inner = self.inner.read();
        let mut kept = Inner::default();
        for slot in inner.slots.iter().filter(|s| s.version > position) {
            let put = slot
                .put
                .as_ref()
                .map(|(payload, number)| (payload.clone(), inner.vector(*number, self.size())));
            kept.add(slot.id, slot.version, slot.born, put);
            // Whatever ended it, here or in a newer layer, ended it in the copy too.
            let dead = slot.dead.load(Ordering::Relaxed);
            if dead != NEVER && kept.slots.last().is_some_and(|copy| copy.supersede(dead)) {
                kept.live -= 1;
            }
        }
        Self {
            vector: self.vector,
            inner: RwLock::new(kept),
        }
    }

    pub(crate) fn get(&self, id: PointId, tick: u64) -> Option<MemPoint> {
        let inner = self.inner.read();
        let slot = &inner.slots[inner.live_slot(id, tick)? as usize];
        let (payload, number) = slot.put.as_ref()?;
        Some(MemPoint {
            version: slot.version,
            payload: payload.clone(),
            vector: inner.vector(*number, self.size()).to_vec(),
        })
    }

    /// Ids of live, matching points after `from`, ascending, with where to go on; at most about [`STRIDE`] ids are looked at.
    pub(crate) fn page(
        &self,
        from: Bound<PointId>,
        tick: u64,
        filter: Option<&CompiledFilter>,
    ) -> Result<(Vec<PointId>, Option<Bound<PointId>>), EngineError> {
        let inner = self.inner.read();
        let mut ids = Vec::new();
        let mut seen = 0;
        for id in inner
            .newest
            .range((from, Bound::Unbounded))
            .map(|(id, _)| *id)
        {
            if let Some(slot) = inner.live_slot(id, tick)
                && matches(&inner.slots[slot as usize], filter)?
            {
                ids.push(id);
            }
            seen += 1;
            if seen == STRIDE {
                return Ok((ids, Some(Bound::Excluded(id))));
            }
        }
        Ok((ids, None))
    }

    /// Live, matching points.
    pub(crate) fn count(
        &self,
        tick: u64,
        filter: Option<&CompiledFilter>,
    ) -> Result<usize, EngineError> {
        let mut count = 0;
        self.for_live(tick, |_, slot| {
            count += usize::from(matches(slot, filter)?);
            Ok(())
        })?;
        Ok(count)
    }

    /// The nearest live, matching points, nearest first.
    pub(crate) fn search(
        &self,
        query: &Query<'_>,
        tick: u64,
    ) -> Result<Vec<Near<PointId>>, EngineError> {
        let measure: Distance = self.vector.distance;
        let size = self.size();
        let mut top = TopK::new(query.limit);
        self.for_live(tick, |inner, slot| {
            let Some((_, number)) = &slot.put else {
                return Ok(());
            };
            let distance = distance(measure, query.vector, inner.vector(*number, size));
            if top.admits(distance) && matches(slot, query.filter)? {
                top.push(Near {
                    distance,
                    key: slot.id,
                });
            }
            Ok(())
        })?;
        Ok(top.into_sorted())
    }

    fn for_live(
        &self,
        tick: u64,
        mut each: impl FnMut(&Inner, &Slot) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut start = 0;
        loop {
            let inner = self.inner.read();
            let end = inner.slots.len().min(start + STRIDE);
            for slot in inner.slots.get(start..end).unwrap_or_default() {
                // Slots are in order of birth: the rest is younger than the snapshot.
                if slot.born > tick {
                    return Ok(());
                }
                if slot.is_live(tick) {
                    each(&inner, slot)?;
                }
            }
            if end == inner.slots.len() {
                return Ok(());
            }
            start = end;
        }
    }
}

fn matches(slot: &Slot, filter: Option<&CompiledFilter>) -> Result<bool, EngineError> {
    let (Some(filter), Some((bytes, _))) = (filter, &slot.put) else {
        return Ok(true);
    };
    let fields = match filter.keys() {
        [] => Payload::new(),
        keys => payload::decode_keys(bytes, keys)?,
    };
    Ok(filter.matches(slot.id, &fields))
}
