//! How segment files begin and how they are checked.
//!
//! Every file: 8 bytes magic, 4 bytes format version, 52 bytes zero, then its contents, which are so aligned to a cache line
//! in a mapped file; numbers are little-endian. Size and CRC-32C of the whole file stand in the partition manifest
//! ([`FileMeta`]) and are verified before anything is used.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_index::IndexError;
use brainy_index::storage::Storage;

use crate::engine::error::EngineError;

use super::placement::Files;

/// Format version of all files of a segment.
const VERSION: u32 = 2;
/// Bytes before the contents.
pub(super) const HEADER: usize = 64;

/// A kind of file.
pub(super) struct Kind {
    pub(super) name: Cow<'static, str>,
    pub(super) magic: [u8; 8],
}

impl Kind {
    /// A file that fields of vectors have each of their own.
    pub(super) fn of_field(stem: &str, field: usize, extension: &str, magic: [u8; 8]) -> Self {
        Self {
            name: format!("{stem}-{field}.{extension}").into(),
            magic,
        }
    }
}

pub(super) const ROWS: Kind = Kind {
    name: Cow::Borrowed("rows.bin"),
    magic: *b"BRNYROWS",
};
pub(super) const PAYLOADS: Kind = Kind {
    name: Cow::Borrowed("payload.bin"),
    magic: *b"BRNYPAYL",
};
pub(super) const PAYLOAD_INDEX: Kind = Kind {
    name: Cow::Borrowed("payload_index.bin"),
    magic: *b"BRNYPIDX",
};

pub(super) const STATES: Kind = Kind {
    name: Cow::Borrowed("states.bin"),
    magic: *b"BRNYSTAT",
};

/// A file being written.
pub(super) struct FileWriter {
    path: PathBuf,
    name: String,
    out: BufWriter<File>,
    bytes: u64,
    crc32c: u32,
}

impl FileWriter {
    pub(super) fn create(dir: &Path, kind: &Kind) -> Result<Self, EngineError> {
        let path = dir.join(kind.name.as_ref());
        let file = File::create(&path).map_err(|e| EngineError::io("cannot create", &path, &e))?;
        let mut writer = Self {
            path,
            name: kind.name.clone().into_owned(),
            out: BufWriter::with_capacity(1 << 18, file),
            bytes: 0,
            crc32c: 0,
        };
        writer.write(&kind.magic)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.write(&[0; HEADER - 12])?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.bytes += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|e| EngineError::io("cannot write", &self.path, &e))
    }

    pub(super) fn write_u32s(
        &mut self,
        words: impl Iterator<Item = u32>,
    ) -> Result<(), EngineError> {
        let mut block = Vec::with_capacity(1 << 14);
        for word in words {
            block.extend_from_slice(&word.to_le_bytes());
            if block.len() >= 1 << 14 {
                self.write(&block)?;
                block.clear();
            }
        }
        self.write(&block)
    }

    pub(super) fn finish(mut self) -> Result<FileMeta, EngineError> {
        self.out
            .flush()
            .map_err(|e| EngineError::io("cannot write", &self.path, &e))?;
        Ok(FileMeta {
            name: self.name,
            bytes: self.bytes,
            crc32c: self.crc32c,
        })
    }
}

/// Bytes read at a time: of an object in a bucket a request's worth.
const BLOCK: usize = 1 << 20;

/// Where the bytes of a part are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// In memory of their own.
    Memory,
    /// Mapped, where the file is local.
    Mapped,
    /// Where they are.
    No,
}

/// A file of a segment, with what the manifest says of it.
pub(super) struct Stored<'m> {
    pub(super) path: PathBuf,
    files: &'m dyn Files,
    meta: &'m FileMeta,
    magic: [u8; 8],
}

