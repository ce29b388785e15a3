//! What users store and ask for: points, filters, requests and answers. Pure data, shared by the HTTP API, the wire
//! between nodes, the log and the engine.

mod filter;
mod point;
mod request;

pub use filter::{Condition, FieldCondition, Filter, MatchValue, Range, Scalar};
pub use point::{Payload, Point, PointId, PointIdError};
pub use request::{
    Consistency, CountRequest, PayloadSelector, ReadOptions, Record, RetrieveRequest, ScoredPoint,
    ScrollPage, ScrollRequest, SearchRequest, Selector, Token, TokenError, VectorUpdate, WriteOp,
    WriteOptions, WriteReceipt,
};

pub use brainy_coordination::manifest::{Distance, VectorParams};

/// Vectors on the wire as little-endian bytes: five times cheaper to encode than a sequence of MessagePack floats.
pub mod f32_le {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Encodes as one byte string.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(values.len() * 4);
        for v in values {
            bytes.extend_from_slice(&v.to_le_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<f32>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("little-endian 32-bit floats")
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<f32>, E> {
            let (chunks, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            Ok(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
        }
    }

    /// Decodes a byte string.
    ///
    /// # Errors
    /// Those of the deserializer, or a length that is no multiple of 4.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}
