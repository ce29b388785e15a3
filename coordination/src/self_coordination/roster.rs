//! What heartbeats say about members, as changes of the assignment table. Pure: heartbeats and the own monotonic clock in, verdicts
//! out.
//!
//! | the heartbeat | the table | then |
//! |---|---|---|
//! | grows | no member, or another state, address or life | active |
//! | grows, says that it leaves | not draining | draining: its partitions are handed over |
//! | stands still for two thirds of its time to live | active | unready: its partitions wait for it |
//! | stands still for its time to live, is absent as long, or says that it stopped | holds something | gone: its partitions are taken over |
//! | the same | holds nothing | removed, and its heartbeat too |
//!
//! An observer that has not looked for half a time to live has been blind: it was paused, or the bucket was away, and others could not
//! renew either. It begins anew with what it sees then, so nobody is taken for dead because nobody could look.
//!
//! A heartbeat that was seen once proves nothing: it may have been left by a process that died before we looked. It brings no member
//! in and none back; only its growth does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::assignment::{AssignmentTable, Member, MemberState};
use crate::members::{HeartbeatRecord, Liveness, LivenessObserver, Phase};
use crate::rebalance::member_is_empty;
use crate::types::{InstanceId, Nonce};

/// What is to become of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Takes part, as its heartbeat says.
    Active(HeartbeatRecord),
    /// Is late, and may be back soon.
    Unready,
    /// Gives everything away.
    Draining,
    /// Its partitions are taken over.
    Gone,
    /// Is no member any more.
    Remove,
}

#[derive(Clone, Debug)]
struct Seen {
    record: HeartbeatRecord,
    liveness: Liveness,
    /// Whether it was there at an earlier look as well.
    again: bool,
    looked: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Absence {
    since: Duration,
    looked: Duration,
}

/// Whether an observer that looks at `now` after `before` has been blind.
fn was_blind(before: Duration, now: Duration, ttl: Duration) -> bool {
    now.saturating_sub(before) * 2 >= ttl
}

/// What an observer knows of all heartbeats.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    observer: LivenessObserver,
    seen: BTreeMap<InstanceId, Seen>,
    /// Members without a heartbeat.
    absent: BTreeMap<InstanceId, Absence>,
    looked: Duration,
}

impl Roster {
    /// Takes in all heartbeats there are, read at `now`: time on the own monotonic clock, taken before the read.
    pub fn look(&mut self, records: Vec<HeartbeatRecord>, now: Duration) {
        let present: BTreeSet<InstanceId> = records.iter().map(|r| r.instance.clone()).collect();
        self.observer.retain(|id| present.contains(id));
        self.seen.retain(|id, _| present.contains(id));
        self.absent.retain(|id, _| !present.contains(id));
        self.looked = now;
        for record in records {
            self.sight(record, now);
        }
    }

    /// Takes in one heartbeat.
    pub fn sight(&mut self, record: HeartbeatRecord, now: Duration) -> Liveness {
        let ttl = Duration::from_millis(record.ttl_ms);
        let before = self.seen.get(&record.instance).map(|seen| seen.looked);
        if before.is_some_and(|before| was_blind(before, now, ttl)) {
            self.seen.remove(&record.instance);
            self.observer.retain(|id| *id != record.instance);
        }
        let liveness = self.observer.observe(&record, now);
        let seen = Seen {
            again: self.seen.contains_key(&record.instance),
            liveness,
            looked: now,
            record,
        };
        self.seen.insert(seen.record.instance.clone(), seen);
        liveness
    }

    /// Takes in that `instance` had no heartbeat at `now`; returns for how long it has had none.
    pub fn missing(&mut self, instance: &InstanceId, now: Duration, ttl: Duration) -> Duration {
        self.seen.remove(instance);
        self.observer.retain(|id| id != instance);
        let new = Absence {
            since: now,
            looked: now,
        };
        let known = self.absent.entry(instance.clone()).or_insert(new);
        if was_blind(known.looked, now, ttl) {
            *known = new;
        }
        known.looked = now;
        now.saturating_sub(known.since)
    }

