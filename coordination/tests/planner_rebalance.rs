//! The way from a table to its plan: invariants at every step, and convergence. proptest prints the failing input.

mod cluster;

use std::collections::BTreeSet;

use brainy_coordination::assignment::{
    AssignmentTable, HandoffReason, Member, MemberState, PartitionAssignment, Role,
};
use brainy_coordination::rebalance::{advance, held_by, member_is_empty, plan_for, status};
use brainy_coordination::types::{InstanceId, PartitionId};
use cluster::{id, members, partitions};
use proptest::prelude::*;

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Happening {
    State(usize, MemberState),
    Join(usize, Role),
    Remove(usize),
    /// The `n`-th handoff completes, if its target lives.
    Complete(usize),
    /// The `n`-th member has warmed everything.
    Warm(usize),
    Collections(Vec<u32>),
    Limit(u32),
    Replicas(u32),
}

fn happening() -> impl Strategy<Value = Happening> {
    let state = prop_oneof![
        Just(MemberState::Active),
        Just(MemberState::Unready),
        Just(MemberState::Draining),
        Just(MemberState::Gone),
    ];
    let role = prop_oneof![Just(Role::Reader), Just(Role::Writer), Just(Role::Hybrid)];
    prop_oneof![
        4 => (0usize..8, state).prop_map(|(n, s)| Happening::State(n, s)),
        3 => (0usize..8, role).prop_map(|(n, r)| Happening::Join(n, r)),
        1 => (0usize..8).prop_map(Happening::Remove),
        6 => (0usize..64).prop_map(Happening::Complete),
        4 => (0usize..8).prop_map(Happening::Warm),
        1 => prop::collection::vec(1u32..24, 0..4).prop_map(Happening::Collections),
        1 => (0u32..6).prop_map(Happening::Limit),
        1 => (0u32..4).prop_map(Happening::Replicas),
    ]
}

fn lives(table: &AssignmentTable, instance: &InstanceId) -> bool {
    let member = table.members.get(instance);
    member.is_some_and(|m| m.state != MemberState::Gone)
}

fn happen(table: &mut AssignmentTable, wanted: &mut BTreeSet<PartitionId>, what: &Happening) {
    match what {
        Happening::State(n, state) => {
            if let Some(member) = table.members.get_mut(&id(*n)) {
                member.state = *state;
            }
        }
        Happening::Join(n, role) => {
            let member = Member::new(*role, format!("{}:6333", id(*n)));
            table.members.entry(id(*n)).or_insert(member);
        }
        Happening::Remove(n) => {
            table.members.remove(&id(*n));
        }
        Happening::Complete(n) => {
            let moving = table.partitions.iter().filter_map(|(p, e)| {
                let to = e.handoff.as_ref().map(|h| h.to.clone())?;
                lives(table, &to).then(|| (p.clone(), to))
            });
            let moving: Vec<_> = moving.collect();
            if let Some((partition, to)) = moving.get(n % moving.len().max(1)) {
                assert!(table.complete_handoff(partition, to));
                assert!(!table.complete_handoff(partition, to), "not idempotent");
            }
        }
        Happening::Warm(n) => {
            table.reader_serving(&wanted.clone(), &id(*n));
            assert!(
                !table.reader_serving(&wanted.clone(), &id(*n)),
                "not idempotent"
            );
        }
        Happening::Collections(sizes) => *wanted = partitions(sizes),
        Happening::Limit(limit) => table.policy.max_concurrent_moves = *limit,
        Happening::Replicas(replicas) => table.policy.read_replicas = *replicas,
    }
}

fn planned_moves(table: &AssignmentTable) -> usize {
    let handoffs = table.partitions.values().filter_map(|p| p.handoff.as_ref());
    handoffs
        .filter(|h| h.reason == HandoffReason::Planned)
        .count()
}

fn live_serving(table: &AssignmentTable, entry: Option<&PartitionAssignment>) -> usize {
    let slots = entry.into_iter().flat_map(|e| &e.readers);
    let live = slots.filter(|s| {
        let reads = table
            .members
            .get(&s.instance)
            .is_some_and(|m| m.role.can_read());
        s.state.serves() && reads && lives(table, &s.instance)
    });
    live.count()
}

/// One step, with the invariants that hold for every one.
fn checked_step(before: &AssignmentTable, wanted: &BTreeSet<PartitionId>) -> AssignmentTable {
    let plan = plan_for(before, wanted);
    let after = advance(before, &plan);
    assert_eq!(after, advance(&after, &plan), "the step is not idempotent");
    let limit = before.policy.max_concurrent_moves as usize;
    assert!(planned_moves(&after) <= limit.max(planned_moves(before)));
    assert!(
        after.partitions.keys().eq(wanted),
        "partitions of the manifest"
    );
    for (partition, entry) in &after.partitions {
        let old = before.partitions.get(partition);
        let old_owner = old.and_then(|e| e.owner.as_ref());
        assert!(
            old_owner.is_none() || old_owner == entry.owner.as_ref(),
            "a step took {partition} from its owner without a handoff"
        );
        if let Some(handoff) = &entry.handoff {
            assert_ne!(Some(&handoff.to), entry.owner.as_ref());
            assert!(after.members[&handoff.to].state.keeps());
        }
        if live_serving(before, old) > 0 && !plan.readers[partition].is_empty() {
            assert!(
                live_serving(&after, Some(entry)) > 0,
                "{partition} lost its last reader"
            );
        }
    }
    after
}

