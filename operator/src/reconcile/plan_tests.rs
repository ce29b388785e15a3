//! The planner's table, row by row.

use brainy_coordination::assignment::{self, Handoff, HandoffReason, PartitionAssignment};

use super::*;

pub(crate) fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn role_of(name: &str) -> Role {
    match name.split('-').next() {
        Some("writer") => Role::Writer,
        Some("reader") => Role::Reader,
        _ => Role::Hybrid,
    }
}

/// A spec that wants these instances, all at revision "1".
pub(crate) fn desired(names: &[&str]) -> Desired {
    let instances = names.iter().map(|name| {
        let ordinal = name.rsplit('-').next().unwrap().parse().unwrap();
        (
            id(name),
            InstanceSpec {
                role: role_of(name),
                ordinal,
                revision: "1".to_owned(),
            },
        )
    });
    Desired {
        instances: instances.collect(),
        paused: false,
        stopped: false,
        unsafe_scale_down: false,
        unready_grace: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(600),
        max_unavailable: Some(1),
        policy: assignment::Policy::default(),
        ring: assignment::RingParams::default(),
    }
}

/// A process that serves.
pub(crate) fn serving(port: u16) -> Observation {
    Observation {
        run: Run::Running(Duration::from_secs(100)),
        live: true,
        ready: true,
        down_for: None,
        answered: true,
        revision: Some("1".to_owned()),
        address: Some(format!("127.0.0.1:{port}")),
        ..Observation::default()
    }
}

fn silent(seconds: u64) -> Observation {
    Observation {
        live: false,
        ready: false,
        down_for: Some(Duration::from_secs(seconds)),
        ..serving(1)
    }
}

pub(crate) fn ended(seconds: u64) -> Observation {
    Observation {
        run: Run::Ended,
        may_start: false,
        ..silent(seconds)
    }
}

fn stopping(seconds: u64, killed: bool) -> Observation {
    Observation {
        run: Run::Stopping {
            since: Duration::from_secs(seconds),
            killed,
        },
        ..serving(1)
    }
}

/// A table with these members at port 1, and one partition per pair.
pub(crate) fn table(members: &[(&str, MemberState)], owners: &[&str]) -> AssignmentTable {
    let mut table = AssignmentTable::default();
    for (name, state) in members {
        let mut member = Member::new(table_role(role_of(name)), "127.0.0.1:1");
        member.state = *state;
        table.members.insert(id(name), member);
    }
    for (n, owner) in owners.iter().enumerate() {
        let partition = format!("c/{n:05}").parse().unwrap();
        let entry = PartitionAssignment {
            owner: Some(id(owner)),
            ..PartitionAssignment::default()
        };
        table.partitions.insert(partition, entry);
    }
    table
}

struct Case {
    name: &'static str,
    desired: Desired,
    seen: Observation,
    table: Option<AssignmentTable>,
    process: Option<ProcessAction>,
    member: Option<MemberChange>,
}

fn start() -> Option<ProcessAction> {
    Some(ProcessAction::Start(id("writer-0")))
}

fn stop(reason: StopReason) -> Option<ProcessAction> {
    Some(ProcessAction::Stop(id("writer-0"), reason))
}

fn kill(reason: KillReason) -> Option<ProcessAction> {
    Some(ProcessAction::Kill(id("writer-0"), reason))
}

fn active(port: u16) -> Option<MemberChange> {
    Some(MemberChange::Active {
        role: Role::Writer,
        address: format!("127.0.0.1:{port}"),
    })
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let observed = [(id("writer-0"), case.seen)].into();
        let plan = plan(&case.desired, &observed, case.table.as_ref());
        assert_eq!(
            plan.processes,
            Vec::from_iter(case.process),
            "{}: processes",
            case.name
        );
        assert_eq!(
            plan.members.get(&id("writer-0")),
            case.member.as_ref(),
            "{}: member",
            case.name
        );
    }
}

fn wanted() -> Desired {
    desired(&["writer-0"])
}

fn unwanted() -> Desired {
    desired(&[])
}

fn member(state: MemberState) -> Option<AssignmentTable> {
    Some(table(&[("writer-0", state)], &["writer-0"]))
}