    /// What the last look means for the members of `table`, and which heartbeats nobody needs any more. `me` is alive: it asks. A
    /// member without a heartbeat is waited for as long as `ttl`.
    pub fn judge(
        &mut self,
        table: Option<&AssignmentTable>,
        me: &InstanceId,
        ttl: Duration,
    ) -> (BTreeMap<InstanceId, Verdict>, Vec<InstanceId>) {
        let no_table = AssignmentTable::default();
        let table = table.unwrap_or(&no_table);
        let mut verdicts = BTreeMap::new();
        let mut forget = Vec::new();
        for (id, seen) in &self.seen {
            let member = table.members.get(id);
            let verdict = match seen.standing(id == me) {
                Standing::Lives => seen.record.phase.verdict(&seen.record),
                Standing::Late if member.is_some_and(|m| m.state == MemberState::Active) => {
                    Some(Verdict::Unready)
                }
                Standing::Unproven | Standing::Late => None,
                Standing::Over if member.is_none() => {
                    forget.push(id.clone());
                    None
                }
                Standing::Over => Some(departure(table, id)),
            };
            verdicts.extend(verdict.map(|verdict| (id.clone(), verdict)));
        }
        let now = self.looked;
        for id in table.members.keys().filter(|id| *id != me) {
            if !self.seen.contains_key(id) && self.missing(id, now, ttl) >= ttl {
                verdicts.insert(id.clone(), departure(table, id));
            }
        }
        verdicts.retain(|id, verdict| !verdict.is_done(table.members.get(id)));
        (verdicts, forget)
    }
}

/// What happens to a member whose process is over.
fn departure(table: &AssignmentTable, id: &InstanceId) -> Verdict {
    if member_is_empty(table, id) {
        Verdict::Remove
    } else {
        Verdict::Gone
    }
}

enum Standing {
    Lives,
    /// There, but whether it grows is not known yet, or it is only a little late.
    Unproven,
    Late,
    Over,
}

impl Seen {
    fn standing(&self, is_me: bool) -> Standing {
        if is_me {
            return Standing::Lives;
        }
        if self.record.phase == Phase::Stopped {
            return Standing::Over;
        }
        match self.liveness {
            Liveness::Alive if self.again => Standing::Lives,
            Liveness::Alive => Standing::Unproven,
            Liveness::Expired => Standing::Over,
            Liveness::Suspect { since } => {
                let still = self.looked.saturating_sub(since);
                if still * 3 >= Duration::from_millis(self.record.ttl_ms) * 2 {
                    Standing::Late
                } else {
                    Standing::Unproven
                }
            }
        }
    }
}

impl Phase {
    /// What a living process with this heartbeat is to the table.
    fn verdict(self, record: &HeartbeatRecord) -> Option<Verdict> {
        match self {
            Phase::Serving => Some(Verdict::Active(record.clone())),
            Phase::Leaving => Some(Verdict::Draining),
            Phase::Stopped => None,
        }
    }
}

impl Verdict {
    /// Whether the table says so already.
    #[must_use]
    pub fn is_done(&self, member: Option<&Member>) -> bool {
        let state = |wanted| member.is_none_or(|m| m.state == wanted);
        match self {
            Self::Active(record) => member.is_some_and(|m| {
                m.state == MemberState::Active
                    && m.role == record.role
                    && m.address == record.address
                    && m.incarnation.as_deref() == Some(life(record.incarnation).as_str())
            }),
            Self::Unready => state(MemberState::Unready),
            Self::Draining => state(MemberState::Draining),
            Self::Gone => state(MemberState::Gone),
            Self::Remove => member.is_none(),
        }
    }

    /// Writes it into the members; any number of times.
    pub fn apply(&self, id: &InstanceId, members: &mut BTreeMap<InstanceId, Member>) {
        let state = match self {
            Self::Active(record) => {
                let member = members
                    .entry(id.clone())
                    .or_insert_with(|| Member::new(record.role, record.address.clone()));
                member.role = record.role;
                member.address.clone_from(&record.address);
                member.incarnation = Some(life(record.incarnation));
                MemberState::Active
            }
            Self::Unready => MemberState::Unready,
            Self::Draining => MemberState::Draining,
            Self::Gone => MemberState::Gone,
            Self::Remove => {
                members.remove(id);
                return;
            }
        };
        if let Some(member) = members.get_mut(id) {
            member.state = state;
        }
    }
}

