//! Conditions as tables: the facts, and status and reason of each condition.

use std::time::Duration;

use super::*;
use crate::reconcile::plan::tests::{desired, ended, id, serving, table};

use ConditionStatus::{False, True, Unknown};

struct World {
    desired: Desired,
    observed: BTreeMap<InstanceId, Observation>,
    table: Option<AssignmentTable>,
    storage: Storage,
    invalid_spec: Option<&'static str>,
    damaged: &'static [String],
}

/// Two writers that serve a partition each.
fn at_rest() -> World {
    let members = [
        ("writer-0", MemberState::Active),
        ("writer-1", MemberState::Active),
    ];
    World {
        desired: desired(&["writer-0", "writer-1"]),
        observed: [(id("writer-0"), serving(1)), (id("writer-1"), serving(2))].into(),
        table: Some(table(&members, &["writer-0", "writer-1"])),
        storage: Storage::Verified,
        invalid_spec: None,
        damaged: &[],
    }
}

impl World {
    fn findings(&self) -> [Finding; 6] {
        conditions(&Facts {
            desired: &self.desired,
            observed: &self.observed,
            table: self.table.as_ref(),
            storage: &self.storage,
            invalid_spec: self.invalid_spec,
            damaged: self.damaged,
        })
    }

    fn is(&self, type_: ConditionType) -> (ConditionStatus, Reason) {
        let finding = self
            .findings()
            .into_iter()
            .find(|f| f.type_ == type_)
            .unwrap();
        (finding.status, finding.reason)
    }

    fn members(mut self, members: &[(&str, MemberState)], owners: &[&str]) -> Self {
        self.table = Some(table(members, owners));
        self
    }

    fn see(mut self, name: &str, seen: Observation) -> Self {
        self.observed.insert(id(name), seen);
        self
    }
}

#[test]
fn a_cluster_at_rest() {
    let found: Vec<_> = at_rest()
        .findings()
        .into_iter()
        .map(|f| (f.type_, f.status, f.reason))
        .collect();
    assert_eq!(
        found,
        [
            (ConditionType::Ready, True, Reason::AllPartitionsServed),
            (ConditionType::Progressing, False, Reason::UpToDate),
            (ConditionType::Degraded, False, Reason::AsExpected),
            (ConditionType::StorageReady, True, Reason::BucketVerified),
            (ConditionType::RingBalanced, True, Reason::Balanced),
            (ConditionType::Paused, False, Reason::NotPaused),
        ]
    );
}

#[test]
fn ready_names_what_is_missing() {
    let ready = |world: &World| world.is(ConditionType::Ready);
    let waiting = Observation {
        ready: false,
        detail: "2 of 3 partitions".to_owned(),
        ..serving(2)
    };
    let world = at_rest().see("writer-1", waiting);
    assert_eq!(ready(&world), (False, Reason::InstancesNotReady));
    assert!(
        world.findings()[0]
            .message
            .contains("writer-1: 2 of 3 partitions"),
        "{:?}",
        world.findings()[0]
    );
    assert_eq!(
        ready(&at_rest().see("writer-1", ended(1))),
        (False, Reason::InstancesNotReady)
    );

    let unassigned = at_rest().members(
        &[
            ("writer-0", MemberState::Active),
            ("writer-1", MemberState::Active),
        ],
        &["writer-0", "writer-9"],
    );
    assert_eq!(ready(&unassigned), (False, Reason::PartitionsUnassigned));

    let silent = World {
        storage: Storage::Unreachable("no route".to_owned()),
        ..at_rest()
    };
    assert_eq!(ready(&silent), (False, Reason::StorageUnavailable));
    assert_eq!(
        silent.is(ConditionType::StorageReady),
        (Unknown, Reason::EndpointUnreachable)
    );
    let refused = World {
        storage: Storage::Refused("403".to_owned()),
        ..at_rest()
    };
    assert_eq!(
        refused.is(ConditionType::StorageReady),
        (False, Reason::AccessDenied)
    );
}

