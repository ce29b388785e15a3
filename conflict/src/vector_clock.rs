//! What was seen of each writer.
//!
//! Stamps are the counters: those of a writer grow, so that the last one says everything about those before. A version has
//! its own stamp as a dot beside the clock of what it replaced (dotted version vectors, Preguiça et al. 2010), so that two
//! writes through one instance that did not see each other stay apart, and no more versions are kept than are concurrent.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hlc::{Hlc, Stamp, Writer};

/// Longest context that is read, in writers.
const MAX_WRITERS: usize = 4096;

/// For each writer the newest stamp that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorClock(pub BTreeMap<Writer, Hlc>);

impl VectorClock {
    /// Adds a stamp.
    pub fn add(&mut self, stamp: Stamp) {
        let newest = self.0.entry(stamp.writer).or_default();
        *newest = stamp.hlc.max(*newest);
    }

    /// Adds everything that the other has seen.
    pub fn join(&mut self, other: &Self) {
        for (writer, hlc) in &other.0 {
            self.add(Stamp {
                hlc: *hlc,
                writer: *writer,
            });
        }
    }

    /// Whether the stamp was seen.
    #[must_use]
    pub fn covers(&self, stamp: Stamp) -> bool {
        self.0
            .get(&stamp.writer)
            .is_some_and(|newest| stamp.hlc <= *newest)
    }

    /// The newest time seen.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        self.0.values().copied().max().unwrap_or_default()
    }

    /// A number that grows with everything seen.
    #[must_use]
    pub fn rank(&self) -> u128 {
        self.0.values().map(|hlc| u128::from(hlc.0)).sum()
    }
}

/// A context that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a context: pass what a read returned as the point's context, or nothing")]
pub struct ContextError(pub String);

/// `{writer}.{stamp}` in hexadecimal, joined by dashes; empty for nothing seen.
impl fmt::Display for VectorClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (writer, hlc)) in self.0.iter().enumerate() {
            let dash = if i == 0 { "" } else { "-" };
            write!(f, "{dash}{:x}.{:x}", writer.0, hlc.0)?;
        }
        Ok(())
    }
}

impl FromStr for VectorClock {
    type Err = ContextError;

    fn from_str(text: &str) -> Result<Self, ContextError> {
        let bad = || ContextError(text.chars().take(64).collect());
        let number = |part: &str| {
            let plain = part.bytes().all(|b| b.is_ascii_hexdigit());
            let number = u64::from_str_radix(part, 16).ok();
            number.filter(|_| plain).ok_or_else(bad)
        };
        let mut clock = Self::default();
        for part in text.split('-').filter(|part| !part.is_empty()) {
            let (writer, hlc) = part.split_once('.').ok_or_else(bad)?;
            clock.add(Stamp {
                hlc: Hlc(number(hlc)?),
                writer: Writer(number(writer)?),
            });
            if clock.0.len() > MAX_WRITERS {
                return Err(bad());
            }
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_survive_their_text() {
        let mut clock = VectorClock::default();
        assert_eq!(clock.to_string().parse(), Ok(clock.clone()));
        for (hlc, writer) in [(5, 1), (u64::MAX, u64::MAX), (3, 1)] {
            clock.add(Stamp {
                hlc: Hlc(hlc),
                writer: Writer(writer),
            });
        }
        assert_eq!(clock.to_string(), "1.5-ffffffffffffffff.ffffffffffffffff");
        assert_eq!(clock.to_string().parse(), Ok(clock));
        for bad in ["x", "1", "1.", ".1", "1.2.3", "1.+2", "1.10000000000000000"] {
            assert!(bad.parse::<VectorClock>().is_err(), "{bad}");
        }
    }
}
