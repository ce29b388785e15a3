//! Memory of large arrays: owned, mapped from a file, or left where they are and read in pieces.
//!
//! Owned memory is anonymous, begins at a page and asks for huge pages: searches jump about in it, and with small pages
//! a third of their time goes to address translation. What is *paged* takes no memory at all, not even of the page cache
//! that is counted as this process's: whoever looks at it reads the pieces that it needs into a buffer of its own
//! ([`Storage::read_into`]).

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bytes that are not in memory: a file, an object in a bucket. They never change.
pub trait Source: Send + Sync + fmt::Debug {
    /// Fills `out` with the bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// Bytes that are not there, or those of the medium.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

#[cfg(unix)]
impl Source for File {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, offset)
    }
}

thread_local! {
    static FAILURE: RefCell<Option<io::Error>> = const { RefCell::new(None) };
}

/// The first error of [`Storage::read_into`] on this thread since the last call. What was computed in between is worthless.
#[must_use]
pub fn take_failure() -> Option<io::Error> {
    FAILURE.take()
}

/// Bytes that begin at a multiple of 64, zeroed or read-only.
pub struct Storage {
    bytes: Bytes,
    len: usize,
    /// Dropped with the bytes: what accounts for them.
    guard: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Debug)]
enum Bytes {
    Empty,
    Owned(MmapMut),
    Mapped(Mmap),
    Paged {
        source: Arc<dyn Source>,
        offset: u64,
    },
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("bytes", &self.bytes)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
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
                guard: None,
            });
        }
        let map = MmapMut::map_anon(len)?;
        // Only advice: systems without huge pages do without.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self {
            bytes: Bytes::Owned(map),
            len,
            guard: None,
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
            guard: None,
        })
    }

    /// `len` bytes of `source` from `offset` on, which stay there.
    #[must_use]
    pub fn paged(source: Arc<dyn Source>, offset: u64, len: usize) -> Self {
        Self {
            bytes: Bytes::Paged { source, offset },
            len,
            guard: None,
        }
    }

    /// The same, and `guard` is dropped when the bytes are.
    #[must_use]
    pub fn guarded(mut self, guard: Box<dyn Any + Send + Sync>) -> Self {
        self.guard = Some(guard);
        self
    }

    /// How many bytes there are, in memory or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether they are not in memory: [`Self::as_bytes`] gives none then.
    #[must_use]
    #[inline]
    pub fn is_paged(&self) -> bool {
        matches!(self.bytes, Bytes::Paged { .. })
    }

    /// Copies the bytes from `at` on into `out`, wherever they are.
    ///
    /// # Errors
    /// A range outside of them, or those of the source.
    pub fn try_read_into(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        let end = at.checked_add(out.len()).filter(|end| *end <= self.len);
        let Some(end) = end else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "{} bytes from {at} on are not in an array of {}",
                    out.len(),
                    self.len
                ),
            ));
        };
        match &self.bytes {
            Bytes::Paged { source, offset } => source.read_at(offset + at as u64, out),
            _ => {
                out.copy_from_slice(&self.as_bytes()[at..end]);
                Ok(())
            }
        }
    }

    /// As [`Self::try_read_into`], for the middle of a computation: an error is kept for [`take_failure`], and `out` is zeros. So
    /// it is from then on, without asking the source again, until the error is taken: the rest of a computation that is worthless
    /// must not wait for a medium that does not answer.
    pub fn read_into(&self, at: usize, out: &mut [u8]) {
        if FAILURE.with_borrow(Option::is_some) {
            out.fill(0);
        } else if let Err(error) = self.try_read_into(at, out) {
            out.fill(0);
            FAILURE.set(Some(error));
        }
    }

    /// The same bytes in memory of their own.
    ///
    /// # Errors
    /// The system has no such memory, or those of the source.
    pub fn load(&self) -> io::Result<Self> {
        /// Read at a time.
        const PIECE: usize = 4 << 20;
        let mut owned = Self::zeroed(self.len)?;
        let pieces = owned.bytes_mut().chunks_mut(PIECE);
        for (i, piece) in pieces.enumerate() {
            self.try_read_into(i * PIECE, piece)?;
        }
        Ok(owned)
    }

    /// The bytes, to be written; none of a mapped file.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Owned(map) => &mut map[..self.len],
            Bytes::Empty | Bytes::Mapped(_) | Bytes::Paged { .. } => {
                bytemuck::cast_slice_mut(&mut [0u64; 0])
            }
        }
    }

    /// The bytes; none of what is paged.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            // Aligned too: slices of larger numbers are made of it.
            Bytes::Empty | Bytes::Paged { .. } => bytemuck::cast_slice(&[0u64; 0]),
            Bytes::Owned(map) => &map[..self.len],
            Bytes::Mapped(map) => &map[..self.len],
        }
    }

    /// Bytes that this process holds: none of a mapped file, none of what is paged.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self.bytes {
            Bytes::Owned(_) => self.len,
            Bytes::Empty | Bytes::Mapped(_) | Bytes::Paged { .. } => 0,
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
    fn paged_bytes_are_read_in_pieces_and_errors_are_kept() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..200u8).collect();
        file.write_all(&bytes).unwrap();
        let dropped = Arc::new(());
        let storage = Storage::paged(Arc::new(file), 64, 136).guarded(Box::new(dropped.clone()));
        assert!(storage.is_paged());
        assert_eq!((storage.len(), storage.memory_bytes()), (136, 0));
        let mut piece = [0; 10];
        storage.read_into(100, &mut piece);
        assert_eq!(piece, bytes[164..174]);
        assert!(take_failure().is_none());
        assert_eq!(storage.load().unwrap().as_bytes(), &bytes[64..]);
        storage.read_into(130, &mut piece);
        assert_eq!(piece, [0; 10]);
        // Until that is told nothing is read.
        storage.read_into(0, &mut piece);
        assert_eq!(piece, [0; 10]);
        let error = take_failure().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(take_failure().is_none());
        storage.read_into(0, &mut piece);
        assert_eq!(piece, bytes[64..74]);
        drop(storage);
        assert_eq!(Arc::strong_count(&dropped), 1);
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
