//! Steps from the assignment table there is to the one the planner wants.
//!
//! [`advance`] is pure: table and plan in, next table out. [`step`] is its edge: read the manifest and the table, apply changes of
//! membership, plan, advance, and write the table if it changed. Whoever sees a reason runs a step: the operator, local
//! mode, a node that created a collection, an administrator's request. Two at once are harmless, one loses the race for
//! the write and looks again.
//!
//! # Owners
//! - A partition that has no owner gets the planned one at once; whoever held its lease before is found by the lease.
//! - While its owner lives, a partition moves by a *planned* handoff: the owner stays until the successor has taken over. At
//!   most `max_concurrent_moves` of these are under way; partitions of draining members go first.
//! - If its owner is gone, the handoff says so and needs no turn.
//! - A handoff follows the plan: it is redirected when its target is not the planned one any more, and withdrawn when the
//!   owner is to keep the partition. Withdrawing is safe at any moment: the lease decides who writes.
//! - While nobody can own a partition it stays with whom it has, also with one that is gone, and counts as unassigned.
//!
//! # Readers
//! New readers start as warming. Old ones serve on, as retiring, until every planned reader serves; then they go. A reader
//! that is gone is dropped at once. Without any planned reader there is nothing to wait for: the owner answers reads.
//!
//! # Invariants
//! - At most `max_concurrent_moves` planned handoffs (or as many as there were when the limit was lowered).
//! - `advance` of its own result with the same plan changes nothing until somebody reports progress.
//! - A partition with a live reader that serves keeps one as long as any reader is planned for it.
//! - Repeated steps and reports of progress end at the plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::assignment::{
    AssignmentTable, Handoff, HandoffReason, Member, MemberState, PartitionAssignment, Policy,
    ReaderSlot, ReaderState, RingParams,
};
use crate::document::{self, DocumentError, Update, Versioned};
use crate::keys;
use crate::manifest::ClusterManifest;
use crate::planner::{self, Plan, PlanOptions};
use crate::self_coordination::mandate::{Deposed, Mandate, PlannerLease};
use crate::store::retry::Store;
use crate::types::{InstanceId, PartitionId};

/// The plan for a table's members and `partitions`.
#[must_use]
pub fn plan_for(table: &AssignmentTable, partitions: &BTreeSet<PartitionId>) -> Plan {
    planner::plan(
        &table.partitions,
        &table.members,
        partitions,
        PlanOptions {
            read_replicas: table.policy.read_replicas,
            virtual_nodes: table.ring.virtual_nodes,
        },
    )
}

/// The next table on the way to `plan`; its epoch is one higher if a target changed. Partitions that the plan does not
/// know are dropped.
#[must_use]
pub fn advance(table: &AssignmentTable, plan: &Plan) -> AssignmentTable {
    let mut next = table.clone();
    next.partitions = plan
        .readers
        .iter()
        .map(|(partition, readers)| {
            let mut entry = table.partitions.get(partition).cloned().unwrap_or_default();
            settle_owner(&mut entry, plan.owners.get(partition), &table.members);
            settle_readers(&mut entry, readers, &table.members);
            (partition.clone(), entry)
        })
        .collect();
    announce_moves(&mut next, plan);
    if targets_differ(table, &next) {
        next.epoch += 1;
    }
    next
}

/// Whether the process of `instance` may still serve. One that is not a member any more counts as gone.
fn lives(members: &BTreeMap<InstanceId, Member>, instance: &InstanceId) -> bool {
    members
        .get(instance)
        .is_some_and(|m| m.state != MemberState::Gone)
}

