//! The sparse vectors of one name, row by row, in `sparse-{field}.bin`:
//!
//! ```text
//! u64 vectors, u64 entries
//! u32 row of each vector, ascending
//! u64 end of each vector's entries; each begins where the one before ends
//! u32 index of each entry, ascending within a vector
//! f32 value of each entry
//! ```
//!
//! A segment whose rows have no vector of that name has no such file.

use std::path::Path;

use brainy_coordination::partition::{FileMeta, SegmentMeta};

use crate::engine::error::EngineError;
use crate::engine::stored::SparseRef;

use super::format::{FileWriter, Input, Kind, Stored};
use super::placement::Files;

fn file(field: usize) -> Kind {
    Kind::of_field("sparse", field, "bin", *b"BRNYSPRS")
}

/// Sparse vectors of the rows that have one.
#[derive(Debug, Default)]
pub(super) struct SparseField {
    /// Rows, ascending.
    rows: Vec<u32>,
    /// End of each row's entries.
    ends: Vec<u64>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseField {
    /// Adds the vector of a row, which comes after those before.
    pub(super) fn push(&mut self, row: u32, vector: SparseRef<'_>) {
        self.rows.push(row);
        self.indices.extend_from_slice(vector.indices);
        self.values.extend_from_slice(vector.values);
        self.ends.push(self.indices.len() as u64);
    }

    /// How many rows have one.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes the file, unless there are no vectors.
    pub(super) fn write(&self, dir: &Path, field: usize) -> Result<Option<FileMeta>, EngineError> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut out = FileWriter::create(dir, &file(field))?;
        out.write(&(self.rows.len() as u64).to_le_bytes())?;
        out.write(&(self.indices.len() as u64).to_le_bytes())?;
        out.write_u32s(self.rows.iter().copied())?;
        let halves = |end: &u64| [*end as u32, (*end >> 32) as u32];
        out.write_u32s(self.ends.iter().flat_map(halves))?;
        out.write_u32s(self.indices.iter().copied())?;
        out.write_u32s(self.values.iter().map(|v| v.to_bits()))?;
        out.finish().map(Some)
    }

    /// Reads and verifies field number `field`, of which `count` of `rows` rows have a vector.
    pub(super) fn open(
        files: &dyn Files,
        meta: &SegmentMeta,
        field: usize,
        count: u64,
        rows: usize,
    ) -> Result<Self, EngineError> {
        if count == 0 {
            return Ok(Self::default());
        }
        let file = Stored::require(files, meta, &file(field))?;
        let read = Self::decode(&file.read()?, rows).map_err(|e| file.damaged(e))?;
        if read.len() as u64 != count {
            return Err(file.damaged("its number of vectors is not that of the segment"));
        }
        Ok(read)
    }

    fn decode(bytes: &[u8], rows: usize) -> Result<Self, String> {
        let mut input = Input(bytes);
        let (vectors, entries) = (input.u64()?, input.u64()?);
        if bytes.len() as u128 != 16 + u128::from(vectors) * 12 + u128::from(entries) * 8 {
            return Err("its length does not fit its contents".into());
        }
        let (vectors, entries) = (vectors as usize, entries as usize);
        let read = Self {
            rows: input.list(vectors, u32::from_le_bytes)?,
            ends: input.list(vectors, u64::from_le_bytes)?,
            indices: input.list(entries, u32::from_le_bytes)?,
            values: input.list(entries, f32::from_le_bytes)?,
        };
        if !read.rows.is_sorted_by(|a, b| a < b)
            || read.rows.last().is_some_and(|row| *row as usize >= rows)
        {
            return Err("its rows are not ascending rows of the segment".into());
        }
        if !read.ends.is_sorted() || read.ends.last().copied().unwrap_or(0) != entries as u64 {
            return Err("its vectors do not cover its entries".into());
        }
        let ascending = |at| {
            let vector: SparseRef<'_> = read.at(at);
            vector.indices.is_sorted_by(|a, b| a < b)
        };
        if !(0..vectors).all(ascending) || !read.values.iter().all(|v| v.is_finite()) {
            return Err("its entries are no sparse vectors".into());
        }
        Ok(read)
    }

    /// The i-th vector.
    fn at(&self, i: usize) -> SparseRef<'_> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        let range = start..self.ends[i] as usize;
        SparseRef {
            indices: &self.indices[range.clone()],
            values: &self.values[range],
        }
    }

    /// Rows and their vectors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, SparseRef<'_>)> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(i, row)| (*row, self.at(i)))
    }

    /// The vector of a row.
    pub(super) fn of_row(&self, row: u32) -> Option<SparseRef<'_>> {
        let i = self.rows.binary_search(&row).ok()?;
        Some(self.at(i))
    }

    /// Bytes held in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.len() * 12 + self.indices.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainy_coordination::types::{LogPosition, SegmentId};
    use proptest::prelude::*;

    fn sample() -> SparseField {
        let mut field = SparseField::default();
        for (row, indices) in [(0, vec![3, 9]), (2, vec![]), (7, vec![1, 2, 900])] {
            let values = vec![0.5; indices.len()];
            let (indices, values) = (&indices[..], &values[..]);
            field.push(row, SparseRef { indices, values });
        }
        field
    }

    #[test]
    fn fields_survive_storage() {
        let dir = tempfile::tempdir().unwrap();
        let written = sample().write(dir.path(), 3).unwrap().unwrap();
        let meta = SegmentMeta {
            id: SegmentId::generate(1),
            rows: 8,
            tombstones: 0,
            newest: LogPosition::default(),
            files: vec![written],
        };
        let files = super::super::placement::Directory(dir.path());
        let open = |count, rows| SparseField::open(&files, &meta, 3, count, rows);
        let read = open(3, 8).unwrap();
        assert_eq!(read.of_row(0).unwrap().indices, [3, 9]);
        assert_eq!(read.of_row(2).unwrap().indices, [0u32; 0]);
        assert_eq!(read.of_row(7).unwrap().values, [0.5; 3]);
        assert!(read.of_row(1).is_none());
        assert!(open(2, 8).is_err());
        assert!(open(3, 7).is_err());
        assert_eq!(open(0, 8).unwrap().len(), 0);
    }

    proptest! {
        /// Any bytes either are refused or give a field that can be read without leaving its bounds.
        #[test]
        fn altered_fields_never_panic(at in 0usize..200, value in any::<u8>()) {
            let dir = tempfile::tempdir().unwrap();
            sample().write(dir.path(), 0).unwrap();
            let mut bytes = std::fs::read(dir.path().join("sparse-0.bin")).unwrap();
            let contents = super::super::format::HEADER;
            let at = contents + at % (bytes.len() - contents);
            bytes[at] = value;
            if let Ok(read) = SparseField::decode(&bytes[contents..], 8) {
                for row in 0..8 {
                    let _ = read.of_row(row).map(|v| v.indices.len());
                }
            }
        }
    }
}
