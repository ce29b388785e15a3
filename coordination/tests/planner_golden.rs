//! What every planner of every version must agree on, and plans that can be checked by eye.

mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use brainy_coordination::assignment::{Member, MemberState, PartitionAssignment, Role};
use brainy_coordination::planner::{Plan, PlanOptions, minimal_moves, plan};
use brainy_coordination::ring::Ring;
use brainy_coordination::types::{InstanceId, PartitionId};
use cluster::{id, members, partitions};

const OPTIONS: PlanOptions = PlanOptions {
    read_replicas: 1,
    virtual_nodes: 64,
};

fn owned(plan: &Plan) -> BTreeMap<PartitionId, PartitionAssignment> {
    let entry = |owner: &InstanceId| PartitionAssignment {
        owner: Some(owner.clone()),
        ..Default::default()
    };
    plan.owners
        .iter()
        .map(|(p, o)| (p.clone(), entry(o)))
        .collect()
}

/// A change here makes two versions of Brainy plan differently during an upgrade.
#[test]
fn golden_ring() {
    let ring = Ring::new((0..5).map(|n| (id(n), 1.0)), 16);
    let orders: Vec<String> = partitions(&[4])
        .iter()
        .map(|p| {
            let order = ring.preference(p).map(|i| i.as_str()[8..].to_owned());
            order.collect::<Vec<_>>().join("")
        })
        .collect();
    assert_eq!(orders, GOLDEN_ORDERS);
    let positions: Vec<u64> = partitions(&[2]).iter().map(Ring::position).collect();
    assert_eq!(positions, GOLDEN_POSITIONS);
}

const GOLDEN_ORDERS: [&str; 4] = ["20134", "40321", "41302", "20143"];
const GOLDEN_POSITIONS: [u64; 2] = [8_254_102_334_199_871_591, 5_335_039_419_193_010_769];

#[test]
fn a_member_that_leaves_changes_the_order_of_no_others() {
    let all = Ring::new((0..6).map(|n| (id(n), 1.0)), 32);
    let without = Ring::new((0..6).filter(|n| *n != 3).map(|n| (id(n), 1.0)), 32);
    for partition in partitions(&[50]) {
        let before = all.preference(&partition).filter(|i| **i != id(3));
        assert!(before.eq(without.preference(&partition)));
        assert_eq!(all.preference(&partition).count(), 6);
    }
}

#[test]
fn weight_buys_positions_on_the_ring() {
    let ring = Ring::new([(id(0), 1.0), (id(1), 3.0)], 256);
    let all = partitions(&[2000]);
    let heavy = all
        .iter()
        .filter(|p| ring.preference(p).next() == Some(&id(1)));
    let share = heavy.count() as f64 / 2000.0;
    assert!((0.68..0.82).contains(&share), "{share}");
}

/// The plan is strict about global balance and also spreads each collection.
#[test]
fn each_collection_is_spread() {
    let all = partitions(&[40, 7, 40, 13]);
    let plan = plan(&BTreeMap::new(), &members(5, Role::Writer), &all, OPTIONS);
    for collection in all.iter().map(|p| &p.collection).collect::<BTreeSet<_>>() {
        let mut loads = [0usize; 5];
        for (_, owner) in plan
            .owners
            .iter()
            .filter(|(p, _)| p.collection == *collection)
        {
            loads[owner.as_str()[5..].parse::<usize>().unwrap()] += 1;
        }
        let size: usize = loads.iter().sum();
        assert!(
            *loads.iter().max().unwrap() <= size.div_ceil(5) + 1,
            "{collection}: {loads:?}"
        );
    }
}

#[test]
fn a_join_moves_its_share_and_only_to_the_one_that_joins() {
    let all = partitions(&[120]);
    let before = plan(&BTreeMap::new(), &members(3, Role::Writer), &all, OPTIONS);
    let after = plan(&owned(&before), &members(4, Role::Writer), &all, OPTIONS);
    let moved: Vec<_> = all
        .iter()
        .filter(|p| before.owners[*p] != after.owners[*p])
        .collect();
    assert_eq!(moved.len(), 30);
    assert_eq!(
        minimal_moves(&owned(&before), &members(4, Role::Writer)),
        30
    );
    assert!(moved.iter().all(|p| after.owners[*p] == id(3)));
}

#[test]
fn nobody_to_own_is_reported_and_readers_are_still_planned() {
    let all = partitions(&[3]);
    let mut members = members(2, Role::Reader);
    members.insert(id(2), Member::new(Role::Writer, "w:1"));
    members.get_mut(&id(2)).unwrap().state = MemberState::Draining;
    let plan = plan(&BTreeMap::new(), &members, &all, OPTIONS);
    assert_eq!(plan.unassigned().count(), 3);
    assert!(plan.readers.values().all(|r| r.len() == 1));
    let nobody =
        brainy_coordination::planner::plan(&BTreeMap::new(), &BTreeMap::new(), &all, OPTIONS);
    assert_eq!(nobody.unassigned().count(), 3);
}

#[test]
fn a_hybrid_does_not_read_what_it_owns_while_another_can() {
    let all = partitions(&[30]);
    let plan = plan(&BTreeMap::new(), &members(3, Role::Hybrid), &all, OPTIONS);
    for (partition, owner) in &plan.owners {
        assert!(!plan.readers[partition].contains(owner), "{partition}");
    }
    let alone = brainy_coordination::planner::plan(
        &BTreeMap::new(),
        &members(1, Role::Hybrid),
        &all,
        OPTIONS,
    );
    assert!(alone.readers.values().all(|r| *r == [id(0)]));
}

/// Weights that are no weights are taken for the smallest instead of breaking the plan.
#[test]
fn nonsense_weights_are_survived() {
    let all = partitions(&[30]);
    let mut members = members(4, Role::Hybrid);
    for (member, weight) in members
        .values_mut()
        .zip([f64::NAN, -1.0, f64::INFINITY, 0.0])
    {
        member.weight = weight;
    }
    let plan = plan(&BTreeMap::new(), &members, &all, OPTIONS);
    assert_eq!(plan.owners.len(), 30);
}

/// The algorithm at a size where a quadratic step would show.
#[test]
fn a_large_cluster() {
    let all = partitions(&[4096, 4096, 1808]);
    let before = plan(&BTreeMap::new(), &members(100, Role::Hybrid), &all, OPTIONS);
    let mut fewer = members(100, Role::Hybrid);
    fewer.remove(&id(50));
    let after = plan(&owned(&before), &fewer, &all, OPTIONS);
    let moved = all.iter().filter(|p| before.owners[*p] != after.owners[*p]);
    assert_eq!(moved.count(), 100);
}
