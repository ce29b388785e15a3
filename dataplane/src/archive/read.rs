//! Reads an archive that is a file: everything is verified before any of it is used.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use brainy_coordination::manifest::{Collection, MAX_PARTITIONS};
use brainy_coordination::partition::{FileMeta, SegmentMeta};
use brainy_coordination::snapshot::PinnedPartition;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::plan::sums;
use super::{
    ArchiveError, FORMAT, HEADER, Header, SUMS, VERSION, collection_member, file_member, hex,
    partition_member,
};

/// Largest member that is a document, in bytes.
const MAX_DOCUMENT: u64 = 256 << 20;
/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// Where the contents of a member are in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    bytes: u64,
    crc32c: u32,
}

/// A verified archive.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    members: HashMap<String, Place>,
    pub(crate) collections: Vec<ArchivedCollection>,
}

/// A collection in an archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchivedCollection {
    pub(crate) name: String,
    pub(crate) collection: Collection,
    /// In order.
    pub(crate) partitions: Vec<PinnedPartition>,
}

/// Reads the archive at `path` to its end and checks all of it, as is done before it is recovered from. Blocks.
///
/// # Errors
/// [`ArchiveError`].
pub fn verify(path: &Path) -> Result<(), ArchiveError> {
    Archive::open(path).map(drop)
}

impl Archive {
    /// Reads and verifies the archive at `path`. Blocks as long as reading it takes.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file =
            File::open(path).map_err(ArchiveError::disk(format!("open '{}'", path.display())))?;
        let mut scan = Scan::default();
        let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, file));
        let entries = archive.entries().map_err(|e| foreign(&e))?;
        for entry in entries {
            let entry = entry.map_err(|e| match scan.header {
                None => foreign(&e),
                Some(_) => broken(&e),
            })?;
            scan.take(entry)?;
        }
        scan.finish(path)
    }

    /// Copies a file of a segment to `to` and compares it with what was verified.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(crate) fn copy(
        &self,
        collection: usize,
        partition: u32,
        segment: &SegmentMeta,
        file: &FileMeta,
        to: &Path,
    ) -> Result<(), ArchiveError> {
        let member = file_member(collection, partition, segment.id.as_str(), &file.name);
        let place = self.members.get(&member).ok_or_else(|| missing(&member))?;
        let disk =
            |what: &str, path: &Path| ArchiveError::disk(format!("{what} '{}'", path.display()));
        let mut from = File::open(&self.path).map_err(disk("open", &self.path))?;
        from.seek(SeekFrom::Start(place.offset))
            .map_err(disk("read", &self.path))?;
        let mut out = File::create(to).map_err(disk("create", to))?;
        let mut from = from.take(place.bytes);
        let copied = std::io::copy(&mut from, &mut out).map_err(disk("write", to))?;
        if copied != place.bytes {
            return Err(ArchiveError::Damaged(format!(
                "it became shorter while '{member}' was read"
            )));
        }
        Ok(())
    }
}

/// What was read so far.
#[derive(Default)]
struct Scan {
    header: Option<Header>,
    members: HashMap<String, Place>,
    documents: HashMap<String, Vec<u8>>,
    /// Sum and path of each member, in order.
    sums: Vec<(String, String)>,
    complete: bool,
}

impl Scan {
    fn take(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let path = entry.path().map_err(|e| broken(&e))?;
        let path = path.to_str().unwrap_or_default().to_owned();
        let bytes = entry.size();
        // Others can claim contents that are not in the file.
        let plain = entry.header().entry_type() == tar::EntryType::Regular;
        if self.header.is_none() {
            if !plain || path != HEADER || bytes > MAX_DOCUMENT {
                return Err(ArchiveError::Foreign(format!(
                    "its first member is not '{HEADER}'"
                )));
            }
            let text = whole(&mut entry, &path)?;
            self.header = Some(parse_header(&text)?);
            self.note(&path, &text);
            return Ok(());
        }
        if self.complete {
            return Err(ArchiveError::Damaged(format!(
                "'{path}' comes after '{SUMS}'"
            )));
        }
        if !plain {
            return Err(ArchiveError::Damaged(format!(
                "'{path}' is not a regular file"
            )));
        }
        if path == SUMS {
            let text = whole(&mut entry, &path)?;
            let made = self.sums.iter();
            let (_, expected) = sums(made.map(|(sum, path)| (sum.as_str(), path.as_str())));
            self.complete = true;
            return match text == expected.as_bytes() {
                true => Ok(()),
                false => Err(self.differs(&text)),
            };
        }
        if path.ends_with(".json") {
            let text = whole(&mut entry, &path)?;
            self.note(&path, &text);
            self.documents.insert(path, text);
            return Ok(());
        }
        let offset = entry.raw_file_position();
        let (mut sha256, mut crc32c) = (Sha256::new(), 0);
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        loop {
            let count = entry.read(&mut buffer).map_err(|e| broken(&e))?;
            if count == 0 {
                break;
            }
            read += count as u64;
            sha256.update(&buffer[..count]);
            crc32c = crc32c::crc32c_append(crc32c, &buffer[..count]);
        }
        if read != bytes {
            return Err(ArchiveError::Damaged(format!("it ends within '{path}'")));
        }
        self.sums.push((hex(&sha256.finalize()), path.clone()));
        let place = Place {
            offset,
            bytes,
            crc32c,
        };
        self.members.insert(path, place);
        Ok(())
    }

