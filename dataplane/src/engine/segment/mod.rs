//! Immutable segments: rows in id order, their payloads, vectors and graphs, and tombstones.
//!
//! A segment is a directory of files (`format`): `rows.bin`, `payload.bin`, those of its fields of vectors (`dense`,
//! `sparse`), numbered in the order of their names, and, where payload fields are indexed, `payload_index.bin`, and, where
//! several instances write, `states.bin`. Opening
//! verifies every file that is read against the manifest; what is damaged, truncated, missing or of another format is an
//! error that names file and cause.
//!
//! Memory of an open segment per row: 48 bytes (id 24, version 16, end of payload 8), the payload's bytes, and per dense
//! vector the graph's links (8 m bytes and a little) and its code (1 byte a dimension with 8 bits) or, without codes, 4 bytes
//! a dimension (padded to 64 bytes).

mod builder;
mod carried;
mod dense;
mod format;
mod indexed;
mod listing;
mod placement;
mod plan;
mod rows;
mod search;
mod slots;
mod sparse;
mod sparse_index;
mod states;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_index::storage::Storage;

use parking_lot::{Mutex, RwLock};

use crate::model::{DenseParams, PointId, VectorSchema};

use super::error::EngineError;
use super::fields::Fields;
use super::filter::{CompiledFilter, Subject};
use super::interrupt;
use super::payload;
use super::payload_index::PayloadIndex;
use super::stored::{self, DenseRows, RowVectors, SparseRef};
use dense::DenseField;
use format::{Hold, PAYLOAD_INDEX, PAYLOADS, ROWS, STATES, Stored};
use placement::{Directory, Uses};
use rows::RowTable;
use sparse::SparseField;
use sparse_index::TermIndex;
use states::States;

pub use builder::{GRAPH_ROWS, SegmentBuilder};
pub use placement::{Files, Guard, Part, PartUse, Placement, open_file};
pub(crate) use plan::reads_instead;
pub use plan::{Explanation, Plan};

/// How to open a segment.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Whether what searches walk is held in memory. Who never searches leaves it in its files.
    pub resident: bool,
}

impl OpenOptions {
    fn wish(self) -> Placement {
        match self.resident {
            true => Placement::ALL,
            false => Placement::NONE,
        }
    }
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    meta: Arc<SegmentMeta>,
    /// What it presents: the schema that it was written with, or that of the collection as it is now.
    schema: Arc<VectorSchema>,
    table: Arc<RowTable>,
    payloads: Arc<Storage>,
    states: Arc<States>,
    dense: Vec<Arc<DenseField>>,
    sparse: Vec<Arc<SparseField>>,
    /// The index of each sparse field that has vectors, if it is to be searched.
    terms: Vec<Option<Arc<TermIndex>>>,
    payload_index: Arc<RwLock<Arc<PayloadIndex>>>,
    /// Held while indexes are built.
    indexing: Arc<Mutex<()>>,
    uses: Arc<Uses>,
    /// Accounts for what is held in any case.
    fixed: Arc<Fixed>,
}

/// See [`Files::hold_fixed`].
struct Fixed {
    _guard: Guard,
    /// Bytes of the payload indexes among what it accounts for.
    indexes: usize,
}

impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixed").finish_non_exhaustive()
    }
}

/// The vectors of a row.
struct SegmentRow<'s> {
    segment: &'s Segment,
    row: u32,
}

impl RowVectors for SegmentRow<'_> {
    fn dense(&self, field: usize) -> DenseRows<'_> {
        self.segment.dense[field].of_row(self.row)
    }

    fn sparse(&self, field: usize) -> Option<SparseRef<'_>> {
        self.segment.sparse[field].of_row(self.row)
    }
}

/// What a segment knows of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Row(u32, LogPosition),
    Tombstone(LogPosition),
}

impl Entry {
    pub(crate) fn version(&self) -> LogPosition {
        match self {
            Entry::Row(_, version) | Entry::Tombstone(version) => *version,
        }
    }
}

