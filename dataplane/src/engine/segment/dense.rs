//! The dense vectors of one name: contiguous, and the graph over them.
//!
//! | file | contents after the header |
//! |---|---|
//! | `vectors-{field}.f32` | each vector's components, padded with zeros to a multiple of [`PAD`] |
//! | `slots-{field}.u32` | row of each vector, unless every row has exactly one ([`Slots`]) |
//! | `graph-{field}.hnsw` | from [`GRAPH_ROWS`] vectors on |
//!
//! A segment whose rows have no vector of that name has none of them.

use std::path::{Path, PathBuf};

use brainy_coordination::partition::{FileMeta, SegmentMeta};

use crate::engine::BuildOptions;
use crate::engine::error::EngineError;
use crate::engine::hnsw::{self, Graph, Rows};
use crate::engine::stored::DenseRows;
use crate::model::DenseParams;

use super::format::{FileWriter, Kind, Stored};
use super::rows::DenseHead;
use super::slots::Slots;
use super::{GRAPH_ROWS, OpenOptions};

/// Components that a vector's length in files and memory is a multiple of: 64 bytes.
const PAD: usize = 16;

fn vectors_file(field: usize) -> Kind {
    Kind::of_field("vectors", field, "f32", *b"BRNYVECT")
}

fn slots_file(field: usize) -> Kind {
    Kind::of_field("slots", field, "u32", *b"BRNYSLOT")
}

fn graph_file(field: usize) -> Kind {
    Kind::of_field("graph", field, "hnsw", *b"BRNYHNSW")
}

fn stride(params: &DenseParams) -> usize {
    (params.size as usize).next_multiple_of(PAD)
}

/// Writes a field. Vectors go to disk as they come; they also stay in memory until the graph is built.
pub(super) struct DenseWriter {
    field: usize,
    params: DenseParams,
    dir: PathBuf,
    /// Row of each vector.
    rows: Vec<u32>,
    data: Vec<f32>,
    /// Begun with the first vector.
    file: Option<FileWriter>,
}

impl DenseWriter {
    pub(super) fn new(dir: &Path, field: usize, params: DenseParams) -> Self {
        Self {
            field,
            params,
            dir: dir.to_path_buf(),
            rows: Vec::new(),
            data: Vec::new(),
            file: None,
        }
    }

    /// Adds the vectors of a row, which comes after those before.
    pub(super) fn push(&mut self, row: u32, vectors: DenseRows<'_>) -> Result<(), EngineError> {
        for vector in vectors.iter() {
            if self.rows.len() >= hnsw::max_rows(self.params.hnsw) {
                return Err(EngineError::invalid(
                    format!("segment in {}", self.dir.display()),
                    "it has too many vectors: use more partitions",
                ));
            }
            let start = self.data.len();
            self.data.extend_from_slice(vector);
            self.data.resize(start + stride(&self.params), 0.0);
            let mut bytes = Vec::with_capacity((self.data.len() - start) * 4);
            for v in &self.data[start..] {
                bytes.extend_from_slice(&v.to_le_bytes());
            }
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(FileWriter::create(&self.dir, &vectors_file(self.field))?),
            };
            file.write(&bytes)?;
            self.rows.push(row);
        }
        Ok(())
    }

    /// Builds the graph and completes the files of a segment of `rows` rows.
    pub(super) fn finish(
        self,
        rows: usize,
        options: BuildOptions,
    ) -> Result<(DenseHead, Vec<FileMeta>), EngineError> {
        let slots = Slots::of_rows(self.rows, rows);
        let mut files = Vec::new();
        if let Some(file) = self.file {
            files.push(file.finish()?);
        }
        if let Slots::Table(table) = &slots
            && !table.is_empty()
        {
            let mut file = FileWriter::create(&self.dir, &slots_file(self.field))?;
            file.write_u32s(table.iter().copied())?;
            files.push(file.finish()?);
        }
        let graph = slots.len() >= GRAPH_ROWS;
        if graph {
            let vectors = Rows {
                data: &self.data,
                size: self.params.size as usize,
                stride: stride(&self.params),
                measure: self.params.distance,
            };
            let graph = hnsw::build(&vectors, self.params.hnsw, options)?;
            let mut file = FileWriter::create(&self.dir, &graph_file(self.field))?;
            file.write_u32s(graph.words())?;
            files.push(file.finish()?);
        }
        let head = DenseHead {
            slots: slots.len() as u64,
            table: matches!(slots, Slots::Table(_)),
            graph,
        };
        Ok((head, files))
    }
}

/// An open field.
#[derive(Debug)]
pub(super) struct DenseField {
    params: DenseParams,
    pub(super) slots: Slots,
    data: Vec<f32>,
    pub(super) graph: Option<Graph>,
}

impl DenseField {
    /// Reads and verifies field number `field` of a segment of `rows` rows.
    pub(super) fn open(
        dir: &Path,
        meta: &SegmentMeta,
        (field, params, head): (usize, DenseParams, &DenseHead),
        rows: usize,
        options: OpenOptions,
    ) -> Result<Self, EngineError> {
        let slots = match (head.table, head.slots) {
            (false, _) => Slots::Identity(rows as u32),
            (true, 0) => Slots::Table(Vec::new()),
            (true, _) => {
                let file = Stored::require(dir, meta, &slots_file(field))?;
                let table = file.read_words(u32::from_le_bytes)?;
                if table.len() as u64 != head.slots {
                    return Err(file.damaged("it has not as many vectors as the segment"));
                }
                Slots::check(table, rows).map_err(|e| file.damaged(e))?
            }
        };
        let mut data = Vec::new();
        if slots.len() > 0 {
            let file = Stored::require(dir, meta, &vectors_file(field))?;
            data = file.read_words(f32::from_le_bytes)?;
            let expected = slots.len().checked_mul(stride(&params));
            if Some(data.len()) != expected || slots.len() as u64 != head.slots {
                return Err(file.damaged("its length is not that of all vectors"));
            }
        }
        let graph = if head.graph && options.graph {
            let file = Stored::require(dir, meta, &graph_file(field))?;
            let words = file.read_words(u32::from_le_bytes)?;
            Some(Graph::from_words(&words, slots.len()).map_err(|e| file.damaged(e))?)
        } else {
            None
        };
        Ok(Self {
            params,
            slots,
            data,
            graph,
        })
    }

    /// Whether rows have lists of vectors.
    pub(super) fn has_lists(&self) -> bool {
        self.params.multivector
    }

    /// All vectors by slot.
    pub(super) fn vectors(&self) -> Rows<'_> {
        Rows {
            data: &self.data,
            size: self.params.size as usize,
            stride: stride(&self.params),
            measure: self.params.distance,
        }
    }

    /// The vectors of a row.
    pub(super) fn of_row(&self, row: u32) -> DenseRows<'_> {
        let slots = self.slots.of(row);
        let stride = stride(&self.params);
        let data = &self.data[slots.start * stride..slots.end * stride];
        DenseRows::new(data, self.params.size as usize, stride)
    }

    /// Bytes held in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
            + self.slots.memory_bytes()
            + self.graph.as_ref().map_or(0, Graph::memory_bytes)
    }
}
