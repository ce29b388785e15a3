//! Recent changes: what the segments do not contain yet.
//!
//! Slots are only ever added. A newer version of a point is a new slot; the older one is marked superseded from the tick of
//! the change on, so that snapshots taken before still see it. Each field's vectors are contiguous and compared one after
//! the other. Long reads let go of the lock every [`STRIDE`] slots.
//!
//! Memory per slot: [`SLOT_BYTES`], the payload's bytes, 8 bytes a dense field and 4 a component (padded to 64 bytes), 48
//! bytes a sparse field and 8 an index; deletions have neither payload nor vectors. What several instances write has a state as
//! well, live or deleted: its bytes and [`STATE_BYTES`].

mod rows;
mod states;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brainy_coordination::types::LogPosition;
use brainy_index::near::{Near, TopK};
use brainy_index::vectors::stride;
use parking_lot::RwLock;

use crate::model::{PointId, SparseVector, VectorSchema, VectorSelector, Vectors};

use super::error::EngineError;
use super::fields::{Fields, Presented};
use super::filter::CompiledFilter;
use super::interrupt;
use super::query::Query;
use super::stored::{self, DenseRows, Named, RowVectors, SparseRef};
use super::terms::{Frequencies, TermCounts};

/// Slots read under one hold of the lock.
const STRIDE: usize = 1024;
/// Bytes of a slot and its place in the order of ids, without payload and vectors.
const SLOT_BYTES: usize = size_of::<Slot>() + 40;
/// Bytes of a state's place.
const STATE_BYTES: usize = 48;
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
    /// Absent for deletions.
    payload: Option<Box<[u8]>>,
}

impl Slot {
    fn is_live(&self, tick: u64) -> bool {
        self.payload.is_some() && self.born <= tick && tick < self.dead.load(Ordering::Relaxed)
    }

    /// Ends the slot's life at `tick`; whether a point ended with it.
    fn supersede(&self, tick: u64) -> bool {
        let first = self
            .dead
            .compare_exchange(NEVER, tick, Ordering::Relaxed, Ordering::Relaxed);
        first.is_ok() && self.payload.is_some()
    }
}

/// Dense vectors of one field.
#[derive(Debug)]
struct Column {
    size: usize,
    /// Components, each vector padded with zeros as kernels expect.
    data: Vec<f32>,
    /// Of each slot: number of its first vector, and how many it has.
    places: Vec<(u32, u32)>,
}

impl Column {
    fn add(&mut self, rows: DenseRows<'_>) -> usize {
        let stride = stride(self.size);
        let first = self.data.len() / stride;
        let rows = rows.iter();
        let (count, before) = (rows.len(), self.data.len());
        for row in rows {
            let end = self.data.len() + stride;
            self.data.extend_from_slice(row);
            self.data.resize(end, 0.0);
        }
        self.places.push((first as u32, count as u32));
        (self.data.len() - before) * size_of::<f32>() + size_of::<(u32, u32)>()
    }

    fn rows(&self, slot: u32) -> DenseRows<'_> {
        let (first, count) = self.places[slot as usize];
        let stride = stride(self.size);
        let data = &self.data[first as usize * stride..][..count as usize * stride];
        DenseRows::new(data, self.size, stride)
    }
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Slot>,
    dense: Vec<Column>,
    /// Sparse vectors of each field, slot by slot.
    sparse: Vec<Vec<Option<SparseVector>>>,
    /// Of each sparse field whose terms have weights: what its live vectors have.
    terms: Vec<Option<TermCounts>>,
    /// States of slots, where several instances write.
    states: HashMap<u32, Box<[u8]>>,
    /// Newest slot of each id.
    newest: BTreeMap<PointId, u32>,
    /// Points that are not superseded.
    live: usize,
    bytes: usize,
    last: LogPosition,
}

pub(crate) use states::Newest;

/// See the module.
#[derive(Debug)]
pub(crate) struct Memtable {
    schema: Arc<VectorSchema>,
    inner: RwLock<Inner>,
}

/// A point read from a memtable.
#[derive(Debug)]
pub(crate) struct MemPoint {
    pub(crate) version: LogPosition,
    pub(crate) payload: Box<[u8]>,
    pub(crate) vectors: Vectors,
}

/// One change as a segment stores it.
pub(crate) enum Latest<'m> {
    Put(&'m [u8], &'m dyn RowVectors),
    Deleted,
}

/// The vectors of a slot; a deletion has none.
struct SlotVectors<'m> {
    inner: &'m Inner,
    slot: u32,
}

impl RowVectors for SlotVectors<'_> {
    fn dense(&self, field: usize) -> DenseRows<'_> {
        self.inner.dense[field].rows(self.slot)
    }

    fn sparse(&self, field: usize) -> Option<SparseRef<'_>> {
        self.inner.sparse[field][self.slot as usize]
            .as_ref()
            .map(SparseRef::from)
    }
}

