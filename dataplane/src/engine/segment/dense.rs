//! The dense vectors of one name: contiguous, and the index over them.
//!
//! | file | contents after the header |
//! |---|---|
//! | `vectors-{field}.f32` | [`Vectors`]: each vector's components, padded to 64 bytes |
//! | `slots-{field}.u32` | row of each vector, unless every row has exactly one ([`Slots`]) |
//! | `graph-{field}.hnsw` | from [`GRAPH_ROWS`] vectors on: the graph of the [`Index`] |
//! | `codes-{field}.bin` | its codes, if the collection wants some |
//!
//! A segment whose rows have no vector of that name has none of them.
//!
//! Full vectors stay in their file, mapped, where there are codes: searches walk these and read few of the others. Which parts are
//! held at all is a matter of [`super::placement`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_index::dense::{BuildOptions, Index, Params, Parts, Reuse};
use brainy_index::quantize;
use brainy_index::storage::Storage;
use brainy_index::vectors::{Vectors, VectorsBuilder};

use crate::engine::distance::measure;
use crate::engine::error::EngineError;
use crate::engine::stored::DenseRows;
use crate::model::{DenseParams, Quantization};

use super::format::{FileWriter, Hold, Kind, Stored};
use super::placement::{Files, Part, Placement};
use super::rows::DenseHead;
use super::slots::Slots;
use super::{GRAPH_ROWS, Segment};

fn vectors_file(field: usize) -> Kind {
    Kind::of_field("vectors", field, "f32", *b"BRNYVECT")
}

fn slots_file(field: usize) -> Kind {
    Kind::of_field("slots", field, "u32", *b"BRNYSLOT")
}

fn graph_file(field: usize) -> Kind {
    Kind::of_field("graph", field, "hnsw", *b"BRNYHNSW")
}

fn codes_file(field: usize) -> Kind {
    Kind::of_field("codes", field, "bin", *b"BRNYCODE")
}

fn index_params(params: &DenseParams) -> Params {
    Params {
        measure: measure(params.distance),
        m: params.hnsw.m as usize,
        ef_construct: params.hnsw.ef_construct as usize,
        quantization: match params.quantization {
            Quantization::Disabled => None,
            Quantization::Int8 => Some(quantize::Quantization::Int8),
            Quantization::Int4 => Some(quantize::Quantization::Int4),
            Quantization::Binary => Some(quantize::Quantization::Binary),
        },
    }
}

/// An older segment's index of the same field, and the new slot of each of its slots.
struct Base {
    segment: Arc<Segment>,
    moved: Vec<Option<u32>>,
}

/// Writes a field.
pub(super) struct DenseWriter {
    field: usize,
    params: DenseParams,
    dir: PathBuf,
    /// Row of each vector.
    rows: Vec<u32>,
    vectors: VectorsBuilder,
    base: Option<Base>,
}

impl DenseWriter {
    /// `inputs` are segments whose rows will be among the new ones.
    pub(super) fn new(
        dir: &Path,
        field: usize,
        params: DenseParams,
        inputs: &[Arc<Segment>],
    ) -> Result<Self, EngineError> {
        let indexed = inputs.iter().filter(|s| s.dense[field].index.is_some());
        let largest = indexed.max_by_key(|s| s.dense[field].slots.len());
        // Room for all of theirs: growing would hold them twice.
        let most = inputs.iter().map(|s| s.dense[field].slots.len()).sum();
        let vectors = Vectors::builder(params.size as usize, most);
        Ok(Self {
            field,
            params,
            dir: dir.to_path_buf(),
            rows: Vec::new(),
            vectors: vectors.map_err(|e| EngineError::index(dir, e))?,
            base: largest.map(|segment| Base {
                segment: Arc::clone(segment),
                moved: vec![None; segment.dense[field].slots.len()],
            }),
        })
    }

    /// Adds the vectors of a row, which comes after those before.
    pub(super) fn push(&mut self, row: u32, vectors: DenseRows<'_>) -> Result<(), EngineError> {
        for vector in vectors.iter() {
            if self.rows.len() >= brainy_index::dense::max_rows(self.params.hnsw.m as usize) {
                return Err(EngineError::invalid(
                    format!("segment in {}", self.dir.display()),
                    "it has too many vectors: use more partitions",
                ));
            }
            let pushed = self.vectors.push(vector);
            pushed.map_err(|e| EngineError::index(&self.dir, e))?;
            self.rows.push(row);
        }
        Ok(())
    }

    /// Notes that the vectors pushed last are those of `row` of `segment`.
    pub(super) fn came_from(&mut self, segment: &Arc<Segment>, row: u32) {
        let Some(base) = &mut self.base else { return };
        if Arc::ptr_eq(&base.segment, segment) {
            let old = segment.dense[self.field].slots.of(row);
            let first = self.rows.len() - old.len();
            for (old, new) in old.zip(first..) {
                base.moved[old] = Some(new as u32);
            }
        }
    }

