//! What a segment tells another cluster: the states of its rows and of its deletions.

use brainy_conflict::PointState;
use brainy_coordination::types::LogPosition;

use crate::engine::error::EngineError;
use crate::engine::interrupt;
use crate::engine::merging::{state_error, value_of};
use crate::engine::payload;
use crate::engine::stored;
use crate::model::{Point, PointId, VectorSelector};

use super::Segment;

/// Rows and deletions looked at in one go.
const ROWS: usize = 512;
/// Bytes of payloads and states after which a batch ends.
const BYTES: usize = 1 << 20;

/// Some states of a segment.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// States with their contents.
    pub(crate) states: Vec<(PointId, PointState)>,
    /// Rows that were written without a state.
    pub(crate) unversioned: u64,
    /// Where the next batch begins; none after the last.
    pub(crate) next: Option<usize>,
}

impl Segment {
    /// The states of rows and deletions that are newer than `after`, from number `from` on: rows come first, then deletions. A batch is
    /// bounded.
    ///
    /// # Errors
    /// A state or payload that does not decode.
    pub(crate) fn carried(&self, after: LogPosition, from: usize) -> Result<Carried, EngineError> {
        let mut carried = Carried::default();
        let mut bytes = 0;
        let end = self.rows() + self.tombstones().len();
        for number in from..end {
            if number - from == ROWS || bytes >= BYTES {
                carried.next = Some(number);
                break;
            }
            if let Some(&(id, version)) = number
                .checked_sub(self.rows())
                .and_then(|at| self.tombstones().get(at))
            {
                // A deletion without a state is of before there were states.
                if version > after
                    && let Some(state) = self.tombstone_state(id)
                {
                    bytes += state.len();
                    let state = PointState::decode(state).map_err(|e| state_error(&e))?;
                    carried.states.push((id, state));
                }
                continue;
            }
            let row = number as u32;
            if self.version(row) <= after {
                continue;
            }
            let Some(state) = self.row_state(row) else {
                carried.unversioned += 1;
                continue;
            };
            let vectors = self.vectors(row);
            let vectors = stored::collect(self.schema(), &vectors, &VectorSelector::All);
            let payload = self.payload(row);
            interrupt::check_reads()?;
            let point = Point {
                id: self.row_id(row),
                payload: payload::decode(&payload)?,
                vectors,
            };
            let value = value_of(&point)?;
            let vectors: usize = value.vectors.values().map(|blob| blob.0.len()).sum();
            bytes += state.len() + payload.len() + vectors;
            let state = PointState::decode(state).map_err(|e| state_error(&e))?;
            carried.states.push((point.id, state.fill(value)));
        }
        Ok(carried)
    }
}
