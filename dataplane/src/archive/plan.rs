//! What the archive of a snapshot consists of, before any of it is read.

use brainy_coordination::keys;
use brainy_coordination::snapshot::Snapshot;
use bytes::Bytes;

use super::{
    ArchiveError, FORMAT, HEADER, Header, SUMS, VERSION, collection_member, file_member,
    partition_member,
};

/// A tar archive consists of blocks of this many bytes.
pub(super) const BLOCK: u64 = 512;
/// Hexadecimal digits of a SHA-256.
const DIGITS: u64 = 64;

/// Where the contents of a member come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Text(Bytes),
    /// An object of the bucket, with its CRC-32C.
    Object {
        key: String,
        crc32c: u32,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) source: Source,
}

/// All members but the last, which follows from them.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) members: Vec<Member>,
    pub(super) created: u64,
}

impl Plan {
    /// The archive of `snapshot`, which is called `name` and whose segments are decided.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] for what does not serialise.
    pub(crate) fn new(name: &str, snapshot: &Snapshot) -> Result<Self, ArchiveError> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            snapshot: name.to_owned(),
            created: snapshot.created,
            collections: snapshot
                .collections
                .iter()
                .map(|c| c.name.clone())
                .collect(),
        };
        let mut members = vec![text(HEADER.to_owned(), &header)?];
        for (number, pinned) in snapshot.collections.iter().enumerate() {
            members.push(text(collection_member(number), &pinned.collection)?);
            for (index, partition) in (0..).zip(&pinned.partitions) {
                members.push(text(partition_member(number, index), partition)?);
            }
            for (index, partition) in (0..).zip(&pinned.partitions) {
                let id = pinned.partition_id(index);
                for segment in &partition.segments {
                    members.extend(segment.files.iter().map(|file| Member {
                        path: file_member(number, index, segment.id.as_str(), &file.name),
                        bytes: file.bytes,
                        source: Source::Object {
                            key: keys::segment_file(&id, &segment.id, &file.name),
                            crc32c: file.crc32c,
                        },
                    }));
                }
            }
        }
        Ok(Self {
            members,
            created: snapshot.created,
        })
    }

    /// Size of the archive in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let members = self.members.iter();
        let members: u64 = members.map(|m| BLOCK + padded(m.bytes)).sum();
        members + BLOCK + padded(self.sums_bytes()) + 2 * BLOCK
    }

    /// Size of the last member.
    pub(super) fn sums_bytes(&self) -> u64 {
        // Two spaces and the end of the line.
        let lines = self.members.iter();
        lines.map(|m| DIGITS + 2 + m.path.len() as u64 + 1).sum()
    }
}

/// `bytes` up to whole blocks.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

/// The header of a member.
pub(super) fn header(path: &str, bytes: u64, created: u64) -> Result<tar::Header, ArchiveError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(|e| {
        ArchiveError::Damaged(format!("'{path}' cannot be the name of a member: {e}"))
    })?;
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(created);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// The last member's path and, from (sum, path) of all others, its text.
pub(super) fn sums<'a>(sums: impl Iterator<Item = (&'a str, &'a str)>) -> (&'static str, String) {
    let text = sums.map(|(sum, path)| format!("{sum}  {path}\n")).collect();
    (SUMS, text)
}

fn text(path: String, value: &impl serde::Serialize) -> Result<Member, ArchiveError> {
    let text = serde_json::to_vec(value)
        .map_err(|e| ArchiveError::Damaged(format!("'{path}' does not serialise: {e}")))?;
    Ok(Member {
        path,
        bytes: text.len() as u64,
        source: Source::Text(text.into()),
    })
}
