//! The planner alone: who should own and read 100,000 partitions of 1,000 members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use brainy_coordination::assignment::{
    AssignmentTable, Member, MemberState, Policy, ReaderState, Role,
};
use brainy_coordination::rebalance::{advance, plan_for};
use brainy_coordination::types::{CollectionUid, InstanceId, NameError, PartitionId};

use super::report::{Report, Row};
use crate::HarnessError;

const WRITERS: usize = 600;
const READERS: usize = 400;
const COLLECTIONS: usize = 100;
const PARTITIONS_EACH: u32 = 1_000;
const READ_REPLICAS: u32 = 2;
const TIMES: usize = 7;
/// Seconds that a plan may take.
const AIM: f64 = 1.0;

/// Plans for the situations in which an operator plans.
pub(super) fn measure(report: &mut Report) -> Result<(), HarnessError> {
    let partitions = partitions().map_err(unnamed)?;
    let empty = AssignmentTable {
        members: members().map_err(unnamed)?,
        policy: Policy {
            read_replicas: READ_REPLICAS,
            ..Policy::default()
        },
        ..AssignmentTable::default()
    };
    let setting = format!(
        "{WRITERS} writers, {READERS} readers, {COLLECTIONS} collections of {PARTITIONS_EACH}, {READ_REPLICAS} readers each, {} virtual nodes",
        empty.ring.virtual_nodes
    );
    report.add(time(&empty, &partitions, "first plan").detail(setting));
    let table = settled(&empty, &partitions);
    report.add(time(&table, &partitions, "nothing changed"));
    let mut grown = table.clone();
    let joined = InstanceId::new(format!("bench-writer-{WRITERS}")).map_err(unnamed)?;
    grown
        .members
        .insert(joined, Member::new(Role::Writer, "10.0.9.9:6333"));
    report.add(time(&grown, &partitions, "a writer joins"));
    for (name, what) in [
        ("bench-writer-0", "a writer drains"),
        ("bench-reader-0", "a reader drains"),
    ] {
        let mut drained = table.clone();
        let name = InstanceId::new(name).map_err(unnamed)?;
        drained
            .members
            .entry(name)
            .and_modify(|m| m.state = MemberState::Draining);
        report.add(time(&drained, &partitions, what));
    }
    let mut shrunk = table.clone();
    let lost = shrunk.members.values_mut();
    for member in lost.filter(|m| m.zone.as_deref() == Some("zone-0")) {
        member.state = MemberState::Gone;
    }
    report.add(time(&shrunk, &partitions, "one of three zones is gone"));
    let steps: Vec<f64> = (0..TIMES)
        .map(|_| {
            let since = Instant::now();
            let next = advance(&grown, &plan_for(&grown, &partitions));
            let took = since.elapsed().as_secs_f64();
            assert_eq!(next.partitions.len(), partitions.len());
            took
        })
        .collect();
    report.add(Row::new(
        "planner",
        "plan and next table, a writer joins",
        "s",
        &steps,
    ));
    Ok(())
}

fn time(table: &AssignmentTable, partitions: &BTreeSet<PartitionId>, what: &str) -> Row {
    let times: Vec<f64> = (0..TIMES)
        .map(|_| {
            let since = Instant::now();
            let plan = plan_for(table, partitions);
            let took = since.elapsed().as_secs_f64();
            // A plan that leaves somebody out is no plan.
            assert_eq!(plan.owners.len(), partitions.len(), "{what}");
            took
        })
        .collect();
    Row::new("planner", what, "s", &times).aim(AIM)
}

/// The table after everything planned has happened.
fn settled(table: &AssignmentTable, partitions: &BTreeSet<PartitionId>) -> AssignmentTable {
    let mut next = advance(table, &plan_for(table, partitions));
    for entry in next.partitions.values_mut() {
        for slot in &mut entry.readers {
            slot.state = ReaderState::Serving;
        }
    }
    next
}

fn partitions() -> Result<BTreeSet<PartitionId>, NameError> {
    let mut all = BTreeSet::new();
    for collection in 0..COLLECTIONS {
        let collection = CollectionUid::new(format!("collection-{collection:03}"))?;
        all.extend((0..PARTITIONS_EACH).map(|index| PartitionId::new(collection.clone(), index)));
    }
    Ok(all)
}

fn members() -> Result<BTreeMap<InstanceId, Member>, NameError> {
    let roles = [
        ("writer", Role::Writer, WRITERS),
        ("reader", Role::Reader, READERS),
    ];
    let mut members = BTreeMap::new();
    for (name, role, count) in roles {
        for n in 0..count {
            let mut member = Member::new(role, format!("10.0.{}.{}:6333", n / 256, n % 256));
            member.zone = Some(format!("zone-{}", n % 3));
            members.insert(InstanceId::new(format!("bench-{name}-{n}"))?, member);
        }
    }
    Ok(members)
}

fn unnamed(error: NameError) -> HarnessError {
    HarnessError::Unexpected {
        request: "a name".to_owned(),
        message: error.to_string(),
    }
}
