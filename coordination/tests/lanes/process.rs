//! A simulated process: a lane that it writes to, and the partition, which it follows or owns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::gc::Collector;
use brainy_coordination::lane::{self, Merger, Merging};
use brainy_coordination::lease::{self, Identity};
use brainy_coordination::owner::{Finished, Owner, WriteError};
use brainy_coordination::replica::Replica;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce};
use brainy_coordination::wal::AppenderConfig;
use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};

use crate::machine::{Lane, Registers, Set, State};
use crate::world::{GRACE, Sabotage, World, nap};

const QUEUE: usize = 8;

/// One run of an instance.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) me: Identity,
    pub(crate) name: String,
    pub(crate) store: Store,
    lane: Mutex<Option<Owner<Lane>>>,
    replica: tokio::sync::Mutex<Option<Replica<Registers>>>,
    /// While it owns the partition.
    owned: Mutex<Option<(Owner<Registers>, Arc<Registers>)>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What a client was told.
pub(crate) enum Outcome {
    Acknowledged,
    /// Certainly not written by this try.
    Refused,
    Unknown,
}

impl Process {
    pub(crate) fn start(world: &Arc<World>, instance: InstanceId) -> Arc<Self> {
        let run = world.number();
        let name = format!("{instance}.{run}");
        let process = Arc::new(Self {
            world: Arc::clone(world),
            me: Identity {
                instance,
                incarnation: Nonce(run.into()),
            },
            store: world.store(&name),
            name,
            lane: Mutex::default(),
            replica: tokio::sync::Mutex::default(),
            owned: Mutex::default(),
            tasks: Mutex::default(),
        });
        world.processes.lock().push(Arc::clone(&process));
        let store = process.store.clone();
        let machine = Registers::new(store, world.partition.clone());
        for task in [
            tokio::spawn(Arc::clone(&process).keep_lane(Arc::clone(&machine))),
            tokio::spawn(Arc::clone(&process).keep_partition(machine)),
        ] {
            process.tasks.lock().push(task.abort_handle());
        }
        process
    }

    /// Ends the process without a word; what it had sent may still arrive.
    pub(crate) fn crash(&self) {
        self.world.bucket.partition(&self.name, true);
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        *self.lane.lock() = None;
        *self.owned.lock() = None;
        let mut processes = self.world.processes.lock();
        processes.retain(|p| p.name != self.name);
    }

    /// A client's write: into the lane of this process.
    pub(crate) async fn write(&self, request: Nonce, set: Set) -> Outcome {
        let Some(owner) = self.lane.lock().clone() else {
            return Outcome::Refused;
        };
        match owner.write(request, set).await {
            Ok(_) => Outcome::Acknowledged,
            Err(WriteError::Unknown(_)) => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        }
    }

    /// A strong read; `None` if this process cannot tell now.
    pub(crate) async fn read(&self) -> Option<State> {
        let began = Instant::now();
        let owned = self.owned.lock().clone();
        let machine = match owned {
            Some((owner, machine)) => {
                let still = owner.still_owner().await.ok()?;
                still.then_some(machine)?
            }
            None => {
                let mut replica = self.replica.lock().await;
                let replica = replica.as_mut()?;
                replica.catch_up().await.ok()?;
                Arc::clone(replica.machine())
            }
        };
        let merged = machine.merged().positions();
        if self.world.sabotage == Some(Sabotage::ReadTheLogOnly) {
            return Some(machine.state());
        }
        let known = merged.keys().cloned().collect();
        let partition = &self.world.partition;
        let lanes = lane::discover(&self.store, partition, &known).await.ok()?;
        let ends = lane::ends(&self.store, partition, &lanes, &merged).await;
        let ends = ends.ok()?;
        if began.elapsed() * 2 > GRACE {
            return None;
        }
        let mut changes = machine.merged().subscribe();
        let contained = async {
            while !machine.merged().contains(&ends) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(20), contained).await.ok()?;
        Some(machine.state())
    }

    /// Owns the lane of this process as long as it is a member, and lets go of what was copied.
    async fn keep_lane(self: Arc<Self>, machine: Arc<Registers>) {
        let mut rng = self.world.rng(&format!("{}/lane", self.name));
        let id = self.world.partition.lane_of(&self.me.instance);
        loop {
            nap(&mut rng, 50, 500).await;
            if !self.world.is_member(&self.me.instance) {
                continue;
            }
            let lane = Arc::new(Lane::default());
            let opened =
                Replica::open(self.store.clone(), id.clone(), Arc::clone(&lane), GRACE).await;
            let (Ok(mut replica), Ok(lease)) = (opened, lease::load(&self.store, &id).await) else {
                continue;
            };
            let Ok(ownership) = replica.take_over(&self.me, lease.as_ref()).await else {
                continue;
            };
            let epoch = ownership.epoch();
            let (owner, task) = Owner::start(replica, ownership, AppenderConfig::default(), QUEUE);
            *self.lane.lock() = Some(owner.clone());
            let mut collector = Collector::new(self.store.clone(), id.clone(), epoch, GRACE);
            while !task.is_finished() {
                nap(&mut rng, 500, 3000).await;
                let contained = match self.world.sabotage {
                    Some(Sabotage::CollectEarly) => Some(*lane.position.lock()),
                    _ => machine.merged().get(&self.me.instance),
                };
                let Some(contained) = contained else { continue };
                let published = owner
                    .publisher()
                    .publish(|m| m.applied = m.applied.max(contained))
                    .await;
                if published.is_err() {
                    continue;
                }
                if let Ok(done) = collector.collect(&BTreeSet::new()).await {
                    self.world.count(|c| c.collected += done.slots as u64);
                }
            }
            *self.lane.lock() = None;
        }
    }

