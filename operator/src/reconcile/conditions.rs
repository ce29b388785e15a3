//! Step 5: the conditions, from what is wanted, seen and stored. One pure function; reasons are those of the API.

use std::collections::BTreeMap;

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::rebalance::{RebalanceStatus, held_by, status};
use brainy_coordination::types::InstanceId;
use brainy_crds::{ConditionStatus, ConditionType, Finding, Reason};

use super::changes::partitions;
use super::desired::Desired;
use super::plan::{Observation, Run, is_outdated};

/// Failures in a row at which an instance counts as failing.
pub(crate) const FAILING_AFTER: u32 = 3;

/// What is known of the bucket. Messages say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// It answers and honours conditional writes.
    Verified,
    /// Nobody has looked at it yet.
    NotChecked,
    /// The spec names none.
    NotConfigured,
    /// The credentials that the spec names are not there.
    NoCredentials(String),
    /// Another cluster keeps its data in the same place.
    InUse(String),
    /// It ignores the conditions of writes.
    Unfit(String),
    /// It does not answer.
    Unreachable(String),
    /// The server says that it does not exist.
    NoBucket(String),
    /// It answers and refuses.
    Refused(String),
}

impl Storage {
    /// What is said of it.
    pub(crate) fn message(&self) -> String {
        storage_ready(self).message
    }
}

/// Everything that the conditions depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// What the spec asks for.
    pub(crate) desired: &'a Desired,
    /// What runs.
    pub(crate) observed: &'a BTreeMap<InstanceId, Observation>,
    /// What the bucket says; `None` until it was read.
    pub(crate) table: Option<&'a AssignmentTable>,
    /// The bucket itself.
    pub(crate) storage: &'a Storage,
    /// Why the newest spec is not the one that is followed.
    pub(crate) invalid_spec: Option<&'a str>,
    /// Partitions that wait for a person, and why.
    pub(crate) damaged: &'a [String],
}

/// All six conditions, in the order of [`ConditionType::ALL`].
pub(crate) fn conditions(facts: &Facts<'_>) -> [Finding; 6] {
    let moves = facts.table.map(status);
    [
        ready(facts, moves.as_ref()),
        progressing(facts),
        degraded(facts),
        storage_ready(facts.storage),
        ring_balanced(facts, moves.as_ref()),
        paused(facts.desired),
    ]
}

fn finding(
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: impl Into<String>,
) -> Finding {
    Finding {
        type_,
        status,
        reason,
        message: message.into(),
    }
}

fn ready(facts: &Facts<'_>, moves: Option<&RebalanceStatus>) -> Finding {
    let no = |reason, message: String| {
        finding(
            ConditionType::Ready,
            ConditionStatus::False,
            reason,
            message,
        )
    };
    if facts.desired.stopped && !facts.observed.values().any(Observation::has_process) {
        return no(
            Reason::Stopped,
            "spec.stopped is true; the data is in the bucket".to_owned(),
        );
    }
    let storage = storage_ready(facts.storage);
    if storage.status != ConditionStatus::True {
        return no(Reason::StorageUnavailable, storage.message);
    }
    let waiting: Vec<String> = facts
        .desired
        .instances
        .keys()
        .filter_map(|id| lacks(facts, id))
        .collect();
    if facts.desired.stopped || !waiting.is_empty() {
        return no(
            Reason::InstancesNotReady,
            shortened(&waiting, "instances are stopping"),
        );
    }
    match moves {
        None => no(
            Reason::PartitionsUnassigned,
            "the assignments have not been read yet".to_owned(),
        ),
        Some(moves) if moves.unassigned > 0 => no(
            Reason::PartitionsUnassigned,
            format!("{} without an owner", partitions(moves.unassigned)),
        ),
        Some(moves) => finding(
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::AllPartitionsServed,
            format!(
                "{} instances serve {}",
                facts.desired.instances.len(),
                partitions(moves.partitions)
            ),
        ),
    }
}

