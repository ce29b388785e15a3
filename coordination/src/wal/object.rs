//! Binary form of a log object.
//!
//! | offset | size | field (little endian) |
//! |---|---|---|
//! | 0 | 4 | magic `BWAL` |
//! | 4 | 1 | format, 1 |
//! | 5 | 1 | kind: 1 data, 2 fence |
//! | 6 | 2 | zero |
//! | 8 | 8 | epoch |
//! | 16 | 8 | sequence |
//! | 24 | 16 | nonce |
//! | 40 | 8 | body length |
//! | 48 | n | body |
//! | 48+n | 4 | CRC-32C of everything before |
//!
//! Body of data: count (u32), then for every entry request id (16), length (u32), bytes. Body of a fence: the epoch of
//! the successor (u64), then its name.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{LogPosition, Nonce};

const MAGIC: &[u8; 4] = b"BWAL";
const FORMAT: u8 = 1;
const KIND_DATA: u8 = 1;
const KIND_FENCE: u8 = 2;
const HEADER: usize = 48;
const TRAILER: usize = 4;

/// One request's effect, opaque to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Identity of the request (design rule 6).
    pub request: Nonce,
    /// What the state machine applies.
    pub payload: Bytes,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogObject {
    /// A group of entries, in order.
    Data(Vec<Entry>),
    /// The end of this epoch: what lies beyond was never acknowledged and is never replayed (design rule 3).
    Fence {
        /// Epoch of the owner that wrote the fence.
        successor: u64,
        /// Its name, for people.
        by: String,
    },
}

/// Why bytes are not a log object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Fewer bytes than a header, or than the header promises.
    #[error("truncated: {0} bytes")]
    Truncated(usize),
    /// Something else's bytes.
    #[error("not a log object (magic {0:02x?})")]
    NotALogObject([u8; 4]),
    /// A newer Brainy wrote it.
    #[error("format {0} is not known to this version: upgrade it")]
    UnknownFormat(u8),
    /// Neither data nor fence.
    #[error("kind {0} is not known to this version: upgrade it")]
    UnknownKind(u8),
    /// The bytes changed after they were written.
    #[error("checksum mismatch: stored {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// In the object.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// It belongs to another slot.
    #[error("says it is slot {found} of the log")]
    WrongSlot {
        /// Position in its header.
        found: LogPosition,
    },
    /// The body does not add up although the checksum holds.
    #[error("inconsistent body")]
    Body,
}

