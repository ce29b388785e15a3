//! Step 3: what to start and stop, and how the members of the table change.
//!
//! | the spec | the process | the table | then |
//! |---|---|---|---|
//! | wants it | none | any | start it, after a pause if it failed before |
//! | wants it | answers | not active | active |
//! | wants it | ended, or silent for [`UNREADY_AFTER`] | active | unready: its partitions wait for it |
//! | wants it | away for `unreadyGracePeriod` | unready | gone: its partitions are taken over |
//! | wants it | is stopped by somebody else | active | draining, while it answers and another can take over |
//! | wants it | told other settings | any | restarted, drained first ([`restart`](super::restart)); then row 1 |
//! | does not | runs | not draining | draining: its partitions are handed over |
//! | does not | runs | draining, holds nothing | stop it |
//! | does not | none, or silent for `unreadyGracePeriod` | holds something | gone |
//! | does not | none | holds nothing | remove it |
//! | stopped | runs | any | stop it; it flushes and releases, and keeps its place in the table |
//!
//! A row is read afresh each time, so raising the replicas again while an instance drains makes it active again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, Member, MemberState};
use brainy_coordination::rebalance::member_is_empty;
use brainy_coordination::types::InstanceId;
use brainy_crds::Role;

use super::desired::{Desired, InstanceSpec, table_role};
use super::restart::{Restart, can_hand_over, restarts};

/// A process that runs and does not answer for this long makes its member unready; an answer that is late once does not.
pub(crate) const UNREADY_AFTER: Duration = Duration::from_secs(5);
/// A process that answered before and has been silent for this long is killed and started again.
pub(crate) const HUNG_AFTER: Duration = Duration::from_secs(30);
/// A process that has never answered within this long is killed and started again.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A process that was asked to stop is killed after this long.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether an instance has a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Not yet, as far as this operator has seen.
    Absent,
    /// It ended, by itself or because it was asked to.
    Ended,
    /// For this long.
    Running(Duration),
    /// Asked to stop, this long ago.
    Stopping {
        /// How long ago.
        since: Duration,
        /// Whether it was killed, too.
        killed: bool,
    },
}

/// What is seen of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    /// Its process.
    pub(crate) run: Run,
    /// Whether the process answers.
    pub(crate) live: bool,
    /// Whether it serves all that is assigned to it.
    pub(crate) ready: bool,
    /// What it lacks, or why it ended, in words.
    pub(crate) detail: String,
    /// How long it has not answered; `None` while it does.
    pub(crate) down_for: Option<Duration>,
    /// Whether this process has answered before.
    pub(crate) answered: bool,
    /// How long it has been draining.
    pub(crate) draining_for: Option<Duration>,
    /// What its process was told at the start.
    pub(crate) revision: Option<String>,
    /// Where it listens.
    pub(crate) address: Option<String>,
    /// Whether the pause after a failure is over.
    pub(crate) may_start: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Starts after the first.
    pub(crate) restarts: u32,
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            run: Run::Absent,
            live: false,
            ready: false,
            detail: String::new(),
            down_for: Some(Duration::ZERO),
            answered: false,
            draining_for: None,
            revision: None,
            address: None,
            may_start: true,
            failures: 0,
            restarts: 0,
        }
    }
}

impl Observation {
    /// Whether it is to be asked anything.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.run, Run::Running(_)) && self.live && self.ready
    }

    pub(crate) fn has_process(&self) -> bool {
        matches!(self.run, Run::Running(_) | Run::Stopping { .. })
    }
}

/// Why a process is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The spec does not want it any more and it holds nothing.
    Drained,
    /// The spec does not want it any more and lets it go with what it holds.
    UnsafeScaleDown,
    /// The whole cluster stops.
    ClusterStopped,
    /// It is started again with new settings.
    NewSettings,
}

/// Why a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// It was asked to stop and did not.
    DoesNotStop,
    /// It does not answer.
    DoesNotAnswer,
}

