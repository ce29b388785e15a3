//! The state of one partition: segments, frozen memtables and the active one, as one set of points.
//!
//! Locks, always taken in this order (`indexing` by itself):
//! 1. `installing`: one [`PartitionState::install`] at a time.
//! 2. `writer`: changes of state come one after the other; held for the length of one log entry.
//! 3. `published`: the layers and the tick that readers take a snapshot of; held for the length of an assignment.
//!
//! A change first goes into the layers under the next tick, where no reader looks, and becomes visible as a whole when that
//! tick is published.

mod adopt;
mod among;
mod incoming;
mod install;
mod layers;
mod listing;
mod merge;
mod place;
mod read;
mod states;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use brainy_conflict::Writer;
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use parking_lot::{Mutex, RwLock};

use crate::model::{VectorSchema, Vectors};

use super::error::EngineError;
use super::memtable::{Latest, Memtable};
use super::payload_index::PayloadSchema;
use super::schema::prepare;
use super::segment::{Segment, SegmentBuilder};
use super::{BuildOptions, Change, LogEntry, payload};
pub use incoming::IncomingError;
use layers::{Layers, Snapshot};

/// See the module. All methods may be called from any thread; those that read files or compare vectors block.
#[derive(Debug)]
pub struct PartitionState {
    payload_schema: RwLock<Arc<PayloadSchema>>,
    /// One [`PartitionState::index_payloads`] at a time.
    indexing: Mutex<()>,
    installing: Mutex<()>,
    writer: Mutex<()>,
    /// Stands for the cluster in the stamps of points that were written without one.
    origin: Writer,
    /// Deletions of merged points before this time are forgotten by merges of segments, milliseconds since 1970.
    forget_before: AtomicU64,
    published: RwLock<Snapshot>,
}

/// A frozen memtable: what a flush turns into a segment.
#[derive(Clone, Debug)]
pub struct Frozen {
    schema: Arc<VectorSchema>,
    payload_schema: Arc<PayloadSchema>,
    memtable: Arc<Memtable>,
    position: LogPosition,
}

/// Sizes, for metrics and for deciding when to flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Points.
    pub points: usize,
    /// Points that a graph leads to.
    pub indexed: usize,
    /// Segments.
    pub segments: usize,
    /// Rows of segments that newer versions or deletions hide; merges remove them.
    pub hidden_rows: usize,
    /// Bytes in memtables: what the log holds and segments do not.
    pub unflushed_bytes: usize,
    /// Part of `unflushed_bytes` that is not frozen yet.
    pub active_bytes: usize,
    /// Bytes in memory, estimated.
    pub memory_bytes: usize,
}

/// A point as memtables store it.
struct Prepared {
    payload: Vec<u8>,
    vectors: Vectors,
}

impl PartitionState {
    /// An empty partition.
    #[must_use]
    pub fn new(schema: VectorSchema) -> Self {
        Self::with_payload_schema(schema, PayloadSchema::default())
    }

    /// An empty partition of a collection with indexed payload fields.
    #[must_use]
    pub fn with_payload_schema(schema: VectorSchema, payload_schema: PayloadSchema) -> Self {
        let schema = Arc::new(schema);
        Self {
            payload_schema: RwLock::new(Arc::new(payload_schema)),
            indexing: Mutex::new(()),
            installing: Mutex::new(()),
            writer: Mutex::new(()),
            origin: Writer::default(),
            forget_before: AtomicU64::new(0),
            published: RwLock::new(Snapshot {
                layers: Arc::new(Layers {
                    segments: Vec::new(),
                    applied: LogPosition::default(),
                    frozen: Vec::new(),
                    active: Arc::new(Memtable::new(Arc::clone(&schema))),
                    schema,
                }),
                tick: 0,
                position: LogPosition::default(),
            }),
        }
    }

    /// The same partition in the cluster that `origin` stands for: what is written without a version there is told by it from what
    /// other clusters wrote.
    #[must_use]
    pub fn of_cluster(self, origin: Writer) -> Self {
        Self { origin, ..self }
    }

