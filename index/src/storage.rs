//! Memory of large arrays: owned, or mapped from a file.
//!
//! Owned memory is anonymous, begins at a page and asks for huge pages: searches jump about in it, and with small pages
//! a third of their time goes to address translation.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bytes that begin at a multiple of 64, zeroed or read-only.
#[derive(Debug)]
pub struct Storage {
    bytes: Bytes,
    len: usize,
}

#[derive(Debug)]
enum Bytes {
    Empty,
    Owned(MmapMut),
    Mapped(Mmap),
}

impl Storage {
    /// `len` zero bytes of its own.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self {
                bytes: Bytes::Empty,
                len,
            });
        }
        let map = MmapMut::map_anon(len)?;
        // Only advice: systems without huge pages do without.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self {
            bytes: Bytes::Owned(map),
            len,
        })
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut storage = Self::zeroed(bytes.len())?;
        storage.bytes_mut().copy_from_slice(bytes);
        Ok(storage)
    }

    /// `len` bytes of `file` from `offset` on, read when they are looked at. Bytes are kept by the system's page cache, not
    /// by this process.
    ///
    /// The file must not be changed or cut while it is mapped: its owner renames it into place when it is whole, never
    /// writes to it again, and removing it leaves the mapping intact.
    ///
    /// # Errors
    /// An `offset` that is not a multiple of 64, a file that ends too early, or those of the system.
    pub fn map(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        if !offset.is_multiple_of(64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("offset {offset} is not a multiple of 64"),
            ));
        }
        let size = file.metadata()?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {size} bytes, {len} from {offset} on are asked for"),
            ));
        }
        if len == 0 {
            return Self::zeroed(0);
        }
        // SAFETY: the mapping is read-only and within the file, which was checked. That nobody changes or cuts the file
        // meanwhile is what this function asks of its callers: segment files appear under their names when they are whole
        // and are only ever removed.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Self {
            bytes: Bytes::Mapped(map),
            len,
        })
    }

    /// The bytes, to be written; none of a mapped file.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Owned(map) => &mut map[..self.len],
            Bytes::Empty | Bytes::Mapped(_) => bytemuck::cast_slice_mut(&mut [0u64; 0]),
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            // Aligned too: slices of larger numbers are made of it.
            Bytes::Empty => bytemuck::cast_slice(&[0u64; 0]),
            Bytes::Owned(map) => &map[..self.len],
            Bytes::Mapped(map) => &map[..self.len],
        }
    }

    /// Bytes that this process holds: none of a mapped file.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self.bytes {
            Bytes::Owned(_) => self.len,
            Bytes::Empty | Bytes::Mapped(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn owned_bytes_are_zero_aligned_and_counted() {
        let mut storage = Storage::zeroed(100).unwrap();
        assert!(storage.as_bytes().iter().all(|b| *b == 0));
        assert_eq!(storage.as_bytes().as_ptr().align_offset(64), 0);
        storage.bytes_mut()[99] = 7;
        assert_eq!(storage.as_bytes()[99], 7);
        assert_eq!(storage.memory_bytes(), 100);
        assert_eq!(Storage::zeroed(0).unwrap().as_bytes(), b"");
        assert_eq!(Storage::copy_of(b"abc").unwrap().as_bytes(), b"abc");
    }

    #[test]
    fn files_are_mapped_from_an_aligned_offset_and_never_beyond_their_end() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..200u8).collect();
        file.write_all(&bytes).unwrap();
        let storage = Storage::map(&file, 64, 100).unwrap();
        assert_eq!(storage.as_bytes(), &bytes[64..164]);
        assert_eq!(storage.as_bytes().as_ptr().align_offset(64), 0);
        assert_eq!(storage.memory_bytes(), 0);
        assert_eq!(Storage::map(&file, 64, 0).unwrap().as_bytes(), b"");
        for (offset, len) in [(64, 137), (192, 9), (256, 0), (64, usize::MAX)] {
            let error = Storage::map(&file, offset, len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset} {len}");
        }
        let error = Storage::map(&file, 32, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