impl Inner {
    fn new(schema: &VectorSchema) -> Self {
        let columns = schema.vectors.values().map(|params| Column {
            size: params.size as usize,
            data: Vec::new(),
            places: Vec::new(),
        });
        Self {
            slots: Vec::new(),
            dense: columns.collect(),
            sparse: vec![Vec::new(); schema.sparse_vectors.len()],
            terms: TermCounts::of_fields(schema),
            states: HashMap::new(),
            newest: BTreeMap::new(),
            live: 0,
            bytes: 0,
            last: LogPosition::default(),
        }
    }

    fn vectors(&self, slot: u32) -> SlotVectors<'_> {
        SlotVectors { inner: self, slot }
    }

    fn add(
        &mut self,
        id: PointId,
        version: LogPosition,
        born: u64,
        put: Option<(Box<[u8]>, &dyn RowVectors)>,
        state: Option<Box<[u8]>>,
    ) -> bool {
        let slot = self.slots.len() as u32;
        if let Some(state) = state {
            self.bytes += STATE_BYTES + state.len();
            self.states.insert(slot, state);
        }
        let previous = self.newest.insert(id, slot);
        let ended = previous.is_some_and(|p| self.end(p, born));
        self.live += usize::from(put.is_some());
        self.bytes += SLOT_BYTES;
        let vectors = put.as_ref().map(|(_, vectors)| *vectors);
        for (field, column) in self.dense.iter_mut().enumerate() {
            let rows = vectors.map(|v| v.dense(field)).unwrap_or_default();
            self.bytes += column.add(rows);
        }
        for (field, column) in self.sparse.iter_mut().enumerate() {
            let vector = vectors.and_then(|v| v.sparse(field));
            self.bytes += size_of::<SparseVector>();
            self.bytes += vector.map_or(0, |v| v.indices.len() * 8);
            if let (Some(counts), Some(vector)) = (&mut self.terms[field], vector) {
                self.bytes += counts.add(vector.indices);
            }
            column.push(vector.and_then(|v| v.to_owned()));
        }
        let payload = put.map(|(payload, _)| {
            self.bytes += payload.len();
            payload
        });
        self.slots.push(Slot {
            id,
            version,
            born,
            dead: AtomicU64::new(NEVER),
            previous: previous.unwrap_or(NONE),
            payload,
        });
        self.last = self.last.max(version);
        ended
    }

    /// Ends a slot's life at `tick`, if it lives; whether a point ended with it.
    fn end(&mut self, slot: u32, tick: u64) -> bool {
        let ended = self.slots[slot as usize].supersede(tick);
        if ended {
            self.live -= 1;
            for (counts, column) in self.terms.iter_mut().zip(&self.sparse) {
                if let (Some(counts), Some(vector)) = (counts, &column[slot as usize]) {
                    counts.remove(vector.indices());
                }
            }
        }
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
}

impl Memtable {
    pub(crate) fn new(schema: Arc<VectorSchema>) -> Self {
        let inner = RwLock::new(Inner::new(&schema));
        Self { schema, inner }
    }

    /// Adds a version of a point. The vectors fit the schema.
    pub(crate) fn put(
        &self,
        id: PointId,
        version: LogPosition,
        born: u64,
        payload: Vec<u8>,
        vectors: &Vectors,
        state: Option<Box<[u8]>>,
    ) {
        let schema = &self.schema;
        let row = Named { schema, vectors };
        let put = Some((payload.into(), &row as &dyn RowVectors));
        self.inner.write().add(id, version, born, put, state);
    }

    /// Adds a deletion.
    pub(crate) fn delete(
        &self,
        id: PointId,
        version: LogPosition,
        born: u64,
        state: Option<Box<[u8]>>,
    ) {
        self.inner.write().add(id, version, born, None, state);
    }

    /// Whether the id has a point that is not superseded.
    pub(crate) fn has_live(&self, id: PointId) -> bool {
        let inner = self.inner.read();
        inner.newest.get(&id).is_some_and(|slot| {
            let slot = &inner.slots[*slot as usize];
            slot.payload.is_some() && slot.dead.load(Ordering::Relaxed) == NEVER
        })
    }