impl LogObject {
    /// Bytes for slot `position`; unique because of a fresh nonce.
    #[must_use]
    pub fn encode(&self, position: LogPosition) -> Bytes {
        let (kind, body_len) = match self {
            LogObject::Data(entries) => (
                KIND_DATA,
                4 + entries.iter().map(|e| 20 + e.payload.len()).sum::<usize>(),
            ),
            LogObject::Fence { by, .. } => (KIND_FENCE, 8 + by.len()),
        };
        let mut out = BytesMut::with_capacity(HEADER + body_len + TRAILER);
        out.put_slice(MAGIC);
        out.put_u8(FORMAT);
        out.put_u8(kind);
        out.put_u16_le(0);
        out.put_u64_le(position.epoch);
        out.put_u64_le(position.seq);
        out.put_u128_le(Nonce::random().0);
        out.put_u64_le(body_len as u64);
        match self {
            LogObject::Data(entries) => {
                out.put_u32_le(entries.len() as u32);
                for entry in entries {
                    out.put_u128_le(entry.request.0);
                    out.put_u32_le(entry.payload.len() as u32);
                    out.put_slice(&entry.payload);
                }
            }
            LogObject::Fence { successor, by } => {
                out.put_u64_le(*successor);
                out.put_slice(by.as_bytes());
            }
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }

    /// Reads the bytes of slot `position`.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is guessed and nothing is skipped.
    pub fn decode(bytes: &Bytes, position: LogPosition) -> Result<Self, ObjectError> {
        if bytes.len() < HEADER + TRAILER {
            return Err(ObjectError::Truncated(bytes.len()));
        }
        let mut buf = bytes.clone();
        let mut magic = [0; 4];
        buf.copy_to_slice(&mut magic);
        if &magic != MAGIC {
            return Err(ObjectError::NotALogObject(magic));
        }
        let format = buf.get_u8();
        if format != FORMAT {
            return Err(ObjectError::UnknownFormat(format));
        }
        let kind = buf.get_u8();
        buf.advance(2);
        let found = LogPosition::new(buf.get_u64_le(), buf.get_u64_le());
        buf.advance(16);
        let body_len = buf.get_u64_le();
        if body_len != (bytes.len() - HEADER - TRAILER) as u64 {
            return Err(ObjectError::Truncated(bytes.len()));
        }
        let mut trailer = bytes.slice(bytes.len() - TRAILER..);
        let stored = trailer.get_u32_le();
        let computed = crc32c::crc32c(&bytes[..bytes.len() - TRAILER]);
        if stored != computed {
            return Err(ObjectError::Checksum { stored, computed });
        }
        if found != position {
            return Err(ObjectError::WrongSlot { found });
        }
        let body = bytes.slice(HEADER..bytes.len() - TRAILER);
        match kind {
            KIND_DATA => decode_entries(body).map(LogObject::Data),
            KIND_FENCE => decode_fence(body),
            other => Err(ObjectError::UnknownKind(other)),
        }
    }
}

fn decode_entries(mut body: Bytes) -> Result<Vec<Entry>, ObjectError> {
    let count = body.try_get_u32_le().map_err(|_| ObjectError::Body)?;
    let mut entries = Vec::with_capacity((count as usize).min(body.len() / 20));
    for _ in 0..count {
        let request = Nonce(body.try_get_u128_le().map_err(|_| ObjectError::Body)?);
        let len = body.try_get_u32_le().map_err(|_| ObjectError::Body)? as usize;
        if len > body.len() {
            return Err(ObjectError::Body);
        }
        let payload = body.split_to(len);
        entries.push(Entry { request, payload });
    }
    if body.is_empty() {
        Ok(entries)
    } else {
        Err(ObjectError::Body)
    }
}

fn decode_fence(mut body: Bytes) -> Result<LogObject, ObjectError> {
    let successor = body.try_get_u64_le().map_err(|_| ObjectError::Body)?;
    let by = String::from_utf8(body.to_vec()).map_err(|_| ObjectError::Body)?;
    Ok(LogObject::Fence { successor, by })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arbitrary() -> impl Strategy<Value = LogObject> {
        let entry = (
            any::<u128>(),
            proptest::collection::vec(any::<u8>(), 0..200),
        )
            .prop_map(|(request, payload)| Entry {
                request: Nonce(request),
                payload: payload.into(),
            });
        prop_oneof![
            proptest::collection::vec(entry, 0..8).prop_map(LogObject::Data),
            (any::<u64>(), "[a-z0-9-]{0,30}")
                .prop_map(|(successor, by)| LogObject::Fence { successor, by }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(object in arbitrary(), epoch in any::<u64>(), seq in any::<u64>()) {
            let at = LogPosition::new(epoch, seq);
            prop_assert_eq!(LogObject::decode(&object.encode(at), at), Ok(object));
        }

        #[test]
        fn any_changed_byte_and_any_cut_is_noticed(object in arbitrary(), at in any::<u64>(), flip in 1u8..=255, cut in any::<prop::sample::Index>()) {
            let position = LogPosition::new(3, at);
            let good = object.encode(position);
            let mut bad = good.to_vec();
            let index = cut.index(bad.len());
            bad[index] ^= flip;
            prop_assert!(LogObject::decode(&bad.into(), position).is_err());
            prop_assert!(LogObject::decode(&good.slice(..index), position).is_err());
        }
    }

    #[test]
    fn an_object_of_another_slot_is_refused() {
        let bytes = LogObject::Data(vec![]).encode(LogPosition::new(1, 2));
        assert_eq!(
            LogObject::decode(&bytes, LogPosition::new(1, 3)),
            Err(ObjectError::WrongSlot {
                found: LogPosition::new(1, 2)
            })
        );
    }

    #[test]
    fn equal_content_never_gives_equal_bytes() {
        let object = LogObject::Data(vec![]);
        let at = LogPosition::new(1, 1);
        assert_ne!(object.encode(at), object.encode(at));
    }
}
