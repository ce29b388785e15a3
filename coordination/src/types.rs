//! Names and positions that every protocol speaks of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not a valid {what}: {rule}")]
pub struct NameError {
    /// What the name was for.
    pub what: &'static str,
    /// The offending text, shortened.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn check(
    what: &'static str,
    value: &str,
    max: usize,
    allowed: fn(u8) -> bool,
    rule: &'static str,
) -> Result<(), NameError> {
    if !value.is_empty() && value.len() <= max && value.bytes().all(allowed) {
        return Ok(());
    }
    Err(NameError {
        what,
        value: value.chars().take(64).collect(),
        rule,
    })
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`NameError`] naming the rule that `value` breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                check($what, &value, $max, $allowed, $rule)?;
                Ok(Self(value))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }
    };
}

text_name!(
    /// One process of the cluster: the pod's name in Kubernetes, `writer-0` in local mode. Stable across restarts.
    InstanceId,
    "instance name",
    63,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-',
    "1 to 63 lower-case letters, digits and '-'"
);

text_name!(
    /// A collection in the bucket: its name plus a suffix that tells it from a deleted one of the same name.
    CollectionUid,
    "collection uid",
    160,
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.',
    "letters, digits, '_', '-' and '.'"
);

text_name!(
    /// A segment: the epoch of the owner that built it and a ULID, so that names sort by creation and never repeat.
    ///
    /// The epoch is in the name so that a collector can tell, without reading anything, segments that a successor may
    /// be building ([`crate::gc`]).
    SegmentId,
    "segment id",
    39,
    |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-',
    "'{epoch:012}-{ULID}'"
);

impl SegmentId {
    /// A new, unique id for a segment built by the owner of `epoch`.
    #[must_use]
    pub fn generate(epoch: u64) -> Self {
        Self(format!("{epoch:012}-{}", ulid::Ulid::generate()))
    }

    /// Epoch of the owner that built it; `None` for a name that does not follow the rule.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.0.split_once('-')?.0.parse().ok()
    }
}

/// The `index`-th partition of a collection, written `{collection uid}/{index:05}`; or one instance's lane of it ([`crate::lane`]),
/// written `{collection uid}/{index:05}_{instance}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionId {
    /// The collection.
    pub collection: CollectionUid,
    /// Number below the collection's partition count.
    pub index: u32,
    /// The instance whose lane this is; `None`: the partition itself.
    pub lane: Option<InstanceId>,
}

impl PartitionId {
    /// The partition itself.
    #[must_use]
    pub const fn new(collection: CollectionUid, index: u32) -> Self {
        Self {
            collection,
            index,
            lane: None,
        }
    }

    /// The lane of `instance` for this partition.
    #[must_use]
    pub fn lane_of(&self, instance: &InstanceId) -> Self {
        Self {
            lane: Some(instance.clone()),
            ..self.clone()
        }
    }

    /// The partition that this is a lane of; itself if it is none.
    #[must_use]
    pub fn without_lane(&self) -> Self {
        Self {
            lane: None,
            ..self.clone()
        }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:05}", self.collection, self.index)?;
        match &self.lane {
            Some(instance) => write!(f, "_{instance}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PartitionId {
    type Err = NameError;

    fn from_str(value: &str) -> Result<Self, NameError> {
        let bad = || NameError {
            what: "partition",
            value: value.chars().take(64).collect(),
            rule: "'{collection uid}/{number}' or '{collection uid}/{number}_{instance}'",
        };
        let (collection, rest) = value.rsplit_once('/').ok_or_else(bad)?;
        // An instance's name has no '_'.
        let (index, lane) = match rest.split_once('_') {
            Some((index, lane)) => (index, Some(InstanceId::new(lane)?)),
            None => (rest, None),
        };
        Ok(Self {
            collection: CollectionUid::new(collection)?,
            index: index.parse().map_err(|_| bad())?,
            lane,
        })
    }
}

impl TryFrom<String> for PartitionId {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        value.parse()
    }
}

impl From<PartitionId> for String {
    fn from(id: PartitionId) -> String {
        id.to_string()
    }
}

/// A slot of a partition's log. Ordered by epoch, then sequence; `seq` 0 is "before the first slot of the epoch".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// Epoch of the lease under which the slot is written; the first is 1.
    pub epoch: u64,
    /// Slot in the epoch; the first is 1.
    pub seq: u64,
}

impl LogPosition {
    /// Position (`epoch`, `seq`).
    #[must_use]
    pub const fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq }
    }

    /// The following slot of the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            seq: self.seq + 1,
        }
    }

    /// Before the first slot of the following epoch: where the log goes on after a fence.
    #[must_use]
    pub const fn next_epoch(self) -> Self {
        Self {
            epoch: self.epoch + 1,
            seq: 0,
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// 128 random bits, hexadecimal in JSON: makes every conditional body unique (design rule 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(pub u128);

impl Nonce {
    /// Fresh randomness.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Nonce {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        u128::from_str_radix(&value, 16)
            .map(Self)
            .map_err(|_| NameError {
                what: "nonce",
                value,
                rule: "32 hexadecimal digits",
            })
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        nonce.to_string()
    }
}
