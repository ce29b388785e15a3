//! One partition on this node, whatever the node is to it: reader, successor, owner.
//!
//! A task a partition looks at the table, the lease and what it holds, asks [`handoff::next`] what comes next, and does
//! it. Everything else reaches the partition through the [`Host`]: writes go to its owner if that is here, reads go to
//! the engine after the replica is as fresh as they ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, ReaderState};
use brainy_coordination::document::{self, DocumentError, Update, Versioned};
use brainy_coordination::handoff::{self, Action, Local};
use brainy_coordination::keys;
use brainy_coordination::lease::{self, Lease, OwnerEvidence};
use brainy_coordination::owner::{Finished, Owner, Stopped, WriteError};
use brainy_coordination::replica::{Replica, ReplicaError};
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::AppenderConfig;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::machine::PartitionMachine;
use super::maintain;
use super::rpc::{Request, Response};
use crate::error::ServiceError;
use crate::model::{Consistency, WriteOp};

/// How often a successor asks again, and a failed step is tried again at first.
const RETRY: Duration = Duration::from_millis(50);
/// Pause before deciding again when the world changed under a step.
const AGAIN: Duration = Duration::from_millis(1);
/// Longest pause between failed steps.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a write waits for a handoff to this node to finish before it is sent elsewhere.
const HANDOFF_WAIT: Duration = Duration::from_secs(1);
/// Writes that may wait for one partition.
const WRITE_QUEUE: usize = 1024;

type Machine = PartitionMachine;

/// What a partition is doing here, for `/health`, `/readyz` and metrics.
#[derive(Clone, Debug)]
pub struct HostStatus {
    /// What is held.
    pub local: Local,
    /// Epoch owned, if any.
    pub epoch: Option<u64>,
    /// Why the partition does not get on, if it does not: damage or a failing store.
    pub trouble: Option<String>,
}

/// A partition hosted by this node.
pub(super) struct Host {
    partition: PartitionId,
    context: Arc<Context>,
    machine: Arc<Machine>,
    /// `None` while the partition is loading or owned; the owner has the replica then.
    replica: tokio::sync::Mutex<Option<Replica<Machine>>>,
    local: watch::Sender<Local>,
    state: Mutex<State>,
    /// The successor that asked this node to seal.
    asked_for: Mutex<Option<InstanceId>>,
    /// Something suggests that the lease is not ours any more: look at it although we own.
    suspect: AtomicBool,
    /// A takeover or a release may have ended half-way: the lease may name us although we do not own.
    half_way: AtomicBool,
    /// Serialises and shares checks that the lease is still ours.
    confirmed: tokio::sync::Mutex<Option<Instant>>,
    nudge: Notify,
    stop: CancellationToken,
    finished: CancellationToken,
}

#[derive(Default)]
struct State {
    owner: Option<Owner<Machine>>,
    trouble: Option<String>,
}

impl Host {
    /// Starts hosting; the task ends by itself when the table gives the node nothing to do with the partition.
    pub(super) fn start(
        context: Arc<Context>,
        partition: PartitionId,
        machine: Machine,
    ) -> Arc<Self> {
        let host = Arc::new(Self {
            partition,
            stop: context.stop.child_token(),
            finished: CancellationToken::new(),
            context,
            machine: Arc::new(machine),
            replica: tokio::sync::Mutex::new(None),
            local: watch::Sender::new(Local::Nothing),
            state: Mutex::default(),
            asked_for: Mutex::new(None),
            suspect: AtomicBool::new(false),
            half_way: AtomicBool::new(false),
            confirmed: tokio::sync::Mutex::new(None),
            nudge: Notify::new(),
        });
        tokio::spawn(host.clone().run());
        host
    }

    /// The engine.
    #[must_use]
    pub(super) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// What is going on.
    #[must_use]
    pub(super) fn status(&self) -> HostStatus {
        let state = self.state.lock();
        HostStatus {
            local: *self.local.borrow(),
            epoch: state.owner.as_ref().map(Owner::epoch),
            trouble: state.trouble.clone(),
        }
    }

