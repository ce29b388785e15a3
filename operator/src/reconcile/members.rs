//! Step 4, the table's half: changes of membership as an edit that may be applied any number of times.

use std::collections::BTreeMap;

use brainy_coordination::assignment::{Member, MemberState};
use brainy_coordination::rebalance::Edit;
use brainy_coordination::types::InstanceId;

use super::desired::{Desired, table_role};
use super::plan::MemberChange;

/// Writes the spec's settings and the planned changes into the table.
pub(crate) fn apply(
    edit: Edit<'_>,
    desired: &Desired,
    changes: &BTreeMap<InstanceId, MemberChange>,
) {
    let Edit {
        members,
        ring,
        policy,
    } = edit;
    if desired.paused {
        policy.max_concurrent_moves = 0;
        return;
    }
    *ring = desired.ring;
    *policy = desired.policy;
    for (id, change) in changes {
        match change {
            MemberChange::Active { role, address } => {
                let member = members
                    .entry(id.clone())
                    .or_insert_with(|| Member::new(table_role(*role), address.clone()));
                member.role = table_role(*role);
                member.address.clone_from(address);
                member.state = MemberState::Active;
            }
            MemberChange::Unready => set_state(members, id, MemberState::Unready),
            MemberChange::Draining => set_state(members, id, MemberState::Draining),
            MemberChange::Gone => set_state(members, id, MemberState::Gone),
            MemberChange::Remove => {
                members.remove(id);
            }
        }
    }
}

fn set_state(members: &mut BTreeMap<InstanceId, Member>, id: &InstanceId, state: MemberState) {
    if let Some(member) = members.get_mut(id) {
        member.state = state;
    }
}

#[cfg(test)]
mod tests {
    use brainy_coordination::assignment::{AssignmentTable, Role};
    use brainy_crds::Role as SpecRole;

    use super::*;
    use crate::reconcile::plan::tests::desired;

    fn applied(
        table: &AssignmentTable,
        desired: &Desired,
        change: MemberChange,
    ) -> AssignmentTable {
        let mut next = table.clone();
        let changes = [(InstanceId::new("writer-0").unwrap(), change)].into();
        for _ in 0..2 {
            let AssignmentTable {
                members,
                ring,
                policy,
                ..
            } = &mut next;
            apply(
                Edit {
                    members,
                    ring,
                    policy,
                },
                desired,
                &changes,
            );
        }
        next
    }

    #[test]
    fn each_change_says_what_is_to_be_and_is_then_done() {
        let id = InstanceId::new("writer-0").unwrap();
        let desired = desired(&["writer-0"]);
        let mut table = AssignmentTable::default();
        let active = MemberChange::Active {
            role: SpecRole::Writer,
            address: "127.0.0.1:1".to_owned(),
        };
        for change in [
            active,
            MemberChange::Unready,
            MemberChange::Draining,
            MemberChange::Gone,
            MemberChange::Remove,
        ] {
            assert!(!change.is_done(table.members.get(&id)), "{change:?}");
            table = applied(&table, &desired, change.clone());
            assert!(change.is_done(table.members.get(&id)), "{change:?}");
        }
    }

    #[test]
    fn an_instance_that_comes_back_elsewhere_keeps_its_weight_and_zone() {
        let id = InstanceId::new("writer-0").unwrap();
        let mut table = AssignmentTable::default();
        let mut member = Member::new(Role::Writer, "127.0.0.1:1");
        (member.weight, member.zone) = (2.0, Some("a".to_owned()));
        table.members.insert(id.clone(), member);
        let back = MemberChange::Active {
            role: SpecRole::Writer,
            address: "127.0.0.1:2".to_owned(),
        };
        let table = applied(&table, &desired(&["writer-0"]), back);
        let member = &table.members[&id];
        assert_eq!(
            (member.address.as_str(), member.weight),
            ("127.0.0.1:2", 2.0)
        );
        assert_eq!(member.zone.as_deref(), Some("a"));
    }

    #[test]
    fn while_paused_only_moves_are_held_back() {
        let mut desired = desired(&["writer-0"]);
        desired.paused = true;
        desired.ring.virtual_nodes = 7;
        let before = AssignmentTable::default();
        let after = applied(&before, &desired, MemberChange::Remove);
        assert_eq!(after.policy.max_concurrent_moves, 0);
        assert_eq!((after.ring, after.members), (before.ring, before.members));
    }
}
