//! A simulated process: for each partition a host that does what [`handoff::next`] says, and serves clients.
//!
//! A paused process makes no request, answers nobody and sees nothing; its tasks stand still at the gate or in the
//! store. A crashed one is gone with everything it knew; what it had sent may still arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::document::{self, DocumentError, Update};
use brainy_coordination::freshness::{Confirmed, Freshness};
use brainy_coordination::handoff::{self, Action, Local};
use brainy_coordination::handover::Handover;
use brainy_coordination::keys;
use brainy_coordination::lease::{self, Identity, LeaseState, OwnerEvidence};
use brainy_coordination::owner::{Finished, Owner, Stopped, WriteError};
use brainy_coordination::replica::{Replica, ReplicaError};
use brainy_coordination::store::retry::Store;
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::{AppenderConfig, WalError};
use parking_lot::Mutex;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::audit::Outcome;
use crate::machine::{ListMachine, Record};
use crate::maintenance;
use crate::world::{GRACE, World, nap};

/// Writes that may wait at an owner.
const QUEUE: usize = 4;

/// One run of an instance.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) me: Identity,
    /// Instance and number of the run: its name at the bucket.
    pub(crate) name: String,
    pub(crate) store: Store,
    gate: Gate,
    tasks: Mutex<Vec<AbortHandle>>,
    hosts: BTreeMap<PartitionId, Arc<Host>>,
}

/// What a process holds of one partition.
pub(crate) struct Host {
    pub(crate) partition: PartitionId,
    serving: Mutex<Serving>,
    replica: tokio::sync::Mutex<Option<Replica<ListMachine>>>,
    confirmed: Confirmed,
    /// What the last owner told, which may be long ago.
    told: Mutex<Option<Handover>>,
}

struct Serving {
    local: Local,
    owner: Option<(Owner<ListMachine>, Arc<ListMachine>)>,
}

/// What a read of a state returns. The position after the records: it is at least theirs.
fn seen(machine: &ListMachine) -> (Vec<Record>, LogPosition) {
    (machine.log(), machine.position())
}

/// A working owner, as its host sees it.
type Work = JoinHandle<Finished<ListMachine>>;

impl Process {
    /// Starts run number `run` of `instance`.
    pub(crate) fn start(world: &Arc<World>, instance: InstanceId) -> Arc<Self> {
        let run = world.number();
        let name = format!("{instance}.{run}");
        let host = |partition: &PartitionId| Host {
            partition: partition.clone(),
            serving: Mutex::new(Serving {
                local: Local::Nothing,
                owner: None,
            }),
            replica: tokio::sync::Mutex::default(),
            confirmed: Confirmed::default(),
            told: Mutex::default(),
        };
        let hosts = world.partitions.iter();
        let process = Arc::new(Self {
            world: Arc::clone(world),
            me: Identity {
                instance,
                incarnation: Nonce(run.into()),
            },
            store: world.store(&name),
            name,
            gate: Gate::default(),
            tasks: Mutex::default(),
            hosts: hosts.map(|p| (p.clone(), Arc::new(host(p)))).collect(),
        });
        world.trace(&process.name, "starts");
        world.processes.lock().push(Arc::clone(&process));
        for host in process.hosts.values() {
            let rng = world.rng(&format!("{}/{}", process.name, host.partition));
            let task = Arc::clone(host).run(Arc::clone(&process), rng);
            process.spawn(task);
        }
        process
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.world.spawn(task);
        self.tasks.lock().push(handle.abort_handle());
    }

    /// Stops the process where it stands, until [`Process::resume`].
    pub(crate) fn pause(&self) {
        self.world.trace(&self.name, "is paused");
        self.world.bucket.freeze(&self.name);
        self.gate.set(true);
    }

    pub(crate) fn resume(&self) {
        self.world.trace(&self.name, "resumes");
        self.gate.set(false);
        self.world.bucket.thaw(&self.name);
    }

    /// Ends the process without a word.
    pub(crate) fn crash(&self) {
        self.world.trace(&self.name, "crashes");
        self.world.bucket.partition(&self.name, true);
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        for host in self.hosts.values() {
            host.serving.lock().owner = None;
        }
        let mut processes = self.world.processes.lock();
        processes.retain(|p| p.name != self.name);
    }