/// Everything about the owner that needs no turn among the planned moves.
fn settle_owner(
    entry: &mut PartitionAssignment,
    planned: Option<&InstanceId>,
    members: &BTreeMap<InstanceId, Member>,
) {
    let (Some(owner), Some(planned)) = (&entry.owner, planned) else {
        if let Some(planned) = planned {
            entry.owner = Some(planned.clone());
        }
        entry.handoff = None;
        return;
    };
    if owner == planned {
        entry.handoff = None;
        return;
    }
    if !lives(members, owner) {
        entry.handoff = Some(Handoff {
            to: planned.clone(),
            reason: HandoffReason::OwnerGone,
        });
        return;
    }
    // A live owner: a planned move goes on, to another target if need be. One that was announced because the owner was gone
    // had no turn, so unless its target is still right it waits for one.
    if let Some(handoff) = entry.handoff.as_mut().filter(|h| h.to != *planned) {
        match handoff.reason {
            HandoffReason::Planned => handoff.to = planned.clone(),
            HandoffReason::OwnerGone => entry.handoff = None,
        }
    }
}

/// Announces planned moves up to the limit, those of draining owners first.
fn announce_moves(table: &mut AssignmentTable, plan: &Plan) {
    let under_way = count_planned(table);
    let free = (table.policy.max_concurrent_moves as usize).saturating_sub(under_way);
    if free == 0 {
        return;
    }
    let members = &table.members;
    let mut waiting: Vec<(bool, &mut PartitionAssignment, &InstanceId)> = table
        .partitions
        .iter_mut()
        .filter_map(|(partition, entry)| {
            let planned = plan.owners.get(partition)?;
            let owner = entry.owner.as_ref()?;
            if entry.handoff.is_some() || owner == planned {
                return None;
            }
            let draining = members
                .get(owner)
                .is_some_and(|m| m.state == MemberState::Draining);
            Some((!draining, entry, planned))
        })
        .collect();
    waiting.sort_by_key(|(last, _, _)| *last);
    for (_, entry, planned) in waiting.into_iter().take(free) {
        entry.handoff = Some(Handoff {
            to: planned.clone(),
            reason: HandoffReason::Planned,
        });
    }
}

fn settle_readers(
    entry: &mut PartitionAssignment,
    planned: &[InstanceId],
    members: &BTreeMap<InstanceId, Member>,
) {
    entry.readers.retain(|slot| {
        let able = members
            .get(&slot.instance)
            .is_some_and(|m| m.role.can_read());
        able && lives(members, &slot.instance)
    });
    for slot in &mut entry.readers {
        let wanted = planned.contains(&slot.instance);
        slot.state = match (slot.state, wanted) {
            (ReaderState::Retiring, true) => ReaderState::Serving,
            (ReaderState::Serving, false) => ReaderState::Retiring,
            (state, _) => state,
        };
    }
    // Warming for nothing.
    entry
        .readers
        .retain(|slot| slot.state != ReaderState::Warming || planned.contains(&slot.instance));
    for instance in planned {
        if entry.reader(instance).is_none() {
            entry.readers.push(ReaderSlot {
                instance: instance.clone(),
                state: ReaderState::Warming,
            });
        }
    }
    if entry.readers.iter().all(|slot| slot.state.serves()) {
        entry
            .readers
            .retain(|slot| slot.state == ReaderState::Serving);
    }
    entry.readers.sort_by(|a, b| a.instance.cmp(&b.instance));
}

fn count_planned(table: &AssignmentTable) -> usize {
    let handoffs = table.partitions.values().filter_map(|p| p.handoff.as_ref());
    handoffs
        .filter(|h| h.reason == HandoffReason::Planned)
        .count()
}

/// Whether members, settings or the target of any partition differ: what the epoch counts.
fn targets_differ(a: &AssignmentTable, b: &AssignmentTable) -> bool {
    fn wanted(entry: &PartitionAssignment) -> impl Iterator<Item = &InstanceId> {
        let stays = |slot: &&ReaderSlot| slot.state != ReaderState::Retiring;
        entry
            .readers
            .iter()
            .filter(stays)
            .map(|slot| &slot.instance)
    }
    a.members != b.members
        || a.ring != b.ring
        || a.policy != b.policy
        || a.partitions.len() != b.partitions.len()
        || a.partitions.iter().zip(&b.partitions).any(|(a, b)| {
            a.0 != b.0 || a.1.target_owner() != b.1.target_owner() || !wanted(a.1).eq(wanted(b.1))
        })
}