fn empty_member(state: MemberState) -> Option<AssignmentTable> {
    Some(table(&[("writer-0", state)], &[]))
}

#[test]
fn an_instance_that_the_spec_wants() {
    use MemberState::{Active, Draining, Gone, Unready};
    let none = || Some(AssignmentTable::default());
    let case = |name, seen, table, process, member| Case {
        name,
        desired: wanted(),
        seen,
        table,
        process,
        member,
    };
    let waits = Observation {
        may_start: false,
        ..Observation::default()
    };
    check(vec![
        case("new", Observation::default(), none(), start(), None),
        case(
            "while the bucket is silent",
            Observation::default(),
            None,
            start(),
            None,
        ),
        case("pause after a failure", waits, none(), None, None),
        case("starts, silent", silent(1), none(), None, None),
        case("joins when it answers", serving(1), none(), None, active(1)),
        case("at rest", serving(1), member(Active), None, None),
        case("moved", serving(2), member(Active), None, active(2)),
        case(
            "from an earlier run, starts",
            Observation::default(),
            member(Active),
            start(),
            None,
        ),
        case("a late answer", silent(2), member(Active), None, None),
        case(
            "silent for long",
            silent(5),
            member(Active),
            None,
            Some(MemberChange::Unready),
        ),
        case(
            "ended",
            ended(0),
            member(Active),
            None,
            Some(MemberChange::Unready),
        ),
        case("ended, grace", ended(59), member(Unready), None, None),
        case(
            "grace over",
            ended(60),
            member(Unready),
            None,
            Some(MemberChange::Gone),
        ),
        case("gone until it answers", ended(70), member(Gone), None, None),
        case("back", serving(1), member(Gone), None, active(1)),
        case(
            "drain is cancelled",
            serving(1),
            member(Draining),
            None,
            active(1),
        ),
        case(
            "hung",
            silent(30),
            member(Unready),
            kill(KillReason::DoesNotAnswer),
            None,
        ),
        case(
            "stopped by somebody else, nobody to take over",
            stopping(1, false),
            member(Active),
            None,
            None,
        ),
        case(
            "stops, a little more time",
            stopping(29, false),
            member(Active),
            None,
            None,
        ),
        case(
            "stops too slowly",
            stopping(30, false),
            member(Active),
            kill(KillReason::DoesNotStop),
            None,
        ),
        case(
            "killed once",
            stopping(40, true),
            member(Active),
            None,
            None,
        ),
    ]);
}

#[test]
fn one_that_never_answered_gets_more_time_than_one_that_did() {
    let mut seen = Observation {
        answered: false,
        ..silent(119)
    };
    let desired = wanted();
    let observed = |seen: &Observation| [(id("writer-0"), seen.clone())].into();
    seen.run = Run::Running(Duration::from_secs(119));
    assert_eq!(plan(&desired, &observed(&seen), None).processes, []);
    seen.run = Run::Running(START_TIMEOUT);
    seen.down_for = Some(Duration::from_secs(500));
    assert_eq!(
        plan(&desired, &observed(&seen), None).processes,
        Vec::from_iter(kill(KillReason::DoesNotAnswer))
    );
}

