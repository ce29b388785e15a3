//! The promises below linearizability, judged by which writes were certainly over before others began.

use std::collections::BTreeMap;

use crate::{Action, Level, Nanos, Op, Value};

/// An operation whose effect is as certain as reads make it.
#[derive(Clone, Copy)]
pub(crate) struct Certain {
    /// The operation. A write ends when its effect was there.
    pub(crate) op: Op,
    /// Whether its client got an answer.
    answered: bool,
}

/// Writes without an answer, of values that are not written twice, made as certain as reads make them: what nobody read need not
/// have happened and is left out, and what somebody read had happened when that read ended.
pub(crate) fn tighten(ops: &[Op]) -> Vec<Certain> {
    let mut seen: BTreeMap<u64, Nanos> = BTreeMap::new();
    for op in ops {
        if let (Action::Read(_, Some(value)), Some(end)) = (op.action, op.end) {
            let first = seen.entry(value).or_insert(end);
            *first = end.min(*first);
        }
    }
    let mut kept = Vec::with_capacity(ops.len());
    for op in ops {
        let mut certain = Certain {
            op: *op,
            answered: op.end.is_some(),
        };
        if let (Action::Write(Some(value)), None) = (op.action, op.end) {
            let Some(first) = seen.get(&value) else {
                continue;
            };
            certain.op.end = Some((*first).max(op.begin));
        }
        kept.push(certain);
    }
    kept
}

/// Checks everything but the order of strong operations.
pub(crate) fn check(certain: &[Certain]) -> Result<(), String> {
    let ops: Vec<Op> = certain.iter().map(|c| c.op).collect();
    let ops = ops.as_slice();
    let writes: Vec<&Op> = ops.iter().filter(|op| op.written().is_some()).collect();
    let mut sessions: BTreeMap<u32, Vec<&Op>> = BTreeMap::new();
    // What a session does not know to have happened, it is not promised to see.
    for (op, _) in ops.iter().zip(certain).filter(|(_, c)| c.answered) {
        sessions.entry(op.client).or_default().push(op);
    }
    for read in ops {
        let Action::Read(level, value) = read.action else {
            continue;
        };
        let sources = sources(&writes, read, value);
        if sources.is_empty() {
            return Err(format!("{read:?} returned what nobody had begun to write"));
        }
        let older = |than: &Op| sources.iter().all(|source| source.precedes(than));
        let bound = match level {
            Level::Strong => Some(0),
            Level::Bounded(bound) => Some(bound),
            Level::Session | Level::Eventual => None,
        };
        if let Some(bound) = bound {
            let due = |write: &&&Op| write.latest().saturating_add(bound) < read.begin;
            if let Some(missed) = writes.iter().filter(due).find(|write| older(write)) {
                return Err(format!(
                    "{read:?} began {} ns after {missed:?} had ended and returned something older",
                    read.begin - missed.latest()
                ));
            }
        }
        if level != Level::Session {
            continue;
        }
        let own = sessions.get(&read.client);
        let before = own
            .into_iter()
            .flatten()
            .filter(|op| op.latest() <= read.begin && !std::ptr::eq(**op, read));
        for earlier in before {
            let went_back = match earlier.action {
                Action::Write(_) => older(earlier),
                // Whatever of it was written last is newer than all that this one may have returned.
                Action::Read(_, seen) => {
                    let seen = self::sources(&writes, earlier, seen);
                    seen.iter().all(|seen| match seen {
                        Source::Nothing => false,
                        Source::Write(write) => older(write),
                    })
                }
            };
            if went_back {
                return Err(format!(
                    "{read:?} returned something older than {earlier:?} of the same session"
                ));
            }
        }
    }
    Ok(())
}

/// Where a read's value may be from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Nothing was written yet.
    Nothing,
    Write(&'a Op),
}

impl Source<'_> {
    /// Whether it was over before `write` began.
    fn precedes(&self, write: &Op) -> bool {
        match self {
            Source::Nothing => true,
            Source::Write(source) => source.latest() < write.begin,
        }
    }
}

fn sources<'a>(writes: &[&'a Op], read: &Op, value: Value) -> Vec<Source<'a>> {
    let written = writes
        .iter()
        .filter(|w| w.written() == Some(value) && w.begin <= read.latest())
        .map(|w| Source::Write(w));
    let nothing = value.is_none().then_some(Source::Nothing);
    nothing.into_iter().chain(written).collect()
}
