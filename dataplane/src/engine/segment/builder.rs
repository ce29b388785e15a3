//! Writing a segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};
use brainy_index::dense::BuildOptions;

use crate::engine::error::EngineError;
use crate::engine::interrupt;
use crate::engine::payload;
use crate::engine::payload_index::{Indexer, PayloadSchema};
use crate::engine::schema::prepare;
use crate::engine::stored::{Named, RowVectors};
use crate::model::{Point, PointId, VectorSchema};

use super::Segment;
use super::dense::DenseWriter;
use super::format::{FileWriter, PAYLOAD_INDEX, PAYLOADS, ROWS, STATES};
use super::rows::{Head, RowTable};
use super::sparse::SparseField;
use super::sparse_index;
use super::states::States;

/// Dense fields with fewer vectors have no graph: scanning them is as fast.
pub const GRAPH_ROWS: usize = 512;

/// Writes one segment into a directory. Rows and tombstones come in ascending order of their ids. Payloads go to disk as they
/// come, vectors when they are indexed.
pub struct SegmentBuilder {
    id: SegmentId,
    dir: PathBuf,
    schema: Arc<VectorSchema>,
    table: RowTable,
    dense: Vec<DenseWriter>,
    sparse: Vec<SparseField>,
    payload_file: FileWriter,
    payload_bytes: u64,
    indexer: Indexer,
    states: States,
    newest: LogPosition,
}

impl SegmentBuilder {
    /// Begins a segment in `dir`, which is made if it is missing; files of an earlier attempt are overwritten.
    ///
    /// # Errors
    /// Parameters out of range, or those of the disk.
    pub fn create(
        id: SegmentId,
        schema: Arc<VectorSchema>,
        dir: &Path,
    ) -> Result<Self, EngineError> {
        Self::merging(id, schema, dir, &[])
    }

