//! The vectors of a segment: one contiguous array of rows, each padded with zeros to a multiple of 16 floats, so that every
//! row begins at a cache line and kernels need no code for remainders. The bytes are the same in memory, on disk and in a
//! bucket.

use std::fs::File;
use std::io;

use crate::error::IndexError;
use crate::kernels::FLOATS;
use crate::storage::Storage;

/// Rows of `dim` floats.
#[derive(Debug)]
pub struct Vectors {
    storage: Storage,
    dim: usize,
    stride: usize,
    rows: usize,
}

/// Floats from one row to the next.
#[must_use]
pub fn stride(dim: usize) -> usize {
    dim.next_multiple_of(FLOATS)
}

/// A vector of `dim` floats with the padding that kernels expect; what is missing is zero, what is too much is left out.
#[must_use]
pub fn padded(vector: &[f32], dim: usize) -> Vec<f32> {
    let mut padded = vec![0.0; stride(dim.max(1))];
    let len = vector.len().min(dim);
    padded[..len].copy_from_slice(&vector[..len]);
    padded
}

impl Vectors {
    /// An empty array that will hold `rows` rows; more are possible.
    ///
    /// # Errors
    /// [`IndexError::Memory`].
    pub fn builder(dim: usize, rows: usize) -> Result<VectorsBuilder, IndexError> {
        let stride = stride(dim.max(1));
        Ok(VectorsBuilder {
            storage: zeroed(rows * stride * 4)?,
            dim,
            stride,
            rows: 0,
        })
    }

    /// A copy of `rows`, each of `dim` floats.
    ///
    /// # Errors
    /// [`IndexError::Memory`].
    pub fn from_rows<'r>(
        dim: usize,
        rows: impl ExactSizeIterator<Item = &'r [f32]>,
    ) -> Result<Self, IndexError> {
        let mut builder = Self::builder(dim, rows.len())?;
        for row in rows {
            builder.push(row)?;
        }
        Ok(builder.finish())
    }

    /// The array whose bytes are `storage`, as [`Self::as_bytes`] gave them.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] if the length does not fit.
    pub fn from_storage(storage: Storage, dim: usize, rows: usize) -> Result<Self, IndexError> {
        let stride = stride(dim.max(1));
        let len = storage.len();
        if stride.checked_mul(4).and_then(|s| s.checked_mul(rows)) != Some(len) {
            return Err(IndexError::damaged(
                "vectors",
                format!("{len} bytes are not {rows} rows of {dim} dimensions"),
            ));
        }
        Ok(Self {
            storage,
            dim,
            stride,
            rows,
        })
    }

    /// The array that `file` holds from `offset` (a multiple of 64) on; see [`Storage::map`].
    ///
    /// # Errors
    /// Those of [`Storage::map`].
    pub fn map(file: &File, offset: u64, dim: usize, rows: usize) -> io::Result<Self> {
        let stride = stride(dim.max(1));
        let storage = Storage::map(file, offset, rows.saturating_mul(stride * 4))?;
        Ok(Self {
            storage,
            dim,
            stride,
            rows,
        })
    }

    /// What is stored, padding included; none of what is paged.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        let length = self.rows * self.stride * 4;
        self.storage.as_bytes().get(..length).unwrap_or_default()
    }

    /// Whether they are not in memory: [`Self::read_rows`] reads them then, and what borrows them has none.
    #[must_use]
    #[inline]
    pub fn is_paged(&self) -> bool {
        self.storage.is_paged()
    }

    /// Copies padded rows, `out.len() / stride` of them from `first` on, wherever they are; see [`Storage::read_into`] for
    /// errors.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) {
        self.storage
            .read_into(first * self.stride * 4, bytemuck::cast_slice_mut(out));
    }

    /// Writes [`Self::as_bytes`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(self.as_bytes())
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Floats of a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Floats from one row to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All floats, padding included.
    #[must_use]
    #[inline]
    pub fn floats(&self) -> &[f32] {
        match self.as_bytes() {
            // No bytes have no place and so no alignment.
            [] => &[],
            bytes => bytemuck::cast_slice(bytes),
        }
    }

    /// A row.
    #[must_use]
    #[inline]
    pub fn row(&self, row: u32) -> &[f32] {
        &self.floats()[row as usize * self.stride..][..self.dim]
    }

    /// A row with its padding.
    #[must_use]
    #[inline]
    pub fn padded(&self, row: u32) -> &[f32] {
        &self.floats()[row as usize * self.stride..][..self.stride]
    }

    /// Bytes that this process holds: none of a mapped file.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.storage.memory_bytes()
    }
}

