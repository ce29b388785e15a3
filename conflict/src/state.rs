//! The state of a point: its versions and deletions, their merge, their encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crdt::{FieldError, FieldOp, Fields};
use crate::hlc::{Hlc, Stamp};
use crate::policy::Policy;
use crate::register::Register;
use crate::siblings::{Sibling, Siblings};
use crate::value::{Held, Value};
use crate::vector_clock::VectorClock;

/// First byte of an encoded state.
const FORMAT: u8 = 1;
/// Longest encoded state that is read.
pub const MAX_BYTES: usize = 256 << 20;

/// A state that cannot be read or merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another build.
    #[error("the version of a point has format {0}, this build reads 1")]
    Format(u8),
    /// Not what was written.
    #[error("the version of a point does not decode: {0}")]
    Damaged(String),
    /// Too long.
    #[error("the version of a point is {0} bytes long, the limit is 268435456")]
    TooLong(usize),
    /// Serialisation failed.
    #[error("the version of a point cannot be encoded: {0}")]
    Encode(String),
    /// The cluster's policy was another when it was written.
    #[error(
        "a version of a point was written under {theirs}, this cluster resolves conflicts by {ours}"
    )]
    Policy {
        /// Of the cluster.
        ours: Policy,
        /// Of the version.
        theirs: Policy,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Inner {
    Register(Register),
    Siblings(Siblings),
    Fields(Fields),
}

/// See the crate.
#[derive(Clone, Debug, PartialEq)]
pub struct PointState(pub(crate) Inner);

impl PointState {
    /// The state of a point that nobody wrote.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self(match policy {
            Policy::LastWriteWins => Inner::Register(Register::default()),
            Policy::VectorClock => Inner::Siblings(Siblings::default()),
            Policy::Crdt => Inner::Fields(Fields::default()),
        })
    }

    /// How it resolves conflicts.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self.0 {
            Inner::Register(_) => Policy::LastWriteWins,
            Inner::Siblings(_) => Policy::VectorClock,
            Inner::Fields(_) => Policy::Crdt,
        }
    }

    /// The write that makes the point `value`. `stamp` is above everything in this state and in `seen`: what the client had
    /// read when it wrote, as [`Self::context`] of this very point gave it; without it, this state. Only vector clocks mind it.
    #[must_use]
    pub fn put(&self, value: &Value, stamp: Stamp, seen: Option<&VectorClock>) -> Self {
        Self(match &self.0 {
            Inner::Fields(fields) => Inner::Fields(fields.put(value, stamp, true)),
            _ => return self.write(Held::Here(value.clone()), stamp, seen),
        })
    }

    /// The write that makes an existing point `value` by changing parts of it: where fields merge only what differs is written, and
    /// nothing comes back that is deleted concurrently. Else as [`Self::put`].
    #[must_use]
    pub fn edit(&self, value: &Value, stamp: Stamp, seen: Option<&VectorClock>) -> Self {
        Self(match &self.0 {
            Inner::Fields(fields) => Inner::Fields(fields.put(value, stamp, false)),
            _ => return self.put(value, stamp, seen),
        })
    }

    /// The write that deletes the point; `stamp` and `seen` as with [`Self::put`].
    #[must_use]
    pub fn delete(&self, stamp: Stamp, seen: Option<&VectorClock>) -> Self {
        Self(match &self.0 {
            Inner::Fields(fields) => Inner::Fields(fields.delete(stamp)),
            _ => return self.write(Held::Gone, stamp, seen),
        })
    }

    fn write(&self, held: Held<Value>, stamp: Stamp, seen: Option<&VectorClock>) -> Self {
        Self(match &self.0 {
            Inner::Siblings(siblings) => {
                let seen = seen.cloned().unwrap_or_else(|| siblings.context());
                Inner::Siblings(Siblings::one(stamp, seen, held))
            }
            _ => Inner::Register(Register { stamp, held }),
        })
    }

    /// The write that changes counters and sets of an existing point; `stamp` as with [`Self::put`].
    ///
    /// # Errors
    /// A field that is something else, or a policy without counters and sets.
    pub fn adjust(&self, ops: &[FieldOp], stamp: Stamp) -> Result<Self, FieldError> {
        match &self.0 {
            Inner::Fields(fields) => Ok(Self(Inner::Fields(fields.adjust(ops, stamp)?))),
            _ => Err(FieldError::Policy(self.policy())),
        }
    }

    /// The least state that contains both.
    ///
    /// # Errors
    /// [`StateError::Policy`].
    pub fn merge(self, other: Self) -> Result<Self, StateError> {
        let (ours, theirs) = (self.policy(), other.policy());
        Ok(Self(match (self.0, other.0) {
            (Inner::Register(a), Inner::Register(b)) => Inner::Register(a.merge(b)),
            (Inner::Siblings(a), Inner::Siblings(b)) => Inner::Siblings(a.merge(b)),
            (Inner::Fields(a), Inner::Fields(b)) => Inner::Fields(a.merge(b)),
            _ => return Err(StateError::Policy { ours, theirs }),
        }))
    }

    /// What readers are shown; none if the point does not exist, or its contents are elsewhere ([`Self::strip`]).
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match &self.0 {
            Inner::Register(register) => register.held.get().cloned(),
            Inner::Siblings(all) => all.0[all.shown()?].held.get().cloned(),
            Inner::Fields(fields) => fields.value(),
        }
    }

    /// Whether the point exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        match &self.0 {
            Inner::Register(register) => !register.held.is_gone(),
            Inner::Siblings(all) => all.shown().is_some(),
            Inner::Fields(fields) => fields.exists(),
        }
    }

    /// Versions that are concurrent with the one that is shown, latest first; none of a point that does not exist.
    #[must_use]
    pub fn siblings(&self) -> Vec<Sibling> {
        let Inner::Siblings(all) = &self.0 else {
            return Vec::new();
        };
        let Some(shown) = all.shown() else {
            return Vec::new();
        };
        let others = all.0.iter().enumerate().rev();
        others
            .filter(|(at, _)| *at != shown)
            .map(|(_, version)| Sibling {
                stamp: version.stamp,
                value: version.held.get().cloned(),
            })
            .collect()
    }

    /// What whoever read this state has seen.
    #[must_use]
    pub fn context(&self) -> VectorClock {
        match &self.0 {
            Inner::Register(register) => {
                let mut clock = VectorClock::default();
                clock.add(register.stamp);
                clock
            }
            Inner::Siblings(all) => all.context(),
            Inner::Fields(fields) => fields.clock.clone(),
        }
    }

    /// The newest time in it: stamps of later writes are above.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        match &self.0 {
            Inner::Register(register) => register.stamp.hlc,
            Inner::Siblings(all) => all.newest(),
            Inner::Fields(fields) => fields.clock.newest(),
        }
    }

    /// A number that grows with every write that changes the state, and is the same for equal states. It relies on each
    /// writer's writes being merged in their order, as a log brings them.
    #[must_use]
    pub fn rank(&self) -> u128 {
        match &self.0 {
            Inner::Register(register) => register.rank(),
            Inner::Siblings(all) => all.context().rank(),
            Inner::Fields(fields) => fields.clock.rank(),
        }
    }

    /// Takes out what readers are shown, for who stores that beside it: all of it, or, of fields that merge, the vectors.
    #[must_use]
    pub fn strip(mut self) -> Self {
        match &mut self.0 {
            Inner::Register(register) => {
                if !register.held.is_gone() {
                    register.held = Held::Shown;
                }
            }
            Inner::Siblings(all) => {
                if let Some(shown) = all.shown() {
                    all.0[shown].held = Held::Shown;
                }
            }
            Inner::Fields(fields) => {
                if fields.exists() {
                    for (_, held) in fields.vectors.values_mut() {
                        if !held.is_gone() {
                            *held = Held::Shown;
                        }
                    }
                }
            }
        }
        self
    }

    /// Puts back what [`Self::strip`] took out. A vector that `value` does not have any more was dropped from the collection: it is gone.
    #[must_use]
    pub fn fill(mut self, value: Value) -> Self {
        match &mut self.0 {
            Inner::Register(register) => fill(&mut register.held, Some(value)),
            Inner::Siblings(all) => {
                if let Some(shown) = all.shown() {
                    fill(&mut all.0[shown].held, Some(value));
                }
            }
            Inner::Fields(fields) => {
                for (name, (_, held)) in &mut fields.vectors {
                    fill(held, value.vectors.get(name).cloned());
                }
            }
        }
        self
    }

    /// Bytes that [`Self::decode`] reads.
    ///
    /// # Errors
    /// [`StateError::Encode`].
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        fn write(tag: u8, body: &impl Serialize) -> Result<Vec<u8>, StateError> {
            let mut bytes = vec![FORMAT, tag];
            rmp_serde::encode::write(&mut bytes, body)
                .map_err(|e| StateError::Encode(e.to_string()))?;
            Ok(bytes)
        }
        match &self.0 {
            Inner::Register(register) => write(0, register),
            Inner::Siblings(all) => write(1, all),
            Inner::Fields(fields) => write(2, fields),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format, or bytes that do not decode completely.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        fn read<T: DeserializeOwned>(mut body: &[u8]) -> Result<T, StateError> {
            let value = rmp_serde::decode::from_read(&mut body)
                .map_err(|e| StateError::Damaged(e.to_string()))?;
            match body.len() {
                0 => Ok(value),
                rest => Err(StateError::Damaged(format!("{rest} bytes follow its end"))),
            }
        }
        if bytes.len() > MAX_BYTES {
            return Err(StateError::TooLong(bytes.len()));
        }
        let damaged = |reason: &str| StateError::Damaged(reason.into());
        let Some((format, rest)) = bytes.split_first() else {
            return Err(damaged("it is empty"));
        };
        if *format != FORMAT {
            return Err(StateError::Format(*format));
        }
        Ok(Self(match rest.split_first() {
            Some((0, body)) => Inner::Register(read(body)?),
            Some((1, body)) => {
                let all: Siblings = read(body)?;
                if !all.0.is_sorted_by(|a, b| a.stamp < b.stamp) {
                    return Err(damaged("its versions are not ascending"));
                }
                Inner::Siblings(all)
            }
            Some((2, body)) => Inner::Fields(read(body)?),
            _ => return Err(damaged("it is of no known kind")),
        }))
    }
}

fn fill<T>(held: &mut Held<T>, value: Option<T>) {
    if matches!(held, Held::Shown) {
        *held = value.map_or(Held::Gone, Held::Here);
    }
}
