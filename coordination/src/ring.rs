//! A consistent-hash ring with virtual nodes (Karger et al., 1997): which members a partition prefers, in which order.
//!
//! Each member puts `round(virtual_nodes * weight)` points (at least 1) on a circle of 2^64 positions. A partition is a
//! position on the same circle; walking clockwise from it, the members in the order in which they are first met are its
//! preference. A member that comes or goes changes the order of the others for no partition.
//!
//! The ring alone does not balance well (see the [`planner`](crate::planner)); it only breaks ties there.
//!
//! # What is fixed
//! Positions are part of the protocol, because every planner must come to the same plan. A point is XXH3-64 with seed
//! [`RING_SEED`] of the instance's name, a zero byte, and the point's number as 4 little-endian bytes; a partition is
//! XXH3-64 with the same seed of its written form. Equal positions are ordered by instance name. Golden tests hold this.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::types::{InstanceId, PartitionId};

/// Seed of every position: "brainy" in ASCII.
pub const RING_SEED: u64 = 0x6272_6169_6e79;

/// Most points one member gets, whatever its weight.
const MAX_POINTS: f64 = 65_536.0;

/// The ring. Members are numbered in order of their names.
#[derive(Clone, Debug)]
pub struct Ring {
    members: Vec<InstanceId>,
    /// Position and member, ascending.
    points: Vec<(u64, u32)>,
    /// Positions of each member, ascending.
    positions: Vec<Vec<u64>>,
}

impl Ring {
    /// Puts `members` with their weights on a ring; the order in which they are given does not matter.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (InstanceId, f64)>, virtual_nodes: u32) -> Self {
        let mut weighted: Vec<(InstanceId, f64)> = members.into_iter().collect();
        weighted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut points = Vec::new();
        let mut positions = Vec::with_capacity(weighted.len());
        for (number, (instance, weight)) in (0u32..).zip(&weighted) {
            // A float that is not a number becomes 0 in the cast.
            let count = (f64::from(virtual_nodes) * weight).round().min(MAX_POINTS) as u32;
            let mut own: Vec<u64> = (0..count.max(1)).map(|i| point(instance, i)).collect();
            own.sort_unstable();
            points.extend(own.iter().map(|&at| (at, number)));
            positions.push(own);
        }
        points.sort_unstable();
        Self {
            members: weighted.into_iter().map(|(instance, _)| instance).collect(),
            points,
            positions,
        }
    }

    /// The position of a partition.
    #[must_use]
    pub fn position(partition: &PartitionId) -> u64 {
        xxh3_64_with_seed(partition.to_string().as_bytes(), RING_SEED)
    }

    /// All members, each once, most preferred by `partition` first.
    pub fn preference(&self, partition: &PartitionId) -> impl Iterator<Item = &InstanceId> {
        let mut seen = vec![false; self.members.len()];
        self.walk(Self::position(partition))
            .filter(move |&member| !std::mem::replace(&mut seen[member], true))
            .map(|member| &self.members[member])
    }

    /// Numbers of the members whose points follow `position`, once around; a member appears once per point.
    pub(crate) fn walk(&self, position: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|&(at, _)| at < position);
        let (before, after) = self.points.split_at(start);
        after
            .iter()
            .chain(before)
            .map(|&(_, member)| member as usize)
    }

    /// Way from `position` clockwise to the next point of `member`: the shorter, the more it is preferred.
    pub(crate) fn distance(&self, position: u64, member: usize) -> u64 {
        let own = &self.positions[member];
        let next = own.partition_point(|&at| at < position);
        own.get(next)
            .or(own.first())
            .map_or(u64::MAX, |at| at.wrapping_sub(position))
    }
}

fn point(instance: &InstanceId, number: u32) -> u64 {
    let mut bytes = Vec::with_capacity(instance.as_str().len() + 5);
    bytes.extend_from_slice(instance.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&number.to_le_bytes());
    xxh3_64_with_seed(&bytes, RING_SEED)
}