    /// Ends the life of the id's newest slot, if it has one; whether a point ended with it.
    pub(crate) fn supersede(&self, id: PointId, tick: u64) -> bool {
        let mut inner = self.inner.write();
        let slot = inner.newest.get(&id).copied();
        slot.is_some_and(|slot| inner.end(slot, tick))
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

    /// The newest change of every id, with its state if it has one, in id order.
    pub(crate) fn latest<E>(
        &self,
        mut each: impl FnMut(PointId, LogPosition, Latest<'_>, Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let inner = self.inner.read();
        for (id, number) in &inner.newest {
            let slot = &inner.slots[*number as usize];
            let vectors = inner.vectors(*number);
            let change = match &slot.payload {
                Some(payload) => Latest::Put(payload, &vectors),
                None => Latest::Deleted,
            };
            let state = inner.states.get(number).map(AsRef::as_ref);
            each(*id, slot.version, change, state)?;
        }
        Ok(())
    }

    /// A copy without the changes up to `position`.
    pub(crate) fn after(&self, position: LogPosition) -> Self {
        self.copy(&self.schema, |slot| slot.version > position)
    }

    /// A copy in the fields of `schema`, without vectors of others.
    pub(crate) fn present(&self, schema: &Arc<VectorSchema>) -> Self {
        self.copy(schema, |_| true)
    }

    fn copy(&self, schema: &Arc<VectorSchema>, keep: impl Fn(&Slot) -> bool) -> Self {
        let inner = self.inner.read();
        let fields = Fields::new(&self.schema, schema);
        let mut kept = Inner::new(schema);
        let slots = (0u32..).zip(&inner.slots);
        for (number, slot) in slots.filter(|(_, slot)| keep(slot)) {
            let own = inner.vectors(number);
            let vectors = Presented {
                fields: &fields,
                row: &own,
            };
            let put = slot.payload.clone();
            let put = put.map(|payload| (payload, &vectors as &dyn RowVectors));
            let state = inner.states.get(&number).cloned();
            kept.add(slot.id, slot.version, slot.born, put, state);
            // Whatever ended it, here or in a newer layer, ended it in the copy too.
            let dead = slot.dead.load(Ordering::Relaxed);
            if dead != NEVER {
                kept.end(kept.slots.len() as u32 - 1, dead);
            }
        }
        Self {
            schema: Arc::clone(schema),
            inner: RwLock::new(kept),
        }
    }

    /// The point, with the vectors that are wanted.
    pub(crate) fn get(&self, id: PointId, tick: u64, wanted: &VectorSelector) -> Option<MemPoint> {
        let inner = self.inner.read();
        let number = inner.live_slot(id, tick)?;
        let slot = &inner.slots[number as usize];
        Some(MemPoint {
            version: slot.version,
            payload: slot.payload.clone()?,
            vectors: stored::collect(&self.schema, &inner.vectors(number), wanted),
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
                && self.matches(&inner, slot, filter)?
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
        self.for_live(tick, |inner, number| {
            count += usize::from(self.matches(inner, number, filter)?);
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
        let mut top = TopK::new(query.limit);
        self.for_live(tick, |inner, number| {
            let slot = &inner.slots[number as usize];
            if let Some(distance) = query.distance(&inner.vectors(number))
                && top.admits(distance)
                && self.matches(inner, number, query.filter)?
            {
                top.push(Near {
                    distance,
                    key: slot.id,
                });
            }
            Ok(())
        })?;
        Ok(top.into_sorted())
    }

    /// Internal distance of a point; none if it is not live here, does not match, or has no vector to compare with.
    pub(crate) fn distance(
        &self,
        id: PointId,
        query: &Query<'_>,
        tick: u64,
    ) -> Result<Option<f32>, EngineError> {
        let inner = self.inner.read();
        let Some(slot) = inner.live_slot(id, tick) else {
            return Ok(None);
        };
        let distance = query.distance(&inner.vectors(slot));
        match self.matches(&inner, slot, query.filter)? {
            true => Ok(distance),
            false => Ok(None),
        }
    }

    /// Adds to `found` how many of the live vectors of a sparse field have each of its terms.
    pub(crate) fn count_terms(&self, field: usize, found: &mut Frequencies<'_>) {
        if let Some(counts) = &self.inner.read().terms[field] {
            found.add(counts.vectors(), |term| counts.having(term));
        }
    }

    /// The same of those that match `corpus`.
    pub(crate) fn count_terms_in(
        &self,
        field: usize,
        corpus: &CompiledFilter,
        tick: u64,
        found: &mut Frequencies<'_>,
    ) -> Result<(), EngineError> {
        self.for_live(tick, |inner, number| {
            if let Some(vector) = &inner.sparse[field][number as usize]
                && self.matches(inner, number, Some(corpus))?
            {
                found.add_vector(vector.indices());
            }
            Ok(())
        })
    }

    fn for_live(
        &self,
        tick: u64,
        mut each: impl FnMut(&Inner, u32) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut start = 0;
        loop {
            interrupt::check()?;
            let inner = self.inner.read();
            let end = inner.slots.len().min(start + STRIDE);
            for number in start..end {
                let slot = &inner.slots[number];
                // Slots are in order of birth: the rest is younger than the snapshot.
                if slot.born > tick {
                    return Ok(());
                }
                if slot.is_live(tick) {
                    each(&inner, number as u32)?;
                }
            }
            if end == inner.slots.len() {
                return Ok(());
            }
            start = end;
        }
    }
}
