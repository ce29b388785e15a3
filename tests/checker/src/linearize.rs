//! Linearizability of one register: the search of Wing and Gong (1993) as Lowe (2017) does it, depth first over a list of calls
//! and returns, with memory of the configurations that led nowhere.

use std::collections::HashSet;
use std::fmt;

use crate::{Action, Op, Value};

/// Operations around the place of an error that are shown.
const SHOWN: usize = 12;

/// Where no order was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// As many operations as could be put in an order, and the value after them.
    pub ordered: usize,
    /// The register's value then.
    pub value: Value,
    /// The operation that had to come next and does not fit.
    pub op: Op,
    /// Operations under way at the same time or shortly before.
    pub around: Vec<Op>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "not linearizable: after {} operations the value is {:?}, and this one fits nowhere: {:?}. Around it:",
            self.ordered, self.value, self.op
        )?;
        for op in &self.around {
            writeln!(f, "  {op:?}")?;
        }
        Ok(())
    }
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)].into())
    }

    fn flip(&mut self, item: usize) {
        self.0[item / 64] ^= 1 << (item % 64);
    }
}

/// A call or a return in a list that is doubly linked by indices; 0 is its head.
#[derive(Clone, Copy)]
struct Node {
    op: usize,
    /// Of a call: its return.
    returns: Option<usize>,
    before: usize,
    after: usize,
}

/// Nodes of the list are taken out and put back as operations are put in order and taken back.
struct List(Vec<Node>);

impl List {
    fn new(ops: &[Op]) -> Self {
        // At the same moment calls come first: then operations overlap, and less is demanded.
        let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(ops.len() * 2);
        for (i, op) in ops.iter().enumerate() {
            moments.push((op.begin, false, i));
            moments.push((op.latest(), true, i));
        }
        moments.sort_unstable();
        let mut nodes = vec![Node {
            op: usize::MAX,
            returns: None,
            before: 0,
            after: 1,
        }];
        let mut calls = vec![0; ops.len()];
        for (at, (_, returned, op)) in (1..).zip(moments) {
            if returned {
                nodes[calls[op]].returns = Some(at);
            } else {
                calls[op] = at;
            }
            nodes.push(Node {
                op,
                returns: None,
                before: at - 1,
                after: at + 1,
            });
        }
        // The last one's successor is the head again.
        if let Some(last) = nodes.last_mut() {
            last.after = 0;
        }
        if ops.is_empty() {
            nodes[0].after = 0;
        }
        Self(nodes)
    }

    fn unlink(&mut self, node: usize) {
        let Node { before, after, .. } = self.0[node];
        self.0[before].after = after;
        self.0[after].before = before;
    }

    fn relink(&mut self, node: usize) {
        let Node { before, after, .. } = self.0[node];
        self.0[before].after = node;
        self.0[after].before = node;
    }

    /// Takes a call and its return out.
    fn lift(&mut self, call: usize) {
        self.unlink(call);
        if let Some(returns) = self.0[call].returns {
            self.unlink(returns);
        }
    }

    fn unlift(&mut self, call: usize) {
        if let Some(returns) = self.0[call].returns {
            self.relink(returns);
        }
        self.relink(call);
    }
}

/// The value after `op` if it can come next.
fn step(value: Value, op: &Op) -> Option<Value> {
    match op.action {
        Action::Write(written) => Some(written),
        Action::Read(_, read) => (read == value).then_some(value),
    }
}

/// Finds an order of `ops`, all on one register that holds nothing at first, in which each read returns the last write, and that
/// keeps the order of operations that do not overlap. Writes without an end may come last, which is the same as never.
///
/// # Errors
/// Where the longest attempt ended.
pub fn linearize(ops: &[Op]) -> Result<(), Stuck> {
    let mut list = List::new(ops);
    let mut done = Set::new(ops.len());
    let mut failed: HashSet<(Set, Value)> = HashSet::new();
    let mut chosen: Vec<(usize, Value)> = Vec::new();
    let mut value: Value = None;
    let mut deepest: Option<(usize, Value, usize)> = None;
    let mut at = list.0[0].after;
    while list.0[0].after != 0 {
        let node = list.0[at];
        if node.returns.is_some() {
            let next = step(value, &ops[node.op]);
            if let Some(next) = next {
                done.flip(node.op);
                if failed.insert((done.clone(), next)) {
                    chosen.push((at, value));
                    value = next;
                    list.lift(at);
                    at = list.0[0].after;
                    continue;
                }
                done.flip(node.op);
            }
            at = node.after;
            continue;
        }
        // A return: its operation had to come before everything that follows, and did not.
        if deepest.is_none_or(|(depth, ..)| chosen.len() > depth) {
            deepest = Some((chosen.len(), value, node.op));
        }
        let Some((call, before)) = chosen.pop() else {
            return Err(stuck(ops, deepest, node.op));
        };
        value = before;
        done.flip(list.0[call].op);
        list.unlift(call);
        at = list.0[call].after;
    }
    Ok(())
}

fn stuck(ops: &[Op], deepest: Option<(usize, Value, usize)>, last: usize) -> Stuck {
    let (ordered, value, op) = deepest.unwrap_or((0, None, last));
    let op = ops[op];
    let mut around: Vec<Op> = ops
        .iter()
        .filter(|other| other.begin <= op.latest())
        .copied()
        .collect();
    around.sort_unstable_by_key(Op::latest);
    let around = around.split_off(around.len().saturating_sub(SHOWN));
    Stuck {
        ordered,
        value,
        op,
        around,
    }
}
