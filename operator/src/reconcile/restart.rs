//! Which instances are restarted because they were told other settings than the spec has now, and how far each is.
//!
//! One that holds partitions hands them over first, so that nobody waits for its restart; it gets its share back
//! afterwards. With nobody to hand over to, it is restarted in place: its partitions wait for it, and the log keeps what was
//! acknowledged. At most `maxUnavailable` of a role are on this way at the same time, the highest ordinal first, and of one role
//! only, because roles stand in for each other; none begins while partitions move.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use brainy_coordination::assignment::{self, AssignmentTable, MemberState};
use brainy_coordination::rebalance::{member_is_empty, status};
use brainy_coordination::types::InstanceId;
use brainy_crds::Role;

use super::desired::{Desired, InstanceSpec};
use super::plan::{Observation, START_TIMEOUT, is_outdated};

/// The next step of one restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// It hands over what it holds.
    Drain,
    /// Its process is stopped; whoever keeps processes running starts it anew.
    Stop,
}

/// The restarts under way and those that begin now.
pub(crate) fn restarts(
    desired: &Desired,
    observed: &BTreeMap<InstanceId, Observation>,
    table: Option<&AssignmentTable>,
) -> BTreeMap<InstanceId, Restart> {
    let mut steps = BTreeMap::new();
    // The role that restarts are under way in, or begin in now.
    let mut turn = None;
    let Some(max_unavailable) = desired.max_unavailable.filter(|_| !desired.paused) else {
        return steps;
    };
    let settled = table.is_some_and(|table| status(table).moving == 0);
    let mut roles: Vec<(Role, Vec<Candidate<'_>>)> = Vec::new();
    for role in Role::ALL {
        let mut of_role: Vec<Candidate<'_>> = desired
            .instances
            .iter()
            .filter(|(_, spec)| spec.role == role)
            .map(|(id, spec)| Candidate::new(id, spec, observed, table))
            .collect();
        of_role.sort_by_key(|c| Reverse(c.ordinal));
        if of_role.iter().any(Candidate::is_coming_back) {
            turn = turn.or(Some(role));
        }
        roles.push((role, of_role));
    }
    for (role, of_role) in roles {
        let away = of_role.iter().filter(|c| c.is_away()).count();
        let mut budget = max_unavailable.saturating_sub(away);
        for candidate in of_role.iter().filter(|c| c.outdated) {
            // One that does not serve, or is on its way already, is counted above.
            if !candidate.is_away() {
                if budget == 0 || !settled || turn.is_some_and(|turn| turn != role) {
                    continue;
                }
                budget -= 1;
                turn = Some(role);
            }
            if let Some(step) = candidate.step(desired, observed, table) {
                steps.insert(candidate.id.clone(), step);
            }
        }
    }
    steps
}

/// An instance that the spec wants, as far as restarts are concerned.
struct Candidate<'a> {
    id: &'a InstanceId,
    ordinal: u32,
    seen: Option<&'a Observation>,
    outdated: bool,
    draining: bool,
}

impl<'a> Candidate<'a> {
    fn new(
        id: &'a InstanceId,
        spec: &InstanceSpec,
        observed: &'a BTreeMap<InstanceId, Observation>,
        table: Option<&AssignmentTable>,
    ) -> Self {
        let seen = observed.get(id);
        let member = table.and_then(|t| t.members.get(id));
        Self {
            id,
            ordinal: spec.ordinal,
            seen,
            outdated: seen.is_some_and(|seen| is_outdated(spec, seen)),
            draining: member.is_some_and(|m| m.state == MemberState::Draining),
        }
    }

    fn is_away(&self) -> bool {
        self.draining || !self.seen.is_some_and(Observation::serves)
    }

    /// Whether it is on its way through a restart, or has been away for so short a time that it may be.
    fn is_coming_back(&self) -> bool {
        let away = self.seen.and_then(|seen| seen.down_for);
        self.is_away() && (self.draining || away.is_none_or(|away| away < START_TIMEOUT))
    }