    /// Follows the partition, and owns it when the orchestrator says so.
    async fn keep_partition(self: Arc<Self>, machine: Arc<Registers>) {
        let mut rng = self.world.rng(&format!("{}/partition", self.name));
        loop {
            nap(&mut rng, 50, 700).await;
            let mut guard = self.replica.lock().await;
            if guard.is_none() {
                let id = self.world.partition.clone();
                let opened = Replica::open(self.store.clone(), id, Arc::clone(&machine), GRACE);
                *guard = opened.await.ok();
            }
            let Some(replica) = guard.as_mut() else {
                continue;
            };
            let done = match replica.catch_up().await {
                Ok(()) => replica.refresh().await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                if !error.is_transient() && !error.to_string().contains("store:") {
                    self.world.violation(format_args!("{}: {error}", self.name));
                }
                continue;
            }
            if *self.world.leader.lock() != self.me.instance {
                continue;
            }
            let Ok(lease) = lease::load(&self.store, &self.world.partition).await else {
                continue;
            };
            let Ok(ownership) = replica.take_over(&self.me, lease.as_ref()).await else {
                continue;
            };
            let Some(replica) = guard.take() else {
                continue;
            };
            drop(guard);
            self.world.count(|c| c.takeovers += 1);
            let epoch = ownership.epoch();
            self.world.trace(
                &self.name,
                format_args!("owns the partition, epoch {epoch}"),
            );
            let (owner, task) = Owner::start(replica, ownership, AppenderConfig::default(), QUEUE);
            *self.owned.lock() = Some((owner.clone(), Arc::clone(&machine)));
            let finished = self.own(owner, task, &machine, &mut rng).await;
            *self.owned.lock() = None;
            *self.replica.lock().await = finished.map(|f| f.replica);
        }
    }

    async fn own(
        &self,
        owner: Owner<Registers>,
        task: JoinHandle<Finished<Registers>>,
        machine: &Arc<Registers>,
        rng: &mut ChaCha8Rng,
    ) -> Option<Finished<Registers>> {
        let partition = &self.world.partition;
        let mut merger = Merger::new(
            self.store.clone(),
            partition.clone(),
            Arc::clone(machine),
            owner.clone(),
            GRACE,
        );
        let mut collector =
            Collector::new(self.store.clone(), partition.clone(), owner.epoch(), GRACE);
        let mut rounds = 0_u64;
        while !task.is_finished() {
            nap(rng, 20, 400).await;
            rounds += 1;
            if *self.world.leader.lock() != self.me.instance {
                owner.seal(None).await;
                break;
            }
            let known = merger.copied_from();
            let Ok(mut lanes) = lane::discover(&self.store, partition, &known).await else {
                continue;
            };
            let gone: Vec<InstanceId> = lanes
                .iter()
                .filter(|lane| !self.world.is_member(lane))
                .cloned()
                .collect();
            for lane in gone {
                lanes.remove(&lane);
                if self.world.sabotage == Some(Sabotage::ForgetTheGone) {
                    continue;
                }
                match merger.retire(&lane).await {
                    Ok(()) => self.world.count(|c| c.retired += 1),
                    Err(error) => self
                        .world
                        .trace(&self.name, format_args!("{lane}: {error}")),
                }
            }
            let (_more, errors) = merger.round(&lanes).await;
            for (lane, error) in errors {
                self.world
                    .trace(&self.name, format_args!("{lane}: {error}"));
            }
            if rounds.is_multiple_of(8) {
                let _later = self.publish(&owner, machine).await;
                let _later = collector.collect(&BTreeSet::new()).await;
            }
        }
        task.await.ok()
    }

    async fn publish(&self, owner: &Owner<Registers>, machine: &Registers) -> Option<LogPosition> {
        let id = self.world.segment_id(owner.epoch());
        let (meta, applied) = machine.upload(id).await.ok()?;
        let published = owner.publisher().publish(|m| {
            if applied > m.applied {
                m.segments = vec![meta.clone()];
                m.applied = applied;
                m.lanes = machine.merged().up_to(applied);
            }
        });
        Some(published.await.ok()?.applied)
    }
}