    /// Builds the index and writes the files of a segment of `rows` rows.
    pub(super) fn finish(
        self,
        rows: usize,
        options: BuildOptions,
    ) -> Result<(DenseHead, Vec<FileMeta>), EngineError> {
        let (slots, vectors) = (Slots::of_rows(self.rows, rows), self.vectors.finish());
        let write = |kind: &Kind, bytes: &[u8]| {
            let mut file = FileWriter::create(&self.dir, kind)?;
            file.write(bytes)?;
            file.finish()
        };
        let mut files = Vec::new();
        let mut head = DenseHead {
            slots: slots.len() as u64,
            table: matches!(slots, Slots::Table(_)),
            graph: slots.len() >= GRAPH_ROWS,
            codes: false,
        };
        if slots.len() > 0 {
            files.push(write(&vectors_file(self.field), vectors.as_bytes())?);
        }
        if let Slots::Table(table) = &slots
            && !table.is_empty()
        {
            let mut file = FileWriter::create(&self.dir, &slots_file(self.field))?;
            file.write_u32s(table.iter().copied())?;
            files.push(file.finish()?);
        }
        if head.graph {
            let params = index_params(&self.params);
            let base = self.base.as_ref().and_then(|base| {
                let index = base.segment.dense[self.field].index.as_deref()?;
                let moved = &base.moved;
                Some(Reuse { index, moved })
            });
            let index = match base {
                Some(base) => Index::merge(&vectors, &params, options, base),
                None => Index::build(&vectors, &params, options),
            };
            let index = index.map_err(|e| EngineError::index(&self.dir, e))?;
            let Parts { graph, codes } = index.parts();
            files.push(write(&graph_file(self.field), graph)?);
            if let Some(codes) = codes {
                files.push(write(&codes_file(self.field), codes)?);
                head.codes = true;
            }
        }
        Ok((head, files))
    }
}

/// An open field.
#[derive(Debug)]
pub(super) struct DenseField {
    params: DenseParams,
    /// Its number in the segment's files, and what there is of it. None if the segment was written without it.
    stored: Option<(usize, DenseHead)>,
    pub(super) slots: Arc<Slots>,
    pub(super) vectors: Arc<Vectors>,
    pub(super) index: Option<Arc<Index>>,
}

/// Reads the files of a field.
struct Reading<'m> {
    files: &'m dyn Files,
    meta: &'m SegmentMeta,
    field: usize,
    head: DenseHead,
    wish: Placement,
}

impl Reading<'_> {
    fn vectors(&self, size: usize, count: usize) -> Result<Vectors, EngineError> {
        let file = Stored::require(self.files, self.meta, &vectors_file(self.field))?;
        let hold = match (self.wish.holds(Part::Vectors), self.head.codes) {
            (false, _) => Hold::No,
            (true, true) => Hold::Mapped,
            (true, false) => Hold::Memory,
        };
        Vectors::from_storage(file.storage(hold)?, size, count).map_err(|e| file.unfit(e))
    }

    fn walked(&self, kind: &Kind, part: Part) -> Result<Storage, EngineError> {
        let file = Stored::require(self.files, self.meta, kind)?;
        file.storage(match self.wish.holds(part) {
            true => Hold::Memory,
            false => Hold::No,
        })
    }

    fn graph(&self) -> Result<Storage, EngineError> {
        self.walked(&graph_file(self.field), Part::Graph)
    }

    fn codes(&self) -> Result<Storage, EngineError> {
        self.walked(&codes_file(self.field), Part::Codes)
    }

    fn unfit(&self, error: brainy_index::IndexError) -> EngineError {
        match Stored::require(self.files, self.meta, &graph_file(self.field)) {
            Ok(file) => file.unfit(error),
            Err(missing) => missing,
        }
    }
}