impl<'m> Stored<'m> {
    /// Finds a file of `segment`; absent if the segment has none of this kind.
    pub(super) fn find(
        files: &'m dyn Files,
        segment: &'m SegmentMeta,
        kind: &Kind,
    ) -> Option<Self> {
        let meta = segment.files.iter().find(|f| f.name == kind.name)?;
        let name = kind.name.as_ref();
        let remote = || PathBuf::from(format!("{}/{name} in the bucket", segment.id));
        Some(Self {
            path: files.path(name).unwrap_or_else(remote),
            files,
            meta,
            magic: kind.magic,
        })
    }

    /// Finds a file that every segment has.
    pub(super) fn require(
        files: &'m dyn Files,
        segment: &'m SegmentMeta,
        kind: &Kind,
    ) -> Result<Self, EngineError> {
        Self::find(files, segment, kind).ok_or_else(|| {
            EngineError::damaged(
                PathBuf::from(kind.name.as_ref()),
                "the partition manifest does not list it for its segment",
            )
        })
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> EngineError {
        EngineError::damaged(&self.path, reason)
    }

    /// Reads the contents after the header, verified, as fixed-size blocks given to `each`; what is left over at the end
    /// is returned.
    ///
    /// `each` sees bytes before the checksum was compared: it must take any, and its result must be dropped on errors.
    pub(super) fn stream<const N: usize>(
        &self,
        mut each: impl FnMut(&[[u8; N]]),
    ) -> Result<Vec<u8>, EngineError> {
        let cannot_read = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => self.damaged("it is missing"),
            _ => EngineError::io("cannot read", &self.path, &e),
        };
        let (source, size) = self.files.source(&self.meta.name).map_err(cannot_read)?;
        if size != self.meta.bytes {
            return Err(self.damaged(format!(
                "it has {size} bytes, {} were written",
                self.meta.bytes
            )));
        }
        if size < HEADER as u64 {
            return Err(self.damaged("it is shorter than a header"));
        }
        let mut header = [0u8; HEADER];
        source.read_at(0, &mut header).map_err(cannot_read)?;
        let mut crc32c = crc32c::crc32c(&header);
        let longest = usize::try_from(size).unwrap_or(BLOCK).min(BLOCK);
        let mut block = vec![0u8; longest.next_multiple_of(N)];
        let mut kept = 0;
        let mut at = HEADER as u64;
        while at < size {
            let count = usize::try_from(size - at).unwrap_or(BLOCK);
            let count = count.min(block.len() - kept);
            let piece = &mut block[kept..kept + count];
            source.read_at(at, piece).map_err(cannot_read)?;
            at += count as u64;
            crc32c = crc32c::crc32c_append(crc32c, piece);
            let (whole, rest) = block[..kept + count].as_chunks::<N>();
            each(whole);
            let (from, rest) = (whole.len() * N, rest.len());
            block.copy_within(from..from + rest, 0);
            kept = rest;
        }
        if crc32c != self.meta.crc32c {
            let expected = self.meta.crc32c;
            return Err(self.damaged(format!(
                "its checksum is {crc32c:08x}, {expected:08x} was written"
            )));
        }
        self.check_header(header)?;
        block.truncate(kept);
        Ok(block)
    }

    /// Reads the contents after the header, verified.
    pub(super) fn read(&self) -> Result<Vec<u8>, EngineError> {
        let mut bytes = Vec::new();
        self.stream(|blocks: &[[u8; 1]]| bytes.extend_from_slice(blocks.as_flattened()))?;
        Ok(bytes)
    }