/// How far the table is from rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RebalanceStatus {
    /// Partitions in the table.
    pub partitions: usize,
    /// Handoffs under way, of both kinds.
    pub moving: usize,
    /// Further moves that balance needs and that wait for their turn.
    pub waiting: usize,
    /// Partitions without an owner that may come back, and without a successor.
    pub unassigned: usize,
    /// Readers that are not warm yet.
    pub warming: usize,
    /// Most loaded member against the mean, by weight, with the owners of now: 1 is perfect.
    pub max_over_mean: f64,
}

impl RebalanceStatus {
    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let left = [self.moving, self.waiting, self.unassigned, self.warming];
        left.iter().all(|&n| n == 0)
    }
}

/// How far `table` is from rest.
#[must_use]
pub fn status(table: &AssignmentTable) -> RebalanceStatus {
    let entries = || table.partitions.values();
    let readers = entries().flat_map(|p| &p.readers);
    let served = |p: &&PartitionAssignment| {
        p.handoff.is_some() || p.owner.as_ref().is_some_and(|o| lives(&table.members, o))
    };
    RebalanceStatus {
        partitions: table.partitions.len(),
        moving: entries().filter(|p| p.handoff.is_some()).count(),
        waiting: planner::minimal_moves(&table.partitions, &table.members),
        unassigned: table.partitions.len() - entries().filter(served).count(),
        warming: readers.filter(|r| r.state == ReaderState::Warming).count(),
        max_over_mean: max_over_mean(table),
    }
}

fn max_over_mean(table: &AssignmentTable) -> f64 {
    let mut loads: BTreeMap<&InstanceId, usize> = table
        .members
        .iter()
        .filter(|(_, m)| m.role.can_own() && m.state.keeps())
        .map(|(instance, _)| (instance, 0))
        .collect();
    for owner in table.partitions.values().filter_map(|p| p.owner.as_ref()) {
        if let Some(load) = loads.get_mut(owner) {
            *load += 1;
        }
    }
    let weight = |instance: &InstanceId| table.members.get(instance).map_or(1.0, |m| m.weight);
    let weights: f64 = loads.keys().map(|i| weight(i)).sum();
    let total: usize = loads.values().sum();
    if total == 0 {
        return 1.0;
    }
    let mean = total as f64 / weights;
    let shares = loads
        .iter()
        .map(|(i, &load)| load as f64 / weight(i) / mean);
    shares.fold(0.0, f64::max)
}

/// What ties a member to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Partitions it owns.
    pub owned: usize,
    /// Partitions on their way to it.
    pub incoming: usize,
    /// Partitions it reads, also those it only warms or retires from.
    pub read: usize,
}

/// What ties `instance` to the cluster; all zero when it can be removed.
#[must_use]
pub fn held_by(table: &AssignmentTable, instance: &InstanceId) -> Held {
    Held {
        owned: table.owned_by(instance).count(),
        incoming: table.pending_for(instance).count(),
        read: table.read_by(instance).count(),
    }
}

/// Whether `instance` can be removed without anybody noticing.
#[must_use]
pub fn member_is_empty(table: &AssignmentTable, instance: &InstanceId) -> bool {
    held_by(table, instance) == Held::default()
}

/// The part of the table that a step may edit before it plans.
#[derive(Debug)]
pub struct Edit<'a> {
    /// The members.
    pub members: &'a mut BTreeMap<InstanceId, Member>,
    /// The ring.
    pub ring: &'a mut RingParams,
    /// How partitions are spread and moved.
    pub policy: &'a mut Policy,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The table afterwards.
    pub table: Versioned<AssignmentTable>,
    /// Whether this step changed it.
    pub changed: bool,
    /// How far it is from rest.
    pub status: RebalanceStatus,
}

/// Why a planner's step came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest or the table.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Somebody else plans; nothing was written.
    #[error("another planner holds the lease in the assignment table: {0:?}")]
    Deposed(Deposed),
}

enum StepError<E> {
    Other(E),
    /// The table knows a newer manifest than we do.
    StaleManifest,
}