    /// Whether a newer run of this instance exists.
    pub(crate) fn is_replaced(&self) -> bool {
        let newest = self.world.process(&self.me.instance);
        newest.is_some_and(|newest| newest.name != self.name)
    }

    /// Returns while the process is not paused.
    pub(crate) async fn awake(&self) {
        self.gate.pass().await;
    }

    pub(crate) fn owns(&self, partition: &PartitionId) -> bool {
        self.hosts[partition].serving.lock().owner.is_some()
    }

    /// A client's write.
    pub(crate) async fn write(&self, partition: &PartitionId, request: Nonce, list: u8) -> Outcome {
        self.awake().await;
        let owner = self.hosts[partition].serving.lock().owner.clone();
        let Some((owner, _)) = owner else {
            return Outcome::Refused;
        };
        let outcome = match owner.write(request, list).await {
            Ok(position) => Outcome::Acknowledged {
                position,
                by_epoch: owner.epoch(),
            },
            Err(WriteError::Unknown(_)) => Outcome::Unknown,
            Err(WriteError::Rejected(_)) => Outcome::Rejected,
            Err(WriteError::Overloaded | WriteError::NotOwner | WriteError::StoreFailed(_)) => {
                Outcome::Refused
            }
        };
        self.awake().await;
        outcome
    }

    /// A read: everything in the partition as this process knows it, and up to which position that is; `None` if it cannot tell
    /// now.
    pub(crate) async fn read(
        &self,
        partition: &PartitionId,
        wanted: Freshness,
        at_least: Option<LogPosition>,
    ) -> Option<(Vec<Record>, LogPosition)> {
        self.awake().await;
        let (wanted, at_least) = match self.world.options.sabotage {
            Some(sabotage) => sabotage.of_read(wanted, at_least),
            None => (wanted, at_least),
        };
        let asked = Instant::now();
        let host = &self.hosts[partition];
        let owner = host.serving.lock().owner.clone();
        let found = match owner {
            Some((owner, machine)) => {
                let fresh = host.confirmed.is_fresh(&owner, wanted, asked).await;
                let reached = at_least.is_none_or(|p| p <= machine.position());
                (reached && fresh.is_ok_and(|s| s)).then(|| seen(&machine))
            }
            None => {
                let mut replica = host.replica.lock().await;
                let replica = replica.as_mut()?;
                let done = replica.freshen(wanted, asked, at_least).await;
                if let Err(error) = &done {
                    self.note(partition, error);
                }
                done.is_ok_and(|reached| reached)
                    .then(|| seen(replica.machine()))
            }
        };
        self.awake().await;
        found
    }

    /// A successor's request to release a partition.
    pub(crate) async fn release(&self, partition: &PartitionId, to: &InstanceId) {
        self.awake().await;
        let table = document::load::<AssignmentTable>(&self.store, keys::ASSIGNMENTS).await;
        let Ok(Some(table)) = table else { return };
        let entry = table.partitions.get(partition);
        if !handoff::may_release(entry, &self.me.instance, to) {
            return;
        }
        let host = &self.hosts[partition];
        let local = host.serving.lock().local;
        match local {
            Local::Owning => host.seal(Some(to.clone())).await,
            Local::Sealing => {}
            Local::Nothing | Local::Warming | Local::Warm => {
                let me = &self.me.instance;
                let done = lease::give_up(&self.store, partition, me, Some(to.clone())).await;
                if let Err(error) = done {
                    self.world.trace(&self.name, error);
                }
            }
        }
    }

    fn note(&self, partition: &PartitionId, error: &ReplicaError) {
        let world = &self.world;
        match error {
            ReplicaError::Wal(
                WalError::Poisoned { position, .. } | WalError::Hole { position, .. },
            ) => world.damage_found(&self.name, partition, *position),
            ReplicaError::Machine { error, .. } if !error.0.starts_with("store:") => {
                world.violation(format_args!("{} {partition}: {error}", self.name));
            }
            other => world.trace(&self.name, format_args!("{partition}: {other}")),
        }
    }
}

