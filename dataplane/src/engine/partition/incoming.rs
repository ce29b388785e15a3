//! What another cluster wrote, before it goes into the log of this one.
//!
//! What is logged has to be applied by every replica for ever: a state that could not be would stop the partition. So each is
//! judged as it came and as it will be stored, and only then becomes a change.

use brainy_conflict::{ForeignError, PointState, Policy};

use crate::engine::change::{Change, Delta};
use crate::engine::error::EngineError;
use crate::engine::merging::{state_error, vector_of};
use crate::engine::payload;
use crate::engine::schema::{check, check_finite, prepare};
use crate::model::{PointId, VectorSchema, Vectors};

use super::states::Outcome;
use super::{PartitionState, Prepared};

/// Why a state of another cluster is not merged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IncomingError {
    /// It is damaged, or from a time that is not here yet.
    #[error("point {id}: {error}")]
    Foreign {
        /// Of which point.
        id: PointId,
        /// Why.
        error: ForeignError,
    },
    /// It does not fit the collection, or the partition cannot be read.
    #[error("point {id}: {error}")]
    Engine {
        /// Of which point.
        id: PointId,
        /// Why.
        error: EngineError,
    },
}

impl PartitionState {
    /// The change that merges `theirs`, a state of the point `id` or a write to it that another cluster made under its stamps, at `now_ms`,
    /// milliseconds since 1970; none if it is contained already.
    ///
    /// # Errors
    /// [`IncomingError`].
    pub fn incoming(
        &self,
        id: PointId,
        theirs: &PointState,
        policy: Policy,
        now_ms: u64,
    ) -> Result<Option<Change>, IncomingError> {
        let engine = |error| IncomingError::Engine { id, error };
        let foreign = |error| IncomingError::Foreign { id, error };
        theirs.check_foreign(now_ms).map_err(foreign)?;
        let known = self.known_state(id, policy).map_err(engine)?;
        let merged = known.state.clone().merge(theirs.clone());
        let merged = merged.map_err(|e| engine(state_error(&e)))?;
        if merged == known.state {
            return Ok(None);
        }
        // Merged with more it may be beyond what another cluster would take.
        merged
            .check_whole()
            .map_err(|e| foreign(ForeignError::State(e)))?;
        let schema = self.schema();
        // What is hidden now is shown after a later write, and what is merged between now and then may leave only this.
        decodable(&schema, theirs).map_err(engine)?;
        storable(&schema, id, theirs).map_err(engine)?;
        storable(&schema, id, &merged).map_err(engine)?;
        // The other cluster has to learn of what the point was without versions.
        let news = if known.made_up { &merged } else { theirs };
        let delta = Delta::new(news).map_err(engine)?;
        Ok(Some(Change::Merge(id, delta)))
    }
}

/// Whether every vector in it, shown or not, can be read and stored. Those that do not fit the schema may fit a later one.
fn decodable(schema: &VectorSchema, state: &PointState) -> Result<(), EngineError> {
    for (name, blob) in state.held_vectors() {
        let vector = vector_of(blob)?;
        check_finite(name, &vector)?;
        let mut one = Vectors::default();
        one.insert(name, vector);
        if check(schema, &one).is_ok() {
            prepare(schema, &mut one)?;
        }
    }
    Ok(())
}

/// Whether a state can be applied, stored and read again. Vectors that the collection does not have are left out, as they are when the log is
/// applied.
fn storable(schema: &VectorSchema, id: PointId, state: &PointState) -> Result<(), EngineError> {
    let (prepared, state) = Outcome::of(schema, id, state.clone())?.stored(schema)?;
    if let Some(Prepared { payload, .. }) = prepared {
        payload::decode(&payload)?;
    }
    let state = state.map(|bytes| PointState::decode(&bytes)).transpose();
    state.map(drop).map_err(|e| state_error(&e))
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