impl Segment {
    /// Reads and verifies the segment that `meta` describes from `dir`.
    ///
    /// # Errors
    /// [`EngineError::Damaged`], [`EngineError::UnknownFormat`] or [`EngineError::Io`], naming the file.
    pub fn open(dir: &Path, meta: &SegmentMeta, options: OpenOptions) -> Result<Self, EngineError> {
        Self::open_from(&Directory(dir), meta, options.wish(), options.resident)
    }

    /// As [`Self::open`], wherever the files are, with the parts that are to be held and for which there is memory. Only with
    /// `searched` can sparse vectors be searched for.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_from(
        files: &dyn Files,
        meta: &SegmentMeta,
        wish: Placement,
        searched: bool,
    ) -> Result<Self, EngineError> {
        let rows_file = Stored::require(files, meta, &ROWS)?;
        let (table, head) =
            RowTable::decode(&rows_file.read()?).map_err(|e| rows_file.damaged(e))?;
        let (rows, tombstones) = (table.ids.len(), table.tombstones.len());
        if (rows as u64, tombstones as u64) != (meta.rows, meta.tombstones)
            || u32::try_from(rows).is_err()
        {
            return Err(rows_file.damaged(format!(
                "it has {rows} rows and {tombstones} tombstones, the partition manifest says {} and {}",
                meta.rows, meta.tombstones
            )));
        }
        let payload_file = Stored::require(files, meta, &PAYLOADS)?;
        let payloads = payload_file.storage(match wish.holds(Part::Payloads) {
            true => Hold::Memory,
            false => Hold::No,
        })?;
        if payloads.len() as u64 != table.ends.last().copied().unwrap_or(0) {
            return Err(payload_file.damaged("its length is not that of all payloads"));
        }
        let fields = head.schema.vectors.values().zip(&head.dense).enumerate();
        let dense = fields
            .map(|(field, (params, head))| {
                DenseField::open(files, meta, (field, *params, head), rows, wish).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let fields = head.sparse.iter().enumerate();
        let sparse = fields
            .map(|(field, count)| SparseField::open(files, meta, field, *count, rows).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let fields = head.sparse.iter().enumerate();
        let terms = fields
            .map(|(field, count)| {
                let index = sparse_index::open(files, meta, field, *count, searched)?;
                Ok(index.map(Arc::new))
            })
            .collect::<Result<_, EngineError>>()?;
        let payload_index = match Stored::find(files, meta, &PAYLOAD_INDEX) {
            Some(file) => {
                let words = file.read_u64s()?;
                PayloadIndex::decode(&words, rows).map_err(|e| file.damaged(e))?
            }
            None => PayloadIndex::default(),
        };
        let states = match Stored::find(files, meta, &STATES) {
            Some(file) => {
                States::decode(&file.read()?, rows, tombstones).map_err(|e| file.damaged(e))?
            }
            None => States::default(),
        };
        let mut segment = Self {
            meta: Arc::new(meta.clone()),
            schema: Arc::new(head.schema),
            table: Arc::new(table),
            payloads: Arc::new(payloads),
            states: Arc::new(states),
            dense,
            sparse,
            terms,
            payload_index: Arc::new(RwLock::new(Arc::new(payload_index))),
            indexing: Arc::default(),
            uses: Arc::default(),
            fixed: Arc::new(Fixed {
                _guard: Box::new(()),
                indexes: 0,
            }),
        };
        segment.fixed = Arc::new(Fixed {
            _guard: files.hold_fixed(segment.fixed_bytes() as u64),
            indexes: segment.payload_index.read().memory_bytes(),
        });
        Ok(segment)
    }

    /// The same segment with its parts where `wish` says, as far as there is memory; with `anew` those that are not held are opened
    /// again, from wherever the files are now.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn placed(
        &self,
        files: &dyn Files,
        wish: Placement,
        anew: bool,
    ) -> Result<Self, EngineError> {
        let dense = self.dense.iter().map(|field| {
            let placed = field.placed(files, &self.meta, wish, anew)?;
            Ok(Arc::new(placed))
        });
        let dense = dense.collect::<Result<_, EngineError>>()?;
        let (hold, is_paged) = (wish.holds(Part::Payloads), self.payloads.is_paged());
        let payloads = match (hold, is_paged) {
            (true, false) => Arc::clone(&self.payloads),
            (false, true) if !anew => Arc::clone(&self.payloads),
            _ => {
                let file = Stored::require(files, &self.meta, &PAYLOADS)?;
                let hold = if hold { Hold::Memory } else { Hold::No };
                Arc::new(file.storage(hold)?)
            }
        };
        Ok(Self {
            meta: Arc::clone(&self.meta),
            schema: Arc::clone(&self.schema),
            table: Arc::clone(&self.table),
            payloads,
            states: Arc::clone(&self.states),
            dense,
            sparse: self.sparse.clone(),
            terms: self.terms.clone(),
            payload_index: Arc::clone(&self.payload_index),
            indexing: Arc::clone(&self.indexing),
            uses: Arc::clone(&self.uses),
            fixed: Arc::clone(&self.fixed),
        })
    }

    /// The same segment in the fields of `schema`: it has no vectors of those that it was written without. Costs no copy.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if a field of the same origin has another shape.
    pub(crate) fn present(&self, schema: &Arc<VectorSchema>) -> Result<Self, EngineError> {
        let fields = Fields::new(&self.schema, schema);
        let own: Vec<&DenseParams> = self.schema.vectors.values().collect();
        let dense = schema.vectors.values().zip(&fields.dense);
        let dense = dense.map(|(params, at)| match *at {
            Some(at) if own[at].same_shape(params) => Ok(Arc::clone(&self.dense[at])),
            Some(_) => Err(EngineError::invalid(
                format!("segment {}", self.id()),
                format!("it holds {:?}, the collection {schema:?}", self.schema),
            )),
            None => DenseField::without_vectors(*params).map(Arc::new),
        });
        let sparse = fields.sparse.iter().map(|at| match *at {
            Some(at) => Arc::clone(&self.sparse[at]),
            None => Arc::default(),
        });
        let terms = fields.sparse.iter().map(|at| self.terms[(*at)?].clone());
        Ok(Self {
            meta: Arc::clone(&self.meta),
            schema: Arc::clone(schema),
            table: Arc::clone(&self.table),
            payloads: Arc::clone(&self.payloads),
            states: Arc::clone(&self.states),
            dense: dense.collect::<Result<_, _>>()?,
            sparse: sparse.collect(),
            terms: terms.collect(),
            payload_index: Arc::clone(&self.payload_index),
            indexing: Arc::clone(&self.indexing),
            uses: Arc::clone(&self.uses),
            fixed: Arc::clone(&self.fixed),
        })
    }

    /// Whether both are one opened segment, whatever they present.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &SegmentId {
        &self.meta.id
    }

    /// What the manifest says of it.
    #[must_use]
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// What its vectors look like: as it was written, or as it is presented.
    #[must_use]
    pub fn schema(&self) -> &VectorSchema {
        &self.schema
    }

    /// Rows, live or not.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.table.ids.len()
    }

    /// Whether searches of some vector can walk a graph.
    #[must_use]
    pub fn has_graph(&self) -> bool {
        self.dense.iter().any(|field| field.index.is_some())
    }

    /// Bytes held in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let per_row = size_of::<PointId>() + size_of::<LogPosition>() + size_of::<u64>();
        self.rows() * per_row
            + self.table.tombstones.len() * size_of::<(PointId, LogPosition)>()
            + self.payloads.memory_bytes()
            + self.states.memory_bytes()
            + self
                .dense
                .iter()
                .map(|field| field.memory_bytes())
                .sum::<usize>()
            + self
                .sparse
                .iter()
                .map(|field| field.memory_bytes())
                .sum::<usize>()
            + self
                .terms
                .iter()
                .flatten()
                .map(|index| index.memory_bytes())
                .sum::<usize>()
            + self.payload_index().memory_bytes()
    }

    pub(crate) fn row_id(&self, row: u32) -> PointId {
        self.table.ids[row as usize]
    }

    pub(crate) fn version(&self, row: u32) -> LogPosition {
        self.table.versions[row as usize]
    }

    pub(crate) fn vectors(&self, row: u32) -> impl RowVectors {
        SegmentRow { segment: self, row }
    }

    /// The payload of a row. Where it is read from a file, [`interrupt::check_reads`] says afterwards whether it was there.
    pub(crate) fn payload(&self, row: u32) -> Cow<'_, [u8]> {
        self.uses.payloads.fetch_add(1, Ordering::Relaxed);
        let row = row as usize;
        let start = if row == 0 {
            0
        } else {
            self.table.ends[row - 1] as usize
        };
        let range = start..self.table.ends[row] as usize;
        if self.payloads.is_paged() {
            let mut bytes = vec![0; range.len()];
            self.payloads.read_into(start, &mut bytes);
            return Cow::Owned(bytes);
        }
        Cow::Borrowed(&self.payloads.as_bytes()[range])
    }

    /// The state of a row that was written where several instances write.
    pub(crate) fn row_state(&self, row: u32) -> Option<&[u8]> {
        self.states.row(row)
    }

    /// That of a deletion.
    pub(crate) fn tombstone_state(&self, id: PointId) -> Option<&[u8]> {
        let at = self.table.tombstones.binary_search_by_key(&id, |t| t.0);
        self.states.tombstone(at.ok()?)
    }

    pub(crate) fn tombstones(&self) -> &[(PointId, LogPosition)] {
        &self.table.tombstones
    }

    /// Row of an id.
    pub(crate) fn find_row(&self, id: PointId) -> Option<u32> {
        self.table.ids.binary_search(&id).ok().map(|row| row as u32)
    }

    /// First row whose id is not below `id`.
    pub(crate) fn first_row_from(&self, id: PointId) -> u32 {
        self.table.ids.partition_point(|other| *other < id) as u32
    }

    /// What is known of an id: its newest version, if it has both a row and a tombstone.
    pub(crate) fn find(&self, id: PointId) -> Option<Entry> {
        let row = self
            .find_row(id)
            .map(|row| Entry::Row(row, self.version(row)));
        let tombstone = self
            .table
            .tombstones
            .binary_search_by_key(&id, |t| t.0)
            .ok()
            .map(|i| Entry::Tombstone(self.table.tombstones[i].1));
        row.into_iter().chain(tombstone).max_by_key(Entry::version)
    }

    /// All entries in id order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (PointId, Entry)> {
        let mut rows = (0..self.rows() as u32).peekable();
        let mut tombstones = self.table.tombstones.iter().peekable();
        std::iter::from_fn(move || {
            let row_first = match (rows.peek(), tombstones.peek()) {
                (Some(row), Some(tombstone)) => self.row_id(*row) <= tombstone.0,
                (row, _) => row.is_some(),
            };
            if row_first {
                let row = rows.next()?;
                Some((self.row_id(row), Entry::Row(row, self.version(row))))
            } else {
                tombstones
                    .next()
                    .map(|(id, version)| (*id, Entry::Tombstone(*version)))
            }
        })
    }

    /// Whether a row matches.
    pub(crate) fn matches(&self, row: u32, filter: &CompiledFilter) -> Result<bool, EngineError> {
        let fields = match filter.keys() {
            [] => crate::model::Payload::new(),
            keys => {
                let bytes = self.payload(row);
                interrupt::check_reads()?;
                payload::decode_keys(&bytes, keys)?
            }
        };
        let point = Subject {
            id: self.row_id(row),
            has_vector: &|name| stored::has(&self.schema, &self.vectors(row), name),
        };
        Ok(filter.matches(point, &fields))
    }
}