    /// What its points look like.
    #[must_use]
    pub fn schema(&self) -> Arc<VectorSchema> {
        Arc::clone(&self.published.read().layers.schema)
    }

    /// Which payload fields are indexed.
    #[must_use]
    pub fn payload_schema(&self) -> Arc<PayloadSchema> {
        Arc::clone(&self.payload_schema.read())
    }

    /// Changes which payload fields are indexed, for segments built or installed from now on. Those that are installed follow with
    /// [`Self::index_payloads`]; filters mean the same all the time.
    pub fn set_payload_schema(&self, schema: PayloadSchema) {
        *self.payload_schema.write() = Arc::new(schema);
    }

    /// Builds the indexes that installed segments lack: blocks for as long as that takes, while reads and writes go on.
    ///
    /// # Errors
    /// A payload that does not decode, or more than an index can hold.
    pub fn index_payloads(&self) -> Result<(), EngineError> {
        let _one_at_a_time = self.indexing.lock();
        for segment in self.segments() {
            // Read each time: the last call of all must not leave what an earlier schema said.
            segment.index_payloads(&self.payload_schema())?;
        }
        Ok(())
    }

    /// For each indexed field, in how many rows of segments it has a value; hidden rows count.
    #[must_use]
    pub fn indexed_fields(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for segment in self.segments() {
            for (field, points) in segment.indexed_fields() {
                *all.entry(field).or_default() += points;
            }
        }
        all
    }

    /// Position of the newest log entry that is visible.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.published.read().position
    }

    /// Position up to which the installed segments contain the log.
    #[must_use]
    pub fn applied(&self) -> LogPosition {
        self.published.read().layers.applied
    }

    /// The installed segments.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.snapshot()
            .layers
            .segments
            .iter()
            .map(|view| Arc::clone(&view.segment))
            .collect()
    }

    fn snapshot(&self) -> Snapshot {
        self.published.read().clone()
    }

    /// Applies the changes of the log entry at `position`, made with the schema as it is; all of them become visible at once.
    /// Entries come in order; those at or before [`Self::position`] were applied already and change nothing.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a vector does not fit; then nothing was applied.
    pub fn apply(&self, position: LogPosition, changes: &[Change]) -> Result<(), EngineError> {
        let entry = LogEntry {
            schema: self.schema().version,
            changes: changes.to_vec(),
        };
        self.replay(position, &[entry])
    }

    /// As [`Self::apply`], for what the log holds at `position`: vectors that were dropped since are left out.
    ///
    /// # Errors
    /// Those of [`Self::apply`], or [`EngineError::NewerSchema`].
    pub fn replay(&self, position: LogPosition, entries: &[LogEntry]) -> Result<(), EngineError> {
        loop {
            let schema = self.schema();
            let changes = Self::fit(&schema, entries)?;
            if changes.iter().any(|c| matches!(**c, Change::Merge(..))) {
                return self.merge_changes(position, &changes);
            }
            let prepared = changes
                .iter()
                .map(|change| prepared(&schema, change))
                .collect::<Result<Vec<_>, _>>()?;
            let _writer = self.writer.lock();
            // Adopting another schema takes the writer's lock: what was prepared fits unless that happened meanwhile.
            if Arc::ptr_eq(&schema, &self.schema()) {
                self.write(position, &changes, prepared);
                return Ok(());
            }
        }
    }

    /// For who holds `writer`.
    fn write(
        &self,
        position: LogPosition,
        changes: &[Cow<'_, Change>],
        prepared: Vec<Option<Prepared>>,
    ) {
        let Snapshot {
            layers,
            tick,
            position: current,
        } = self.snapshot();
        if position <= current {
            return;
        }
        let tick = tick + 1;
        for (change, prepared) in changes.iter().zip(prepared) {
            let id = change.id();
            match prepared {
                Some(Prepared { payload, vectors }) => {
                    layers.supersede(id, position, tick);
                    layers
                        .active
                        .put(id, position, tick, payload, &vectors, None);
                }
                // What is already gone needs no second tombstone.
                None if layers.has_live(id) => {
                    layers.supersede(id, position, tick);
                    layers.active.delete(id, position, tick, None);
                }
                None => {}
            }
        }
        let mut published = self.published.write();
        published.tick = tick;
        published.position = position;
    }

    /// Moves on past log entries that carry no data (fences).
    pub fn set_position(&self, position: LogPosition) {
        let _writer = self.writer.lock();
        let mut published = self.published.write();
        published.position = published.position.max(position);
    }

    /// Closes the active memtable, so that it can be built into a segment; new changes go to a fresh one. Nothing to do if it
    /// is empty. Frozen layers are built and installed in the order in which they were frozen.
    pub fn freeze(&self) -> Option<Frozen> {
        let _writer = self.writer.lock();
        let Snapshot {
            layers, position, ..
        } = self.snapshot();
        if layers.active.is_empty() {
            return None;
        }
        let mut frozen = layers.frozen.clone();
        frozen.push(Arc::clone(&layers.active));
        self.published.write().layers = Arc::new(Layers {
            segments: layers.segments.clone(),
            applied: layers.applied,
            frozen,
            active: Arc::new(Memtable::new(Arc::clone(&layers.schema))),
            schema: Arc::clone(&layers.schema),
        });
        Some(Frozen {
            schema: Arc::clone(&layers.schema),
            payload_schema: self.payload_schema(),
            memtable: Arc::clone(&layers.active),
            position,
        })
    }

    /// Sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let layers = self.snapshot().layers;
        let active_bytes = layers.active.bytes();
        let unflushed_bytes = layers.frozen.iter().map(|m| m.bytes()).sum::<usize>() + active_bytes;
        let live_rows: usize = layers.segments.iter().map(|s| s.live()).sum();
        let rows: usize = layers.segments.iter().map(|s| s.segment.rows()).sum();
        Stats {
            points: live_rows + layers.memtables().map(|m| m.live()).sum::<usize>(),
            indexed: layers
                .segments
                .iter()
                .filter(|s| s.segment.has_graph())
                .map(|s| s.live())
                .sum(),
            segments: layers.segments.len(),
            hidden_rows: rows - live_rows,
            unflushed_bytes,
            active_bytes,
            memory_bytes: unflushed_bytes
                + layers
                    .segments
                    .iter()
                    .map(|s| s.memory_bytes())
                    .sum::<usize>(),
        }
    }
}