    /// The contents, verified: where they are to be, or left in the file if there is no memory for them.
    pub(super) fn storage(&self, hold: Hold) -> Result<Storage, EngineError> {
        let cannot = |e: std::io::Error| EngineError::io("cannot load", &self.path, &e);
        let length = self.meta.bytes.saturating_sub(HEADER as u64);
        let length = usize::try_from(length).map_err(|_| self.damaged("it is too long"))?;
        let guard = match hold {
            Hold::No => None,
            Hold::Memory | Hold::Mapped => self.files.hold(self.meta.bytes),
        };
        let local = self.files.path(&self.meta.name);
        let mapped = local.filter(|_| hold == Hold::Mapped);
        let guard = match (guard, mapped) {
            (Some(guard), None) => guard,
            (guard, mapped) => {
                if !self.files.is_verified() {
                    self.stream(|_: &[[u8; 64]]| {})?;
                }
                return match (guard, mapped) {
                    (Some(guard), Some(path)) => {
                        let file = File::open(path).map_err(cannot)?;
                        let map = Storage::map(&file, HEADER as u64, length);
                        Ok(map.map_err(cannot)?.guarded(guard))
                    }
                    _ => {
                        let (source, _) = self.files.source(&self.meta.name).map_err(cannot)?;
                        Ok(Storage::paged(source, HEADER as u64, length))
                    }
                };
            }
        };
        let mut storage = Storage::zeroed(length).map_err(cannot)?;
        let mut rest = storage.bytes_mut();
        self.stream(|blocks: &[[u8; 1]]| {
            let block = blocks.as_flattened();
            let (taken, left) = std::mem::take(&mut rest).split_at_mut(block.len());
            taken.copy_from_slice(block);
            rest = left;
        })?;
        Ok(storage.guarded(guard))
    }

    /// The error for contents that are not what an index expects.
    pub(super) fn unfit(&self, error: IndexError) -> EngineError {
        match error {
            IndexError::UnknownFormat {
                found, supported, ..
            } => EngineError::UnknownFormat {
                what: format!("the contents of segment file {}", self.path.display()),
                found,
                supported,
            },
            other => self.damaged(other.to_string()),
        }
    }

    /// Reads contents that are 32-bit numbers, verified.
    pub(super) fn read_words<T>(
        &self,
        convert: impl Fn([u8; 4]) -> T,
    ) -> Result<Vec<T>, EngineError> {
        let mut words = Vec::with_capacity(usize::try_from(self.meta.bytes).unwrap_or(0) / 4);
        let rest =
            self.stream(|blocks: &[[u8; 4]]| words.extend(blocks.iter().map(|b| convert(*b))))?;
        if !rest.is_empty() {
            return Err(self.damaged("it ends within a number"));
        }
        Ok(words)
    }

    /// Reads contents that are 64-bit numbers, verified.
    pub(super) fn read_u64s(&self) -> Result<Vec<u64>, EngineError> {
        let mut words = Vec::with_capacity(usize::try_from(self.meta.bytes).unwrap_or(0) / 8);
        let rest = self.stream(|blocks: &[[u8; 8]]| {
            words.extend(blocks.iter().map(|b| u64::from_le_bytes(*b)));
        })?;
        if !rest.is_empty() {
            return Err(self.damaged("it ends within a number"));
        }
        Ok(words)
    }

    /// The checksum fits, so these are the bytes that were written: perhaps by another build, or to another file.
    fn check_header(&self, header: [u8; HEADER]) -> Result<(), EngineError> {
        let (magic, rest) = header.split_at(8);
        if magic != self.magic {
            return Err(self.damaged("it does not begin like a file of its kind"));
        }
        let mut version = [0u8; 4];
        version.copy_from_slice(&rest[..4]);
        let found = u32::from_le_bytes(version);
        if found != VERSION {
            return Err(EngineError::UnknownFormat {
                what: format!("segment file {}", self.path.display()),
                found,
                supported: VERSION,
            });
        }
        if rest[4..].iter().any(|byte| *byte != 0) {
            return Err(self.damaged("its header is not empty where it should be"));
        }
        Ok(())
    }
}

/// Bytes that are read from the front.
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl Input<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// `count` numbers of N bytes.
    pub(super) fn list<const N: usize, T>(
        &mut self,
        count: usize,
        convert: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        let taken = count
            .checked_mul(N)
            .and_then(|bytes| self.0.split_at_checked(bytes));
        let (taken, rest) = taken.ok_or("it ends too early")?;
        self.0 = rest;
        let (numbers, _) = taken.as_chunks::<N>();
        Ok(numbers.iter().map(|n| convert(*n)).collect())
    }
}
