//! Files of vectors in numpy's format (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>), mapped.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use brainy_index::kernels::FLOATS;
use brainy_index::vectors::Vectors;

use crate::error::Error;

/// Maps a file of little-endian float32 in rows whose length is a multiple of [`FLOATS`], so that nothing is copied.
///
/// # Errors
/// [`Error::File`], or [`Error::Data`] for any other format.
pub(crate) fn map(path: &Path) -> Result<Vectors, Error> {
    let mut file = File::open(path).map_err(Error::file(path))?;
    let wrong = |reason: String| Error::Data {
        path: path.to_owned(),
        reason,
    };
    let mut start = [0; 10];
    file.read_exact(&mut start).map_err(Error::file(path))?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high] = start else {
        return Err(wrong("not an npy file of version 1".into()));
    };
    let mut header = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    file.read_exact(&mut header).map_err(Error::file(path))?;
    let (rows, dim) = shape(&String::from_utf8_lossy(&header)).map_err(wrong)?;
    if dim == 0 || dim % FLOATS != 0 {
        return Err(wrong(format!(
            "{dim} columns: they must be a multiple of {FLOATS}"
        )));
    }
    let offset = (start.len() + header.len()) as u64;
    Vectors::map(&file, offset, dim, rows).map_err(Error::file(path))
}

/// Rows and columns that the header tells of.
fn shape(header: &str) -> Result<(usize, usize), String> {
    let compact: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    for needed in ["'descr':'<f4'", "'fortran_order':False"] {
        if !compact.contains(needed) {
            return Err(format!("the header does not say {needed}"));
        }
    }
    compact
        .split_once("'shape':(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(inside, _)| inside.split_once(','))
        .and_then(|(rows, dim)| Some((rows.parse().ok()?, dim.parse().ok()?)))
        .ok_or_else(|| "the shape is not (rows, columns)".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(header: &str, floats: &[f32]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // numpy fills the header with spaces up to a multiple of 64 bytes.
        let header = format!("{header:<117}\n");
        file.write_all(b"\x93NUMPY\x01\x00").unwrap();
        file.write_all(&(header.len() as u16).to_le_bytes())
            .unwrap();
        file.write_all(header.as_bytes()).unwrap();
        for float in floats {
            file.write_all(&float.to_le_bytes()).unwrap();
        }
        file
    }

    #[test]
    fn rows_are_where_numpy_wrote_them() {
        let floats: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 16), }";
        let vectors = map(file(header, &floats).path()).unwrap();
        assert_eq!((vectors.len(), vectors.dim()), (3, 16));
        assert_eq!(vectors.row(2), &floats[32..]);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (header, says) in [
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 16), }",
                "<f4",
            ),
            (
                "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 16), }",
                "fortran",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (48,), }",
                "shape",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 12), }",
                "multiple of 16",
            ),
        ] {
            let error = map(file(header, &[0.0; 48]).path()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let mut other = tempfile::NamedTempFile::new().unwrap();
        other.write_all(b"PK and some more").unwrap();
        let error = map(other.path()).unwrap_err();
        assert!(error.to_string().contains("not an npy file"), "{error}");
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 16), }";
        assert!(
            map(file(header, &[0.0; 48]).path()).is_err(),
            "a row is missing"
        );
    }
}