/// What keeps a desired instance from serving; `None` if nothing does.
fn lacks(facts: &Facts<'_>, id: &InstanceId) -> Option<String> {
    let why = match facts.observed.get(id) {
        None => "has not started",
        Some(seen) if !seen.has_process() => "does not run",
        Some(seen) if !seen.live => "does not answer yet",
        Some(seen) if !seen.ready => {
            return Some(format!("{id}: {}", or(&seen.detail, "not ready")));
        }
        Some(_) => {
            let member = facts.table.and_then(|t| t.members.get(id));
            if member.is_some_and(|m| m.state == MemberState::Active) {
                return None;
            }
            "is not a member yet"
        }
    };
    Some(format!("{id} {why}"))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// At most three of `reasons`.
fn shortened(reasons: &[String], none: &str) -> String {
    match reasons {
        [] => none.to_owned(),
        [a] => a.clone(),
        [a, b] => format!("{a}; {b}"),
        [a, b, c] => format!("{a}; {b}; {c}"),
        [a, b, rest @ ..] => format!("{a}; {b}; and {} more", rest.len()),
    }
}

fn progressing(facts: &Facts<'_>) -> Finding {
    let is = |status, reason, message: String| {
        finding(ConditionType::Progressing, status, reason, message)
    };
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    let Facts {
        desired,
        observed,
        table,
        ..
    } = facts;
    if desired.paused {
        return is(
            no,
            Reason::UpToDate,
            "spec.paused is true; nothing is changed".to_owned(),
        );
    }
    let running: Vec<&InstanceId> = observed
        .iter()
        .filter(|(_, seen)| seen.has_process())
        .map(|(id, _)| id)
        .collect();
    if desired.stopped {
        return match running.len() {
            0 => is(no, Reason::UpToDate, "stopped".to_owned()),
            n => is(
                yes,
                Reason::Stopping,
                format!("{n} instances flush and end"),
            ),
        };
    }
    let members = || table.iter().flat_map(|t| t.members.keys());
    let leaving: Vec<&InstanceId> = running
        .into_iter()
        .chain(members())
        .filter(|id| !desired.instances.contains_key(*id))
        .collect();
    if let Some(blocked) = blocked_scale_down(facts) {
        return is(no, Reason::ScaleDownBlocked, blocked);
    }
    if !leaving.is_empty() {
        let mut words: Vec<String> = leaving.iter().map(|id| drain_progress(facts, id)).collect();
        words.sort();
        words.dedup();
        return is(yes, Reason::ScalingDown, shortened(&words, ""));
    }
    let missing: Vec<String> = desired
        .instances
        .keys()
        .filter(|id| !members().any(|member| member == *id))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let reason = if members().next().is_none() {
            Reason::Provisioning
        } else {
            Reason::ScalingUp
        };
        return is(yes, reason, format!("starting {}", missing.join(", ")));
    }
    let outdated: Vec<String> = desired
        .instances
        .iter()
        .filter(|(id, spec)| {
            observed
                .get(*id)
                .is_some_and(|seen| is_outdated(spec, seen))
        })
        .map(|(id, _)| id.to_string())
        .collect();
    if !outdated.is_empty() && desired.max_unavailable.is_some() {
        return is(
            yes,
            Reason::RollingUpdate,
            format!("new settings for {}", outdated.join(", ")),
        );
    }
    is(
        no,
        Reason::UpToDate,
        "the cluster is what the spec asks for".to_owned(),
    )
}

fn drain_progress(facts: &Facts<'_>, id: &InstanceId) -> String {
    let held = facts.table.map(|t| held_by(t, id)).unwrap_or_default();
    match held.owned + held.incoming + held.read {
        0 => format!("{id} is drained and ends"),
        _ => format!("{id} still owns {} and reads {}", held.owned, held.read),
    }
}

/// Why instances that leave cannot hand over what they own.
fn blocked_scale_down(facts: &Facts<'_>) -> Option<String> {
    let table = facts.table?;
    if table
        .members
        .values()
        .any(|m| m.role.can_own() && m.state == MemberState::Active)
    {
        return None;
    }
    let stuck = table
        .members
        .iter()
        .filter(|(id, m)| m.state == MemberState::Draining && table.owned_by(id).next().is_some())
        .map(|(id, _)| id.to_string());
    let stuck: Vec<String> = stuck.collect();
    (!stuck.is_empty()).then(|| {
        format!(
            "{} cannot hand over: no other writer or hybrid is active. Wait for one, or set the replicas back",
            stuck.join(", ")
        )
    })
}

