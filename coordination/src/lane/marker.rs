//! Entries of a partition's log that say how far lanes are contained in it.
//!
//! | offset | size | field (little endian) |
//! |---|---|---|
//! | 0 | 4 | magic `BLNP` |
//! | 4 | 1 | kind: 1 passed, 2 retired |
//! | 5 | 8 | epoch, 0 if retired |
//! | 13 | 8 | sequence, 0 if retired |
//! | 21 | n | the instance whose lane it is |

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::replica::MachineError;
use crate::types::{InstanceId, LogPosition};

const MAGIC: &[u8; 4] = b"BLNP";
const PASSED: u8 = 1;
const RETIRED: u8 = 2;
const HEADER: usize = 21;

/// How far the log of a partition has taken in its lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Every entry of the lane up to and including `at` lies before this entry.
    Passed {
        /// Whose lane.
        lane: InstanceId,
        /// Its position.
        at: LogPosition,
    },
    /// The lane was fenced and is contained to its end; nothing needs to be remembered of it.
    Retired {
        /// Whose lane.
        lane: InstanceId,
    },
}

impl Marker {
    /// What it changes of the lanes' positions.
    pub(super) fn apply(&self, lanes: &mut BTreeMap<InstanceId, LogPosition>) {
        match self {
            Marker::Passed { lane, at } => {
                let known = lanes.entry(lane.clone()).or_insert(*at);
                *known = (*known).max(*at);
            }
            Marker::Retired { lane } => {
                lanes.remove(lane);
            }
        }
    }

    /// As an entry's payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, lane, at) = match self {
            Marker::Passed { lane, at } => (PASSED, lane, *at),
            Marker::Retired { lane } => (RETIRED, lane, LogPosition::default()),
        };
        let mut out = BytesMut::with_capacity(HEADER + lane.as_str().len());
        out.put_slice(MAGIC);
        out.put_u8(kind);
        out.put_u64_le(at.epoch);
        out.put_u64_le(at.seq);
        out.put_slice(lane.as_str().as_bytes());
        out.freeze()
    }

    /// The marker that `payload` is; `None` if it is something else.
    ///
    /// # Errors
    /// It begins as a marker and is not one that this version knows.
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, MachineError> {
        let Some(mut rest) = payload.strip_prefix(MAGIC) else {
            return Ok(None);
        };
        let bad = |what: &str| MachineError(format!("a marker of a lane {what}"));
        if payload.len() < HEADER {
            return Err(bad("is cut short"));
        }
        let kind = rest.get_u8();
        let at = LogPosition::new(rest.get_u64_le(), rest.get_u64_le());
        let name = std::str::from_utf8(rest).map_err(|_| bad("names no instance"))?;
        let lane = InstanceId::new(name).map_err(|e| bad(&format!("names no instance: {e}")))?;
        match kind {
            PASSED => Ok(Some(Marker::Passed { lane, at })),
            RETIRED => Ok(Some(Marker::Retired { lane })),
            other => Err(bad(&format!(
                "is of kind {other}, which is not known to this version: upgrade it"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z0-9-]{1,63}", epoch in any::<u64>(), seq in any::<u64>()) {
            let lane = InstanceId::new(name).unwrap();
            for marker in [
                Marker::Passed { lane: lane.clone(), at: LogPosition::new(epoch, seq) },
                Marker::Retired { lane },
            ] {
                prop_assert_eq!(Marker::decode(&marker.encode()).unwrap(), Some(marker));
            }
        }

        #[test]
        fn anything_else_is_no_marker_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assume!(!bytes.starts_with(MAGIC));
            prop_assert_eq!(Marker::decode(&bytes).unwrap(), None);
            let mut bad = MAGIC.to_vec();
            bad.extend(bytes);
            let _ = Marker::decode(&bad);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let lane = InstanceId::new("hybrid-0").unwrap();
        let mut bytes = Marker::Retired { lane }.encode().to_vec();
        bytes[4] = 9;
        assert!(Marker::decode(&bytes).unwrap_err().0.contains("kind 9"));
    }
}
