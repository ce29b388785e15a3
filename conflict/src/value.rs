//! A point as this crate sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A vector, as its owner encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Arc<[u8]>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Payload and vectors of a point.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Value {
    /// The payload.
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// The vectors by name.
    pub vectors: BTreeMap<String, Blob>,
}

/// Where the contents of a version are.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Held<T> {
    /// Here.
    Here(T),
    /// There are none: it was deleted.
    Gone,
    /// With the point, as it is shown to readers.
    Shown,
}

impl<T> Held<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Self::Here(value) => Some(value),
            Self::Gone | Self::Shown => None,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// Of two copies of one version the one that holds its contents.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Self::Shown => other,
            own => own,
        }
    }
}