fn degraded(facts: &Facts<'_>) -> Finding {
    let yes = |reason, message: String| {
        finding(
            ConditionType::Degraded,
            ConditionStatus::True,
            reason,
            message,
        )
    };
    if let Some(error) = facts.invalid_spec {
        return yes(
            Reason::InvalidSpec,
            format!("the last good spec is followed: {error}"),
        );
    }
    if !facts.damaged.is_empty() {
        return yes(Reason::CorruptObject, shortened(facts.damaged, ""));
    }
    let failing = facts
        .observed
        .iter()
        .filter(|(_, seen)| seen.failures >= FAILING_AFTER);
    let failing: Vec<String> = failing
        .map(|(id, seen)| format!("{id} fails again and again: {}", seen.detail))
        .collect();
    if !failing.is_empty() {
        return yes(Reason::InstanceFailing, shortened(&failing, ""));
    }
    let limit = facts.desired.drain_timeout;
    let stuck = facts
        .observed
        .iter()
        .filter(|(_, seen)| seen.draining_for.is_some_and(|d| d > limit));
    let stuck: Vec<String> = stuck.map(|(id, _)| drain_progress(facts, id)).collect();
    if !stuck.is_empty() {
        return yes(
            Reason::DrainStuck,
            format!("not drained within {limit:?}: {}", shortened(&stuck, "")),
        );
    }
    finding(
        ConditionType::Degraded,
        ConditionStatus::False,
        Reason::AsExpected,
        "",
    )
}

fn storage_ready(storage: &Storage) -> Finding {
    let is = |status, reason, message: &str| {
        finding(ConditionType::StorageReady, status, reason, message)
    };
    let no = |reason, message: &str| is(ConditionStatus::False, reason, message);
    let unknown = |reason, message: &str| is(ConditionStatus::Unknown, reason, message);
    match storage {
        Storage::Verified => is(
            ConditionStatus::True,
            Reason::BucketVerified,
            "conditional writes are honoured",
        ),
        Storage::NotChecked => unknown(Reason::NotChecked, "the bucket is being looked at"),
        Storage::NotConfigured => no(
            Reason::BucketNotConfigured,
            "spec.storage.bucket is absent: name an existing bucket; no pods are started before",
        ),
        Storage::NoCredentials(message) => no(Reason::CredentialsNotFound, message),
        Storage::InUse(message) => no(Reason::PrefixInUse, message),
        Storage::Unfit(message) => no(Reason::ConditionalWritesUnsupported, message),
        Storage::Unreachable(message) => unknown(Reason::EndpointUnreachable, message),
        Storage::NoBucket(message) => no(Reason::BucketNotFound, message),
        Storage::Refused(message) => no(Reason::AccessDenied, message),
    }
}

fn ring_balanced(facts: &Facts<'_>, moves: Option<&RebalanceStatus>) -> Finding {
    let is = |status, reason, message: String| {
        finding(ConditionType::RingBalanced, status, reason, message)
    };
    let no = |reason, message| is(ConditionStatus::False, reason, message);
    let (Some(table), Some(moves)) = (facts.table, moves) else {
        let message = "the assignments have not been read".to_owned();
        return is(
            ConditionStatus::Unknown,
            Reason::AssignmentsUnreadable,
            message,
        );
    };
    if !table
        .members
        .values()
        .any(|m| m.role.can_own() && m.state.keeps())
    {
        return no(
            Reason::NoMembers,
            "no writer or hybrid is a member".to_owned(),
        );
    }
    let away: Vec<String> = table
        .members
        .iter()
        .filter(|(_, m)| m.state == MemberState::Unready)
        .map(|(id, _)| id.to_string())
        .collect();
    if !away.is_empty() {
        return no(
            Reason::WaitingForInstances,
            format!("the partitions of {} wait for it", away.join(", ")),
        );
    }
    let RebalanceStatus {
        partitions: _,
        moving,
        waiting,
        unassigned,
        warming,
        max_over_mean,
    } = moves;
    if !moves.is_settled() {
        let message = format!(
            "{moving} moving, {waiting} to move, {warming} readers warming, {unassigned} without owner"
        );
        return no(Reason::Moving, message);
    }
    is(
        ConditionStatus::True,
        Reason::Balanced,
        format!("fullest owner over mean {max_over_mean:.2}"),
    )
}

fn paused(desired: &Desired) -> Finding {
    let (status, reason, message) = if desired.paused {
        (
            ConditionStatus::True,
            Reason::PausedBySpec,
            "spec.paused is true",
        )
    } else {
        (ConditionStatus::False, Reason::NotPaused, "")
    };
    finding(ConditionType::Paused, status, reason, message)
}

/// Whether a process of an instance is on its way out.
pub(crate) fn is_stopping(seen: &Observation) -> bool {
    matches!(seen.run, Run::Stopping { .. })
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