/// What to do with a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProcessAction {
    /// Start it.
    Start(InstanceId),
    /// Ask it to stop: it flushes, releases and ends.
    Stop(InstanceId, StopReason),
    /// End it at once.
    Kill(InstanceId, KillReason),
}

/// What to do with a member of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// Takes part, at this address.
    Active {
        /// What it does.
        role: Role,
        /// Where it listens.
        address: String,
    },
    /// Is away for a short time.
    Unready,
    /// Gives everything away.
    Draining,
    /// Will not be back soon.
    Gone,
    /// Is no member any more.
    Remove,
}

impl MemberChange {
    /// Whether the table says so already.
    pub(crate) fn is_done(&self, member: Option<&Member>) -> bool {
        let state = |wanted| member.is_some_and(|m| m.state == wanted);
        match self {
            Self::Active { role, address } => {
                state(MemberState::Active)
                    && member.is_some_and(|m| m.role == table_role(*role) && m.address == *address)
            }
            Self::Unready => state(MemberState::Unready),
            Self::Draining => state(MemberState::Draining),
            Self::Gone => state(MemberState::Gone),
            Self::Remove => member.is_none(),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// With processes.
    pub(crate) processes: Vec<ProcessAction>,
    /// With members; only what the table does not say yet.
    pub(crate) members: BTreeMap<InstanceId, MemberChange>,
}

/// Decides. Without a table, which is so while the bucket does not answer, processes are started and nothing else.
pub(crate) fn plan(
    desired: &Desired,
    observed: &BTreeMap<InstanceId, Observation>,
    table: Option<&AssignmentTable>,
) -> Plan {
    let unseen = Observation::default();
    let members = table.into_iter().flat_map(|t| t.members.keys());
    let all: BTreeSet<&InstanceId> = desired
        .instances
        .keys()
        .chain(observed.keys())
        .chain(members)
        .collect();
    let mut plan = Plan::default();
    let restarts = restarts(desired, observed, table);
    for id in all {
        let seen = observed.get(id).unwrap_or(&unseen);
        let restart = restarts.get(id).copied();
        let process = match desired.instances.get(id) {
            Some(_) if restart == Some(Restart::Stop) => {
                Some(ProcessAction::Stop(id.clone(), StopReason::NewSettings))
            }
            Some(_) => wanted_process(desired, id, seen, table),
            None => unwanted_process(desired, id, seen, table),
        };
        plan.processes.extend(process);
        let Some(table) = table.filter(|_| !desired.paused) else {
            continue;
        };
        let change = match desired.instances.get(id) {
            Some(_) if leaves_for_a_while(id, seen, restart, observed, table) => {
                table.members.get(id).map(|_| MemberChange::Draining)
            }
            // Its place is kept as it is until the process has ended.
            Some(_) if restart == Some(Restart::Stop) => None,
            Some(spec) => wanted_member(desired, spec, seen, table.members.get(id)),
            None => unwanted_member(desired, id, seen, table),
        };
        if let Some(change) = change.filter(|change| !change.is_done(table.members.get(id))) {
            plan.members.insert(id.clone(), change);
        }
    }
    plan
}

/// Whether an instance that the spec wants hands over what it holds, because it is about to be away.
fn leaves_for_a_while(
    id: &InstanceId,
    seen: &Observation,
    restart: Option<Restart>,
    observed: &BTreeMap<InstanceId, Observation>,
    table: &AssignmentTable,
) -> bool {
    // A pod that is evicted or deleted by hand is not the planner's doing; it lives on until it holds nothing.
    let stopped_by_others = matches!(seen.run, Run::Stopping { killed: false, .. }) && seen.live;
    restart == Some(Restart::Drain) || (stopped_by_others && can_hand_over(id, observed, table))
}

fn wanted_process(
    desired: &Desired,
    id: &InstanceId,
    seen: &Observation,
    table: Option<&AssignmentTable>,
) -> Option<ProcessAction> {
    match seen.run {
        Run::Absent | Run::Ended => {
            // While paused, only what there was before is kept running.
            let there = !desired.paused || table.is_some_and(|t| t.members.contains_key(id));
            (seen.may_start && there).then(|| ProcessAction::Start(id.clone()))
        }
        Run::Running(since) => kill_if_hung(id, seen, since),
        Run::Stopping { since, killed } => kill_if_slow(id, since, killed),
    }
}

fn unwanted_process(
    desired: &Desired,
    id: &InstanceId,
    seen: &Observation,
    table: Option<&AssignmentTable>,
) -> Option<ProcessAction> {
    let since = match seen.run {
        Run::Absent | Run::Ended => return None,
        Run::Stopping { since, killed } => return kill_if_slow(id, since, killed),
        Run::Running(since) => since,
    };
    if desired.paused {
        return None;
    }
    let stop = |reason| Some(ProcessAction::Stop(id.clone(), reason));
    if desired.stopped {
        return stop(StopReason::ClusterStopped);
    }
    let table = table?;
    let leaves = table
        .members
        .get(id)
        .is_none_or(|m| matches!(m.state, MemberState::Draining | MemberState::Gone));
    if leaves && member_is_empty(table, id) {
        return stop(StopReason::Drained);
    }
    if desired.unsafe_scale_down {
        return stop(StopReason::UnsafeScaleDown);
    }
    kill_if_hung(id, seen, since)
}

fn kill_if_hung(id: &InstanceId, seen: &Observation, running: Duration) -> Option<ProcessAction> {
    let limit = if seen.answered {
        HUNG_AFTER
    } else {
        START_TIMEOUT
    };
    let silent = seen
        .down_for
        .map_or(Duration::ZERO, |down| down.min(running));
    (silent >= limit).then(|| ProcessAction::Kill(id.clone(), KillReason::DoesNotAnswer))
}

fn kill_if_slow(id: &InstanceId, since: Duration, killed: bool) -> Option<ProcessAction> {
    (since >= STOP_TIMEOUT && !killed)
        .then(|| ProcessAction::Kill(id.clone(), KillReason::DoesNotStop))
}

fn wanted_member(
    desired: &Desired,
    spec: &InstanceSpec,
    seen: &Observation,
    member: Option<&Member>,
) -> Option<MemberChange> {
    if seen.live && matches!(seen.run, Run::Running(_)) {
        let address = seen.address.clone()?;
        return Some(MemberChange::Active {
            role: spec.role,
            address,
        });
    }
    // It joins when it answers.
    let member = member?;
    if seen.live || member.state == MemberState::Gone {
        return None;
    }
    let down = seen.down_for.unwrap_or_default();
    if down >= desired.unready_grace {
        return Some(MemberChange::Gone);
    }
    (seen.run == Run::Ended || down >= UNREADY_AFTER).then_some(MemberChange::Unready)
}

fn unwanted_member(
    desired: &Desired,
    id: &InstanceId,
    seen: &Observation,
    table: &AssignmentTable,
) -> Option<MemberChange> {
    let member = table.members.get(id)?;
    let away = matches!(seen.run, Run::Absent | Run::Ended);
    if desired.stopped {
        return (away && member.state != MemberState::Gone).then_some(MemberChange::Unready);
    }
    // One that does not answer hands nothing over: draining it would leave its partitions with nobody.
    let lost = !seen.live && seen.down_for.unwrap_or_default() >= desired.unready_grace;
    match (away, member_is_empty(table, id)) {
        (true, true) => Some(MemberChange::Remove),
        (true, false) => Some(MemberChange::Gone),
        (false, _) if lost => Some(MemberChange::Gone),
        (false, _) if !seen.live && member.state == MemberState::Gone => None,
        (false, _) => Some(MemberChange::Draining),
    }
}

/// Whether a process runs with other settings than the spec has now.
pub(crate) fn is_outdated(spec: &InstanceSpec, seen: &Observation) -> bool {
    matches!(seen.run, Run::Running(_))
        && seen
            .revision
            .as_ref()
            .is_some_and(|revision| *revision != spec.revision)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
