//! What differs between two versions of the assignment table, for the event log and for people.

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::events::Event;
use brainy_coordination::types::InstanceId;

/// The state as the table writes it.
pub(crate) fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Unready => "unready",
        MemberState::Draining => "draining",
        MemberState::Gone => "gone",
    }
}

/// The events between `before` and `after`. Handoffs are reported by those who make them.
pub(crate) fn events(before: &AssignmentTable, after: &AssignmentTable) -> Vec<Event> {
    let joined = after
        .members
        .keys()
        .filter(|id| !before.members.contains_key(id));
    let left = before
        .members
        .keys()
        .filter(|id| !after.members.contains_key(id));
    let mut events: Vec<Event> = joined
        .map(|member| Event::MemberJoined {
            member: member.clone(),
        })
        .collect();
    events.extend(left.map(|member| Event::MemberLeft {
        member: member.clone(),
    }));
    if after.epoch != before.epoch {
        events.push(Event::AssignmentChanged { epoch: after.epoch });
    }
    events
}

/// The differences in words, most important first.
pub(crate) fn describe(before: &AssignmentTable, after: &AssignmentTable) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, member) in &after.members {
        match before.members.get(id).map(|m| m.state) {
            None => lines.push(format!("{id} joined at {}", member.address)),
            Some(state) if state != member.state => lines.push(format!(
                "{id} is {}{}",
                state_name(member.state),
                why(member.state)
            )),
            Some(_) => {}
        }
    }
    let left = before
        .members
        .keys()
        .filter(|id| !after.members.contains_key(id));
    lines.extend(left.map(|id| format!("{id} left")));
    lines.extend(moves(before, after));
    lines
}

fn why(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "",
        MemberState::Unready => ", its partitions wait for it",
        MemberState::Draining => ", its partitions are being handed over",
        MemberState::Gone => ", its partitions are being taken over",
    }
}

/// One line for all partitions that took the same way.
fn moves(before: &AssignmentTable, after: &AssignmentTable) -> Vec<String> {
    let mut ways: std::collections::BTreeMap<(Option<&InstanceId>, &InstanceId), usize> =
        Default::default();
    for (partition, entry) in &after.partitions {
        let from = before
            .partitions
            .get(partition)
            .and_then(|e| e.owner.as_ref());
        if let Some(to) = entry.owner.as_ref().filter(|to| Some(*to) != from) {
            *ways.entry((from, to)).or_default() += 1;
        }
    }
    let dropped = before
        .partitions
        .keys()
        .filter(|p| !after.partitions.contains_key(p))
        .count();
    let mut lines: Vec<String> = ways
        .into_iter()
        .map(|((from, to), n)| match from {
            Some(from) => format!("{} moved from {from} to {to}", partitions(n)),
            None => format!("{to} got {}", partitions(n)),
        })
        .collect();
    if dropped > 0 {
        lines.push(format!(
            "{} dropped with their collection",
            partitions(dropped)
        ));
    }
    lines
}

/// `1 partition`, `2 partitions`.
pub(crate) fn partitions(n: usize) -> String {
    if n == 1 {
        "1 partition".to_owned()
    } else {
        format!("{n} partitions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::plan::tests::{id, table};

    #[test]
    fn nothing_differs_from_itself() {
        let table = table(&[("writer-0", MemberState::Active)], &["writer-0"]);
        assert!(events(&table, &table).is_empty());
        assert!(describe(&table, &table).is_empty());
    }

    #[test]
    fn members_and_moves_are_told_once_each() {
        let before = table(
            &[
                ("writer-0", MemberState::Active),
                ("writer-1", MemberState::Gone),
            ],
            &["writer-0", "writer-1"],
        );
        let mut after = table(
            &[
                ("writer-0", MemberState::Draining),
                ("writer-2", MemberState::Active),
            ],
            &["writer-2", "writer-2"],
        );
        after.epoch = 7;
        assert_eq!(
            events(&before, &after),
            [
                Event::MemberJoined {
                    member: id("writer-2")
                },
                Event::MemberLeft {
                    member: id("writer-1")
                },
                Event::AssignmentChanged { epoch: 7 },
            ]
        );
        assert_eq!(
            describe(&before, &after),
            [
                "writer-0 is draining, its partitions are being handed over",
                "writer-2 joined at 127.0.0.1:1",
                "writer-1 left",
                "1 partition moved from writer-0 to writer-2",
                "1 partition moved from writer-1 to writer-2",
            ]
        );
    }
}
