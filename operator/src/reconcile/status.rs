//! Step 5: the status, in the form of the custom resource.

use std::collections::{BTreeMap, BTreeSet};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::document::Versioned;
use brainy_coordination::rebalance;
use brainy_coordination::types::InstanceId;
use brainy_crds::{
    BrainyClusterStatus, InstancePhase, InstanceStatus, PartitionStatus, Role, RoleStatus,
    set_condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{FAILING_AFTER, Facts, conditions, is_stopping};
use super::desired::spec_role;
use super::plan::Observation;

/// What the facts do not hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// Which edit of the spec is followed.
    pub(crate) generation: i64,
    /// Where clients connect.
    pub(crate) url: &'a str,
    /// The table with its version.
    pub(crate) table: Option<&'a Versioned<AssignmentTable>>,
    /// Version of the shared configuration.
    pub(crate) config_version: Option<u64>,
    /// The time, for conditions whose status changes.
    pub(crate) now: &'a Time,
}

/// The status that follows `previous`: transition times move only with the status of their condition.
pub(crate) fn status(
    previous: &BrainyClusterStatus,
    facts: &Facts<'_>,
    context: &Context<'_>,
) -> BrainyClusterStatus {
    let mut status = BrainyClusterStatus {
        observed_generation: Some(context.generation),
        conditions: previous.conditions.clone(),
        url: Some(context.url.to_owned()),
        config_version: context.config_version.map(number),
        instances: instances(facts),
        ..BrainyClusterStatus::default()
    };
    for finding in conditions(facts) {
        set_condition(
            &mut status.conditions,
            finding,
            Some(context.generation),
            context.now,
        );
    }
    let role = |role| Some(role_status(facts, role));
    (status.writers, status.readers, status.hybrids) =
        (role(Role::Writer), role(Role::Reader), role(Role::Hybrid));
    if let Some(table) = context.table {
        let moves = rebalance::status(table);
        status.ring_epoch = Some(number(table.epoch));
        status.assignments_version = Some(number(table.version));
        status.balance = Some(format!("{:.2}", moves.max_over_mean));
        status.partitions = Some(PartitionStatus {
            total: count(moves.partitions),
            moving: count(moves.moving),
            unassigned: count(moves.unassigned),
        });
    }
    status
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn role_status(facts: &Facts<'_>, role: Role) -> RoleStatus {
    let of_role = |id: &&InstanceId| role_of(facts, id) == Some(role);
    let running = facts
        .observed
        .iter()
        .filter(|(id, seen)| of_role(id) && seen.has_process());
    let serving = facts
        .observed
        .iter()
        .filter(|(id, seen)| of_role(id) && seen.serves());
    let (desired, replicas, ready) = (
        facts.desired.replicas(role),
        running.count(),
        serving.count(),
    );
    RoleStatus::new(count(desired), count(replicas), count(ready), String::new())
}

fn role_of(facts: &Facts<'_>, id: &InstanceId) -> Option<Role> {
    let member = || {
        facts
            .table
            .and_then(|t| t.members.get(id))
            .map(|m| spec_role(m.role))
    };
    facts
        .desired
        .instances
        .get(id)
        .map(|spec| spec.role)
        .or_else(member)
}

fn instances(facts: &Facts<'_>) -> Vec<InstanceStatus> {
    let members = facts.table.into_iter().flat_map(|t| t.members.keys());
    let running = facts
        .observed
        .iter()
        .filter(|(_, seen)| seen.has_process())
        .map(|(id, _)| id);
    let all: BTreeSet<&InstanceId> = facts
        .desired
        .instances
        .keys()
        .chain(members)
        .chain(running)
        .collect();
    let unseen = Observation::default();
    let mut instances: Vec<InstanceStatus> = all
        .into_iter()
        .map(|id| {
            let seen = facts.observed.get(id).unwrap_or(&unseen);
            InstanceStatus {
                instance: id.to_string(),
                // One that is neither wanted nor a member yet runs as what it was started for; its name says it.
                role: role_of(facts, id).unwrap_or_else(|| role_in_name(id)),
                phase: phase(facts, id, seen),
                partitions: facts.table.map(|t| held(t, id)),
                message: seen.detail.clone(),
            }
        })
        .collect();
    instances.sort_by_key(|i| Role::ALL.iter().position(|role| *role == i.role));
    instances
}

fn role_in_name(id: &InstanceId) -> Role {
    let mut parts = id.as_str().rsplit('-').skip(1);
    match parts.next() {
        Some("reader") => Role::Reader,
        Some("hybrid") => Role::Hybrid,
        _ => Role::Writer,
    }
}

fn held(table: &AssignmentTable, id: &InstanceId) -> i32 {
    let held = rebalance::held_by(table, id);
    count(held.owned + held.read)
}

fn phase(facts: &Facts<'_>, id: &InstanceId, seen: &Observation) -> InstancePhase {
    let member = facts.table.and_then(|t| t.members.get(id)).map(|m| m.state);
    if seen.failures >= FAILING_AFTER {
        return InstancePhase::Failed;
    }
    if !facts.desired.instances.contains_key(id) || member == Some(MemberState::Draining) {
        let stuck = seen
            .draining_for
            .is_some_and(|d| d > facts.desired.drain_timeout);
        let drained = facts
            .table
            .is_some_and(|t| rebalance::member_is_empty(t, id));
        return match (drained || is_stopping(seen), stuck) {
            (true, _) => InstancePhase::Drained,
            (false, true) => InstancePhase::Stuck,
            (false, false) => InstancePhase::Draining,
        };
    }
    if !seen.has_process() {
        return if member.is_some() {
            InstancePhase::Unready
        } else {
            InstancePhase::Pending
        };
    }
    match (seen.serves(), member) {
        (true, Some(MemberState::Active)) => InstancePhase::Serving,
        (_, Some(MemberState::Unready | MemberState::Gone)) => InstancePhase::Unready,
        _ => InstancePhase::Starting,
    }
}

/// The observations of instances that the table or the spec knows and that have never had a process here.
pub(crate) fn complete(
    observed: &mut BTreeMap<InstanceId, Observation>,
    table: Option<&AssignmentTable>,
) {
    for id in table.into_iter().flat_map(|t| t.members.keys()) {
        observed.entry(id.clone()).or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::conditions::Storage;
    use crate::reconcile::plan::tests::{desired, ended, id, serving, table};

    fn at(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap())
    }

    fn status_of(
        previous: &BrainyClusterStatus,
        table: &AssignmentTable,
        observed: &BTreeMap<InstanceId, Observation>,
        now: &Time,
    ) -> BrainyClusterStatus {
        let desired = desired(&["writer-0", "reader-0"]);
        let facts = Facts {
            desired: &desired,
            observed,
            table: Some(table),
            storage: &Storage::Verified,
            invalid_spec: None,
            damaged: &[],
        };
        let context = Context {
            generation: 3,
            url: "http://127.0.0.1:6333",
            table: None,
            config_version: Some(2),
            now,
        };
        status(previous, &facts, &context)
    }

    #[test]
    fn the_same_facts_later_give_the_same_status() {
        let table = table(
            &[
                ("writer-0", MemberState::Active),
                ("reader-0", MemberState::Active),
            ],
            &["writer-0"],
        );
        let observed = [(id("writer-0"), serving(1)), (id("reader-0"), serving(2))].into();
        let first = status_of(&BrainyClusterStatus::default(), &table, &observed, &at(10));
        let second = status_of(&first, &table, &observed, &at(20));
        assert_eq!(first, second);
        assert_eq!(
            first.writers.as_ref().map(|w| w.summary.as_str()),
            Some("1/1")
        );
        assert_eq!(first.observed_generation, Some(3));
    }

    #[test]
    fn phases_follow_process_and_member() {
        let table = table(
            &[
                ("writer-0", MemberState::Unready),
                ("reader-0", MemberState::Active),
                ("writer-1", MemberState::Draining),
                ("writer-2", MemberState::Draining),
            ],
            &["writer-0", "writer-1"],
        );
        let observed = [
            (id("writer-0"), ended(3)),
            (id("reader-0"), serving(2)),
            (id("writer-1"), serving(3)),
            (id("writer-2"), serving(4)),
        ]
        .into();
        let status = status_of(&BrainyClusterStatus::default(), &table, &observed, &at(10));
        let phases: Vec<(&str, InstancePhase)> = status
            .instances
            .iter()
            .map(|i| (i.instance.as_str(), i.phase))
            .collect();
        assert_eq!(
            phases,
            [
                ("writer-0", InstancePhase::Unready),
                ("writer-1", InstancePhase::Draining),
                ("writer-2", InstancePhase::Drained),
                ("reader-0", InstancePhase::Serving),
            ]
        );
    }
}