impl DenseField {
    /// Reads and verifies field number `field` of a segment of `rows` rows.
    pub(super) fn open(
        files: &dyn Files,
        meta: &SegmentMeta,
        (field, params, head): (usize, DenseParams, &DenseHead),
        rows: usize,
        wish: Placement,
    ) -> Result<Self, EngineError> {
        let slots = match (head.table, head.slots) {
            // How many vectors there are then shows in their file's length.
            (false, _) => Slots::Identity(rows as u32),
            (true, 0) => Slots::Table(Vec::new()),
            (true, _) => {
                let file = Stored::require(files, meta, &slots_file(field))?;
                let table = file.read_words(u32::from_le_bytes)?;
                if table.len() as u64 != head.slots {
                    return Err(file.damaged("it has not as many vectors as the segment"));
                }
                Slots::check(table, rows).map_err(|e| file.damaged(e))?
            }
        };
        let (count, size) = (slots.len(), params.size as usize);
        let reading = Reading {
            files,
            meta,
            field,
            head: *head,
            wish,
        };
        let vectors = if count == 0 {
            let none = Vectors::builder(size, 0).map(VectorsBuilder::finish);
            none.map_err(|e| EngineError::index(Path::new(""), e))?
        } else {
            reading.vectors(size, count)?
        };
        let index = if head.graph && count > 0 {
            let parts = Parts {
                graph: reading.graph()?,
                codes: head.codes.then(|| reading.codes()).transpose()?,
            };
            let index = Index::open(parts, count, size, measure(params.distance));
            Some(Arc::new(index.map_err(|e| reading.unfit(e))?))
        } else {
            None
        };
        Ok(Self {
            params,
            stored: (count > 0).then_some((field, *head)),
            slots: Arc::new(slots),
            vectors: Arc::new(vectors),
            index,
        })
    }

    /// The same field with its parts where `wish` says; those that are there already are shared. With `anew` those that are not
    /// held are opened again, from wherever the files are now.
    pub(super) fn placed(
        &self,
        files: &dyn Files,
        meta: &SegmentMeta,
        wish: Placement,
        anew: bool,
    ) -> Result<Self, EngineError> {
        let moves = |part: Part| match (self.is_paged(part), wish.holds(part)) {
            (true, true) | (false, false) => true,
            (true, false) => anew,
            (false, true) => false,
        };
        let mut placed = Self {
            params: self.params,
            stored: self.stored,
            slots: Arc::clone(&self.slots),
            vectors: Arc::clone(&self.vectors),
            index: self.index.clone(),
        };
        let Some((field, head)) = self.stored else {
            return Ok(placed);
        };
        let reading = Reading {
            files,
            meta,
            field,
            head,
            wish,
        };
        if moves(Part::Vectors) {
            let (size, count) = (self.params.size as usize, self.slots.len());
            placed.vectors = Arc::new(reading.vectors(size, count)?);
        }
        if let Some(index) = &self.index {
            let graph = moves(Part::Graph).then(|| reading.graph()).transpose()?;
            let codes = (head.codes && moves(Part::Codes)).then(|| reading.codes());
            let codes = codes.transpose()?;
            if graph.is_some() || codes.is_some() {
                let moved = index.moved(&placed.vectors, graph, codes);
                placed.index = Some(Arc::new(moved.map_err(|e| reading.unfit(e))?));
            }
        }
        Ok(placed)
    }

    /// Whether the bytes of a part are left in their file.
    pub(super) fn is_paged(&self, part: Part) -> bool {
        let index = self.index.as_ref();
        match part {
            Part::Graph => index.is_some_and(|index| index.is_graph_paged()),
            Part::Codes => index.is_some_and(|index| index.are_codes_paged()),
            Part::Vectors => self.vectors.is_paged(),
            Part::Payloads => false,
        }
    }

    /// Whether searches walk codes.
    pub(super) fn has_codes(&self) -> bool {
        self.stored.is_none_or(|(_, head)| head.codes)
    }

    /// Bytes of parts that are held.
    pub(super) fn part_memory(&self) -> usize {
        self.vectors.memory_bytes() + self.index.as_ref().map_or(0, |i| i.part_memory())
    }

    /// That of a segment whose rows have no vectors of that name.
    pub(super) fn without_vectors(params: DenseParams) -> Result<Self, EngineError> {
        let vectors = Vectors::builder(params.size as usize, 0);
        let vectors = vectors.map_err(|e| EngineError::index(Path::new(""), e))?;
        Ok(Self {
            params,
            stored: None,
            slots: Arc::new(Slots::Table(Vec::new())),
            vectors: Arc::new(vectors.finish()),
            index: None,
        })
    }

    /// Whether rows have lists of vectors.
    pub(super) fn has_lists(&self) -> bool {
        self.params.multivector
    }

    /// The vectors of a row.
    pub(super) fn of_row(&self, row: u32) -> DenseRows<'_> {
        let (slots, stride) = (self.slots.of(row), self.vectors.stride());
        if self.vectors.is_paged() {
            let mut data = vec![0.0; slots.len() * stride];
            self.vectors.read_rows(slots.start, &mut data);
            return DenseRows::owned(data, self.vectors.dim(), stride);
        }
        let data = &self.vectors.floats()[slots.start * stride..slots.end * stride];
        DenseRows::new(data, self.vectors.dim(), stride)
    }

    /// Bytes held in memory: none of what is mapped.
    pub(super) fn memory_bytes(&self) -> usize {
        self.vectors.memory_bytes()
            + self.slots.memory_bytes()
            + self.index.as_ref().map_or(0, |index| index.memory_bytes())
    }
}