impl Host {
    async fn run(self: Arc<Self>, process: Arc<Process>, mut rng: ChaCha8Rng) {
        let mut work: Option<Work> = None;
        loop {
            nap(&mut rng, 200, 1500).await;
            process.awake().await;
            if work.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(finished) = work.take()
            {
                self.finished(&process, finished, &mut rng).await;
            }
            match self.decide(&process).await {
                Ok(step) => self.act(&process, step, &mut work, &mut rng).await,
                Err(e) => process.note(&self.partition, &e.into()),
            }
        }
    }

    async fn decide(
        &self,
        process: &Process,
    ) -> Result<(Action, Option<document::Versioned<lease::Lease>>), DocumentError> {
        let (store, me) = (&process.store, &process.me);
        let table = document::load::<AssignmentTable>(store, keys::ASSIGNMENTS).await?;
        let lease = lease::load(store, &self.partition).await?;
        let members = table.as_ref().map(|t| &t.members);
        let evidence = lease.as_ref().map_or(OwnerEvidence::Presumed, |lease| {
            let owner = &lease.owner.instance;
            let known = members.and_then(|m| m.get(owner));
            if known.is_none_or(|m| m.state == MemberState::Gone) {
                OwnerEvidence::Gone
            } else if process.world.suspected.lock().contains(owner) {
                OwnerEvidence::Expired
            } else {
                OwnerEvidence::Presumed
            }
        });
        let entry = table
            .as_ref()
            .and_then(|t| t.partitions.get(&self.partition));
        let reads = entry.is_some_and(|e| e.reader(&me.instance).is_some());
        let local = self.serving.lock().local;
        let action = handoff::next(me, entry, lease.as_deref(), evidence, local, reads);
        Ok((action, lease))
    }

    async fn act(
        self: &Arc<Self>,
        process: &Arc<Process>,
        (action, lease): (Action, Option<document::Versioned<lease::Lease>>),
        work: &mut Option<Work>,
        rng: &mut ChaCha8Rng,
    ) {
        if action != Action::Wait {
            process.world.trace(
                &process.name,
                format_args!("{}: {action:?}", self.partition),
            );
        }
        match action {
            Action::Warm => self.warm(process).await,
            Action::Wait => self.follow(process, rng).await,
            Action::AskRelease(owner) => self.ask_release(process, &owner, rng),
            Action::TakeOver(_) => *work = self.take_over(process, lease.as_ref()).await,
            Action::Publish => self.publish(process).await,
            Action::Seal => self.seal(None).await,
            Action::Drop => {
                *self.replica.lock().await = None;
                self.serving.lock().local = Local::Nothing;
            }
        }
    }

    async fn warm(&self, process: &Process) {
        let (store, world) = (process.store.clone(), &process.world);
        let machine = ListMachine::new(store.clone(), self.partition.clone(), !world.lossy);
        let opened = Replica::open(store, self.partition.clone(), machine, GRACE).await;
        match opened {
            Ok(replica) => {
                *self.replica.lock().await = Some(replica);
                self.serving.lock().local = Local::Warm;
            }
            Err(error) => process.note(&self.partition, &error),
        }
    }

    async fn follow(&self, process: &Process, rng: &mut ChaCha8Rng) {
        // Some replicas follow slowly: what they are to read is collected before they get there.
        if self.serving.lock().local != Local::Warm || !rng.random_bool(0.4) {
            return;
        }
        // Some look because somebody said that the log is somewhere: rightly, late, too early, or out of thin air.
        let (epochs, seqs) = (rng.random_range(0..=1), rng.random_range(0..=20));
        let told = rng.random_bool(0.5);
        if let Some(replica) = self.replica.lock().await.as_mut() {
            let at = replica.position();
            let done = if told {
                let said = LogPosition::new(at.epoch + epochs, at.seq + seqs);
                replica.follow_to(said).await
            } else {
                replica.catch_up().await
            };
            if let Err(error) = done {
                process.note(&self.partition, &error);
            }
        }
    }

    fn ask_release(&self, process: &Process, owner: &InstanceId, rng: &mut ChaCha8Rng) {
        if rng.random_bool(0.2) {
            return; // Lost on the way.
        }
        if let Some(owner) = process.world.process(owner) {
            let (partition, to) = (self.partition.clone(), process.me.instance.clone());
            let asked = Arc::clone(&owner);
            owner.spawn(async move { asked.release(&partition, &to).await });
        }
    }

