//! What an event is about: of two events about the same thing the one that says more is enough.

use brainy_coordination::events::Event;
use brainy_coordination::types::PartitionId;

/// Something whose newest state is all that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// How far a partition's log is acknowledged.
    Log(PartitionId),
    /// The assignment table.
    Assignments,
    /// The shared configuration.
    Configuration,
}

/// What `event` is about and how much it says of it; `None` for events of which each counts.
pub(super) fn of(event: &Event) -> Option<(Subject, (u64, u64))> {
    match event {
        Event::LogAdvanced {
            partition,
            position,
        } => Some((
            Subject::Log(partition.clone()),
            (position.epoch, position.seq),
        )),
        Event::AssignmentChanged { epoch } => Some((Subject::Assignments, (*epoch, 0))),
        Event::ConfigurationUpdated { version } => Some((Subject::Configuration, (*version, 0))),
        _ => None,
    }
}
