//! Concurrent versions are kept, until a write that saw them takes their place.
//!
//! A version is replaced by another whose clock covers its stamp. Clocks contain what the versions they cover had covered, so
//! "is replaced by" is an order, a state the set of its maximal versions, and merging the maximal ones of the union. Deletions are versions
//! without contents: a deletion replaces what it saw, and a write that it did not see survives it.

use serde::{Deserialize, Serialize};

use crate::hlc::{Hlc, Stamp};
use crate::value::{Held, Value};
use crate::vector_clock::VectorClock;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) stamp: Stamp,
    /// What it replaced.
    pub(crate) seen: VectorClock,
    pub(crate) held: Held<Value>,
}

/// A concurrent version that is not shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Sibling {
    /// Its write.
    pub stamp: Stamp,
    /// Its contents; none if it is a deletion.
    pub value: Option<Value>,
}

/// Ascending by stamp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Siblings(pub(crate) Vec<Version>);

impl Siblings {
    pub(crate) fn one(stamp: Stamp, seen: VectorClock, held: Held<Value>) -> Self {
        Self(vec![Version { stamp, seen, held }])
    }

    pub(crate) fn merge(self, other: Self) -> Self {
        let mut all: Vec<Version> = self.0;
        for version in other.0 {
            match all.binary_search_by_key(&version.stamp, |v| v.stamp) {
                Ok(at) => {
                    let held = std::mem::replace(&mut all[at].held, Held::Gone);
                    all[at].held = held.or(version.held);
                }
                Err(at) => all.insert(at, version),
            }
        }
        let replaced: Vec<bool> = all
            .iter()
            .map(|old| all.iter().any(|new| new.seen.covers(old.stamp)))
            .collect();
        let mut replaced = replaced.into_iter();
        all.retain(|_| !replaced.next().unwrap_or_default());
        Self(all)
    }

    /// Everything seen.
    pub(crate) fn context(&self) -> VectorClock {
        let mut clock = VectorClock::default();
        for version in &self.0 {
            clock.join(&version.seen);
            clock.add(version.stamp);
        }
        clock
    }

    /// Which is shown: the latest that is not a deletion.
    pub(crate) fn shown(&self) -> Option<usize> {
        self.0.iter().rposition(|version| !version.held.is_gone())
    }

    pub(crate) fn newest(&self) -> Hlc {
        self.context().newest()
    }
}
