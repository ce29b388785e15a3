//! One run: start, misfortune, recovery, judgement. And many of them on all cores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brainy_checker::Level;
use brainy_coordination::document;
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    ClusterManifest, Collection, CollectionSpec, DenseParams, Distance, VectorSchema,
};
use brainy_coordination::store::sim::EffectKind;
use brainy_coordination::types::{Nonce, PartitionId};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::node::Process;
use crate::world::{Counts, Options, World, instance, member};
use crate::{chaos, clients, coordinators, verdict};

/// How long a healed cluster may take until everything is served again.
const RECOVERY: Duration = Duration::from_secs(300);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) counts: Counts,
    /// Every write and removal: when, by whom, which key, what.
    pub(crate) history: Vec<(Duration, String, String, EffectKind)>,
}

/// Runs one seed on a runtime of its own, with a clock that only moves when nothing else can.
pub(crate) fn run(options: Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(simulate(options))
}

async fn simulate(options: Options) -> Report {
    let lossy = options.sabotage.is_none() && options.seed.is_multiple_of(8);
    let partitions = 1 + (options.seed % 3) as u32;
    let world = World::new(options, partitions, lossy);
    set_up(&world).await;
    let mut helpers = Vec::new();
    for name in ["steps-a", "steps-b"] {
        helpers.push(world.spawn(coordinators::coordinator(Arc::clone(&world), name)));
    }
    helpers.push(world.spawn(coordinators::administrator(Arc::clone(&world))));
    for number in 0..3 {
        helpers.push(world.spawn(clients::writer(Arc::clone(&world), number)));
    }
    for number in 0..2 {
        helpers.push(world.spawn(clients::reader(Arc::clone(&world), number)));
        helpers.push(world.spawn(clients::session(Arc::clone(&world), number)));
    }
    chaos::run(Arc::clone(&world)).await;
    // Pauses and restarts under way end by themselves before everything heals.
    sleep(Duration::from_secs(5)).await;
    chaos::heal(&world);
    if !recovered(&world).await {
        world.violation("the healed cluster does not serve everything again");
    }
    for helper in helpers {
        helper.abort();
    }
    // What was asked before is answered, or given up.
    sleep(Duration::from_secs(10)).await;
    world.bucket.deliver_late_writes();
    if lossy {
        coordinators::accept_all(&world).await;
    }
    verdict::judge(&world).await;
    let history = world.bucket.history();
    let violations = world.audit.lock().violations.clone();
    let counts = *world.counts.lock();
    let processes = world.processes.lock().clone();
    for process in processes {
        process.crash();
    }
    Report {
        violations,
        counts,
        history: history
            .into_iter()
            .map(|e| (e.at, e.caller, e.key, e.kind))
            .collect(),
    }
}

/// A manifest with the partitions, and an assignment for the first members.
async fn set_up(world: &Arc<World>) {
    let store = world.honest_store("setup");
    let collection = Collection {
        uid: world.partitions[0].collection.clone(),
        created: Nonce(1),
        spec: CollectionSpec {
            partitions: world.partitions.len() as u32,
            schema: VectorSchema::unnamed(DenseParams::new(1, Distance::Dot)),
            extra: serde_json::Value::Null,
        },
        payload_indexes: BTreeMap::new(),
    };
    let manifest = ClusterManifest {
        cluster: Nonce(1),
        collections: BTreeMap::from([("lists".to_owned(), collection)]),
        ..ClusterManifest::generate()
    };
    document::try_write(&store, keys::MANIFEST, None, manifest)
        .await
        .expect("nothing goes wrong yet");
    for instance in (0..3).map(instance) {
        let mut members = world.members.lock();
        members.insert(instance.clone(), member(&instance));
        drop(members);
        Process::start(world, instance);
    }
    coordinators::step(world, &store).await;
}

/// Waits until the table is at rest and every partition takes a write and answers strong reads.
async fn recovered(world: &Arc<World>) -> bool {
    let store = world.honest_store("recovery");
    let end = world.now() + RECOVERY;
    while world.now() < end {
        sleep(Duration::from_secs(1)).await;
        let Some(status) = coordinators::step(world, &store).await else {
            continue;
        };
        if status.moving + status.waiting + status.unassigned > 0 {
            continue;
        }
        let mut served = true;
        for partition in &world.partitions {
            served = served && serves(world, partition).await;
        }
        if served {
            return true;
        }
    }
    false
}

async fn serves(world: &Arc<World>, partition: &PartitionId) -> bool {
    let processes = world.processes.lock().clone();
    let Some(owner) = processes.iter().rev().find(|p| p.owns(partition)) else {
        return false;
    };
    let request = Nonce(world.number().into());
    let probe = (clients::PROBER, clients::PROBE);
    let outcome = clients::attempt(world, owner, partition, request, probe).await;
    if !matches!(outcome, crate::audit::Outcome::Acknowledged { .. }) {
        return false;
    }
    let mut read = false;
    for process in processes {
        let seen = clients::read(
            world,
            &process,
            partition,
            clients::PROBER,
            Level::Strong,
            None,
        );
        read |= seen.await.is_some();
    }
    read
}

/// Runs `seeds` on all cores until one breaks a rule; that one, or what happened in all of them together.
pub(crate) fn run_all(
    seeds: impl Iterator<Item = u64> + Send,
    options: Options,
) -> Result<Counts, (u64, Vec<String>)> {
    let seeds = Mutex::new(seeds);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let total = Mutex::new(Counts::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let Some(seed) = seeds.lock().next() else {
                        return;
                    };
                    let report = run(Options { seed, ..options });
                    if report.violations.is_empty() {
                        total.lock().add(&report.counts);
                    } else {
                        failed.store(true, Ordering::Relaxed);
                        *failure.lock() = Some((seed, report.violations));
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner()),
    }
}
