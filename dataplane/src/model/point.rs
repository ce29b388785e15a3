//! Points and their identities.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Vectors;

/// Payload of a point: a JSON object.
pub type Payload = serde_json::Map<String, serde_json::Value>;

/// Identity of a point: an unsigned 64-bit number or a UUID, as in Qdrant's public API. Numbers order before UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointId {
    /// A number.
    Num(u64),
    /// A UUID, written in any of its usual forms and returned hyphenated.
    Uuid(Uuid),
}

/// A text that is neither a number nor a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a point id: use an unsigned 64-bit integer or a UUID")]
pub struct PointIdError(pub String);

impl PointId {
    /// The bytes that decide which partition a point belongs to. Part of the storage format; never changes.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        match self {
            PointId::Num(n) => n.to_le_bytes().to_vec(),
            PointId::Uuid(u) => u.as_bytes().to_vec(),
        }
    }

    /// Reads a UUID in any usual form, or a decimal number (for path segments of the API).
    ///
    /// # Errors
    /// [`PointIdError`] with the offending text.
    pub fn parse(text: &str) -> Result<Self, PointIdError> {
        if let Ok(n) = text.parse() {
            return Ok(PointId::Num(n));
        }
        Uuid::try_parse(text)
            .map(PointId::Uuid)
            .map_err(|_| PointIdError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(n) => n.fmt(f),
            PointId::Uuid(u) => u.hyphenated().fmt(f),
        }
    }
}

impl Serialize for PointId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PointId::Num(n) => serializer.serialize_u64(*n),
            PointId::Uuid(u) => serializer.collect_str(&u.hyphenated()),
        }
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl serde::de::Visitor<'_> for Id {
            type Value = PointId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a point id: an unsigned 64-bit integer or a UUID")
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<PointId, E> {
                Ok(PointId::Num(n))
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<PointId, E> {
                u64::try_from(n)
                    .map(PointId::Num)
                    .map_err(|_| E::custom(PointIdError(n.to_string())))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PointId, E> {
                Uuid::try_parse(text)
                    .map(PointId::Uuid)
                    .map_err(|_| E::custom(PointIdError(text.chars().take(64).collect())))
            }
        }
        deserializer.deserialize_any(Id)
    }
}

impl schemars::JsonSchema for PointId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PointId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An unsigned 64-bit number or a UUID.",
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": u64::MAX},
                {"type": "string", "format": "uuid"},
            ],
        })
    }
}

/// A whole point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Identity.
    pub id: PointId,
    /// Any of the collection's vectors, as they are stored: finite, of the collection's sizes and kinds, of unit length where
    /// the distance is cosine.
    pub vectors: Vectors,
    /// Payload, empty when there is none.
    pub payload: Payload,
}