/// Payload and vectors as they are stored; none for a deletion.
fn prepared(schema: &VectorSchema, change: &Change) -> Result<Option<Prepared>, EngineError> {
    let Change::Put(point) = change else {
        return Ok(None);
    };
    let mut vectors = point.vectors.clone();
    prepare(schema, &mut vectors)?;
    Ok(Some(Prepared {
        payload: payload::encode(&point.payload)?,
        vectors,
    }))
}

impl Frozen {
    /// Everything up to here is contained in this layer, those frozen before it and the installed segments.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memtable.bytes()
    }

    /// Writes the layer as a segment into `dir`, building its graphs as `options` say. Blocks for as long as that takes.
    ///
    /// # Errors
    /// Those of [`SegmentBuilder`].
    pub fn build(
        &self,
        id: SegmentId,
        dir: &Path,
        options: BuildOptions,
    ) -> Result<SegmentMeta, EngineError> {
        let mut builder = SegmentBuilder::create(id, Arc::clone(&self.schema), dir)?
            .with_payload_schema(&self.payload_schema)?;
        self.memtable.latest(|id, version, change, state| {
            match change {
                Latest::Put(payload, vectors) => {
                    builder.push(id, version, payload, vectors)?;
                    builder.keep_row_state(state);
                }
                Latest::Deleted => {
                    builder.push_tombstone(id, version)?;
                    builder.keep_tombstone_state(state);
                }
            }
            Ok::<(), EngineError>(())
        })?;
        builder.finish(options)
    }
}