impl<E: From<DocumentError>> From<DocumentError> for StepError<E> {
    fn from(error: DocumentError) -> Self {
        Self::Other(error.into())
    }
}

/// Edits the members, takes the collections from the manifest, plans, and advances: one conditional write, or none. Whoever plans
/// stays the planner.
///
/// `edit` may be called several times, on the members of the moment, and must set what is to be rather than count.
///
/// # Errors
/// [`DocumentError`] of the manifest or the table. A step can be repeated after any of them.
pub async fn step(store: &Store, edit: impl FnMut(Edit<'_>)) -> Result<StepOutcome, DocumentError> {
    run_step(store, |_| Ok(()), edit).await
}

/// As [`step`], for an orchestrator: no node plans from now on.
///
/// # Errors
/// As [`step`].
pub async fn step_orchestrated(
    store: &Store,
    edit: impl FnMut(Edit<'_>),
) -> Result<StepOutcome, DocumentError> {
    let authorise = |lease: &mut Option<PlannerLease>| {
        *lease = None;
        Ok(())
    };
    run_step(store, authorise, edit).await
}

/// As [`step`], by the right of `mandate`, which is checked in the very write.
///
/// # Errors
/// [`PlanError`]; after `Deposed` nothing was written.
pub async fn step_as(
    store: &Store,
    mandate: &Mandate,
    edit: impl FnMut(Edit<'_>),
) -> Result<StepOutcome, PlanError> {
    let authorise = |lease: &mut Option<PlannerLease>| {
        let enforced = mandate.enforce(lease);
        enforced.map_err(PlanError::Deposed)
    };
    run_step(store, authorise, edit).await
}

async fn run_step<E: From<DocumentError>>(
    store: &Store,
    authorise: impl Fn(&mut Option<PlannerLease>) -> Result<(), E>,
    mut edit: impl FnMut(Edit<'_>),
) -> Result<StepOutcome, E> {
    loop {
        let manifest = document::load::<ClusterManifest>(store, keys::MANIFEST).await?;
        let updated = document::update(
            store,
            keys::ASSIGNMENTS,
            |current: Option<&Versioned<AssignmentTable>>| {
                let before = current.map(|c| &c.body);
                let mut table = before.cloned().unwrap_or_default();
                authorise(&mut table.planner).map_err(StepError::Other)?;
                let next = step_table(before, table, manifest.as_ref(), &mut edit)?;
                Ok(if before == Some(&next) {
                    Update::Keep(())
                } else {
                    Update::Write(next, ())
                })
            },
        )
        .await;
        let updated = match updated {
            Ok(updated) => updated,
            Err(StepError::StaleManifest) => continue,
            Err(StepError::Other(error)) => return Err(error),
        };
        // A table is absent only between an administrator's deletion and the next round.
        if let Some(table) = updated.current {
            return Ok(StepOutcome {
                status: status(&table),
                table,
                changed: updated.wrote,
            });
        }
    }
}

/// The table after a step; `table` is `before`, or a fresh one, with the planner that it is to have.
fn step_table<E>(
    before: Option<&AssignmentTable>,
    mut table: AssignmentTable,
    manifest: Option<&Versioned<ClusterManifest>>,
    edit: &mut impl FnMut(Edit<'_>),
) -> Result<AssignmentTable, StepError<E>> {
    let manifest_version = manifest.map_or(0, |m| m.version);
    if table.manifest_version > manifest_version {
        return Err(StepError::StaleManifest);
    }
    table.manifest_version = manifest_version;
    edit(Edit {
        members: &mut table.members,
        ring: &mut table.ring,
        policy: &mut table.policy,
    });
    let partitions = manifest
        .map(|m| m.partitions().collect())
        .unwrap_or_default();
    let plan = plan_for(&table, &partitions);
    let mut next = advance(&table, &plan);
    next.epoch = table.epoch;
    if before.is_none_or(|before| targets_differ(before, &next)) {
        next.epoch += 1;
    }
    Ok(next)
}
