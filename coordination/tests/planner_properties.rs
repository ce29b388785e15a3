//! Properties of the planner for arbitrary clusters and histories. proptest prints the failing input and its seed.

mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use brainy_coordination::assignment::{
    Member, MemberState, PartitionAssignment, ReaderSlot, ReaderState, Role,
};
use brainy_coordination::planner::{Plan, PlanOptions, minimal_moves, plan};
use brainy_coordination::types::{InstanceId, PartitionId};
use cluster::{id, members, partitions};
use proptest::prelude::*;

const OPTIONS: PlanOptions = PlanOptions {
    read_replicas: 2,
    virtual_nodes: 32,
};

type Table = BTreeMap<PartitionId, PartitionAssignment>;

/// The table once everything that `plan` wants has happened.
fn settled(plan: &Plan) -> Table {
    plan.readers
        .iter()
        .map(|(partition, readers)| {
            let slot = |instance: &InstanceId| ReaderSlot {
                instance: instance.clone(),
                state: ReaderState::Serving,
            };
            let entry = PartitionAssignment {
                owner: plan.owners.get(partition).cloned(),
                handoff: None,
                readers: readers.iter().map(slot).collect(),
            };
            (partition.clone(), entry)
        })
        .collect()
}

fn loads(plan: &Plan) -> BTreeMap<InstanceId, usize> {
    let mut loads = BTreeMap::new();
    for owner in plan.owners.values() {
        *loads.entry(owner.clone()).or_default() += 1;
    }
    loads
}

fn reader_loads(plan: &Plan) -> BTreeMap<InstanceId, usize> {
    let mut loads = BTreeMap::new();
    for reader in plan.readers.values().flatten() {
        *loads.entry(reader.clone()).or_default() += 1;
    }
    loads
}

fn moves(before: &Table, after: &Plan) -> usize {
    let moved = before.iter().filter(|(partition, entry)| {
        entry.owner.is_some() && after.owners.get(*partition) != entry.owner.as_ref()
    });
    moved.count()
}

/// Least number of moves for equal weights, from first principles: who must leave, and what is above floor or ceil.
fn lower_bound(before: &Table, members: &BTreeMap<InstanceId, Member>) -> usize {
    let n = members.len();
    let (floor, spare) = (before.len() / n, before.len() % n);
    let held = |i: &InstanceId| {
        before
            .values()
            .filter(|e| e.owner.as_ref() == Some(i))
            .count()
    };
    let homeless = before
        .values()
        .filter(|e| !e.owner.as_ref().is_some_and(|o| members.contains_key(o)));
    let mut excess: Vec<usize> = members
        .keys()
        .map(|i| held(i).saturating_sub(floor))
        .collect();
    excess.sort_unstable_by(|a, b| b.cmp(a));
    let spared = excess.iter().take(spare).filter(|&&e| e > 0).count();
    homeless.count() + excess.iter().sum::<usize>() - spared
}

fn assert_balanced(plan: &Plan, members: &BTreeMap<InstanceId, Member>, total: usize) {
    let loads = loads(plan);
    for instance in members.keys() {
        let load = loads.get(instance).copied().unwrap_or(0);
        assert!(
            (total / members.len()..=total.div_ceil(members.len())).contains(&load),
            "{instance} owns {load} of {total} with {} members",
            members.len()
        );
    }
    if total >= 20 * members.len() {
        let max = loads.values().max().copied().unwrap_or(0) as f64;
        let ratio = max / (total as f64 / members.len() as f64);
        assert!(ratio <= 1.05, "max/mean is {ratio}");
    }
}

