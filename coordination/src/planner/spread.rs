//! Taking slots from members above their quota and giving them to members below it.

use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;

use super::Candidate;
use crate::ring::Ring;
use crate::types::PartitionId;

/// A partition while a plan is made.
pub(super) struct Slot<'a> {
    pub(super) id: &'a PartitionId,
    /// Position on the ring.
    pub(super) position: u64,
    /// Which collection it is of, by number.
    pub(super) collection: usize,
}

/// The partitions in order of their ids, which groups them by collection.
pub(super) struct Layout<'a> {
    pub(super) partitions: Vec<Slot<'a>>,
    /// Partitions of each collection.
    pub(super) collections: Vec<Range<usize>>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(ids: &'a BTreeSet<PartitionId>) -> Self {
        let mut partitions: Vec<Slot<'a>> = Vec::with_capacity(ids.len());
        let mut collections: Vec<Range<usize>> = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            match (partitions.last(), collections.last_mut()) {
                (Some(last), Some(range)) if last.id.collection == id.collection => {
                    range.end = number + 1;
                }
                _ => collections.push(number..number + 1),
            }
            partitions.push(Slot {
                id,
                position: Ring::position(id),
                collection: collections.len() - 1,
            });
        }
        Self {
            partitions,
            collections,
        }
    }
}

/// Slots that each of `members` holds.
pub(super) fn count(slots: &[Vec<usize>], members: usize) -> Vec<usize> {
    let mut held = vec![0; members];
    for &member in slots.iter().flatten() {
        held[member] += 1;
    }
    held
}

fn total_weight(candidates: &[Candidate<'_>]) -> u128 {
    candidates.iter().map(|c| u128::from(c.weight)).sum()
}

/// Takes from each member what it holds above its quota (step 3 of the planner's documentation).
pub(super) fn shed(
    layout: &Layout<'_>,
    candidates: &[Candidate<'_>],
    ring: &Ring,
    quotas: &[usize],
    slots: &mut [Vec<usize>],
    replicas: usize,
) {
    let held = count(slots, candidates.len());
    let mut excess: Vec<usize> = held
        .iter()
        .zip(quotas)
        .map(|(held, quota)| held.saturating_sub(*quota))
        .collect();
    if excess.iter().all(|&e| e == 0) {
        return;
    }
    let weights = total_weight(candidates);
    // What each overfull member holds, in order of partition, hence by collection.
    let mut holdings: Vec<Vec<usize>> = vec![Vec::new(); candidates.len()];
    for (partition, members) in slots.iter().enumerate() {
        for &member in members {
            if excess[member] > 0 {
                holdings[member].push(partition);
            }
        }
    }
    for (member, holding) in holdings.into_iter().enumerate() {
        let mut heap = BinaryHeap::new();
        for group in holding
            .chunk_by(|&a, &b| layout.partitions[a].collection == layout.partitions[b].collection)
        {
            let mut group = group.to_vec();
            // The least preferred one last, where it is taken first.
            group.sort_by_key(|&p| ring.distance(layout.partitions[p].position, member));
            let collection = layout.partitions[group[0]].collection;
            let size = (layout.collections[collection].len() * replicas) as u128;
            let fair = (size * u128::from(candidates[member].weight)) as i128;
            let surplus = (group.len() as u128 * weights) as i128 - fair;
            heap.push((surplus, group));
        }
        while excess[member] > 0 {
            let Some((surplus, mut group)) = heap.pop() else {
                break;
            };
            if let Some(partition) = group.pop() {
                slots[partition].retain(|&m| m != member);
                excess[member] -= 1;
                heap.push((surplus - weights as i128, group));
            }
        }
    }
}

/// Fills each partition up to `replicas` members from those with room (step 4 of the planner's documentation).
///
/// `conflict(partition, members of it, member)` grades a choice; a lower grade goes first, then the collection's fair
/// share, then the ring. A partition stays short when every member with room holds it already.
pub(super) fn place(
    layout: &Layout<'_>,
    candidates: &[Candidate<'_>],
    ring: &Ring,
    quotas: &[usize],
    slots: &mut [Vec<usize>],
    replicas: usize,
    conflict: impl Fn(usize, &[usize], usize) -> usize,
) {
    let held = count(slots, candidates.len());
    let mut room: Vec<usize> = quotas
        .iter()
        .zip(&held)
        .map(|(quota, held)| quota.saturating_sub(*held))
        .collect();
    let mut open: Vec<usize> = (0..candidates.len())
        .filter(|&m| candidates[m].active && room[m] > 0)
        .collect();
    let weights = total_weight(candidates);
    let mut of_collection = vec![0usize; candidates.len()];
    for range in &layout.collections {
        for &member in slots[range.clone()].iter().flatten() {
            of_collection[member] += 1;
        }
        let size = (range.len() * replicas) as u128;
        for partition in range.clone() {
            while slots[partition].len() < replicas {
                let taken = &slots[partition];
                let grade = |member: usize| {
                    if room[member] == 0 || taken.contains(&member) {
                        return None;
                    }
                    let share = size * u128::from(candidates[member].weight);
                    let above = of_collection[member] as u128 * weights >= share;
                    Some(2 * conflict(partition, taken, member) + usize::from(above))
                };
                let Some(best) = lowest(open.iter().filter_map(|&m| grade(m))) else {
                    break;
                };
                let position = layout.partitions[partition].position;
                let Some(member) = ring.walk(position).find(|&m| grade(m) == Some(best)) else {
                    break;
                };
                slots[partition].push(member);
                of_collection[member] += 1;
                room[member] -= 1;
                if room[member] == 0 {
                    open.retain(|&m| m != member);
                }
            }
        }
        for &member in slots[range.clone()].iter().flatten() {
            of_collection[member] = 0;
        }
    }
}

/// The smallest grade; stops at 0, below which there is none.
fn lowest(grades: impl Iterator<Item = usize>) -> Option<usize> {
    let mut best = None;
    for grade in grades {
        if grade == 0 {
            return Some(0);
        }
        best = Some(best.map_or(grade, |b: usize| b.min(grade)));
    }
    best
}