    /// Waits until the task has ended.
    pub(super) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Whether the task has ended.
    #[must_use]
    pub(super) fn is_finished(&self) -> bool {
        self.finished.is_cancelled()
    }

    /// The lease may have been taken: look at it.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
        self.nudge.notify_one();
    }

    /// Look at the world now.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Writes, if this node owns the partition.
    ///
    /// # Errors
    /// `WrongNode` when it does not; otherwise what the write came to.
    pub(super) async fn write(
        &self,
        request: Nonce,
        op: WriteOp,
    ) -> Result<LogPosition, ServiceError> {
        let mut owner = self.state.lock().owner.clone();
        if owner.is_none() && self.is_wanted_here() {
            // A handoff to this node is under way: waiting here is shorter than asking around.
            let mut local = self.local.subscribe();
            let taken = local.wait_for(|l| *l == Local::Owning);
            let _late = tokio::time::timeout(HANDOFF_WAIT, taken).await;
            owner = self.state.lock().owner.clone();
        }
        let Some(owner) = owner else {
            return Err(self.wrong_node("it is not owned by this instance"));
        };
        owner.write(request, op).await.map_err(|e| match e {
            WriteError::Rejected(error) => error,
            WriteError::Overloaded => ServiceError::Overloaded {
                reason: format!(
                    "{WRITE_QUEUE} writes are waiting for partition {}",
                    self.partition
                ),
                retry_after_ms: 200,
            },
            WriteError::NotOwner => self.wrong_node("it is moving to another instance"),
            WriteError::StoreFailed(e) => ServiceError::Unavailable(e.to_string()),
            WriteError::Unknown(text) => ServiceError::Unknown(text),
        })
    }

    fn is_wanted_here(&self) -> bool {
        let view = self.context.view.get();
        handoff::wanted(view.assignment(&self.partition), &self.context.me.instance)
    }

    fn wrong_node(&self, reason: &str) -> ServiceError {
        let view = self.context.view.get();
        ServiceError::WrongNode {
            partition: self.partition.clone(),
            reason: reason.to_owned(),
            ask: view
                .assignment(&self.partition)
                .and_then(|a| a.target_owner())
                .cloned(),
        }
    }

    /// Makes the engine at least as fresh as asked (design rule 7).
    ///
    /// # Errors
    /// `WrongNode` while the partition is not loaded, `Unavailable` when the log cannot be read.
    pub(super) async fn freshen(
        &self,
        consistency: Consistency,
        at_least: Option<LogPosition>,
    ) -> Result<(), ServiceError> {
        let asked = Instant::now();
        let owner = self.state.lock().owner.clone();
        if let Some(owner) = owner {
            let enough = match consistency {
                Consistency::Strong => self.confirm(&owner, asked).await?,
                Consistency::Bounded(ms) => {
                    let oldest = asked
                        .checked_sub(Duration::from_millis(ms))
                        .unwrap_or(asked);
                    self.confirm(&owner, oldest).await?
                }
                Consistency::Eventual => true,
            };
            if enough && at_least.is_none_or(|p| p <= self.machine.state().position()) {
                return Ok(());
            }
            return Err(self.wrong_node("another instance has taken it over"));
        }
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return Err(self.wrong_node("it is not loaded yet"));
        };
        let stale = match consistency {
            Consistency::Strong => replica.caught_up().is_none_or(|at| at < asked),
            Consistency::Bounded(ms) => replica
                .caught_up()
                .is_none_or(|at| asked.duration_since(at) > Duration::from_millis(ms)),
            Consistency::Eventual => replica.caught_up().is_none(),
        };
        if stale || at_least.is_some_and(|p| p > replica.position()) {
            let done = replica.catch_up().await;
            self.note(done.as_ref().err());
            done.map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        }
        if at_least.is_some_and(|p| p > replica.position()) {
            return Err(ServiceError::Unavailable(format!(
                "the token asks for a write to {} that is not in its log: it is of another cluster, or its collection was dropped",
                self.partition
            )));
        }
        Ok(())
    }

    /// Whether the lease was still ours at some moment at or after `since`; callers that wait for the same check share it.
    async fn confirm(&self, owner: &Owner<Machine>, since: Instant) -> Result<bool, ServiceError> {
        let mut confirmed = self.confirmed.lock().await;
        if confirmed.is_some_and(|at| at >= since) {
            return Ok(true);
        }
        let began = Instant::now();
        let ours = owner
            .still_owner()
            .await
            .map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        if ours {
            *confirmed = Some(began);
        } else {
            self.suspect();
        }
        Ok(ours)
    }

    /// Seals for `to`, which the table must name, and waits until the lease is released.
    ///
    /// # Errors
    /// `Conflict` when the table does not want this handoff, `Unavailable` when the release did not succeed.
    pub(super) async fn release(&self, to: &InstanceId) -> Result<(), ServiceError> {
        let me = &self.context.me.instance;
        let view = self.context.view.get();
        let mut allowed = handoff::may_release(view.assignment(&self.partition), me, to);
        if !allowed {
            let view = self
                .context
                .view
                .refresh()
                .await
                .map_err(|e| ServiceError::Unavailable(e.to_string()))?;
            allowed = handoff::may_release(view.assignment(&self.partition), me, to);
        }
        if !allowed {
            return Err(ServiceError::Conflict(format!(
                "the assignment table does not give {} to {to}",
                self.partition
            )));
        }
        loop {
            // The host's own task seals, so that a caller who goes away leaves nothing half done.
            if self.state.lock().owner.is_some() {
                let mut local = self.local.subscribe();
                *self.asked_for.lock() = Some(to.clone());
                self.nudge.notify_one();
                // The sender lives as long as this host.
                let _changed = local
                    .wait_for(|l| !matches!(l, Local::Owning | Local::Sealing))
                    .await;
            }
            // A takeover needs the replica: while this is held, none is under way and none begins.
            let _replica = self.replica.lock().await;
            if self.state.lock().owner.is_none() {
                return self
                    .context
                    .give_up_lease(&self.partition, Some(to.clone()))
                    .await;
            }
        }
    }

    async fn run(self: Arc<Self>) {
        let mut work: Option<Work> = None;
        let mut pause = RETRY;
        let mut views = self.context.view.subscribe();
        loop {
            views.borrow_and_update();
            let (action, lease) = match self.decide().await {
                Ok(decision) => decision,
                Err(error) => {
                    self.note(Some(&error));
                    (Action::Wait, None)
                }
            };
            if self.stop.is_cancelled() {
                break;
            }
            let outcome = tokio::select! {
                outcome = self.act(action.clone(), lease, &mut work) => outcome,
                () = self.stop.cancelled() => break,
            };
            let wait = match (&action, outcome) {
                (Action::Drop, Ok(())) => break,
                (_, Err(Step::Again)) => AGAIN,
                (_, Err(Step::Later(error))) => {
                    tracing::debug!(partition = %self.partition, ?action, error, "step not done yet");
                    pause = (pause * 2).min(RETRY_MAX);
                    pause
                }
                (Action::Wait, Ok(())) => {
                    pause = RETRY;
                    Duration::from_millis(self.context.settings().tail_poll_interval_ms)
                }
                (_, Ok(())) => {
                    pause = RETRY;
                    continue;
                }
            };
            let woken = tokio::select! {
                () = self.stop.cancelled() => break,
                finished = join(&mut work) => Woken::OwnerFinished(finished.map(Box::new)),
                _ = views.changed() => Woken::Look,
                () = self.nudge.notified() => Woken::Look,
                () = tokio::time::sleep(wait) => Woken::Tick,
            };
            match woken {
                Woken::OwnerFinished(finished) => {
                    work = None;
                    self.owner_finished(finished).await;
                }
                Woken::Tick => self.follow().await,
                Woken::Look => {}
            }
        }
        self.wind_down(work).await;
    }

    /// What comes next, from the table, the lease (read only when it matters) and what is held.
    async fn decide(&self) -> Result<(Action, Option<Versioned<Lease>>), ReplicaError> {
        let view = self.context.view.get();
        let assignment = view.assignment(&self.partition);
        let me = &self.context.me;
        let reads = assignment.is_some_and(|a| a.reader(&me.instance).is_some());
        let local = *self.local.borrow();
        let suspect = local == Local::Owning && self.suspect.swap(false, Ordering::Relaxed);
        let wanted = handoff::wanted(assignment, &me.instance);
        let lease = if suspect || (local == Local::Warm && wanted) {
            lease::load(&self.context.store, &self.partition).await?
        } else {
            None
        };
        let evidence = lease.as_ref().map_or(OwnerEvidence::Presumed, |l| {
            self.context.evidence(&view, &l.owner)
        });
        let asked_for = self.asked_for.lock().clone();
        if let Some(to) = asked_for.filter(|_| local == Local::Owning) {
            if handoff::may_release(assignment, &me.instance, &to) {
                return Ok((Action::Seal, None));
            }
            // The table was changed since: the handoff is off.
            *self.asked_for.lock() = None;
        }
        let action = handoff::next(
            me,
            assignment,
            lease.as_ref().map(|l| &l.body),
            evidence,
            local,
            reads,
        );
        Ok((action, lease))
    }

    async fn act(
        self: &Arc<Self>,
        action: Action,
        lease: Option<Versioned<Lease>>,
        work: &mut Option<Work>,
    ) -> Result<(), Step> {
        match action {
            Action::Wait => {
                self.publish_reading().await;
                Ok(())
            }
            Action::Drop => {
                // A takeover that failed half-way, or a release that did, may have left the lease in our name.
                if self.half_way.swap(false, Ordering::Relaxed) {
                    let given_up = self.context.give_up_lease(&self.partition, None).await;
                    if let Err(error) = given_up {
                        self.half_way.store(true, Ordering::Relaxed);
                        return Err(Step::Later(error.to_string()));
                    }
                }
                Ok(())
            }
            Action::Warm => self.warm().await,
            Action::AskRelease(owner) => self.ask_release(&owner).await,
            Action::TakeOver(reason) => self.take_over(reason, lease, work).await,
            Action::Publish => self.publish_owner().await,
            Action::Seal => {
                let to = self.asked_for.lock().take();
                tracing::info!(partition = %self.partition, ?to, "sealing");
                self.local.send_replace(Local::Sealing);
                let owner = self.state.lock().owner.clone();
                if let Some(owner) = owner {
                    owner.seal(to).await;
                }
                Ok(())
            }
        }
    }

    async fn warm(&self) -> Result<(), Step> {
        self.local.send_replace(Local::Warming);
        let opened = async {
            let mut replica = Replica::open(
                self.context.store.clone(),
                self.partition.clone(),
                self.machine.clone(),
                self.context.config.gc_grace,
            )
            .await?;
            replica.catch_up().await?;
            Ok::<_, ReplicaError>(replica)
        }
        .await;
        self.note(opened.as_ref().err());
        match opened {
            Ok(replica) => {
                *self.replica.lock().await = Some(replica);
                self.local.send_replace(Local::Warm);
                Ok(())
            }
            Err(error) => {
                self.local.send_replace(Local::Nothing);
                Err(Step::Later(error.to_string()))
            }
        }
    }

    async fn ask_release(&self, owner: &InstanceId) -> Result<(), Step> {
        let view = self.context.view.get();
        let Some(address) = view.member(owner).map(|m| m.address.clone()) else {
            return Err(Step::Later(format!("{owner} has no address")));
        };
        let request = Request::Release {
            partition: self.partition.clone(),
            to: self.context.me.instance.clone(),
        };
        let mut views = self.context.view.subscribe();
        views.borrow_and_update();
        let call = self
            .context
            .rpc
            .call(&address, &request, Duration::from_secs(30));
        let answer = tokio::select! {
            answer = call => answer,
            // The owner may be declared gone, or the handoff cancelled, while it does not answer.
            _ = views.changed() => return Err(Step::Again),
        };
        match answer {
            Ok(Response::Released) => Err(Step::Again),
            Ok(_) => Err(Step::Later(format!("{owner} gave another answer"))),
            Err(error) => {
                // The table may have changed: we may not be wanted any more.
                self.context.view.hint();
                Err(Step::Later(error.to_string()))
            }
        }
    }

    async fn take_over(
        self: &Arc<Self>,
        reason: lease::TakeReason,
        observed: Option<Versioned<Lease>>,
        work: &mut Option<Work>,
    ) -> Result<(), Step> {
        let began = Instant::now();
        let mut guard = self.replica.lock().await;
        let Some(mut replica) = guard.take() else {
            return Err(Step::Later("the replica is in use".to_owned()));
        };
        self.half_way.store(true, Ordering::Relaxed);
        let taken = replica.take_over(&self.context.me, observed.as_ref()).await;
        let ownership = match taken {
            Ok(ownership) => ownership,
            Err(error) => {
                *guard = Some(replica);
                let step = match &error {
                    TakeoverError::LeaseChanged(_) => Step::Again,
                    TakeoverError::Replica(e) => {
                        self.note(Some(e));
                        Step::Later(error.to_string())
                    }
                    TakeoverError::Deposed { .. } => Step::Later(error.to_string()),
                };
                return Err(step);
            }
        };
        let epoch = ownership.epoch();
        let (owner, task) =
            Owner::start(replica, ownership, AppenderConfig::default(), WRITE_QUEUE);
        {
            let mut state = self.state.lock();
            state.owner = Some(owner.clone());
            state.trouble = None;
        }
        self.half_way.store(false, Ordering::Relaxed);
        self.suspect.store(false, Ordering::Relaxed);
        self.local.send_replace(Local::Owning);
        let took = began.elapsed();
        tracing::info!(partition = %self.partition, epoch, ?reason, took_ms = took.as_millis(), "took over");
        self.context.metrics.takeovers.inc();
        self.context
            .metrics
            .takeover_seconds
            .observe(took.as_secs_f64());
        let stop = self.stop.child_token();
        let maintenance = tokio::spawn(maintain::run(
            self.clone(),
            self.context.clone(),
            self.partition.clone(),
            self.machine.clone(),
            owner,
            stop.clone(),
        ));
        *work = Some(Work {
            owner: task,
            maintenance,
            stop,
        });
        Ok(())
    }

    /// Writes into the table that this node owns the partition.
    async fn publish_owner(&self) -> Result<(), Step> {
        let me = &self.context.me.instance;
        let updated = document::update(
            &self.context.store,
            keys::ASSIGNMENTS,
            |current: Option<&Versioned<AssignmentTable>>| {
                let Some(current) = current else {
                    return Ok::<_, DocumentError>(Update::Keep(()));
                };
                let mut table = current.body.clone();
                Ok(if table.complete_handoff(&self.partition, me) {
                    Update::Write(table, ())
                } else {
                    Update::Keep(())
                })
            },
        )
        .await
        .map_err(|e| Step::Later(e.to_string()))?;
        self.context
            .view
            .refresh()
            .await
            .map_err(|e| Step::Later(e.to_string()))?;
        if updated.wrote {
            self.context.hint_members();
            Ok(())
        } else {
            // Somebody changed the table meanwhile; the next decision is made on what it says now.
            Err(Step::Later("the table says otherwise".to_owned()))
        }
    }

    /// Writes into the table that this node serves reads of everything it has loaded: one write for all partitions that
    /// became warm together.
    async fn publish_reading(&self) {
        let me = &self.context.me.instance;
        let view = self.context.view.get();
        let warming = view
            .assignment(&self.partition)
            .and_then(|a| a.reader(me))
            .is_some_and(|slot| slot.state == ReaderState::Warming);
        let loaded = matches!(*self.local.borrow(), Local::Warm | Local::Owning);
        if warming && loaded {
            self.context.announce_reading.notify_one();
        }
    }

    /// Keeps a follower's freshness and segments current.
    async fn follow(&self) {
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return;
        };
        let done = match replica.catch_up().await {
            Ok(()) => replica.refresh().await.map(drop),
            Err(error) => Err(error),
        };
        self.note(done.as_ref().err());
        if let Err(error) = done {
            tracing::warn!(partition = %self.partition, %error, "cannot follow the log");
        }
    }

    async fn owner_finished(&self, finished: Option<Box<Finished<Machine>>>) {
        let (replica, why) = match finished {
            Some(f) => {
                let Finished { replica, why } = *f;
                (Some(replica), Some(why))
            }
            // The task was aborted or panicked: start over from the bucket.
            None => (None, None),
        };
        tracing::info!(partition = %self.partition, ?why, "no longer the owner");
        // A release that failed leaves the lease in our name.
        if matches!(why, Some(Stopped::Failed(_)) | None) {
            self.half_way.store(true, Ordering::Relaxed);
        }
        let trouble = match &why {
            Some(Stopped::Failed(text)) => Some(text.clone()),
            Some(Stopped::Machine(error)) => Some(error.to_string()),
            _ => None,
        };
        let local = if replica.is_some() {
            Local::Warm
        } else {
            Local::Nothing
        };
        *self.replica.lock().await = replica;
        let mut state = self.state.lock();
        state.owner = None;
        state.trouble = trouble;
        drop(state);
        self.local.send_replace(local);
        // What ended it is usually a change of the table.
        self.context.view.hint();
    }

    /// Leaves: seals if owning, so that the next owner need not wait for evidence.
    async fn wind_down(&self, work: Option<Work>) {
        let owner = self.state.lock().owner.clone();
        if let (Some(owner), Some(mut work)) = (owner, work) {
            owner.seal(None).await;
            if let Ok(finished) = (&mut work.owner).await {
                tracing::info!(partition = %self.partition, why = ?finished.why, "released");
            }
            work.stop.cancel();
            let _ended = (&mut work.maintenance).await;
        }
        self.state.lock().owner = None;
        self.local.send_replace(Local::Nothing);
        *self.replica.lock().await = None;
        self.finished.cancel();
        self.context.hosts_changed.notify_one();
    }

    fn note(&self, error: Option<&ReplicaError>) {
        let permanent = error.filter(|e| !e.is_transient()).map(ToString::to_string);
        let mut state = self.state.lock();
        if permanent.is_some() && state.trouble != permanent {
            tracing::error!(partition = %self.partition, error = permanent, "the partition cannot go on");
        }
        state.trouble = permanent;
    }
}

/// The tasks of an owned partition.
struct Work {
    owner: JoinHandle<Finished<Machine>>,
    maintenance: JoinHandle<()>,
    stop: CancellationToken,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

enum Woken {
    OwnerFinished(Option<Box<Finished<Machine>>>),
    Look,
    Tick,
}

/// Why a step is not done.
enum Step {
    /// The world changed: decide again at once.
    Again,
    /// Not possible now.
    Later(String),
}

async fn join(work: &mut Option<Work>) -> Option<Finished<Machine>> {
    match work {
        Some(work) => (&mut work.owner).await.ok(),
        None => std::future::pending().await,
    }
}