    async fn take_over(
        self: &Arc<Self>,
        process: &Arc<Process>,
        lease: Option<&document::Versioned<lease::Lease>>,
    ) -> Option<Work> {
        let mut slot = self.replica.lock().await;
        let replica = slot.as_mut()?;
        let told = self.told.lock().take();
        let taken = match &told {
            Some(told) => replica.take_over_from(&process.me, told).await,
            None => replica.take_over(&process.me, lease).await,
        };
        let ownership = match taken {
            Ok(ownership) => {
                process.world.counts.lock().handed_over += u64::from(told.is_some());
                ownership
            }
            Err(TakeoverError::Replica(error)) => {
                process.note(&self.partition, &error);
                return None;
            }
            Err(other) => {
                process.world.trace(&process.name, other);
                return None;
            }
        };
        let replica = slot.take()?;
        let world = &process.world;
        world.counts.lock().takeovers += 1;
        world.trace(
            &process.name,
            format_args!("{}: owns epoch {}", self.partition, ownership.epoch()),
        );
        let machine = Arc::clone(replica.machine());
        let config = AppenderConfig {
            max_object_entries: 3,
            ..AppenderConfig::default()
        };
        let (owner, work) = Owner::start(replica, ownership, config, QUEUE);
        process.tasks.lock().push(work.abort_handle());
        let task = maintenance::run(
            Arc::clone(process),
            self.partition.clone(),
            owner.clone(),
            Arc::clone(&machine),
        );
        process.spawn(task);
        *self.serving.lock() = Serving {
            local: Local::Owning,
            owner: Some((owner, machine)),
        };
        Some(work)
    }

    async fn publish(&self, process: &Process) {
        let me = &process.me.instance;
        let updated: Result<_, DocumentError> = document::update(
            &process.store,
            keys::ASSIGNMENTS,
            |table: Option<&document::Versioned<AssignmentTable>>| {
                let Some(mut next) = table.map(|t| t.body.clone()) else {
                    return Ok(Update::Keep(()));
                };
                let changed = next.complete_handoff(&self.partition, me);
                Ok(if changed {
                    Update::Write(next, ())
                } else {
                    Update::Keep(())
                })
            },
        )
        .await;
        if let Err(error) = updated {
            process.world.trace(&process.name, error);
        }
    }

    async fn seal(&self, to: Option<InstanceId>) {
        let owner = {
            let mut serving = self.serving.lock();
            if serving.local != Local::Owning {
                return;
            }
            serving.local = Local::Sealing;
            serving.owner.clone()
        };
        if let Some((owner, _)) = owner {
            owner.seal(to).await;
        }
    }

    /// Tells the successor, unless that gets lost.
    fn hand_over(&self, process: &Process, mut handover: Handover, rng: &mut ChaCha8Rng) {
        let to = match &handover.lease.state {
            LeaseState::Released { to: Some(to), .. } => process.world.process(to),
            _ => None,
        };
        if let Some(sabotage) = process.world.options.sabotage {
            sabotage.of_handover(&mut handover);
        }
        if let Some(to) = to.filter(|_| rng.random_bool(0.8)) {
            *to.hosts[&self.partition].told.lock() = Some(handover);
        }
    }

    async fn finished(&self, process: &Process, work: Work, rng: &mut ChaCha8Rng) {
        let world = &process.world;
        let Ok(Finished { replica, why }) = work.await else {
            return world.violation(format_args!("{}: the owner panicked", process.name));
        };
        world.trace(
            &process.name,
            format_args!("{}: owner stopped: {why:?}", self.partition),
        );
        match why {
            Stopped::Released { handover, .. } => {
                world.counts.lock().released += 1;
                if let Some(handover) = handover {
                    self.hand_over(process, *handover, rng);
                }
            }
            Stopped::Deposed => world.counts.lock().deposed += 1,
            Stopped::Failed(_) => {}
            Stopped::Machine(error) => world.violation(error),
        }
        *self.replica.lock().await = Some(replica);
        *self.serving.lock() = Serving {
            local: Local::Warm,
            owner: None,
        };
    }
}

/// Where tasks of a paused process wait. They go on in the order in which they came, so that a run can be repeated.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    opened: Notify,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
        if !closed {
            self.opened.notify_waiters();
        }
    }

    async fn pass(&self) {
        while self.closed.load(Ordering::Relaxed) {
            self.opened.notified().await;
        }
    }
}
