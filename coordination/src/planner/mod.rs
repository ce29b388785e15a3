//! Who should own and read which partition: one pure function, [`plan`].
//!
//! A ring alone spreads badly (max/mean of 1.2 to 1.5 at 256 to 4096 partitions, even with 1000 virtual nodes), and balancing
//! from scratch moves too much. So the plan is a *sticky, bounded* table (design section 5): a partition stays where it
//! is unless its member leaves or holds more than its share, and the ring only chooses among the members that still have
//! room (as in consistent hashing with bounded loads, Mirrokni et al., 2016, with a bound of exactly one share).
//!
//! # Owners
//! 1. *Stick.* Each partition is counted for its holder: the target of its handoff if that keeps partitions (active or
//!    unready), else its owner if that does, else nobody (an orphan). Following the target keeps a plan stable while moves are
//!    under way.
//! 2. *Quotas.* Member `i` of weight `w` gets `floor` or `ceil` of `partitions * w / W`, and the quotas sum to what there
//!    is. The spare ones that rounding leaves go first to members that hold more than their floor, because each saves one
//!    move; then by largest remainder, then by name. Weights count in thousandths, so all of this is exact integers. An
//!    unready member's quota is what it holds: it gets nothing, and nothing is taken from it.
//! 3. *Shed.* A member above its quota gives up the excess: from the collection of which it has the most above that
//!    collection's fair share, and of that the partitions that prefer it least.
//! 4. *Place.* Orphans and shed partitions, in order of their ids, each to the first member on its ring that has room;
//!    members that would exceed the collection's fair share only if there is no other. So the global balance is strict
//!    and the balance of each collection is as good as it comes without another move.
//!
//! Moves are minimal: a member that holds `c` with quota at most `q` must lose `c - q`, and orphans must go somewhere; nothing
//! else moves. [`minimal_moves`] gives that number.
//!
//! # Readers
//! The same four steps with `read_replicas` slots a partition and members that read; a member reads a partition at most
//! once. Spare slots go to the zones in turn before they save moves. Where a choice exists, a slot goes to a zone that the partition's other readers are not in, and not to its owner.
//! Greedy placement can run into a corner (the last room is on a member that reads the partition already); a swap with
//! another partition gets it out. Last, swaps between two partitions remove what conflicts of zone or owner are left,
//! as long as a swap exists that leaves fewer. Balance goes before zones: with one small zone some partitions have two
//! readers in the big one.
//!
//! # Properties (tests hold them)
//! Deterministic; `plan` of its own result changes nothing; no member above `ceil`, no active member below `floor`, of its
//! share; a member that turns unready causes no move.
//!
//! # Cost
//! `O(P log P + n v log(n v))` for `P` partitions, `n` members, `v` virtual nodes, plus ring walks of expected length `n / k`
//! where `k` members have room.

mod quota;
mod readers;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use crate::assignment::{Member, MemberState, PartitionAssignment};
use crate::ring::Ring;
use crate::types::{InstanceId, PartitionId};

use self::quota::quotas;
use self::spread::Layout;

/// Weights are rounded to multiples of this.
const WEIGHT_UNIT: f64 = 0.001;
/// Largest weight, in units: a million.
const MAX_WEIGHT_UNITS: f64 = 1e9;

/// What [`plan`] is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Readers a partition gets besides its owner, as far as there are members that read.
    pub read_replicas: u32,
    /// Points on the ring of a member of weight 1.
    pub virtual_nodes: u32,
}

/// Who should own and read what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Owner of each partition; a partition that no member can own is missing here.
    pub owners: BTreeMap<PartitionId, InstanceId>,
    /// Readers of each partition in order of their names; every partition has an entry.
    pub readers: BTreeMap<PartitionId, Vec<InstanceId>>,
}

impl Plan {
    /// Partitions that no member can own: nobody who may own is active.
    pub fn unassigned(&self) -> impl Iterator<Item = &PartitionId> {
        self.readers
            .keys()
            .filter(|partition| !self.owners.contains_key(*partition))
    }
}

/// A member that may hold partitions.
#[derive(Clone, Debug)]
struct Candidate<'a> {
    instance: &'a InstanceId,
    /// In units of [`WEIGHT_UNIT`].
    weight: u64,
    /// Whether it may get new partitions.
    active: bool,
    zone: Option<&'a str>,
}

