//! Writing a segment.

use std::path::{Path, PathBuf};

use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, SegmentId};

use crate::engine::distance::{check_vector, normalise};
use crate::engine::error::EngineError;
use crate::engine::hnsw::{self, Rows};
use crate::engine::{BuildOptions, IndexParams, payload};
use crate::model::{Distance, Point, PointId};

use super::format::{FileWriter, GRAPH, PAYLOADS, ROWS, VECTORS};
use super::rows::{RowTable, Shape};

/// Segments with fewer rows have no graph: scanning them is as fast.
pub const GRAPH_ROWS: usize = 512;

/// Writes one segment into a directory. Rows and tombstones come in ascending order of their ids. Payloads and vectors go
/// to disk as they come; vectors also stay in memory until the graph is built.
pub struct SegmentBuilder {
    id: SegmentId,
    dir: PathBuf,
    params: IndexParams,
    table: RowTable,
    vectors: Vec<f32>,
    vector_file: FileWriter,
    payload_file: FileWriter,
    payload_bytes: u64,
    newest: LogPosition,
}

impl SegmentBuilder {
    /// Begins a segment in `dir`, which is made if it is missing; files of an earlier attempt are overwritten.
    ///
    /// # Errors
    /// Parameters out of range, or those of the disk.
    pub fn create(id: SegmentId, params: IndexParams, dir: &Path) -> Result<Self, EngineError> {
        params.validate()?;
        std::fs::create_dir_all(dir).map_err(|e| EngineError::io("cannot create", dir, &e))?;
        Ok(Self {
            id,
            dir: dir.to_path_buf(),
            params,
            table: RowTable::default(),
            vectors: Vec::new(),
            vector_file: FileWriter::create(dir, &VECTORS)?,
            payload_file: FileWriter::create(dir, &PAYLOADS)?,
            payload_bytes: 0,
            newest: LogPosition::default(),
        })
    }

    /// Writes a whole segment from points and tombstones in any order.
    ///
    /// # Errors
    /// Parameters out of range, vectors that do not fit them, an id that comes twice, or those of [`Self::finish`].
    pub fn build(
        id: SegmentId,
        mut points: Vec<(Point, LogPosition)>,
        mut tombstones: Vec<(PointId, LogPosition)>,
        params: IndexParams,
        dir: &Path,
        options: BuildOptions,
    ) -> Result<SegmentMeta, EngineError> {
        points.sort_unstable_by_key(|(point, _)| point.id);
        tombstones.sort_unstable();
        let mut builder = Self::create(id, params, dir)?;
        for (mut point, version) in points {
            if params.vector.distance == Distance::Cosine {
                normalise(&mut point.vector);
            }
            builder.push(
                point.id,
                version,
                &payload::encode(&point.payload)?,
                &point.vector,
            )?;
        }
        for (id, version) in tombstones {
            builder.push_tombstone(id, version)?;
        }
        builder.finish(options)
    }

    /// Adds a row. The vector is of unit length in cosine collections.
    ///
    /// # Errors
    /// An id that is not above the one before, a vector that does not fit, too many rows, or those of the disk.
    pub fn push(
        &mut self,
        id: PointId,
        version: LogPosition,
        payload: &[u8],
        vector: &[f32],
    ) -> Result<(), EngineError> {
        check_vector(vector, self.params.vector.size as usize)?;
        if self.table.ids.last().is_some_and(|last| *last >= id) {
            return Err(EngineError::invalid(
                format!("row {id}"),
                "rows come in ascending order, each id once",
            ));
        }
        if self.table.ids.len() >= hnsw::max_rows(self.params.hnsw) {
            return Err(EngineError::invalid(
                format!("segment {}", self.id),
                "it has too many rows: use more partitions",
            ));
        }
        let mut bytes = Vec::with_capacity(vector.len() * 4);
        for v in vector {
            bytes.extend_from_slice(&v.to_le_bytes());
        }
        self.vector_file.write(&bytes)?;
        self.payload_file.write(payload)?;
        self.payload_bytes += payload.len() as u64;
        self.vectors.extend_from_slice(vector);
        self.table.ids.push(id);
        self.table.versions.push(version);
        self.table.ends.push(self.payload_bytes);
        self.newest = self.newest.max(version);
        Ok(())
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

    /// Builds the graph and completes the files.
    ///
    /// # Errors
    /// [`EngineError::Graph`], or those of the disk.
    pub fn finish(self, options: BuildOptions) -> Result<SegmentMeta, EngineError> {
        let Self {
            id,
            dir,
            params,
            table,
            vectors,
            vector_file,
            payload_file,
            payload_bytes: _,
            newest,
        } = self;
        let shape = Shape {
            size: params.vector.size,
            measure: params.vector.distance,
        };
        let mut rows_file = FileWriter::create(&dir, &ROWS)?;
        for piece in table.encode(shape) {
            rows_file.write(&piece)?;
        }
        let mut files = vec![
            rows_file.finish()?,
            payload_file.finish()?,
            vector_file.finish()?,
        ];
        if table.ids.len() >= GRAPH_ROWS {
            let rows = Rows {
                data: &vectors,
                size: params.vector.size as usize,
                measure: params.vector.distance,
            };
            let graph = hnsw::build(&rows, params.hnsw, options)?;
            let mut file = FileWriter::create(&dir, &GRAPH)?;
            file.write_u32s(graph.words())?;
            files.push(file.finish()?);
        }
        Ok(SegmentMeta {
            id,
            rows: table.ids.len() as u64,
            tombstones: table.tombstones.len() as u64,
            newest,
            files,
        })
    }
}
