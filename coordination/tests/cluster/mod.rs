//! Clusters for tests.
#![allow(dead_code)] // Each test binary uses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brainy_coordination::assignment::{Member, Role};
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::{CollectionUid, InstanceId, PartitionId};
use proptest::test_runner::Config;

/// As many cases as `PROPTEST_CASES` says (256); a failure prints its input instead of writing a file.
pub(crate) fn config() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

/// Instance number `n`.
pub(crate) fn id(n: usize) -> InstanceId {
    InstanceId::new(format!("node-{n:04}")).expect("a valid name")
}

/// `count` active members.
pub(crate) fn members(count: usize, role: Role) -> BTreeMap<InstanceId, Member> {
    let member = |n| (id(n), Member::new(role, format!("node-{n:04}:6333")));
    (0..count).map(member).collect()
}

/// All partitions of collections with so many partitions each.
pub(crate) fn partitions(sizes: &[u32]) -> BTreeSet<PartitionId> {
    let collection = |n: usize| CollectionUid::new(format!("c{n}-00000000")).expect("a valid uid");
    let one = |(n, size): (usize, &u32)| {
        let ids = (0..*size).map(move |index| PartitionId::new(collection(n), index));
        ids.collect::<Vec<_>>()
    };
    sizes.iter().enumerate().flat_map(one).collect()
}

/// The store of caller `name`, with pauses that follow from `seed`.
pub(crate) fn seeded_store(bucket: &Arc<SimBucket>, name: &str, seed: u64) -> Store {
    Store::new(bucket.client(name), RetryPolicy::default()).with_jitter_seed(seed)
}