#[test]
fn stopping_and_stopped() {
    let mut world = at_rest();
    world.desired.stopped = true;
    world.desired.instances.clear();
    assert_eq!(
        world.is(ConditionType::Progressing),
        (True, Reason::Stopping)
    );
    assert_eq!(
        world.is(ConditionType::Ready),
        (False, Reason::InstancesNotReady)
    );
    let world = world.see("writer-0", ended(1)).see("writer-1", ended(1));
    assert_eq!(world.is(ConditionType::Ready), (False, Reason::Stopped));
    assert_eq!(
        world.is(ConditionType::Progressing),
        (False, Reason::UpToDate)
    );
}

#[test]
fn progressing_names_the_direction() {
    let progressing = |world: &World| world.is(ConditionType::Progressing);
    let first = World {
        table: Some(AssignmentTable::default()),
        ..at_rest()
    };
    assert_eq!(progressing(&first), (True, Reason::Provisioning));
    let up = World {
        desired: desired(&["writer-0", "writer-1", "writer-2"]),
        ..at_rest()
    };
    assert_eq!(progressing(&up), (True, Reason::ScalingUp));
    let down = World {
        desired: desired(&["writer-0"]),
        ..at_rest()
    };
    assert_eq!(progressing(&down), (True, Reason::ScalingDown));
    let old = Observation {
        revision: Some("0".to_owned()),
        ..serving(2)
    };
    assert_eq!(
        progressing(&at_rest().see("writer-1", old)),
        (True, Reason::RollingUpdate)
    );

    let blocked = World {
        desired: desired(&["writer-0"]),
        ..at_rest()
    }
    .members(
        &[
            ("writer-0", MemberState::Unready),
            ("writer-1", MemberState::Draining),
        ],
        &["writer-0", "writer-1"],
    );
    assert_eq!(progressing(&blocked), (False, Reason::ScaleDownBlocked));
    assert!(
        blocked.findings()[1]
            .message
            .contains("writer-1 cannot hand over")
    );
}

#[test]
fn degraded_is_what_does_not_mend_itself() {
    let degraded = |world: &World| world.is(ConditionType::Degraded);
    let invalid = World {
        invalid_spec: Some("spec.writers.replicas"),
        ..at_rest()
    };
    assert_eq!(degraded(&invalid), (True, Reason::InvalidSpec));
    assert_eq!(
        invalid.is(ConditionType::Ready),
        (True, Reason::AllPartitionsServed)
    );
    let once = Observation {
        failures: FAILING_AFTER - 1,
        ..ended(1)
    };
    assert_eq!(
        degraded(&at_rest().see("writer-1", once)),
        (False, Reason::AsExpected)
    );
    let often = Observation {
        failures: FAILING_AFTER,
        ..ended(1)
    };
    assert_eq!(
        degraded(&at_rest().see("writer-1", often)),
        (True, Reason::InstanceFailing)
    );
    let stuck = Observation {
        draining_for: Some(Duration::from_secs(601)),
        ..serving(2)
    };
    assert_eq!(
        degraded(&at_rest().see("writer-1", stuck)),
        (True, Reason::DrainStuck)
    );
}

#[test]
fn the_ring_says_why_it_is_not_balanced() {
    let balanced = |world: &World| world.is(ConditionType::RingBalanced);
    assert_eq!(
        balanced(&World {
            table: None,
            ..at_rest()
        }),
        (Unknown, Reason::AssignmentsUnreadable)
    );
    assert_eq!(
        balanced(&at_rest().members(&[], &[])),
        (False, Reason::NoMembers)
    );
    let both = |state| [("writer-0", MemberState::Active), ("writer-1", state)];
    let waits = at_rest().members(&both(MemberState::Unready), &["writer-0", "writer-1"]);
    assert_eq!(balanced(&waits), (False, Reason::WaitingForInstances));
    let uneven = at_rest().members(&both(MemberState::Active), &["writer-0", "writer-0"]);
    assert_eq!(balanced(&uneven), (False, Reason::Moving));
}

#[test]
fn paused_says_so_and_nothing_progresses() {
    let mut world = World {
        desired: desired(&["writer-0"]),
        ..at_rest()
    };
    world.desired.paused = true;
    assert_eq!(
        world.is(ConditionType::Paused),
        (True, Reason::PausedBySpec)
    );
    assert_eq!(
        world.is(ConditionType::Progressing),
        (False, Reason::UpToDate)
    );
}
