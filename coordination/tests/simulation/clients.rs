//! Clients: writers that retry under one request id, readers that ask for reads of every level, wherever they believe them served,
//! and sessions that write and read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brainy_checker::{Action, Level, Op};
use brainy_coordination::freshness::Freshness;
use brainy_coordination::types::{LogPosition, Nonce, PartitionId};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;

use crate::audit::{Outcome, Submission};
use crate::node::Process;
use crate::world::{World, nap};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Lists of a partition.
const LISTS: u8 = 4;
/// The list of who looks whether everything is served.
pub(crate) const PROBE: u8 = u8::MAX;
/// How old bounded reads may be.
const BOUND: Duration = Duration::from_secs(2);

/// Clients of the checker's histories: writers have their number.
const READERS: u32 = 100;
const SESSIONS: u32 = 200;
/// Who looks whether everything is served.
pub(crate) const PROBER: u32 = 300;

/// Writes until it is stopped.
pub(crate) async fn writer(world: Arc<World>, number: u32) {
    let mut rng = world.rng(&format!("writer {number}"));
    loop {
        nap(&mut rng, 100, 1500).await;
        let partition = pick(&world.partitions, &mut rng).clone();
        append(&world, number, &partition, &mut rng).await;
    }
}

/// Appends to some list; gives the position if it was acknowledged.
async fn append(
    world: &World,
    client: u32,
    partition: &PartitionId,
    rng: &mut ChaCha8Rng,
) -> Option<LogPosition> {
    let request = Nonce(world.number().into());
    let list = rng.random_range(0..LISTS);
    let mut acknowledged = None;
    for _ in 0..rng.random_range(1..6) {
        let process = guess(world, partition, rng)?;
        let outcome = attempt(world, &process, partition, request, (client, list)).await;
        if let Outcome::Acknowledged { position, .. } = outcome {
            acknowledged = Some(position);
        }
        // A client may repeat what it has an answer to already, because that got lost on the way.
        let done = matches!(outcome, Outcome::Acknowledged { .. } | Outcome::Rejected);
        if done && rng.random_bool(0.9) {
            break;
        }
        nap(rng, 50, 1500).await;
    }
    acknowledged
}

/// Reads until it is stopped, each read of another level.
pub(crate) async fn reader(world: Arc<World>, number: u32) {
    let mut rng = world.rng(&format!("reader {number}"));
    loop {
        nap(&mut rng, 100, 1500).await;
        let partition = pick(&world.partitions, &mut rng).clone();
        let Some(process) = any(&world, &mut rng) else {
            continue;
        };
        let level = match rng.random_range(0..10) {
            0..5 => Level::Strong,
            5..8 => Level::Bounded(BOUND.as_nanos() as u64),
            _ => Level::Eventual,
        };
        let read = read(&world, &process, &partition, READERS + number, level, None);
        let _late = timeout(PATIENCE, read).await;
    }
}

/// Writes and reads with what it has seen, wherever, until it is stopped.
pub(crate) async fn session(world: Arc<World>, number: u32) {
    let mut rng = world.rng(&format!("session {number}"));
    let client = SESSIONS + number;
    let mut token: BTreeMap<PartitionId, LogPosition> = BTreeMap::new();
    loop {
        nap(&mut rng, 50, 800).await;
        let partition = pick(&world.partitions, &mut rng).clone();
        let seen = if rng.random_bool(0.3) {
            append(&world, client, &partition, &mut rng).await
        } else {
            let Some(process) = any(&world, &mut rng) else {
                continue;
            };
            let at_least = token.get(&partition).copied();
            let read = read(
                &world,
                &process,
                &partition,
                client,
                Level::Session,
                at_least,
            );
            timeout(PATIENCE, read).await.ok().flatten()
        };
        let known = token.entry(partition).or_default();
        *known = seen.unwrap_or_default().max(*known);
    }
}

/// One attempt of `client` at an append to `list`.
pub(crate) async fn attempt(
    world: &World,
    process: &Process,
    partition: &PartitionId,
    request: Nonce,
    (client, list): (u32, u8),
) -> Outcome {
    let uncertain = {
        let mut audit = world.audit.lock();
        let at = audit.stamp(world.now());
        let story = audit.story(partition);
        let uncertain = story.is_uncertain(request);
        story.submit(request, world.now(), Submission { client, list, at });
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
        let end = audit.stamp(world.now());
        let story = audit.story(partition);
        story.answer(request, outcome, uncertain, world.now(), end)
    };
    if let Err(what) = noted {
        world.violation(format_args!("{partition}: {what}"));
    }
    outcome
}

/// One read of `client`, checked and noted; gives the position that it saw, `None` if the process could not serve it.
pub(crate) async fn read(
    world: &World,
    process: &Process,
    partition: &PartitionId,
    client: u32,
    level: Level,
    at_least: Option<LogPosition>,
) -> Option<LogPosition> {
    let wanted = match level {
        Level::Strong => Freshness::Strong,
        Level::Bounded(bound) => Freshness::Bounded(Duration::from_nanos(bound)),
        Level::Session | Level::Eventual => Freshness::Eventual,
    };
    let (expected, begin) = {
        let mut audit = world.audit.lock();
        let begin = audit.stamp(world.now());
        (audit.story(partition).expect(), begin)
    };
    let (log, position) = process.read(partition, wanted, at_least).await?;
    {
        let mut counts = world.counts.lock();
        match level {
            Level::Strong => counts.strong_reads += 1,
            Level::Bounded(_) => counts.bounded_reads += 1,
            Level::Session => counts.session_reads += 1,
            Level::Eventual => counts.eventual_reads += 1,
        }
    }
    world.trace(
        "client",
        format_args!(
            "{partition}: {} read at {}, {level:?}",
            log.len(),
            process.name
        ),
    );
    let checked = {
        let mut audit = world.audit.lock();
        let end = audit.stamp(world.now());
        for list in (0..LISTS).chain([PROBE]) {
            let last = log.iter().rfind(|record| record.append.list == list);
            let op = Op {
                client,
                begin,
                end: Some(end),
                action: Action::Read(level, last.map(|record| record.request.0 as u64)),
            };
            audit.reads.push(((partition.clone(), list), op));
        }
        match level {
            Level::Strong => audit.story(partition).check_read(expected, log),
            _ => Ok(()),
        }
    };
    if let Err(what) = checked {
        world.violation(format_args!("{partition} at {}: {what}", process.name));
    }
    Some(position)
}

fn any(world: &World, rng: &mut ChaCha8Rng) -> Option<Arc<Process>> {
    let processes = world.processes.lock();
    (!processes.is_empty()).then(|| Arc::clone(pick(&processes, rng)))
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