    fn note(&mut self, path: &str, text: &[u8]) {
        self.sums
            .push((hex(&Sha256::digest(text)), path.to_owned()));
    }

    /// Names the first member whose sum is not in `listed`.
    fn differs(&self, listed: &[u8]) -> ArchiveError {
        let listed = String::from_utf8_lossy(listed);
        let mut lines = listed.lines();
        let wrong = self.sums.iter().find(|(sum, path)| {
            lines
                .next()
                .is_none_or(|line| line != format!("{sum}  {path}"))
        });
        ArchiveError::Damaged(match wrong {
            Some((_, path)) => format!("'{path}' is not what '{SUMS}' says"),
            None => format!("'{SUMS}' lists members that are not in it"),
        })
    }

    fn finish(self, path: &Path) -> Result<Archive, ArchiveError> {
        let Some(header) = &self.header else {
            return Err(ArchiveError::Foreign("it is empty".to_owned()));
        };
        if !self.complete {
            return Err(ArchiveError::Damaged(format!(
                "it ends before '{SUMS}': a part is missing"
            )));
        }
        let mut collections = Vec::with_capacity(header.collections.len());
        for (number, name) in header.collections.iter().enumerate() {
            let collection: Collection = self.document(&collection_member(number))?;
            if !(1..=MAX_PARTITIONS).contains(&collection.spec.partitions) {
                return Err(ArchiveError::Damaged(format!(
                    "collection '{name}' has {} partitions",
                    collection.spec.partitions
                )));
            }
            let mut partitions = Vec::new();
            for index in 0..collection.spec.partitions {
                let partition: PinnedPartition = self.document(&partition_member(number, index))?;
                for segment in &partition.segments {
                    for file in &segment.files {
                        self.check_file(number, index, segment, file)?;
                    }
                }
                partitions.push(partition);
            }
            collections.push(ArchivedCollection {
                name: name.clone(),
                collection,
                partitions,
            });
        }
        Ok(Archive {
            path: path.to_owned(),
            members: self.members,
            collections,
        })
    }

    fn check_file(
        &self,
        collection: usize,
        partition: u32,
        segment: &SegmentMeta,
        file: &FileMeta,
    ) -> Result<(), ArchiveError> {
        let member = file_member(collection, partition, segment.id.as_str(), &file.name);
        // It becomes the name of a file and of an object.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || b == b'-';
        if file.name.starts_with('.') || !file.name.bytes().all(plain) {
            return Err(ArchiveError::Damaged(format!(
                "'{}' is not the name of a segment's file",
                file.name.escape_debug()
            )));
        }
        let place = self.members.get(&member).ok_or_else(|| missing(&member))?;
        if (place.bytes, place.crc32c) != (file.bytes, file.crc32c) {
            return Err(ArchiveError::Damaged(format!(
                "'{member}' has {} bytes and the checksum {:08x}, its partition says {} and {:08x}",
                place.bytes, place.crc32c, file.bytes, file.crc32c
            )));
        }
        Ok(())
    }

    fn document<T: DeserializeOwned>(&self, member: &str) -> Result<T, ArchiveError> {
        let text = self.documents.get(member).ok_or_else(|| missing(member))?;
        serde_json::from_slice(text)
            .map_err(|e| ArchiveError::Damaged(format!("'{member}' cannot be read: {e}")))
    }
}

fn parse_header(text: &[u8]) -> Result<Header, ArchiveError> {
    #[derive(serde::Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let kind: Kind = serde_json::from_slice(text)
        .map_err(|e| ArchiveError::Foreign(format!("'{HEADER}' cannot be read: {e}")))?;
    if kind.format != FORMAT {
        return Err(ArchiveError::Foreign(format!(
            "its format is not '{FORMAT}'"
        )));
    }
    if kind.version != VERSION {
        return Err(ArchiveError::UnknownVersion {
            found: kind.version,
        });
    }
    serde_json::from_slice(text)
        .map_err(|e| ArchiveError::Damaged(format!("'{HEADER}' cannot be read: {e}")))
}

fn whole(entry: &mut tar::Entry<'_, impl Read>, path: &str) -> Result<Vec<u8>, ArchiveError> {
    let bytes = entry.size();
    if bytes > MAX_DOCUMENT {
        return Err(ArchiveError::Damaged(format!(
            "'{path}' has {bytes} bytes, more than a document can have"
        )));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|e| broken(&e))?;
    if text.len() as u64 != bytes {
        return Err(ArchiveError::Damaged(format!("it ends within '{path}'")));
    }
    Ok(text)
}

fn missing(member: &str) -> ArchiveError {
    ArchiveError::Damaged(format!("'{member}' is missing"))
}

fn foreign(error: &std::io::Error) -> ArchiveError {
    ArchiveError::Foreign(error.to_string())
}

fn broken(error: &std::io::Error) -> ArchiveError {
    ArchiveError::Damaged(error.to_string())
}