/// An array that grows.
#[derive(Debug)]
pub struct VectorsBuilder {
    storage: Storage,
    dim: usize,
    stride: usize,
    rows: usize,
}

fn zeroed(bytes: usize) -> Result<Storage, IndexError> {
    Storage::zeroed(bytes).map_err(|error| IndexError::Memory {
        what: "vectors",
        bytes,
        error,
    })
}

impl VectorsBuilder {
    /// Adds a row of `dim` floats; what is missing is zero, what is too much is left out, -0 becomes 0.
    ///
    /// # Errors
    /// [`IndexError::Memory`].
    pub fn push(&mut self, row: &[f32]) -> Result<(), IndexError> {
        debug_assert_eq!(row.len(), self.dim);
        let start = self.rows * self.stride * 4;
        let needed = start + self.stride * 4;
        if needed > self.storage.as_bytes().len() {
            let mut larger = zeroed(needed.max(start * 2))?;
            larger.bytes_mut()[..start].copy_from_slice(&self.storage.as_bytes()[..start]);
            self.storage = larger;
        }
        let place: &mut [f32] =
            bytemuck::cast_slice_mut(&mut self.storage.bytes_mut()[start..needed]);
        // Adding 0 takes the sign of zeros away: vectors at distance 0 have equal bits.
        for (place, x) in place.iter_mut().zip(row.iter().take(self.dim)) {
            *place = *x + 0.0;
        }
        self.rows += 1;
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The finished array.
    #[must_use]
    pub fn finish(self) -> Vectors {
        Vectors {
            storage: self.storage,
            dim: self.dim,
            stride: self.stride,
            rows: self.rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn rows_are_padded_and_aligned_in_memory_and_in_files() {
        for dim in [1, 15, 16, 17, 384] {
            let rows: Vec<Vec<f32>> = (0..5)
                .map(|r| (0..dim).map(|c| (r * 1000 + c) as f32).collect())
                .collect();
            let mut grown = Vectors::builder(dim, 0).unwrap();
            for row in &rows {
                grown.push(row).unwrap();
            }
            let grown = grown.finish();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[9; 64]).unwrap();
            grown.write_to(&mut file).unwrap();
            file.rewind().unwrap();
            let mapped = Vectors::map(&file, 64, dim, 5).unwrap();
            assert_eq!(mapped.memory_bytes(), 0);
            let loaded = Storage::copy_of(grown.as_bytes()).unwrap();
            let loaded = Vectors::from_storage(loaded, dim, 5).unwrap();
            for vectors in [&grown, &mapped, &loaded] {
                assert_eq!(vectors.len(), 5);
                for (i, row) in (0u32..).zip(&rows) {
                    assert_eq!(vectors.row(i), row.as_slice());
                    assert_eq!(vectors.padded(i).as_ptr().align_offset(64), 0);
                    assert!(vectors.padded(i)[dim..].iter().all(|f| *f == 0.0));
                }
            }
            assert!(Vectors::map(&file, 64, dim, 6).is_err());
        }
    }

    #[test]
    fn an_array_without_rows_has_no_floats() {
        let none = Vectors::builder(3, 0).unwrap().finish();
        assert!(none.is_empty() && none.floats().is_empty());
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let bytes = Storage::zeroed(64 * 3).unwrap();
        assert!(Vectors::from_storage(bytes, 16, 3).is_ok());
        let bytes = Storage::zeroed(64 * 3).unwrap();
        let error = Vectors::from_storage(bytes, 17, 3).unwrap_err().to_string();
        assert!(error.contains("17 dimensions"), "{error}");
        assert!(Vectors::from_storage(Storage::zeroed(0).unwrap(), 3, usize::MAX).is_err());
    }
}
