//! How many pods each StatefulSet keeps.
//!
//! A StatefulSet removes its highest ordinals, so it is lowered only past pods that the plan lets go, from the top down: one
//! that still hands over keeps its place and that of all below it. Raised at once, up to what the spec asks for. Nothing is
//! raised while the bucket has not been read, so that no pod starts on a store that was refused; nothing changes while
//! paused.

use std::collections::{BTreeMap, BTreeSet};

use brainy_coordination::types::InstanceId;
use brainy_crds::Role;

use crate::reconcile::desired::Desired;
use crate::reconcile::plan::{Observation, Plan, ProcessAction, Run, StopReason};

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a BTreeMap<InstanceId, Observation>,
    pub(super) plan: &'a Plan,
    /// Whether the assignment table was read.
    pub(super) table_known: bool,
    /// What the StatefulSets keep now; a role is absent if it has none.
    pub(super) current: &'a BTreeMap<Role, i32>,
}

/// The replicas of each role; `name` names an instance.
pub(super) fn replicas(
    basis: &Basis<'_>,
    name: impl Fn(Role, u32) -> String,
) -> BTreeMap<Role, i32> {
    let leaving: BTreeSet<&InstanceId> = basis
        .plan
        .processes
        .iter()
        .filter_map(|action| match action {
            ProcessAction::Stop(id, StopReason::NewSettings) => {
                // It comes back, unless its place goes.
                (!basis.desired.instances.contains_key(id)).then_some(id)
            }
            ProcessAction::Stop(id, _) => Some(id),
            ProcessAction::Start(_) | ProcessAction::Kill(..) => None,
        })
        .collect();
    let of_role = |role: Role| {
        let current = basis.current.get(&role).copied();
        if basis.desired.paused {
            return current.unwrap_or(0);
        }
        let wanted = i32::try_from(basis.desired.replicas(role)).unwrap_or(i32::MAX);
        let now = current.unwrap_or(0);
        if now <= wanted {
            return if basis.table_known { wanted } else { now };
        }
        let stays = |ordinal: &i32| {
            let Ok(ordinal) = u32::try_from(*ordinal) else {
                return false;
            };
            let Ok(id) = InstanceId::new(name(role, ordinal)) else {
                return false;
            };
            let runs = basis
                .observed
                .get(&id)
                .is_some_and(|seen| matches!(seen.run, Run::Running(_)));
            runs && !leaving.contains(&id)
        };
        let last = (wanted..now).rev().find(stays);
        last.map_or(wanted, |ordinal| ordinal + 1)
    };
    Role::ALL.map(|role| (role, of_role(role))).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::plan::tests::{desired, ended, id, serving};

    struct Case {
        name: &'static str,
        wanted: &'static [&'static str],
        runs: &'static [&'static str],
        leaves: &'static [&'static str],
        current: Option<i32>,
        becomes: i32,
    }

    fn decide(case: &Case, change: impl Fn(&mut Desired), table_known: bool) -> i32 {
        let mut desired = desired(case.wanted);
        change(&mut desired);
        let observed = case
            .runs
            .iter()
            .map(|name| (id(name), serving(1)))
            .collect();
        let stop = |name: &&str| ProcessAction::Stop(id(name), StopReason::Drained);
        let plan = Plan {
            processes: case.leaves.iter().map(stop).collect(),
            ..Plan::default()
        };
        let current = case
            .current
            .map(|n| (Role::Writer, n))
            .into_iter()
            .collect();
        let basis = Basis {
            desired: &desired,
            observed: &observed,
            plan: &plan,
            table_known,
            current: &current,
        };
        replicas(&basis, |role, n| format!("{role}-{n}"))[&Role::Writer]
    }

    const TWO: &[&str] = &["writer-0", "writer-1"];
    const ONE: &[&str] = &["writer-0"];
    const FOUR: &[&str] = &["writer-0", "writer-1", "writer-2", "writer-3"];

    #[test]
    fn raised_at_once_and_lowered_from_the_top_past_those_that_may_go() {
        let case = |name, wanted, runs, leaves, current, becomes| Case {
            name,
            wanted,
            runs,
            leaves,
            current,
            becomes,
        };
        for case in [
            case("created", TWO, &[], &[], None, 2),
            case("scaled up", TWO, ONE, &[], Some(1), 2),
            case("as it is", TWO, TWO, &[], Some(2), 2),
            case("still draining", ONE, TWO, &[], Some(2), 2),
            case("drained", ONE, TWO, &["writer-1"], Some(2), 1),
            case(
                "the lower is drained first",
                ONE,
                FOUR,
                &["writer-1", "writer-2"],
                Some(4),
                4,
            ),
            case(
                "the upper two are drained",
                ONE,
                FOUR,
                &["writer-2", "writer-3"],
                Some(4),
                2,
            ),
            case("it never ran", ONE, ONE, &[], Some(2), 1),
            case("to nothing", &[], ONE, &["writer-0"], Some(1), 0),
            case("on its way out", ONE, ONE, &[], Some(1), 1),
        ] {
            assert_eq!(decide(&case, |_| {}, true), case.becomes, "{}", case.name);
        }
    }

    #[test]
    fn nothing_is_raised_before_the_table_is_known_and_nothing_changes_while_paused() {
        let mut case = Case {
            name: "",
            wanted: TWO,
            runs: &[],
            leaves: &[],
            current: None,
            becomes: 0,
        };
        assert_eq!(decide(&case, |_| {}, false), 0);
        case.current = Some(1);
        assert_eq!(decide(&case, |_| {}, false), 1);
        assert_eq!(decide(&case, |d| d.paused = true, true), 1);
        (case.wanted, case.runs, case.current) = (ONE, TWO, Some(2));
        case.leaves = &["writer-1"];
        assert_eq!(decide(&case, |d| d.paused = true, true), 2);
        assert_eq!(decide(&case, |_| {}, false), 1, "the plan lets it go");
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_not_brought_back() {
        let desired = desired(ONE);
        let stopping = Observation {
            run: Run::Stopping {
                since: Duration::from_secs(1),
                killed: false,
            },
            ..serving(1)
        };
        let observed = [
            (id("writer-0"), serving(1)),
            (id("writer-1"), stopping),
            (id("writer-2"), ended(1)),
        ];
        let basis = Basis {
            desired: &desired,
            observed: &observed.into(),
            plan: &Plan::default(),
            table_known: true,
            current: &[(Role::Writer, 3)].into(),
        };
        let kept = replicas(&basis, |role, n| format!("{role}-{n}"));
        assert_eq!(kept[&Role::Writer], 1);
    }

    #[test]
    fn a_restart_keeps_its_place() {
        let desired = desired(TWO);
        let observed = TWO.iter().map(|name| (id(name), serving(1))).collect();
        let plan = Plan {
            processes: vec![ProcessAction::Stop(id("writer-1"), StopReason::NewSettings)],
            ..Plan::default()
        };
        let basis = Basis {
            desired: &desired,
            observed: &observed,
            plan: &plan,
            table_known: true,
            current: &[(Role::Writer, 2)].into(),
        };
        assert_eq!(
            replicas(&basis, |role, n| format!("{role}-{n}"))[&Role::Writer],
            2
        );
    }
}