    /// As [`Self::create`], for a segment that will have rows of `inputs`: their graphs are built on where that pays.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub(crate) fn merging(
        id: SegmentId,
        schema: Arc<VectorSchema>,
        dir: &Path,
        inputs: &[Arc<Segment>],
    ) -> Result<Self, EngineError> {
        schema
            .validate()
            .map_err(|e| EngineError::invalid("the schema", e.to_string()))?;
        std::fs::create_dir_all(dir).map_err(|e| EngineError::io("cannot create", dir, &e))?;
        let dense = schema.vectors.values().enumerate();
        Ok(Self {
            id,
            dir: dir.to_path_buf(),
            table: RowTable::default(),
            dense: dense
                .map(|(field, params)| DenseWriter::new(dir, field, *params, inputs))
                .collect::<Result<_, _>>()?,
            sparse: schema
                .sparse_vectors
                .iter()
                .map(|_| SparseField::default())
                .collect(),
            schema,
            payload_file: FileWriter::create(dir, &PAYLOADS)?,
            payload_bytes: 0,
            indexer: Indexer::default(),
            states: States::default(),
            newest: LogPosition::default(),
        })
    }

    /// Indexes the fields of `schema`; before any row is added.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn with_payload_schema(mut self, schema: &PayloadSchema) -> Result<Self, EngineError> {
        self.indexer = Indexer::new(schema)?;
        Ok(self)
    }

    /// Writes a whole segment from points and tombstones in any order.
    ///
    /// # Errors
    /// Parameters out of range, vectors that do not fit them, an id that comes twice, or those of [`Self::finish`].
    pub fn build(
        id: SegmentId,
        mut points: Vec<(Point, LogPosition)>,
        mut tombstones: Vec<(PointId, LogPosition)>,
        schema: Arc<VectorSchema>,
        dir: &Path,
        options: BuildOptions,
    ) -> Result<SegmentMeta, EngineError> {
        points.sort_unstable_by_key(|(point, _)| point.id);
        tombstones.sort_unstable();
        let mut builder = Self::create(id, Arc::clone(&schema), dir)?;
        for (mut point, version) in points {
            prepare(&schema, &mut point.vectors)?;
            let row = Named {
                schema: &schema,
                vectors: &point.vectors,
            };
            builder.push(point.id, version, &payload::encode(&point.payload)?, &row)?;
        }
        for (id, version) in tombstones {
            builder.push_tombstone(id, version)?;
        }
        builder.finish(options)
    }

    /// Adds a row. The vectors fit the schema and are as they are stored.
    ///
    /// # Errors
    /// An id that is not above the one before, too many rows, or those of the disk.
    pub(crate) fn push(
        &mut self,
        id: PointId,
        version: LogPosition,
        payload: &[u8],
        vectors: &dyn RowVectors,
    ) -> Result<(), EngineError> {
        if self.table.ids.last().is_some_and(|last| *last >= id) {
            return Err(EngineError::invalid(
                format!("row {id}"),
                "rows come in ascending order, each id once",
            ));
        }
        let row = u32::try_from(self.table.ids.len()).map_err(|_| {
            EngineError::invalid(
                format!("segment {}", self.id),
                "it has too many rows: use more partitions",
            )
        })?;
        for (field, writer) in self.dense.iter_mut().enumerate() {
            writer.push(row, vectors.dense(field))?;
        }
        for (field, column) in self.sparse.iter_mut().enumerate() {
            if let Some(vector) = vectors.sparse(field) {
                column.push(row, vector);
            }
        }
        self.payload_file.write(payload)?;
        self.indexer.add(payload)?;
        self.payload_bytes += payload.len() as u64;
        self.table.ids.push(id);
        self.table.versions.push(version);
        self.table.ends.push(self.payload_bytes);
        self.newest = self.newest.max(version);
        Ok(())
    }

    /// Adds a row of another segment.
    ///
    /// # Errors
    /// Those of [`Self::push`].
    pub(crate) fn push_row(&mut self, source: &Arc<Segment>, row: u32) -> Result<(), EngineError> {
        let (id, version) = (source.row_id(row), source.version(row));
        self.push(id, version, &source.payload(row), &source.vectors(row))?;
        // Before anything of it is written for good.
        interrupt::check_reads()?;
        self.keep_row_state(source.row_state(row));
        for writer in &mut self.dense {
            writer.came_from(source, row);
        }
        Ok(())
    }

    /// Keeps the state of the row that was added last, if it has one.
    pub(crate) fn keep_row_state(&mut self, state: Option<&[u8]>) {
        if let (Some(state), Some(row)) = (state, self.table.ids.len().checked_sub(1)) {
            self.states.push_row(row, state);
        }
    }

    /// Keeps that of the deletion that was added last.
    pub(crate) fn keep_tombstone_state(&mut self, state: Option<&[u8]>) {
        if let (Some(state), Some(at)) = (state, self.table.tombstones.len().checked_sub(1)) {
            self.states.push_tombstone(at, state);
        }
    }

    /// Adds a deletion that hides rows of other segments.
    ///
    /// # Errors
    /// An id that is not above the one before.
    pub fn push_tombstone(&mut self, id: PointId, version: LogPosition) -> Result<(), EngineError> {
        if self
            .table
            .tombstones
            .last()
            .is_some_and(|last| last.0 >= id)
        {
            return Err(EngineError::invalid(
                format!("tombstone {id}"),
                "tombstones come in ascending order, each id once",
            ));
        }
        self.table.tombstones.push((id, version));
        self.newest = self.newest.max(version);
        Ok(())
    }

    /// Whether it has neither rows nor tombstones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.ids.is_empty() && self.table.tombstones.is_empty()
    }

    /// Builds the indexes and completes the files.
    ///
    /// # Errors
    /// [`EngineError::Index`], or those of the disk.
    pub fn finish(self, options: BuildOptions) -> Result<SegmentMeta, EngineError> {
        let Self {
            id,
            dir,
            schema,
            table,
            dense,
            sparse,
            payload_file,
            payload_bytes: _,
            indexer,
            states,
            newest,
        } = self;
        let rows = table.ids.len();
        let mut files = vec![payload_file.finish()?];
        let mut head = Head {
            schema: schema.as_ref().clone(),
            dense: Vec::new(),
            sparse: Vec::new(),
        };
        for writer in dense {
            let (field, written) = writer.finish(rows, options)?;
            head.dense.push(field);
            files.extend(written);
        }
        for (field, column) in sparse.iter().enumerate() {
            head.sparse.push(column.len() as u64);
            files.extend(column.write(&dir, field)?);
            files.extend(sparse_index::write(column, &dir, field)?);
        }
        let mut rows_file = FileWriter::create(&dir, &ROWS)?;
        for piece in table.encode(&head)? {
            rows_file.write(&piece)?;
        }
        files.push(rows_file.finish()?);
        if !states.is_empty() {
            let mut file = FileWriter::create(&dir, &STATES)?;
            for piece in states.encode() {
                file.write(&piece)?;
            }
            files.push(file.finish()?);
        }
        let index = indexer.finish()?;
        if !index.is_empty() {
            let mut file = FileWriter::create(&dir, &PAYLOAD_INDEX)?;
            for words in index.encode()?.chunks(1 << 12) {
                file.write(bytemuck::cast_slice(words))?;
            }
            files.push(file.finish()?);
        }
        Ok(SegmentMeta {
            id,
            rows: rows as u64,
            tombstones: table.tombstones.len() as u64,
            newest,
            files,
        })
    }
}
