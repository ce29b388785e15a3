//! Vectors from NumPy's files.

use std::path::Path;

use crate::error::Error;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Rows of little-endian float32 in C order.
pub(crate) struct Rows {
    floats: Vec<f32>,
    dim: usize,
}

impl Rows {
    /// Reads a file that NumPy wrote in format 1.0.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for any other format.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Data {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let bytes = std::fs::read(path)?;
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| wrong("not a NumPy file of format 1.0"))?;
        let (length, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| wrong("its header is cut off"))?;
        let (header, data) = rest
            .split_at_checked(u16::from_le_bytes(*length).into())
            .ok_or_else(|| wrong("its header is cut off"))?;
        let header = String::from_utf8_lossy(header);
        if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
            return Err(wrong("not little-endian float32 in C order"));
        }
        let shape = header
            .split_once("'shape': (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(shape, _)| shape.split(',').map(|n| n.trim().parse::<usize>()));
        let shape: Vec<usize> = shape
            .map(|parts| parts.filter_map(Result::ok).collect())
            .unwrap_or_default();
        let [rows, dim] = shape[..] else {
            return Err(wrong("not a table of rows and columns"));
        };
        let (floats, cut) = data.as_chunks();
        if floats.len() != rows * dim || !cut.is_empty() || dim == 0 {
            return Err(wrong("not as long as its header says"));
        }
        Ok(Self {
            floats: floats
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
            dim,
        })
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.floats.chunks_exact(self.dim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, floats: &[f32]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        let data = floats.iter().flat_map(|x| x.to_le_bytes());
        [MAGIC, &length, header.as_bytes()]
            .concat()
            .into_iter()
            .chain(data)
            .collect()
    }

    #[test]
    fn files_are_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.npy");
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
        std::fs::write(&path, file(header, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        let rows = Rows::read(&path).unwrap();
        assert_eq!(
            rows.iter().collect::<Vec<_>>(),
            [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
        );
        for (header, floats) in [(header, 5), (&header.replace("f4", "f8"), 6), ("", 0)] {
            std::fs::write(&path, file(header, &vec![0.0; floats])).unwrap();
            assert!(matches!(Rows::read(&path), Err(Error::Data { .. })));
        }
    }
}
