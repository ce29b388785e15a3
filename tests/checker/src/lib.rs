//! Whether what clients saw is what a consistency level promises.
//!
//! A [`History`] is what clients did with registers (a point with a value is one) and when, on one clock. [`check`] judges it:
//!
//! - *strong*: each register's writes and strong reads are linearizable ([`linearize`]): there is an order of them that keeps
//!   what was over before something else began, in which each read returns the last write. Linearizability is local (Herlihy and
//!   Wing, 1990), so each register is judged by itself.
//! - *bounded*: a read sees at least every write that was acknowledged the bound before it began.
//! - *session*: a read sees at least what the session wrote before, and what its earlier reads returned.
//! - *eventual*: a read returns something that was written, and not before it was.
//!
//! A write without an answer may take effect at any time after it began, or never. The checks of the last three are
//! one-sided: an error is one whatever the order was in which concurrent writes took effect.

mod linearize;
mod weak;

use std::collections::BTreeMap;
use std::fmt;

pub use linearize::{Stuck, linearize};

/// A moment or a length of time on the observers' clock, in nanoseconds.
pub type Nanos = u64;

/// What a register holds. Written values are unique within a register; `None`, what it holds at first, can be written again and
/// again, by deletions.
pub type Value = Option<u64>;

/// What a read was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Everything acknowledged before it began.
    Strong,
    /// Everything acknowledged this long before it began.
    Bounded(Nanos),
    /// Everything that its session has written and read before.
    Session,
    /// Something.
    Eventual,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It wrote this.
    Write(Value),
    /// It returned this.
    Read(Level, Value),
}

/// One operation on one register, as its client saw it. Reads without an answer are no operations, nor are writes that were
/// refused for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who: operations of one client come one after the other.
    pub client: u32,
    /// When it began.
    pub begin: Nanos,
    /// When its answer was there; `None` if a write got none.
    pub end: Option<Nanos>,
    /// What.
    pub action: Action,
}

impl Op {
    /// The end, of a write that may still take effect the end of time.
    fn latest(&self) -> Nanos {
        self.end.unwrap_or(Nanos::MAX)
    }

    fn written(&self) -> Option<Value> {
        match self.action {
            Action::Write(value) => Some(value),
            Action::Read(..) => None,
        }
    }
}

/// What clients did, by register.
#[derive(Clone, Debug)]
pub struct History<K>(BTreeMap<K, Vec<Op>>);

impl<K: Ord> Default for History<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone + fmt::Debug> History<K> {
    /// Adds an operation; in any order.
    pub fn push(&mut self, register: K, op: Op) {
        self.0.entry(register).or_default().push(op);
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        for (register, ops) in other.0 {
            self.0.entry(register).or_default().extend(ops);
        }
    }

    /// Judges all registers.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<Checked, Violation<K>> {
        let mut checked = Checked::default();
        for (register, ops) in &self.0 {
            checked += check(ops).map_err(|what| Violation {
                register: register.clone(),
                what,
            })?;
        }
        Ok(checked)
    }
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Writes without an answer.
    pub unknown: usize,
    /// Strong reads.
    pub strong: usize,
    /// Bounded reads.
    pub bounded: usize,
    /// Reads of sessions.
    pub session: usize,
    /// Eventual reads.
    pub eventual: usize,
}

impl std::ops::AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        let Self {
            writes,
            unknown,
            strong,
            bounded,
            session,
            eventual,
        } = other;
        self.writes += writes;
        self.unknown += unknown;
        self.strong += strong;
        self.bounded += bounded;
        self.session += session;
        self.eventual += eventual;
    }
}

/// What is wrong with a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<K> {
    /// Which.
    pub register: K,
    /// What.
    pub what: String,
}

impl<K: fmt::Debug> fmt::Display for Violation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "register {:?}: {}", self.register, self.what)
    }
}

/// Judges the operations on one register, given in any order.
///
/// # Errors
/// What is wrong, with the operations that show it.
pub fn check(ops: &[Op]) -> Result<Checked, String> {
    let certain = weak::tighten(ops);
    weak::check(&certain)?;
    let strong = |op: &Op| matches!(op.action, Action::Write(_) | Action::Read(Level::Strong, _));
    let in_order: Vec<Op> = certain.iter().map(|c| c.op).filter(strong).collect();
    linearize(&in_order).map_err(|stuck| stuck.to_string())?;
    Ok(count(ops))
}

fn count(ops: &[Op]) -> Checked {
    let mut checked = Checked::default();
    for op in ops {
        let counter = match op.action {
            Action::Write(_) if op.end.is_none() => &mut checked.unknown,
            Action::Write(_) => &mut checked.writes,
            Action::Read(Level::Strong, _) => &mut checked.strong,
            Action::Read(Level::Bounded(_), _) => &mut checked.bounded,
            Action::Read(Level::Session, _) => &mut checked.session,
            Action::Read(Level::Eventual, _) => &mut checked.eventual,
        };
        *counter += 1;
    }
    checked
}