/// A life as the table writes it.
fn life(incarnation: Nonce) -> String {
    format!("{:032x}", incarnation.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::{PartitionAssignment, Role};

    const TTL: Duration = Duration::from_secs(9);

    fn id(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    fn record(name: &str, life: u128, counter: u64) -> HeartbeatRecord {
        HeartbeatRecord {
            instance: id(name),
            incarnation: Nonce(life),
            role: Role::Writer,
            address: format!("{name}:1"),
            counter,
            ttl_ms: 9_000,
            phase: Phase::Serving,
        }
    }

    /// The table after a look at `records` at second `at`.
    fn turn(
        roster: &mut Roster,
        table: &AssignmentTable,
        records: Vec<HeartbeatRecord>,
        at: u64,
    ) -> AssignmentTable {
        roster.look(records, Duration::from_secs(at));
        let (verdicts, _) = roster.judge(Some(table), &id("me"), TTL);
        let mut next = table.clone();
        for _ in 0..2 {
            for (id, verdict) in &verdicts {
                verdict.apply(id, &mut next.members);
            }
        }
        next
    }

    fn state(table: &AssignmentTable, name: &str) -> Option<MemberState> {
        table.members.get(&id(name)).map(|m| m.state)
    }

    #[test]
    fn a_member_joins_when_it_beats_and_goes_when_it_stops_beating() {
        let mut roster = Roster::default();
        let mut table = AssignmentTable::default();
        let me = |n| record("me", 1, n);
        table = turn(&mut roster, &table, vec![me(1), record("a", 1, 4)], 0);
        assert_eq!(state(&table, "me"), Some(MemberState::Active));
        assert_eq!(state(&table, "a"), None, "it may be a relic");
        table = turn(&mut roster, &table, vec![me(2), record("a", 1, 5)], 3);
        assert_eq!(state(&table, "a"), Some(MemberState::Active));
        let partition = "c-0/0".parse().unwrap();
        let owned = PartitionAssignment {
            owner: Some(id("a")),
            ..PartitionAssignment::default()
        };
        table.partitions.insert(partition, owned);
        for (at, expected) in [
            (7, MemberState::Active),
            (9, MemberState::Unready),
            (11, MemberState::Unready),
            (12, MemberState::Gone),
            (60, MemberState::Gone),
        ] {
            let beats = vec![me(at), record("a", 1, 5)];
            table = turn(&mut roster, &table, beats, at);
            assert_eq!(state(&table, "a"), Some(expected), "at {at}");
        }
        table = turn(&mut roster, &table, vec![me(61), record("a", 1, 6)], 61);
        assert_eq!(state(&table, "a"), Some(MemberState::Active));
    }

    #[test]
    fn a_relic_joins_nobody_and_is_forgotten_after_its_time_to_live() {
        let mut roster = Roster::default();
        let table = AssignmentTable::default();
        for (at, forgotten) in [
            (0, vec![]),
            (4, vec![]),
            (8, vec![]),
            (9, vec![id("relic")]),
        ] {
            roster.look(vec![record("relic", 1, 70)], Duration::from_secs(at));
            let (verdicts, forget) = roster.judge(Some(&table), &id("me"), TTL);
            assert!(verdicts.is_empty(), "{verdicts:?}");
            assert_eq!(forget, forgotten, "at {at}");
        }
    }

    #[test]
    fn whoever_leaves_is_drained_and_whoever_stopped_is_removed() {
        let mut roster = Roster::default();
        let mut table = AssignmentTable::default();
        let member = Member::new(Role::Writer, "a:1");
        table.members.insert(id("a"), member);
        let leaving = |counter| HeartbeatRecord {
            phase: Phase::Leaving,
            ..record("a", 1, counter)
        };
        table = turn(&mut roster, &table, vec![leaving(1)], 0);
        table = turn(&mut roster, &table, vec![leaving(2)], 3);
        assert_eq!(state(&table, "a"), Some(MemberState::Draining));
        let stopped = HeartbeatRecord {
            phase: Phase::Stopped,
            ..record("a", 1, 3)
        };
        table = turn(&mut roster, &table, vec![stopped], 4);
        assert_eq!(state(&table, "a"), None);
        // Its heartbeat was removed; the next one may be of a life that ended before anybody looked.
        table = turn(&mut roster, &table, Vec::new(), 4);
        table = turn(&mut roster, &table, vec![record("a", 2, 1)], 5);
        assert_eq!(state(&table, "a"), None);
        table = turn(&mut roster, &table, vec![record("a", 2, 2)], 6);
        assert_eq!(state(&table, "a"), Some(MemberState::Active));
    }

    #[test]
    fn nobody_is_dead_because_nobody_could_look() {
        let mut roster = Roster::default();
        let mut table = AssignmentTable::default();
        for (at, counter) in [(0, 1), (3, 2), (300, 2), (303, 2), (307, 3)] {
            table = turn(&mut roster, &table, vec![record("a", 1, counter)], at);
            let expected = (at > 0).then_some(MemberState::Active);
            assert_eq!(state(&table, "a"), expected, "at {at}");
        }
    }

    #[test]
    fn a_member_whose_heartbeat_was_removed_is_waited_for() {
        let mut roster = Roster::default();
        let mut table = AssignmentTable::default();
        table
            .members
            .insert(id("a"), Member::new(Role::Writer, "a:1"));
        for (at, there) in [(100, true), (104, true), (108, true), (109, false)] {
            table = turn(&mut roster, &table, vec![], at);
            assert_eq!(state(&table, "a").is_some(), there, "at {at}");
        }
    }
}
