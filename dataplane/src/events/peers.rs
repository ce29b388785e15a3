//! Whom to tell what: pure functions of what is known of the cluster.

use std::collections::BTreeMap;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::events::Event;
use brainy_coordination::types::{InstanceId, PartitionId};

use crate::node::View;

/// The other members that may be running, and where they listen.
pub(crate) fn others(view: &View, me: &InstanceId) -> BTreeMap<InstanceId, String> {
    let Some(table) = &view.table else {
        return BTreeMap::new();
    };
    let others = table.members.iter();
    let others = others.filter(|(id, m)| *id != me && m.state != MemberState::Gone);
    others
        .map(|(id, member)| (id.clone(), member.address.clone()))
        .collect()
}

/// Whether `peer` has a use for `event`. What happens with every write goes only to those who follow that log, as far as is
/// known.
pub(crate) fn wants(view: &View, peer: &InstanceId, event: &Event) -> bool {
    match event {
        Event::LogAdvanced { partition, .. } => follows(view, peer, partition),
        _ => true,
    }
}

fn follows(view: &View, peer: &InstanceId, partition: &PartitionId) -> bool {
    view.assignment(partition).is_none_or(|assignment| {
        assignment.reader(peer).is_some()
            || assignment.owner.as_ref() == Some(peer)
            || assignment.target_owner() == Some(peer)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brainy_coordination::assignment::{
        AssignmentTable, Handoff, HandoffReason, Member, PartitionAssignment, ReaderSlot,
        ReaderState, Role,
    };
    use brainy_coordination::document::Versioned;
    use brainy_coordination::store::ETag;
    use brainy_coordination::types::{LogPosition, Nonce};

    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    fn view(table: AssignmentTable) -> View {
        View {
            table: Some(Arc::new(Versioned {
                version: 1,
                nonce: Nonce(1),
                etag: ETag("1".to_owned()),
                body: table,
            })),
            manifest: None,
        }
    }

    #[test]
    fn every_write_is_told_to_those_who_follow_it_and_the_rest_to_all() {
        let mut table = AssignmentTable::default();
        for (name, state) in [
            ("owner", MemberState::Active),
            ("reader", MemberState::Active),
            ("successor", MemberState::Unready),
            ("other", MemberState::Draining),
            ("dead", MemberState::Gone),
        ] {
            let member = Member {
                state,
                ..Member::new(Role::Hybrid, format!("{name}:1"))
            };
            table.members.insert(id(name), member);
        }
        let partition: PartitionId = "things-0/0".parse().unwrap();
        let assignment = PartitionAssignment {
            owner: Some(id("owner")),
            handoff: Some(Handoff {
                to: id("successor"),
                reason: HandoffReason::Planned,
            }),
            readers: vec![ReaderSlot {
                instance: id("reader"),
                state: ReaderState::Warming,
            }],
        };
        table.partitions.insert(partition.clone(), assignment);
        let view = view(table);
        let names = |peers: &BTreeMap<InstanceId, String>| -> Vec<String> {
            peers.keys().map(ToString::to_string).collect()
        };
        let others = others(&view, &id("owner"));
        assert_eq!(names(&others), ["other", "reader", "successor"]);
        assert_eq!(others[&id("reader")], "reader:1");
        let told = |event: &Event| -> Vec<String> {
            let told = others.keys().filter(|peer| wants(&view, peer, event));
            told.map(ToString::to_string).collect()
        };
        let advanced = |partition: &str| Event::LogAdvanced {
            partition: partition.parse().unwrap(),
            position: LogPosition::new(1, 1),
        };
        assert_eq!(told(&advanced("things-0/0")), ["reader", "successor"]);
        // Not in the table that is known here: somebody may know more.
        assert_eq!(told(&advanced("things-1/0")).len(), 3);
        assert_eq!(told(&Event::AssignmentChanged { epoch: 1 }).len(), 3);
    }
}
