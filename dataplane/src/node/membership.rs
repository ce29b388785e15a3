//! A node's place in the cluster, as `/health` tells it.

use std::collections::BTreeSet;

use brainy_coordination::assignment::{AssignmentTable, MemberState, Role};
use brainy_coordination::types::{InstanceId, PartitionId};
use serde::{Deserialize, Serialize};

/// What the table says of a member, and who else could have what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Its state.
    pub state: MemberState,
    /// Partitions that it owns, those that it still releases included.
    pub owned: usize,
    /// Partitions that it is a reader of besides their owner.
    pub read: usize,
    /// Other active members that may own partitions.
    pub other_owners: usize,
    /// Other active members that may be readers.
    pub other_readers: usize,
}

impl Membership {
    /// What `table` says of `me`, which `holds` these as their owner; `None` if it is no member.
    #[must_use]
    pub(crate) fn of(
        table: &AssignmentTable,
        me: &InstanceId,
        holds: &BTreeSet<PartitionId>,
    ) -> Option<Self> {
        let state = table.members.get(me)?.state;
        let owned: BTreeSet<&PartitionId> = table.owned_by(me).chain(holds).collect();
        let able = |what: fn(Role) -> bool| {
            let others = table.members.iter().filter(|(id, _)| *id != me);
            let able = others.filter(|(_, m)| m.state == MemberState::Active && what(m.role));
            able.count()
        };
        Some(Self {
            state,
            owned: owned.len(),
            read: table.read_by(me).count(),
            other_owners: able(Role::can_own),
            other_readers: able(Role::can_read),
        })
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::assignment::{Member, PartitionAssignment, ReaderSlot, ReaderState};

    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    #[test]
    fn what_a_member_has_and_who_could_take_it() {
        let partition = |n: u32| -> PartitionId { format!("things-0/{n}").parse().unwrap() };
        let mut table = AssignmentTable::default();
        for (name, role, state) in [
            ("hybrid-0", Role::Hybrid, MemberState::Draining),
            ("hybrid-1", Role::Hybrid, MemberState::Active),
            ("reader-0", Role::Reader, MemberState::Active),
            ("writer-0", Role::Writer, MemberState::Active),
            ("writer-1", Role::Writer, MemberState::Unready),
        ] {
            let member = Member {
                state,
                ..Member::new(role, "a:1")
            };
            table.members.insert(id(name), member);
        }
        let readers = vec![ReaderSlot {
            instance: id("hybrid-0"),
            state: ReaderState::Retiring,
        }];
        for (n, owner) in [(0, "hybrid-0"), (1, "hybrid-1"), (2, "hybrid-1")] {
            let assignment = PartitionAssignment {
                owner: Some(id(owner)),
                readers: readers.clone(),
                ..PartitionAssignment::default()
            };
            table.partitions.insert(partition(n), assignment);
        }
        // The table gave partition 2 away already, and it is not released yet.
        let holds = BTreeSet::from([partition(0), partition(2)]);
        assert_eq!(
            Membership::of(&table, &id("hybrid-0"), &holds),
            Some(Membership {
                state: MemberState::Draining,
                owned: 2,
                read: 3,
                other_owners: 2,
                other_readers: 2,
            })
        );
        assert_eq!(Membership::of(&table, &id("stranger"), &holds), None);
    }
}
