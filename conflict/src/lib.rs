//! Versions of a point that several instances write at once, and how they become one. Pure: no I/O, no clock of its own.
//!
//! A point's [`PointState`] is an element of a join-semilattice: [`PointState::merge`] is commutative, associative and
//! idempotent, so replicas that merged the same writes are in the same state whatever the order and however often they saw
//! them. A write is a small state as well (its *delta*): what [`PointState::put`], [`PointState::delete`] and
//! [`PointState::adjust`] return. It goes into the log and is merged by every replica.
//!
//! | module | what |
//! |---|---|
//! | [`hlc`] | hybrid logical clock: stamps that respect causality and stay near wall clocks |
//! | [`vector_clock`] | what was seen of each writer |
//! | [`policy`] | the three ways to resolve conflicts |
//! | [`value`] | a point as this crate sees it |
//! | [`state`] | the state of a point, its merge and its encoding |
//! | `register` | last write wins |
//! | `siblings` | concurrent versions are kept |
//! | [`crdt`] | fields, sets and counters merge one by one |
//! | [`foreign`] | judging what another cluster wrote |

pub mod crdt;
pub mod foreign;
pub mod hlc;
pub mod policy;
mod register;
mod siblings;
pub mod state;
pub mod value;
pub mod vector_clock;

pub use crdt::{FieldError, FieldOp};
pub use foreign::ForeignError;
pub use hlc::{Clock, ClockDrift, Hlc, Stamp, Writer};
pub use policy::Policy;
pub use siblings::Sibling;
pub use state::{PointState, StateError};
pub use value::{Blob, Value};
pub use vector_clock::{ContextError, VectorClock};
