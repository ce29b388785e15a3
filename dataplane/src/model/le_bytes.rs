//! Lists of 32-bit numbers as one little-endian byte string: five times cheaper to encode than a sequence of MessagePack
//! numbers. For `#[serde(with = "le_bytes")]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// A number of 32 bits.
pub(super) trait Word: Copy {
    fn to_bytes(self) -> [u8; 4];
    fn from_bytes(bytes: [u8; 4]) -> Self;
}

impl Word for f32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Word for u32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

/// Encodes as one byte string.
///
/// # Errors
/// Those of the serializer.
pub(super) fn serialize<W: Word, S: Serializer>(
    words: &[W],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(words.len() * 4);
    for word in words {
        bytes.extend_from_slice(&word.to_bytes());
    }
    serializer.serialize_bytes(&bytes)
}

struct Bytes<W>(PhantomData<W>);

impl<W: Word> Visitor<'_> for Bytes<W> {
    type Value = Vec<W>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("little-endian 32-bit numbers")
    }
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<W>, E> {
        let (chunks, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(chunks.iter().map(|c| W::from_bytes(*c)).collect())
    }
}

/// Decodes a byte string.
///
/// # Errors
/// Those of the deserializer, or a length that is no multiple of 4.
pub(super) fn deserialize<'de, W: Word, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<W>, D::Error> {
    deserializer.deserialize_bytes(Bytes(PhantomData))
}