proptest! {
    #![proptest_config(cluster::config())]

    /// Any sequence of joins and leaves, several at once: balanced, with exactly the least number of moves.
    #[test]
    fn balanced_with_least_moves_through_any_history(
        sizes in prop::collection::vec(1u32..120, 1..4),
        history in prop::collection::vec(prop::collection::btree_set(0usize..12, 1..10), 1..6),
    ) {
        let partitions = partitions(&sizes);
        let mut table = Table::new();
        for present in history {
            let all = members(12, Role::Hybrid);
            let now: BTreeMap<_, _> = all.into_iter().enumerate()
                .filter(|(n, _)| present.contains(n))
                .map(|(_, member)| member)
                .collect();
            let next = plan(&table, &now, &partitions, OPTIONS);
            prop_assert_eq!(&next, &plan(&table, &now, &partitions, OPTIONS), "not deterministic");
            assert_balanced(&next, &now, partitions.len());
            if !table.is_empty() {
                prop_assert_eq!(moves(&table, &next), lower_bound(&table, &now));
                prop_assert_eq!(minimal_moves(&table, &now), lower_bound(&table, &now));
            }
            // Readers: enough, distinct, bounded.
            let replicas = now.len().min(2);
            for readers in next.readers.values() {
                let distinct: BTreeSet<_> = readers.iter().collect();
                prop_assert_eq!((readers.len(), distinct.len()), (replicas, replicas));
            }
            let ceil = (replicas * partitions.len()).div_ceil(now.len());
            for (reader, load) in reader_loads(&next) {
                prop_assert!(load <= ceil, "{} reads {} of at most {}", reader, load, ceil);
            }
            table = settled(&next);
            prop_assert_eq!(&plan(&table, &now, &partitions, OPTIONS), &next, "not sticky");
        }
    }

    /// Each member gets its weighted share, rounded down or up.
    #[test]
    fn weights_are_respected_within_one(
        sizes in prop::collection::vec(1u32..100, 1..4),
        first in prop::collection::vec(1u32..40, 1..9),
        second in prop::collection::vec(1u32..40, 1..9),
    ) {
        let partitions = partitions(&sizes);
        let mut table = Table::new();
        for tenths in [first, second] {
            let mut members = members(tenths.len(), Role::Writer);
            for (member, tenths) in members.values_mut().zip(&tenths) {
                member.weight = f64::from(*tenths) / 10.0;
            }
            let next = plan(&table, &members, &partitions, OPTIONS);
            let loads = loads(&next);
            let sum: u32 = tenths.iter().sum();
            for (instance, tenths) in members.keys().zip(&tenths) {
                let load = loads.get(instance).copied().unwrap_or(0);
                let scaled = partitions.len() * *tenths as usize;
                let (floor, ceil) = (scaled / sum as usize, scaled.div_ceil(sum as usize));
                prop_assert!((floor..=ceil).contains(&load), "{}: {} not in {}..={}", instance, load, floor, ceil);
            }
            table = settled(&next);
            prop_assert_eq!(&plan(&table, &members, &partitions, OPTIONS), &next, "not sticky");
        }
    }

    /// A restart, seen as unready and then active again, moves nothing, whatever the weights.
    #[test]
    fn a_restart_moves_nothing(
        size in 1u32..200,
        tenths in prop::collection::vec(1u32..40, 2..9),
        victim in any::<prop::sample::Index>(),
    ) {
        let partitions = partitions(&[size]);
        let mut members = members(tenths.len(), Role::Hybrid);
        for (member, tenths) in members.values_mut().zip(&tenths) {
            member.weight = f64::from(*tenths) / 10.0;
        }
        let before = plan(&Table::new(), &members, &partitions, OPTIONS);
        let name = id(victim.index(tenths.len()));
        members.get_mut(&name).expect("a member").state = MemberState::Unready;
        let during = plan(&settled(&before), &members, &partitions, OPTIONS);
        prop_assert_eq!(&during.owners, &before.owners);
        prop_assert_eq!(&during.readers, &before.readers);
    }

    /// With zones of equal size, the readers of each partition are in different zones.
    #[test]
    fn readers_are_in_different_zones(
        size in 1u32..150,
        zones in 2usize..5,
        per_zone in 1usize..4,
        joined in 0usize..2,
    ) {
        let partitions = partitions(&[size]);
        let mut table = Table::new();
        for per_zone in [per_zone, per_zone + joined] {
            let mut members = members(zones * per_zone, Role::Reader);
            for (n, member) in members.values_mut().enumerate() {
                member.zone = Some(format!("zone-{}", n % zones));
            }
            let next = plan(&table, &members, &partitions, OPTIONS);
            for (partition, readers) in &next.readers {
                let spread: BTreeSet<_> = readers.iter().map(|r| &members[r].zone).collect();
                prop_assert_eq!(spread.len(), 2, "{} is read by {:?}", partition, readers);
            }
            table = settled(&next);
            prop_assert_eq!(&plan(&table, &members, &partitions, OPTIONS), &next, "not sticky");
        }
    }

    /// Arbitrary states and tables, also nonsensical ones, give a plan whose every choice is allowed.
    #[test]
    fn only_members_that_may_get_anything_new(
        size in 1u32..60,
        states in prop::collection::vec((0usize..3, 0usize..4), 1..8),
        owned in prop::collection::vec(prop::option::of(0usize..9), 60),
        read in prop::collection::vec(prop::collection::btree_set(0usize..9, 0..4), 60),
        read_replicas in 0u32..4,
    ) {
        let partitions = partitions(&[size]);
        let mut members = members(states.len(), Role::Hybrid);
        for (member, (role, state)) in members.values_mut().zip(&states) {
            member.role = [Role::Reader, Role::Writer, Role::Hybrid][*role];
            member.state = [MemberState::Active, MemberState::Unready, MemberState::Draining, MemberState::Gone][*state];
        }
        let table: Table = partitions.iter().zip(owned).zip(read).map(|((p, owner), read)| {
            let slot = |n| ReaderSlot { instance: id(n), state: ReaderState::Serving };
            (p.clone(), PartitionAssignment {
                owner: owner.map(id),
                handoff: None,
                readers: read.into_iter().map(slot).collect(),
            })
        }).collect();
        let options = PlanOptions { read_replicas, ..OPTIONS };
        let next = plan(&table, &members, &partitions, options);
        for (p, owner) in &next.owners {
            let member = &members[owner];
            let held = table[p].owner.as_ref() == Some(owner);
            prop_assert!(member.role.can_own() && member.state.keeps());
            prop_assert!(held || member.state == MemberState::Active);
        }
        let unready_keep = table.iter().filter(|(_, e)| e.owner.as_ref().and_then(|o| members.get(o))
            .is_some_and(|m| m.role.can_own() && m.state == MemberState::Unready));
        for (p, entry) in unready_keep {
            prop_assert_eq!(next.owners.get(p), entry.owner.as_ref());
        }
        let anybody = members.values().any(|m| m.role.can_own() && m.state == MemberState::Active);
        prop_assert!(!anybody || next.unassigned().next().is_none());
        prop_assert!(!anybody || moves(&table, &next) == minimal_moves(&table, &members));
        let can_read = |state| members.values().filter(|m| m.role.can_read() && m.state == state).count();
        for (p, readers) in &next.readers {
            let distinct: BTreeSet<_> = readers.iter().collect();
            prop_assert_eq!(distinct.len(), readers.len());
            prop_assert!(readers.len() <= read_replicas as usize);
            prop_assert!(readers.len() >= can_read(MemberState::Active).min(read_replicas as usize), "{} has {:?}", p, readers);
            for reader in readers {
                let member = &members[reader];
                let held = table[p].reader(reader).is_some();
                prop_assert!(member.role.can_read() && member.state.keeps());
                prop_assert!(held || member.state == MemberState::Active);
            }
        }
    }
}
