//! Readers: several distinct members a partition, in different zones where there is a choice.

use std::collections::{BTreeMap, BTreeSet};

use super::quota::quotas;
use super::spread::{self, Layout};
use super::{Candidate, PlanOptions, candidates, index_of, ring_of};
use crate::assignment::{Member, PartitionAssignment, ReaderState};
use crate::types::{InstanceId, PartitionId};

/// How far from a partition, in order of ids, a swap that removes a conflict is looked for.
const SWAP_WINDOW: usize = 512;

/// Readers of each partition of `layout`, in order of their names.
pub(super) fn plan_readers(
    layout: &Layout<'_>,
    previous: &BTreeMap<PartitionId, PartitionAssignment>,
    members: &BTreeMap<InstanceId, Member>,
    owners: &[Option<&InstanceId>],
    options: PlanOptions,
) -> Vec<Vec<InstanceId>> {
    let candidates = candidates(members, |m| m.role.can_read());
    let replicas = candidates.len().min(options.read_replicas as usize);
    let total_partitions = layout.partitions.len();
    if replicas == 0 {
        return vec![Vec::new(); total_partitions];
    }
    let ring = ring_of(&candidates, options.virtual_nodes);
    let mut slots: Vec<Vec<usize>> = layout
        .partitions
        .iter()
        .map(|p| {
            let mut kept = previous
                .get(p.id)
                .map(|entry| kept(&candidates, entry))
                .unwrap_or_default();
            // Too many since the number of replicas was lowered: the unready and the most preferred stay.
            kept.sort_by_key(|&m| (candidates[m].active, ring.distance(p.position, m)));
            kept.truncate(replicas);
            kept
        })
        .collect();

    let active = candidates.iter().filter(|c| c.active).count();
    let total = slots
        .iter()
        .map(|slot| {
            let unready = slot.iter().filter(|&&m| !candidates[m].active).count();
            unready + (replicas - unready).min(active)
        })
        .sum();
    let held = spread::count(&slots, candidates.len());
    let quotas = quotas(&candidates, &held, total, total_partitions);
    let search = Search {
        candidates: &candidates,
        owners: owners
            .iter()
            .map(|owner| owner.and_then(|o| index_of(&candidates, o)))
            .collect(),
    };
    spread::shed(layout, &candidates, &ring, &quotas, &mut slots, replicas);
    spread::place(
        layout,
        &candidates,
        &ring,
        &quotas,
        &mut slots,
        replicas,
        |partition, taken, member| search.conflicts_of(partition, taken, member),
    );
    search.fill_corners(&quotas, &mut slots, replicas);
    search.remove_conflicts(&mut slots);
    slots
        .into_iter()
        .map(|slot| {
            let distinct: BTreeSet<usize> = slot.into_iter().collect();
            distinct
                .into_iter()
                .map(|m| candidates[m].instance.clone())
                .collect()
        })
        .collect()
}

/// Readers of the entry that stay unless the plan says otherwise.
fn kept(candidates: &[Candidate<'_>], entry: &PartitionAssignment) -> Vec<usize> {
    let mut members: Vec<usize> = entry
        .readers
        .iter()
        .filter(|slot| slot.state != ReaderState::Retiring)
        .filter_map(|slot| index_of(candidates, &slot.instance))
        .collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// Local search on complete placements. A swap exchanges one reader each of two partitions and keeps every member's load.
struct Search<'a> {
    candidates: &'a [Candidate<'a>],
    /// Owner of each partition, if it may also read.
    owners: Vec<Option<usize>>,
}

impl Search<'_> {
    /// Conflicts that `member` adds to the readers `taken`: a shared zone counts two each, being the owner one.
    fn conflicts_of(&self, partition: usize, taken: &[usize], member: usize) -> usize {
        let zone = self.candidates[member].zone;
        let shared = taken
            .iter()
            .filter(|&&other| zone.is_some() && self.candidates[other].zone == zone)
            .count();
        2 * shared + usize::from(self.owners[partition] == Some(member))
    }

    /// Conflicts among `readers` of `partition`.
    fn conflicts(&self, partition: usize, readers: &[usize]) -> usize {
        (0..readers.len())
            .map(|i| self.conflicts_of(partition, &readers[..i], readers[i]))
            .sum()
    }

    /// Fills partitions that stayed short because those with room read them already: another partition takes the one
    /// with room and gives one of its readers. Such a partition exists while quotas are at most the number of partitions.
    fn fill_corners(&self, quotas: &[usize], slots: &mut [Vec<usize>], replicas: usize) {
        let held = spread::count(slots, self.candidates.len());
        let mut room: Vec<usize> = quotas
            .iter()
            .zip(&held)
            .map(|(quota, held)| quota.saturating_sub(*held))
            .collect();
        for short in 0..slots.len() {
            while slots[short].len() < replicas {
                let found = (0..room.len())
                    .filter(|&m| self.candidates[m].active && room[m] > 0)
                    .find_map(|m| self.giver(slots, short, m).map(|(q, i)| (m, q, i)));
                let Some((member, giver, slot)) = found else {
                    break;
                };
                let given = std::mem::replace(&mut slots[giver][slot], member);
                slots[short].push(given);
                room[member] -= 1;
            }
        }
    }

    /// A partition that `member` does not read, and which of its readers could read `short` instead.
    fn giver(&self, slots: &[Vec<usize>], short: usize, member: usize) -> Option<(usize, usize)> {
        (1..slots.len())
            .map(|step| (short + step) % slots.len())
            .filter(|&q| !slots[q].contains(&member))
            .find_map(|q| {
                let slot = slots[q]
                    .iter()
                    .position(|&m| self.candidates[m].active && !slots[short].contains(&m))?;
                Some((q, slot))
            })
    }

    /// Swaps as long as that leaves fewer conflicts. Each swap lowers their number, so it ends.
    fn remove_conflicts(&self, slots: &mut [Vec<usize>]) {
        loop {
            let mut swapped = false;
            for partition in 0..slots.len() {
                while self.conflicts(partition, &slots[partition]) > 0
                    && self.swap_once(slots, partition)
                {
                    swapped = true;
                }
            }
            if !swapped {
                return;
            }
        }
    }

    fn swap_once(&self, slots: &mut [Vec<usize>], p: usize) -> bool {
        for step in 1..slots.len().min(SWAP_WINDOW) {
            let q = (p + step) % slots.len();
            let before = self.conflicts(p, &slots[p]) + self.conflicts(q, &slots[q]);
            for i in 0..slots[p].len() {
                for j in 0..slots[q].len() {
                    let (a, b) = (slots[p][i], slots[q][j]);
                    let movable = self.candidates[a].active && self.candidates[b].active;
                    if !movable || slots[q].contains(&a) || slots[p].contains(&b) {
                        continue;
                    }
                    slots[p][i] = b;
                    slots[q][j] = a;
                    if self.conflicts(p, &slots[p]) + self.conflicts(q, &slots[q]) < before {
                        return true;
                    }
                    slots[p][i] = a;
                    slots[q][j] = b;
                }
            }
        }
        false
    }
}
