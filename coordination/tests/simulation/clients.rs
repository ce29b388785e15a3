//! Clients: writers that retry under one request id, readers that ask for strong reads, wherever they believe them served.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::types::{Nonce, PartitionId};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;

use crate::audit::Outcome;
use crate::node::Process;
use crate::world::{World, nap};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Lists of a partition.
const LISTS: u8 = 4;

/// Writes until it is stopped.
pub(crate) async fn writer(world: Arc<World>, number: u64) {
    let mut rng = world.rng(&format!("writer {number}"));
    loop {
        nap(&mut rng, 100, 1500).await;
        let partition = pick(&world.partitions, &mut rng).clone();
        let request = Nonce(world.number().into());
        let list = rng.random_range(0..LISTS);
        for _ in 0..rng.random_range(1..6) {
            let Some(process) = guess(&world, &partition, &mut rng) else {
                break;
            };
            let outcome = attempt(&world, &process, &partition, request, list).await;
            // A client may repeat what it has an answer to already, because that got lost on the way.
            let done = matches!(outcome, Outcome::Acknowledged { .. } | Outcome::Rejected);
            if done && rng.random_bool(0.9) {
                break;
            }
            nap(&mut rng, 50, 1500).await;
        }
    }
}

/// Reads until it is stopped.
pub(crate) async fn reader(world: Arc<World>, number: u64) {
    let mut rng = world.rng(&format!("reader {number}"));
    loop {
        nap(&mut rng, 100, 1500).await;
        let partition = pick(&world.partitions, &mut rng).clone();
        let processes = world.processes.lock().clone();
        if processes.is_empty() {
            continue;
        }
        let process = Arc::clone(pick(&processes, &mut rng));
        let _late = timeout(PATIENCE, read(&world, &process, &partition)).await;
    }
}

/// One attempt at a write.
pub(crate) async fn attempt(
    world: &World,
    process: &Process,
    partition: &PartitionId,
    request: Nonce,
    list: u8,
) -> Outcome {
    let uncertain = {
        let mut audit = world.audit.lock();
        let story = audit.story(partition);
        let uncertain = story.is_uncertain(request);
        story.submit(request, world.now());
        uncertain
    };
    let answer = timeout(PATIENCE, process.write(partition, request, list)).await;
    let outcome = answer.unwrap_or(Outcome::Unknown);
    {
        let mut counts = world.counts.lock();
        match outcome {
            Outcome::Acknowledged { .. } => counts.acknowledged += 1,
            Outcome::Rejected | Outcome::Refused => counts.refused += 1,
            Outcome::Unknown => counts.unknown += 1,
        }
    }
    world.trace(
        "client",
        format_args!("{partition}: {request:?} at {}: {outcome:?}", process.name),
    );
    let noted = {
        let mut audit = world.audit.lock();
        let story = audit.story(partition);
        story.answer(request, outcome, uncertain, world.now())
    };
    if let Err(what) = noted {
        world.violation(format_args!("{partition}: {what}"));
    }
    outcome
}

/// One strong read, checked. `false`: the process could not serve it.
pub(crate) async fn read(world: &World, process: &Process, partition: &PartitionId) -> bool {
    let expected = world.audit.lock().story(partition).expect();
    let Some(log) = process.read(partition).await else {
        return false;
    };
    world.counts.lock().strong_reads += 1;
    world.trace(
        "client",
        format_args!("{partition}: {} read at {}", log.len(), process.name),
    );
    let checked = {
        let mut audit = world.audit.lock();
        audit.story(partition).check_read(expected, log)
    };
    if let Err(what) = checked {
        world.violation(format_args!("{partition} at {}: {what}", process.name));
    }
    true
}

/// A process that seems to own the partition, not always rightly: several may think so.
fn guess(world: &World, partition: &PartitionId, rng: &mut ChaCha8Rng) -> Option<Arc<Process>> {
    let mut processes = world.processes.lock().clone();
    if rng.random_bool(0.95) && processes.iter().any(|p| p.owns(partition)) {
        processes.retain(|p| p.owns(partition));
    }
    if processes.is_empty() {
        return None;
    }
    Some(Arc::clone(pick(&processes, rng)))
}

pub(crate) fn pick<'a, T>(items: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    &items[rng.random_range(0..items.len())]
}