#[test]
fn an_instance_that_the_spec_does_not_want() {
    use MemberState::{Active, Draining, Gone, Unready};
    let case = |name, seen, table, process, member| Case {
        name,
        desired: unwanted(),
        seen,
        table,
        process,
        member,
    };
    let drain = || Some(MemberChange::Draining);
    check(vec![
        case(
            "leaving is announced first",
            serving(1),
            member(Active),
            None,
            drain(),
        ),
        case(
            "also when it holds nothing",
            serving(1),
            empty_member(Active),
            None,
            drain(),
        ),
        case("hands over", serving(1), member(Draining), None, None),
        case(
            "holds nothing",
            serving(1),
            empty_member(Draining),
            stop(StopReason::Drained),
            None,
        ),
        case("unknown bucket stops nobody", serving(1), None, None, None),
        case(
            "never joined",
            serving(1),
            Some(AssignmentTable::default()),
            stop(StopReason::Drained),
            None,
        ),
        case(
            "ends",
            stopping(1, false),
            empty_member(Draining),
            None,
            None,
        ),
        case(
            "does not end",
            stopping(30, false),
            empty_member(Draining),
            kill(KillReason::DoesNotStop),
            None,
        ),
        case(
            "ended",
            ended(0),
            empty_member(Draining),
            None,
            Some(MemberChange::Remove),
        ),
        case(
            "crashed while it drained",
            ended(0),
            member(Draining),
            None,
            Some(MemberChange::Gone),
        ),
        case("others take over", ended(0), member(Gone), None, None),
        case(
            "surplus of an earlier run",
            Observation::default(),
            member(Active),
            None,
            Some(MemberChange::Gone),
        ),
        case("was unready", serving(1), member(Unready), None, drain()),
        case(
            "hung while it drains",
            silent(31),
            member(Draining),
            kill(KillReason::DoesNotAnswer),
            None,
        ),
        case(
            "silent for the grace period, nothing can be handed over",
            silent(60),
            member(Draining),
            kill(KillReason::DoesNotAnswer),
            Some(MemberChange::Gone),
        ),
        case(
            "gone stays gone while it is silent",
            silent(1),
            member(Gone),
            None,
            None,
        ),
        case(
            "silent, and others have taken over",
            silent(61),
            empty_member(Gone),
            stop(StopReason::Drained),
            None,
        ),
    ]);
}

#[test]
fn a_target_of_a_move_is_not_empty() {
    let mut moving = table(&[("writer-0", MemberState::Draining)], &["writer-1"]);
    for entry in moving.partitions.values_mut() {
        entry.handoff = Some(Handoff {
            to: id("writer-0"),
            reason: HandoffReason::Planned,
        });
    }
    let observed = [(id("writer-0"), serving(1))].into();
    assert_eq!(plan(&unwanted(), &observed, Some(&moving)), Plan::default());
}

#[test]
fn unsafe_scale_down_does_not_wait() {
    let desired = Desired {
        unsafe_scale_down: true,
        ..unwanted()
    };
    check(vec![Case {
        name: "holds something",
        desired,
        seen: serving(1),
        table: member(MemberState::Draining),
        process: stop(StopReason::UnsafeScaleDown),
        member: None,
    }]);
}

#[test]
fn a_stopped_cluster_keeps_its_places() {
    let case = |name, seen, table, process, member| Case {
        name,
        desired: Desired {
            stopped: true,
            ..unwanted()
        },
        seen,
        table,
        process,
        member,
    };
    let active = || member(MemberState::Active);
    check(vec![
        case(
            "runs",
            serving(1),
            active(),
            stop(StopReason::ClusterStopped),
            None,
        ),
        case(
            "runs, silent bucket",
            serving(1),
            None,
            stop(StopReason::ClusterStopped),
            None,
        ),
        case("ends", stopping(1, false), active(), None, None),
        case(
            "ended",
            ended(1),
            active(),
            None,
            Some(MemberChange::Unready),
        ),
        case(
            "stays",
            ended(1000),
            member(MemberState::Unready),
            None,
            None,
        ),
        case(
            "gone before",
            ended(1),
            member(MemberState::Gone),
            None,
            None,
        ),
    ]);
}

#[test]
fn a_paused_cluster_stays_as_it_is() {
    let paused = |desired| Desired {
        paused: true,
        ..desired
    };
    let case = |name, desired, seen, table, process| Case {
        name,
        desired: paused(desired),
        seen,
        table,
        process,
        member: None,
    };
    check(vec![
        case(
            "no new instance",
            wanted(),
            Observation::default(),
            Some(AssignmentTable::default()),
            None,
        ),
        case(
            "a member that ended",
            wanted(),
            Observation::default(),
            member(MemberState::Active),
            start(),
        ),
        case(
            "no drain",
            unwanted(),
            serving(1),
            member(MemberState::Active),
            None,
        ),
        case(
            "no stop",
            unwanted(),
            serving(1),
            empty_member(MemberState::Draining),
            None,
        ),
        case(
            "no removal",
            unwanted(),
            ended(1),
            empty_member(MemberState::Draining),
            None,
        ),
        case(
            "no stop of all",
            Desired {
                stopped: true,
                ..unwanted()
            },
            serving(1),
            member(MemberState::Active),
            None,
        ),
    ]);
}
