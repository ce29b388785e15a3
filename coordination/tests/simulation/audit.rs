//! What clients were told, and what must hold while a run is under way.
//!
//! Reads are checked when they end: a strong read contains everything that was acknowledged, and everything that another
//! strong read had returned, before it began. The rest is judged at the end, see [`crate::verdict`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brainy_checker::{Action, History, Nanos, Op};
use brainy_coordination::types::{LogPosition, Nonce, PartitionId};

use crate::machine::Record;

/// What one attempt at a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Durable.
    Acknowledged {
        position: LogPosition,
        /// Epoch of the owner that said so.
        by_epoch: u64,
    },
    /// The request is not acceptable.
    Rejected,
    /// Not done by this attempt, and never will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Who submitted a request, and when first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Submission {
    pub(crate) client: u32,
    pub(crate) list: u8,
    pub(crate) at: Nanos,
}

/// The story of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) submitted: Duration,
    /// The same, who, and to which list, for the checker of histories.
    pub(crate) begin: Submission,
    /// When the first acknowledgement was there.
    pub(crate) end: Option<Nanos>,
    /// First acknowledgement: when, and where the request is.
    pub(crate) acknowledged: Option<(Duration, LogPosition)>,
    /// Whether any attempt ended without a clear answer.
    pub(crate) uncertain: bool,
}

/// The story of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) requests: BTreeMap<Nonce, Request>,
    /// Acknowledged requests, in order of their first acknowledgement.
    pub(crate) order: Vec<Nonce>,
    /// Epoch of the answering owner, with the moment of its first acknowledgement.
    pub(crate) epochs: BTreeMap<u64, Duration>,
    /// The longest log that a strong read returned.
    pub(crate) read: Vec<Record>,
    /// Slots that the run damaged.
    pub(crate) damaged: BTreeSet<LogPosition>,
    /// Those that a process reported.
    pub(crate) found: BTreeSet<LogPosition>,
}

/// What a strong read has to contain, noted when it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    acknowledged: usize,
    read: usize,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) stories: BTreeMap<PartitionId, Story>,
    pub(crate) violations: Vec<String>,
    /// What clients read of each list.
    pub(crate) reads: Vec<(Register, Op)>,
    stamp: Nanos,
}

/// A list of a partition: what it holds is the request that was appended last.
pub(crate) type Register = (PartitionId, u8);

impl Audit {
    /// The moment `now`, told from every other moment.
    pub(crate) fn stamp(&mut self, now: Duration) -> Nanos {
        let now = u64::try_from(now.as_nanos()).unwrap_or(Nanos::MAX);
        self.stamp = now.max(self.stamp + 1);
        self.stamp
    }

    /// What clients did, as far as they know.
    pub(crate) fn histories(&self) -> History<Register> {
        let mut history = History::default();
        for (register, op) in &self.reads {
            history.push(register.clone(), *op);
        }
        for (partition, story) in &self.stories {
            for (id, request) in &story.requests {
                if request.end.is_none() && !request.uncertain {
                    continue;
                }
                let Submission { client, list, at } = request.begin;
                let op = Op {
                    client,
                    begin: at,
                    end: request.end,
                    action: Action::Write(Some(id.0 as u64)),
                };
                history.push((partition.clone(), list), op);
            }
        }
        history
    }

    pub(crate) fn story(&mut self, partition: &PartitionId) -> &mut Story {
        self.stories.entry(partition.clone()).or_default()
    }

    pub(crate) fn is_damaged(&self, partition: &PartitionId, at: LogPosition) -> bool {
        let story = self.stories.get(partition);
        story.is_some_and(|s| s.damaged.contains(&at))
    }

    /// Notes that the damage at `at` was reported; `true` the first time.
    pub(crate) fn found(&mut self, partition: &PartitionId, at: LogPosition) -> bool {
        self.story(partition).found.insert(at)
    }
}

impl Story {
    pub(crate) fn submit(&mut self, request: Nonce, now: Duration, begin: Submission) {
        let entry = self.requests.entry(request).or_insert(Request {
            submitted: now,
            begin,
            ..Request::default()
        });
        // Until it is answered, nobody knows: its process may crash.
        entry.uncertain = entry.uncertain || entry.acknowledged.is_none();
    }

    /// Notes the answer to an attempt; `certain_before` is what [`Story::is_uncertain`] said before it was submitted.
    pub(crate) fn answer(
        &mut self,
        id: Nonce,
        outcome: Outcome,
        uncertain_before: bool,
        now: Duration,
        end: Nanos,
    ) -> Result<(), String> {
        let request = self.requests.entry(id).or_default();
        match outcome {
            Outcome::Acknowledged { position, by_epoch } => {
                self.epochs.entry(by_epoch).or_insert(now);
                match request.acknowledged {
                    None => {
                        request.acknowledged = Some((now, position));
                        request.end = Some(end);
                        self.order.push(id);
                    }
                    // What was written there is gone with the slot, and nobody knows of the request any more.
                    Some((_, before)) if self.damaged.contains(&before) => {
                        request.acknowledged = Some((now, position));
                    }
                    Some((_, before)) if before != position => {
                        return Err(format!("{id} acknowledged at {before} and at {position}"));
                    }
                    Some(_) => {}
                }
            }
            Outcome::Rejected | Outcome::Refused => request.uncertain = uncertain_before,
            Outcome::Unknown => request.uncertain = true,
        }
        Ok(())
    }

    pub(crate) fn is_uncertain(&self, id: Nonce) -> bool {
        self.requests.get(&id).is_some_and(|r| r.uncertain)
    }

    pub(crate) fn expect(&self) -> Expectation {
        Expectation {
            acknowledged: self.order.len(),
            read: self.read.len(),
        }
    }

    /// Checks what a strong read returned that began when `expected` was noted.
    pub(crate) fn check_read(
        &mut self,
        expected: Expectation,
        log: Vec<Record>,
    ) -> Result<(), String> {
        let present: BTreeSet<Nonce> = log.iter().map(|r| r.request).collect();
        for id in &self.order[..expected.acknowledged] {
            let at = self.requests[id].acknowledged.map(|(_, at)| at);
            let lost = at.is_some_and(|at| self.damaged.contains(&at));
            if !present.contains(id) && !lost {
                return Err(format!("a strong read misses {id}, acknowledged at {at:?}"));
            }
        }
        if !self.damaged.is_empty() {
            return Ok(());
        }
        if log.len() < expected.read {
            return Err(format!(
                "a strong read returned {} records after another had returned {}",
                log.len(),
                expected.read
            ));
        }
        let common = log.len().min(self.read.len());
        if log[..common] != self.read[..common] {
            return Err("two strong reads contradict each other".to_owned());
        }
        if log.len() > self.read.len() {
            self.read = log;
        }
        Ok(())
    }
}
