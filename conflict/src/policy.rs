//! The three ways to resolve conflicts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What becomes of concurrent writes to a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The later one by the hybrid logical clock is the point; the other is lost.
    #[default]
    LastWriteWins,
    /// All are kept; one is shown, a client sees the others and its next write resolves them.
    VectorClock,
    /// Fields of the payload and vectors merge one by one; sets and counters lose nothing.
    Crdt,
}

impl Policy {
    /// All.
    pub const ALL: [Self; 3] = [Self::LastWriteWins, Self::VectorClock, Self::Crdt];

    /// As it is written in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastWriteWins => "last-write-wins",
            Self::VectorClock => "vector-clock",
            Self::Crdt => "crdt",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of the policies'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a conflict resolution: use last-write-wins, vector-clock or crdt")]
pub struct PolicyError(pub String);

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| PolicyError(text.chars().take(64).collect()))
    }
}