/// Lets everything that is under way finish, step by step, until nothing changes.
fn converge(mut table: AssignmentTable, wanted: &BTreeSet<PartitionId>) -> AssignmentTable {
    table.policy.max_concurrent_moves = table.policy.max_concurrent_moves.max(1);
    for _ in 0..400 {
        let mut next = checked_step(&table, wanted);
        let moving: Vec<_> = next
            .partitions
            .iter()
            .filter_map(|(p, e)| Some((p.clone(), e.handoff.as_ref()?.to.clone())))
            .collect();
        for (partition, to) in moving {
            next.complete_handoff(&partition, &to);
        }
        let everybody: Vec<_> = next.members.keys().cloned().collect();
        for instance in everybody {
            next.reader_serving(wanted, &instance);
        }
        if next == table {
            return table;
        }
        table = next;
    }
    panic!("no rest after 400 steps: {:?}", status(&table));
}

proptest! {
    #![proptest_config(cluster::config())]

    #[test]
    fn every_step_is_safe_and_the_end_is_the_plan(
        sizes in prop::collection::vec(1u32..24, 1..4),
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut table = AssignmentTable { members: members(3, Role::Hybrid), ..Default::default() };
        let mut wanted = partitions(&sizes);
        for what in &happenings {
            happen(&mut table, &mut wanted, what);
            table = checked_step(&table, &wanted);
        }
        let rest = converge(table, &wanted);
        let plan = plan_for(&rest, &wanted);
        let owners = rest.partitions.iter().filter_map(|(p, e)| {
            let owner = e.owner.clone().filter(|o| plan.owners.contains_key(p) || lives(&rest, o))?;
            plan.owners.contains_key(p).then(|| (p.clone(), owner))
        });
        prop_assert_eq!(owners.collect::<std::collections::BTreeMap<_, _>>(), plan.owners.clone());
        for (partition, entry) in &rest.partitions {
            let readers: Vec<_> = entry.readers.iter().map(|s| s.instance.clone()).collect();
            prop_assert_eq!(&readers, &plan.readers[partition]);
        }
        let active = rest.members.values().any(|m| m.role.can_own() && m.state == MemberState::Active);
        if active {
            prop_assert!(status(&rest).is_settled(), "{:?}", status(&rest));
            for (instance, member) in &rest.members {
                let leaving = !member.state.keeps();
                prop_assert!(!leaving || member_is_empty(&rest, instance), "{:?}", held_by(&rest, instance));
            }
        }
    }
}

/// 24 partitions on `count` writers, at rest.
fn at_rest(count: usize) -> (AssignmentTable, BTreeSet<PartitionId>) {
    let wanted = partitions(&[24]);
    let mut table = AssignmentTable {
        members: members(count, Role::Writer),
        ..Default::default()
    };
    table.policy.max_concurrent_moves = 2;
    let table = advance(&table, &plan_for(&table, &wanted));
    assert!(status(&table).is_settled());
    (table, wanted)
}

#[test]
fn a_drain_moves_two_at_a_time_and_can_be_undone() {
    let (start, wanted) = at_rest(3);
    let mut table = start.clone();
    table.members.get_mut(&id(1)).expect("a member").state = MemberState::Draining;
    let mut table = advance(&table, &plan_for(&table, &wanted));
    let now = status(&table);
    assert_eq!((now.moving, now.waiting, now.unassigned), (2, 6, 0));
    assert_eq!(table.epoch, start.epoch + 1);
    assert!(!member_is_empty(&table, &id(1)));

    // Undone: the moves that were announced are withdrawn, nothing else happens.
    table.members.get_mut(&id(1)).expect("a member").state = MemberState::Active;
    let undone = advance(&table, &plan_for(&table, &wanted));
    let rest = converge(undone, &wanted);
    assert!(status(&rest).is_settled());
    assert_eq!(held_by(&rest, &id(1)).owned, 8);
}

#[test]
fn partitions_of_a_dead_owner_move_at_once_and_without_limit() {
    let (mut table, wanted) = at_rest(3);
    table.members.get_mut(&id(1)).expect("a member").state = MemberState::Gone;
    let table = advance(&table, &plan_for(&table, &wanted));
    let pending = [id(0), id(2)].map(|i| table.pending_for(&i).count());
    assert_eq!(pending, [4, 4]);
    let reasons = [id(0), id(2)].map(|i| {
        table
            .pending_for(&i)
            .all(|(_, r)| r == HandoffReason::OwnerGone)
    });
    assert_eq!(reasons, [true, true]);
}

#[test]
fn a_handoff_is_redirected_when_its_target_dies() {
    let (mut table, wanted) = at_rest(2);
    table
        .members
        .extend(members(3, Role::Writer).split_off(&id(2)));
    let mut table = advance(&table, &plan_for(&table, &wanted));
    assert_eq!(table.pending_for(&id(2)).count(), 2);
    table.members.get_mut(&id(2)).expect("a member").state = MemberState::Gone;
    let table = advance(&table, &plan_for(&table, &wanted));
    assert_eq!(table.pending_for(&id(2)).count(), 0);
    assert_eq!(status(&table).moving, 0, "the owners keep what they have");
}

#[test]
fn without_anybody_to_take_over_nothing_is_taken_away() {
    let (mut table, wanted) = at_rest(1);
    table.members.get_mut(&id(0)).expect("a member").state = MemberState::Draining;
    let draining = advance(&table, &plan_for(&table, &wanted));
    assert_eq!(held_by(&draining, &id(0)).owned, 24);
    table.members.get_mut(&id(0)).expect("a member").state = MemberState::Gone;
    let gone = advance(&table, &plan_for(&table, &wanted));
    assert_eq!(status(&gone).unassigned, 24);
    table.members.get_mut(&id(0)).expect("a member").state = MemberState::Active;
    let back = advance(&table, &plan_for(&table, &wanted));
    assert!(status(&back).is_settled());
}