    fn step(
        &self,
        desired: &Desired,
        observed: &BTreeMap<InstanceId, Observation>,
        table: Option<&AssignmentTable>,
    ) -> Option<Restart> {
        let seen = self.seen?;
        // One that does not answer has nothing to say to a handover, and new settings may be what it needs.
        if !seen.live {
            return Some(Restart::Stop);
        }
        let Some(table) = table else {
            // The bucket is silent. A restart of what serves would only find that out.
            return (!seen.ready).then_some(Restart::Stop);
        };
        let drained = self.draining && member_is_empty(table, self.id);
        // Its log keeps what it acknowledged, so a handover that does not end is no reason to keep old settings for ever.
        let too_long = seen.draining_for.is_some_and(|d| d > desired.drain_timeout);
        let drain = !drained && !too_long && can_hand_over(self.id, observed, table);
        Some(if drain { Restart::Drain } else { Restart::Stop })
    }
}

/// Whether another member serves that can take what `id` holds.
pub(crate) fn can_hand_over(
    id: &InstanceId,
    observed: &BTreeMap<InstanceId, Observation>,
    table: &AssignmentTable,
) -> bool {
    let Some(member) = table.members.get(id) else {
        return false;
    };
    // Ownership goes to writers and hybrids, reading to readers and hybrids.
    let takes = |role: assignment::Role| match member.role {
        assignment::Role::Reader => role != assignment::Role::Writer,
        assignment::Role::Writer | assignment::Role::Hybrid => role != assignment::Role::Reader,
    };
    table.members.iter().any(|(other, m)| {
        other != id
            && m.state == MemberState::Active
            && takes(m.role)
            && observed.get(other).is_some_and(Observation::serves)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brainy_coordination::assignment::{Handoff, HandoffReason};

    use super::*;
    use crate::reconcile::plan::tests::{desired, id, serving, table};
    use crate::reconcile::plan::{MemberChange, ProcessAction, Run, StopReason, plan};
    use MemberState::{Active, Draining};

    const WRITERS: [&str; 3] = ["writer-0", "writer-1", "writer-2"];

    /// A spec that wants these instances with settings "2"; what serves has "1".
    fn edited(names: &[&str]) -> Desired {
        let mut desired = desired(names);
        for spec in desired.instances.values_mut() {
            spec.revision = "2".to_owned();
        }
        desired
    }

    fn all_serving(names: &[&str]) -> BTreeMap<InstanceId, Observation> {
        names.iter().map(|name| (id(name), serving(1))).collect()
    }

    fn with_new_settings() -> Observation {
        Observation {
            revision: Some("2".to_owned()),
            ..serving(1)
        }
    }

    fn members(names: &[&str], owners: &[&str]) -> AssignmentTable {
        let active: Vec<(&str, MemberState)> = names.iter().map(|name| (*name, Active)).collect();
        table(&active, owners)
    }

    fn steps(
        desired: &Desired,
        observed: &BTreeMap<InstanceId, Observation>,
        table: Option<&AssignmentTable>,
    ) -> Vec<(String, Restart)> {
        let steps = restarts(desired, observed, table);
        steps
            .into_iter()
            .map(|(id, s)| (id.to_string(), s))
            .collect()
    }

    fn step(name: &str, step: Restart) -> (String, Restart) {
        (name.to_owned(), step)
    }

    #[test]
    fn one_of_a_role_after_the_other_drained_then_stopped() {
        let desired = edited(&WRITERS);
        let mut observed = all_serving(&WRITERS);
        let mut table = members(&WRITERS, &WRITERS);
        let now = |observed: &_, table: &_| steps(&desired, observed, Some(table));
        assert_eq!(now(&observed, &table), [step("writer-2", Restart::Drain)]);

        // It holds its partition still, then nothing.
        table.members.get_mut(&id("writer-2")).unwrap().state = Draining;
        assert_eq!(now(&observed, &table), [step("writer-2", Restart::Drain)]);
        for entry in table.partitions.values_mut() {
            entry.owner = Some(id("writer-0"));
        }
        assert_eq!(now(&observed, &table), [step("writer-2", Restart::Stop)]);

        // While it is away nobody else goes.
        observed.remove(&id("writer-2"));
        assert_eq!(now(&observed, &table), []);

        // It is back, and gets its share back before the next one goes.
        observed.insert(id("writer-2"), with_new_settings());
        table.members.get_mut(&id("writer-2")).unwrap().state = Active;
        let first = table.partitions.keys().next().unwrap().clone();
        table.partitions.get_mut(&first).unwrap().handoff = Some(Handoff {
            to: id("writer-2"),
            reason: HandoffReason::Planned,
        });
        assert_eq!(now(&observed, &table), []);
        table.partitions.get_mut(&first).unwrap().handoff = None;
        assert_eq!(now(&observed, &table), [step("writer-1", Restart::Drain)]);
    }

    #[test]
    fn an_edit_taken_back_ends_the_drain() {
        let table = table(
            &[("writer-0", Active), ("writer-1", Draining)],
            &["writer-1"],
        );
        let observed = all_serving(&["writer-0", "writer-1"]);
        let plan = plan(&desired(&["writer-0", "writer-1"]), &observed, Some(&table));
        assert_eq!(plan.processes, []);
        assert!(matches!(
            plan.members.get(&id("writer-1")),
            Some(MemberChange::Active { .. })
        ));
    }

    #[test]
    fn with_nobody_to_hand_over_to_it_restarts_in_place() {
        let names = ["reader-0", "writer-0"];
        let table = members(&names, &["writer-0"]);
        assert_eq!(
            steps(&edited(&names), &all_serving(&names), Some(&table)),
            [step("writer-0", Restart::Stop)]
        );
    }

    #[test]
    fn roles_that_stand_in_for_each_other_go_one_after_the_other() {
        let names = ["hybrid-0", "reader-0", "writer-0"];
        let mut table = members(&names, &["writer-0"]);
        let mut observed = all_serving(&names);
        let now = |observed: &_, table: &_| steps(&edited(&names), observed, Some(table));
        assert_eq!(now(&observed, &table), [step("writer-0", Restart::Drain)]);
        table.members.get_mut(&id("writer-0")).unwrap().state = Draining;
        assert_eq!(now(&observed, &table), [step("writer-0", Restart::Drain)]);

        // It is away, then back; then it is the next one's turn.
        table.members.get_mut(&id("writer-0")).unwrap().state = Active;
        let mut away = with_new_settings();
        (away.live, away.ready, away.down_for) = (false, false, Some(Duration::from_secs(3)));
        observed.insert(id("writer-0"), away.clone());
        assert_eq!(now(&observed, &table), []);
        observed.insert(id("writer-0"), with_new_settings());
        assert_eq!(now(&observed, &table), [step("reader-0", Restart::Drain)]);

        // One that does not come back holds up its own role only.
        away.down_for = Some(START_TIMEOUT);
        observed.insert(id("writer-0"), away);
        assert_eq!(now(&observed, &table), [step("reader-0", Restart::Drain)]);
    }

    #[test]
    fn roles_take_over_what_they_can() {
        let names = ["hybrid-0", "reader-0", "reader-1", "writer-0"];
        let observed = all_serving(&names);
        let can = |from: &str, with: &[&str]| {
            let all: Vec<&str> = [from].into_iter().chain(with.iter().copied()).collect();
            can_hand_over(&id(from), &observed, &members(&all, &[]))
        };
        assert!(can("writer-0", &["hybrid-0"]));
        assert!(!can("writer-0", &["reader-0"]));
        assert!(can("reader-0", &["reader-1"]));
        assert!(can("reader-0", &["hybrid-0"]));
        assert!(!can("reader-0", &["writer-0"]));
        assert!(!can("hybrid-0", &["reader-0"]));
    }

    #[test]
    fn one_that_does_not_answer_gets_new_settings_at_once_and_counts_as_away() {
        let mut observed = all_serving(&WRITERS);
        let silent = Observation {
            live: false,
            ready: false,
            ..serving(1)
        };
        observed.insert(id("writer-0"), silent);
        let table = members(&WRITERS, &WRITERS);
        assert_eq!(
            steps(&edited(&WRITERS), &observed, Some(&table)),
            [step("writer-0", Restart::Stop)]
        );
    }

    #[test]
    fn while_the_bucket_is_silent_only_what_does_not_serve_is_restarted() {
        let mut observed = all_serving(&["writer-0", "writer-1"]);
        observed.get_mut(&id("writer-0")).unwrap().ready = false;
        let desired = edited(&["writer-0", "writer-1"]);
        assert_eq!(
            steps(&desired, &observed, None),
            [step("writer-0", Restart::Stop)]
        );
    }

    #[test]
    fn a_drain_that_does_not_end_does_not_keep_old_settings_for_ever() {
        let table = table(
            &[("writer-0", Active), ("writer-1", Draining)],
            &["writer-1"],
        );
        let mut observed = all_serving(&["writer-0", "writer-1"]);
        let desired = edited(&["writer-0", "writer-1"]);
        let drains = |d: Duration, observed: &mut BTreeMap<InstanceId, Observation>| {
            observed.get_mut(&id("writer-1")).unwrap().draining_for = Some(d);
            steps(&desired, observed, Some(&table))
        };
        let limit = desired.drain_timeout;
        let second = Duration::from_secs(1);
        assert_eq!(
            drains(limit, &mut observed),
            [step("writer-1", Restart::Drain)]
        );
        assert_eq!(
            drains(limit + second, &mut observed),
            [step("writer-1", Restart::Stop)]
        );
    }

    #[test]
    fn nobody_is_restarted_while_paused_or_if_somebody_else_restarts() {
        let observed = all_serving(&WRITERS);
        let table = members(&WRITERS, &WRITERS);
        let paused = Desired {
            paused: true,
            ..edited(&WRITERS)
        };
        let by_hand = Desired {
            max_unavailable: None,
            ..edited(&WRITERS)
        };
        assert_eq!(steps(&paused, &observed, Some(&table)), []);
        assert_eq!(steps(&by_hand, &observed, Some(&table)), []);
    }

    #[test]
    fn the_plan_drains_and_stops_and_keeps_the_place() {
        let names = ["writer-0", "writer-1"];
        let observed = all_serving(&names);
        let drains = plan(
            &edited(&names),
            &observed,
            Some(&members(&names, &["writer-0", "writer-1"])),
        );
        assert_eq!(drains.processes, []);
        assert_eq!(
            drains.members,
            [(id("writer-1"), MemberChange::Draining)].into()
        );

        let drained = table(
            &[("writer-0", Active), ("writer-1", Draining)],
            &["writer-0"],
        );
        let stops = plan(&edited(&names), &observed, Some(&drained));
        assert_eq!(
            stops.processes,
            [ProcessAction::Stop(id("writer-1"), StopReason::NewSettings)]
        );
        assert!(stops.members.is_empty());
    }

    #[test]
    fn one_that_somebody_else_stops_hands_over_as_long_as_it_lives() {
        let names = ["writer-0", "writer-1"];
        let mut observed = all_serving(&names);
        let evicted = observed.get_mut(&id("writer-1")).unwrap();
        evicted.run = Run::Stopping {
            since: Duration::from_secs(1),
            killed: false,
        };
        let table = members(&names, &["writer-0", "writer-1"]);
        let leaves = plan(&desired(&names), &observed, Some(&table));
        assert_eq!(
            leaves.members,
            [(id("writer-1"), MemberChange::Draining)].into()
        );

        observed.get_mut(&id("writer-1")).unwrap().live = false;
        let ends = plan(&desired(&names), &observed, Some(&table));
        assert!(!ends.members.contains_key(&id("writer-1")));
    }
}
