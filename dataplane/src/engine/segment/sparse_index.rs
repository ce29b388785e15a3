//! The inverted index of the sparse vectors of one name, in `sparse-{field}.index`; its bytes are those of
//! [`brainy_index::sparse`]. A segment whose rows have no vector of that name has no such file.

use std::cell::Cell;
use std::path::Path;

use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_index::near::Near;
use brainy_index::sparse::{SparseBuilder, SparseError, SparseIndex};

use crate::engine::error::EngineError;
use crate::engine::filter::CompiledFilter;
use crate::engine::terms::Frequencies;
use crate::model::SparseVector;

use super::Segment;
use super::format::{FileWriter, Kind, Stored};
use super::placement::Files;
use super::search::Matching;
use super::sparse::SparseField;

/// The index of one field.
pub(super) type TermIndex = SparseIndex<Vec<u8>>;

fn file(field: usize) -> Kind {
    Kind::of_field("sparse", field, "index", *b"BRNYSIDX")
}

/// Builds and writes the index of the vectors of a field.
pub(super) fn write(
    vectors: &SparseField,
    dir: &Path,
    field: usize,
) -> Result<Option<FileMeta>, EngineError> {
    if vectors.len() == 0 {
        return Ok(None);
    }
    let bytes = build(vectors)
        .map_err(|e| EngineError::invalid(format!("sparse field {field}"), e.to_string()))?;
    let mut out = FileWriter::create(dir, &file(field))?;
    out.write(&bytes)?;
    out.finish().map(Some)
}

fn build(vectors: &SparseField) -> Result<Vec<u8>, SparseError> {
    let mut builder = SparseBuilder::new();
    for (row, vector) in vectors.iter() {
        let vector = SparseVector::new(vector.indices.to_vec(), vector.values.to_vec())?;
        builder.push(row, &vector)?;
    }
    builder.finish()
}

/// Reads and verifies the index of field number `field`, of which `count` rows have a vector. Who never searches has no use
/// for it.
pub(super) fn open(
    files: &dyn Files,
    meta: &SegmentMeta,
    field: usize,
    count: u64,
    searched: bool,
) -> Result<Option<TermIndex>, EngineError> {
    if count == 0 || !searched {
        return Ok(None);
    }
    let file = Stored::require(files, meta, &file(field))?;
    SparseIndex::open(file.read()?)
        .map(Some)
        .map_err(|e| file.damaged(e.to_string()))
}

/// What a comparison with one row is taken for, in entries of lists: it finds the row's vector and goes through it.
const COMPARISON: usize = 16;

/// Whether going through the lists of the query's terms is cheaper than comparing with each candidate.
pub(super) fn is_worth_it(
    index: &TermIndex,
    vector: &SparseVector,
    matching: &Matching<'_>,
) -> bool {
    let Some(within) = &matching.within else {
        return true;
    };
    let terms = vector.indices().iter();
    let entries: usize = terms
        .map(|term| index.document_frequency(*term) as usize)
        .sum();
    within.len().saturating_mul(COMPARISON) >= entries
}

impl Segment {
    /// The matching rows with the highest dot product, best first.
    pub(super) fn search_terms(
        &self,
        index: &TermIndex,
        vector: &SparseVector,
        limit: usize,
        matching: &Matching<'_>,
    ) -> Result<Vec<Near>, EngineError> {
        let failed = Cell::new(None);
        let accept = |row: u32| {
            (row as usize) < self.rows()
                && matching.is_candidate(row)
                && matching.counts(row).unwrap_or_else(|e| {
                    failed.set(Some(e));
                    false
                })
        };
        let found = index.search(vector, limit, Some(&accept));
        failed.take().map_or(Ok(found), Err)
    }

    /// Adds to `found` how many of the vectors of a sparse field have each of its terms.
    pub(crate) fn count_terms(&self, field: usize, found: &mut Frequencies<'_>) {
        if let Some(index) = &self.terms[field] {
            found.add(index.vectors().into(), |term| {
                index.document_frequency(term).into()
            });
        }
    }
    /// The same of the rows that are `live` and match `corpus`.
    pub(crate) fn count_terms_in(
        &self,
        field: usize,
        corpus: &CompiledFilter,
        live: &dyn Fn(u32) -> bool,
        found: &mut Frequencies<'_>,
    ) -> Result<(), EngineError> {
        let matching = self.matching(Some(corpus), Some(live));
        for row in matching.candidates() {
            if let Some(vector) = self.sparse[field].of_row(row)
                && matching.counts(row)?
            {
                found.add_vector(vector.indices);
            }
        }
        Ok(())
    }
}