/// Members that keep partitions and satisfy `able`, in order of their names.
fn candidates(
    members: &BTreeMap<InstanceId, Member>,
    able: impl Fn(&Member) -> bool,
) -> Vec<Candidate<'_>> {
    members
        .iter()
        .filter(|(_, member)| member.state.keeps() && able(member))
        .map(|(instance, member)| Candidate {
            instance,
            // A weight that is not a number, or too small, counts as the smallest.
            weight: ((member.weight / WEIGHT_UNIT).round().min(MAX_WEIGHT_UNITS) as u64).max(1),
            active: member.state == MemberState::Active,
            zone: member.zone.as_deref(),
        })
        .collect()
}

/// Members that may own. Zones play no part: a partition has one owner.
fn owner_candidates(members: &BTreeMap<InstanceId, Member>) -> Vec<Candidate<'_>> {
    let mut candidates = candidates(members, |m| m.role.can_own());
    for candidate in &mut candidates {
        candidate.zone = None;
    }
    candidates
}

fn ring_of(candidates: &[Candidate<'_>], virtual_nodes: u32) -> Ring {
    let weighted = candidates
        .iter()
        .map(|c| (c.instance.clone(), c.weight as f64 * WEIGHT_UNIT));
    Ring::new(weighted, virtual_nodes)
}

fn index_of(candidates: &[Candidate<'_>], instance: &InstanceId) -> Option<usize> {
    candidates
        .binary_search_by(|c| c.instance.cmp(instance))
        .ok()
}

/// Who holds the partition as far as planning is concerned (step 1 of the module's documentation).
fn holder(candidates: &[Candidate<'_>], entry: &PartitionAssignment) -> Option<usize> {
    let target = entry.handoff.as_ref().map(|h| &h.to);
    [target, entry.owner.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|instance| index_of(candidates, instance))
}

/// Plans owners and readers of `partitions` for `members`, moving as little as possible of what `previous` says.
#[must_use]
pub fn plan(
    previous: &BTreeMap<PartitionId, PartitionAssignment>,
    members: &BTreeMap<InstanceId, Member>,
    partitions: &BTreeSet<PartitionId>,
    options: PlanOptions,
) -> Plan {
    let layout = Layout::new(partitions);
    let owners = plan_owners(&layout, previous, members, options.virtual_nodes);
    let readers = readers::plan_readers(&layout, previous, members, &owners, options);
    let ids = layout.partitions.iter().map(|p| p.id.clone());
    Plan {
        owners: ids
            .clone()
            .zip(owners)
            .filter_map(|(id, owner)| Some((id, owner?.clone())))
            .collect(),
        readers: ids.zip(readers).collect(),
    }
}

fn plan_owners<'a>(
    layout: &Layout<'_>,
    previous: &BTreeMap<PartitionId, PartitionAssignment>,
    members: &'a BTreeMap<InstanceId, Member>,
    virtual_nodes: u32,
) -> Vec<Option<&'a InstanceId>> {
    let candidates = owner_candidates(members);
    let ring = ring_of(&candidates, virtual_nodes);
    let mut slots: Vec<Vec<usize>> = layout
        .partitions
        .iter()
        .map(|p| {
            let entry = previous.get(p.id);
            entry
                .and_then(|e| holder(&candidates, e))
                .into_iter()
                .collect()
        })
        .collect();
    let held = spread::count(&slots, candidates.len());
    let total = layout.partitions.len();
    let quotas = quotas(&candidates, &held, total, total);
    spread::shed(layout, &candidates, &ring, &quotas, &mut slots, 1);
    spread::place(
        layout,
        &candidates,
        &ring,
        &quotas,
        &mut slots,
        1,
        |_, _, _| 0,
    );
    slots
        .into_iter()
        .map(|slot| slot.first().map(|&member| candidates[member].instance))
        .collect()
}

/// How many partitions of `previous` must change their owner so that `members` are balanced: those whose owner is
/// leaving or gone, and those that members hold above their quota. [`plan`] moves exactly as many.
///
/// First assignments are not moves; 0 when no member can take anything.
#[must_use]
pub fn minimal_moves(
    previous: &BTreeMap<PartitionId, PartitionAssignment>,
    members: &BTreeMap<InstanceId, Member>,
) -> usize {
    let candidates = owner_candidates(members);
    if !candidates.iter().any(|c| c.active) {
        return 0;
    }
    let mut held = vec![0; candidates.len()];
    let mut orphans = 0;
    for entry in previous.values() {
        match holder(&candidates, entry) {
            Some(member) => held[member] += 1,
            None => orphans += usize::from(entry.owner.is_some()),
        }
    }
    let quotas = quotas(&candidates, &held, previous.len(), previous.len());
    let excess = held.iter().zip(&quotas).map(|(h, q)| h.saturating_sub(*q));
    orphans + excess.sum::<usize>()
}
