//! Coordinators: several processes that run rebalancing steps against the same table, and an administrator.

use std::sync::Arc;

use brainy_coordination::rebalance::{self, RebalanceStatus};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{LogPosition, PartitionId};
use brainy_coordination::wal::accept_loss;

use crate::world::{World, nap};

/// Planned moves at once.
pub(crate) const MAX_MOVES: u32 = 2;

/// One rebalancing step with the members that the orchestrator names.
pub(crate) async fn step(world: &World, store: &Store) -> Option<RebalanceStatus> {
    let members = world.members.lock().clone();
    let done = rebalance::step(store, |edit| {
        edit.members.clone_from(&members);
        edit.policy.max_concurrent_moves = MAX_MOVES;
        edit.policy.read_replicas = 1;
    })
    .await;
    match done {
        Ok(done) => Some(done.status),
        Err(error) => {
            world.trace("steps", error);
            None
        }
    }
}

/// Runs steps until it is stopped.
pub(crate) async fn coordinator(world: Arc<World>, name: &'static str) {
    let store = world.honest_store(name);
    let mut rng = world.rng(name);
    loop {
        nap(&mut rng, 500, 4000).await;
        step(&world, &store).await;
    }
}

/// Accepts the loss of what processes report as damaged, after a while.
pub(crate) async fn administrator(world: Arc<World>) {
    let store = world.honest_store("admin");
    let mut rng = world.rng("admin");
    loop {
        nap(&mut rng, 3000, 8000).await;
        let reported: Vec<_> = {
            let audit = world.audit.lock();
            let stories = audit.stories.iter();
            let found = stories.flat_map(|(p, s)| s.found.iter().map(|at| (p.clone(), *at)));
            found.collect()
        };
        accept(&world, &store, reported).await;
    }
}

/// Accepts the loss of everything that was damaged, reported or not.
pub(crate) async fn accept_all(world: &World) {
    let damaged: Vec<_> = {
        let audit = world.audit.lock();
        let stories = audit.stories.iter();
        let damaged = stories.flat_map(|(p, s)| s.damaged.iter().map(|at| (p.clone(), *at)));
        damaged.collect()
    };
    accept(world, &world.honest_store("admin"), damaged).await;
}

async fn accept(world: &World, store: &Store, lost: Vec<(PartitionId, LogPosition)>) {
    for (partition, position) in lost {
        if let Err(error) = accept_loss(store, &partition, position, "admin").await {
            world.trace("admin", error);
        }
    }
}
