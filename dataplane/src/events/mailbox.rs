//! A bounded buffer of events in which what is about the same thing becomes one.
//!
//! # Invariants
//! - Never more than its capacity waits.
//! - Per subject at most one event waits: the one that says most of all that came since the last was taken.
//! - What was pushed is taken in the order in which its subject began to wait, or it was made superfluous, or it was the oldest
//!   when the buffer was full and [`Pushed::DroppedOldest`] was answered.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Envelope;
use super::subject::{self, Subject};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// It waits in place of one that said less about the same thing, or one that waits says as much.
    Merged,
    /// It waits, and the oldest one was dropped for it.
    DroppedOldest,
}

/// See the module. One taker, any number of pushers.
#[derive(Debug)]
pub struct Mailbox {
    capacity: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    in_order: BTreeMap<u64, Envelope>,
    by_subject: HashMap<Subject, u64>,
}

impl Mailbox {
    /// An empty one for at most `capacity` events (at least 1).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            waiting: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// Takes an event in; never waits.
    pub fn push(&self, envelope: Envelope) -> Pushed {
        let pushed = self.waiting.lock().push(envelope, self.capacity);
        self.arrived.notify_one();
        pushed
    }

    /// The oldest event, if one waits.
    pub fn take(&self) -> Option<Envelope> {
        self.waiting.lock().take()
    }

    /// The oldest event; waits for one. Nothing is lost when the wait is given up.
    pub async fn next(&self) -> Envelope {
        loop {
            if let Some(envelope) = self.take() {
                return envelope;
            }
            self.arrived.notified().await;
        }
    }

    /// What waits, oldest first; it goes on waiting.
    #[must_use]
    pub fn all(&self) -> Vec<Envelope> {
        self.waiting.lock().in_order.values().cloned().collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().in_order.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Waiting {
    fn push(&mut self, envelope: Envelope, capacity: usize) -> Pushed {
        let about = subject::of(&envelope.event);
        if let Some((subject, says)) = &about
            && let Some(waiting) = self
                .by_subject
                .get(subject)
                .and_then(|at| self.in_order.get_mut(at))
        {
            if subject::of(&waiting.event).is_none_or(|(_, less)| less < *says) {
                *waiting = envelope;
            }
            return Pushed::Merged;
        }
        let dropped = if self.in_order.len() >= capacity {
            self.take()
        } else {
            None
        };
        if let Some((subject, _)) = about {
            self.by_subject.insert(subject, self.next);
        }
        self.in_order.insert(self.next, envelope);
        self.next += 1;
        if dropped.is_some() {
            Pushed::DroppedOldest
        } else {
            Pushed::Queued
        }
    }

    fn take(&mut self) -> Option<Envelope> {
        let (_, envelope) = self.in_order.pop_first()?;
        if let Some((subject, _)) = subject::of(&envelope.event) {
            self.by_subject.remove(&subject);
        }
        Some(envelope)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use brainy_coordination::events::Event;
    use brainy_coordination::types::{InstanceId, LogPosition, PartitionId};
    use proptest::prelude::*;

    use super::*;

    fn said(event: Event) -> Envelope {
        Envelope::new(InstanceId::new("a").unwrap(), event)
    }

    fn partition(n: u32) -> PartitionId {
        format!("things-0/{n}").parse().unwrap()
    }

    fn advanced(n: u32, epoch: u64, seq: u64) -> Envelope {
        said(Event::LogAdvanced {
            partition: partition(n),
            position: LogPosition::new(epoch, seq),
        })
    }

    fn joined(n: u32) -> Envelope {
        let member = InstanceId::new(format!("m-{n}")).unwrap();
        said(Event::MemberJoined { member })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Advance(u32, u64, u64),
        Join(u32),
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6u32, 1..3u64, 1..50u64).prop_map(|(p, e, s)| Step::Advance(p, e, s)),
            2 => (0..100u32).prop_map(Step::Join),
            3 => Just(Step::Take),
        ]
    }

    proptest! {
        /// Whoever takes hears, of each log, the furthest position that was pushed since it last heard of it, unless a drop was
        /// counted; and each of the other events once, in order.
        #[test]
        fn a_flood_is_bounded_and_nothing_is_lost_uncounted(
            capacity in 1..8usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mailbox = Mailbox::new(capacity);
            let mut furthest: BTreeMap<PartitionId, LogPosition> = BTreeMap::new();
            let (mut joins, mut taken_joins) = (Vec::new(), Vec::new());
            let mut dropped = 0;
            let mut waiting = 0_usize;
            let mut owed: BTreeMap<PartitionId, LogPosition> = BTreeMap::new();
            let steps = steps.into_iter().chain(std::iter::repeat_n(Step::Take, capacity));
            for step in steps {
                let pushed = match step {
                    Step::Advance(n, epoch, seq) => {
                        let at = LogPosition::new(epoch, seq);
                        for known in [&mut furthest, &mut owed] {
                            let known = known.entry(partition(n)).or_default();
                            *known = at.max(*known);
                        }
                        Some(mailbox.push(advanced(n, epoch, seq)))
                    }
                    Step::Join(n) => {
                        let envelope = joined(n);
                        joins.push(envelope.id);
                        Some(mailbox.push(envelope))
                    }
                    Step::Take => {
                        if let Some(taken) = mailbox.take() {
                            waiting -= 1;
                            match taken.event {
                                Event::LogAdvanced { partition, position } => {
                                    if dropped == 0 {
                                        prop_assert_eq!(owed.remove(&partition), Some(position));
                                    }
                                    prop_assert!(furthest[&partition] >= position);
                                }
                                _ => taken_joins.push(taken.id),
                            }
                        }
                        None
                    }
                };
                match pushed {
                    Some(Pushed::Queued) => waiting += 1,
                    Some(Pushed::DroppedOldest) => dropped += 1,
                    Some(Pushed::Merged) | None => {}
                }
                prop_assert_eq!(mailbox.len(), waiting);
                prop_assert!(waiting <= capacity);
            }
            prop_assert!(mailbox.is_empty());
            let mut order = joins.iter();
            prop_assert!(taken_joins.iter().all(|id| order.any(|o| o == id)));
            if dropped == 0 {
                prop_assert!(owed.is_empty());
                prop_assert_eq!(taken_joins, joins);
            }
        }
    }

    #[test]
    fn an_older_position_does_not_hide_a_newer_one() {
        let mailbox = Mailbox::new(4);
        assert_eq!(mailbox.push(advanced(0, 2, 1)), Pushed::Queued);
        assert_eq!(mailbox.push(advanced(0, 1, 9)), Pushed::Merged);
        let Some(Envelope {
            event: Event::LogAdvanced { position, .. },
            ..
        }) = mailbox.take()
        else {
            panic!("nothing waits");
        };
        assert_eq!(position, LogPosition::new(2, 1));
        assert_eq!(mailbox.take(), None);
    }

    #[tokio::test]
    async fn a_taker_is_woken_and_a_wait_given_up_loses_nothing() {
        let mailbox = Mailbox::new(1);
        let waited = tokio::time::timeout(Duration::from_millis(1), mailbox.next()).await;
        assert!(waited.is_err());
        let envelope = joined(1);
        let (taken, _) = tokio::join!(mailbox.next(), async {
            tokio::task::yield_now().await;
            mailbox.push(envelope.clone())
        });
        assert_eq!(taken, envelope);
    }
}
