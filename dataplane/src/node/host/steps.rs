//! The task of a partition: decide what comes next, do it, wait for a reason to decide again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, ReaderState};
use brainy_coordination::document::{self, DocumentError, Update, Versioned};
use brainy_coordination::events::Event;
use brainy_coordination::handoff::{self, Action, Local};
use brainy_coordination::handover::Handover;
use brainy_coordination::keys;
use brainy_coordination::lease::{self, Lease, OwnerEvidence, TakeReason};
use brainy_coordination::owner::{Finished, Owner, Stopped};
use brainy_coordination::replica::{Replica, ReplicaError};
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::wal::WalError;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::maintain;
use super::{Host, Machine, WRITE_QUEUE};
use crate::node::mode::OperationalMode;

/// How often a successor asks again, and a failed step is tried again at first.
const RETRY: Duration = Duration::from_millis(50);
/// Pause before deciding again when the world changed under a step.
const AGAIN: Duration = Duration::from_millis(1);
/// How often a follower looks for segments that nobody told it of.
const SEGMENTS_EVERY: Duration = Duration::from_secs(5);
/// Looks at the log for each of these, at least.
const LOOKS_A_SEGMENT: u32 = 4;
/// Longest pause between failed steps.
const RETRY_MAX: Duration = Duration::from_secs(5);

impl Host {
    pub(super) async fn run(self: Arc<Self>) {
        let mut work: Option<Work> = None;
        let mut pause = RETRY;
        // When the log was last looked at without anybody saying that there is something new.
        let mut looked = Instant::now();
        let mut views = self.context.view.subscribe();
        let mut pushed = self.context.pushed.subscribe();
        loop {
            views.borrow_and_update();
            if let Err(error) = self.adopt_schema().await {
                tracing::error!(partition = %self.partition, %error, "cannot follow the collection's vectors");
            }
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
                    self.tail_pause().saturating_sub(looked.elapsed())
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
                _ = pushed.changed() => Woken::Look,
                () = self.news.arrived(), if action == Action::Wait => Woken::News,
                () = tokio::time::sleep(wait) => Woken::Tick,
            };
            match woken {
                Woken::OwnerFinished(finished) => {
                    work = None;
                    self.owner_finished(finished).await;
                }
                Woken::Tick => {
                    looked = Instant::now();
                    self.follow().await;
                }
                Woken::News => self.follow_news().await,
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
        // With several writers every hybrid holds every partition: its writes are resolved against it.
        let reads = self.lanes.is_some() && view.by_uid(&self.partition.collection).is_some()
            || assignment.is_some_and(|a| a.reader(&me.instance).is_some());
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
            Action::AskRelease(owner) => match self.ask_release(&owner).await? {
                Some(told) => {
                    let reason = TakeReason::Released;
                    self.take_over(reason, Basis::Told(told), work).await
                }
                None => Err(Step::Again),
            },
            Action::TakeOver(reason) => self.take_over(reason, Basis::Seen(lease), work).await,
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

    async fn take_over(
        self: &Arc<Self>,
        reason: TakeReason,
        basis: Basis,
        work: &mut Option<Work>,
    ) -> Result<(), Step> {
        let began = Instant::now();
        // Another process of our name: an earlier one is over, and a later one has replaced us.
        let namesake = basis.lease().map(|lease| &lease.owner);
        let namesake = namesake.filter(|owner| {
            owner.instance == self.context.me.instance && **owner != self.context.me
        });
        if let (Some(_), Some(presence)) = (namesake, &self.context.presence) {
            let superseded = presence.is_superseded().await;
            if superseded.map_err(|e| Step::Later(e.to_string()))? {
                return Err(Step::Later("another process has our name".to_owned()));
            }
        }
        let mut guard = self.replica.lock().await;
        let Some(mut replica) = guard.take() else {
            return Err(Step::Later("the replica is in use".to_owned()));
        };
        self.half_way.store(true, Ordering::Relaxed);
        // What this node told when it released is of an earlier epoch from now on.
        self.state.lock().handover = None;
        let me = &self.context.me;
        let taken = match &basis {
            Basis::Seen(lease) => replica.take_over(me, lease.as_ref()).await,
            Basis::Told(told) => replica.take_over_from(me, told).await,
        };
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
        let appender = OperationalMode::of(self.context.config.role).appender();
        let (owner, task) = Owner::start(replica, ownership, appender, WRITE_QUEUE);
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
        self.context.events.publish(Event::PartitionTakenOver {
            partition: self.partition.clone(),
            epoch,
            reason: match basis {
                Basis::Told(_) => "HandedOver".to_owned(),
                Basis::Seen(_) => format!("{reason:?}"),
            },
        });
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
            owner.clone(),
            stop.clone(),
        ));
        if self.lanes.is_some() {
            for peer in &self.context.exchange.peers {
                let (peer, owner) = (Arc::clone(peer), owner.clone());
                tokio::spawn(self.clone().exchange_with(peer, owner, stop.clone()));
            }
            tokio::spawn(self.clone().merge_lanes(owner, stop.clone()));
        }
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
            self.context.events.publish(Event::HandoffCompleted {
                partition: self.partition.clone(),
                owner: me.clone(),
            });
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

    /// How often a follower looks for segments that nobody told it of: not at every look at the log, however rare.
    fn segments_every(&self) -> Duration {
        SEGMENTS_EVERY.max(self.tail_pause() * LOOKS_A_SEGMENT)
    }

    /// Keeps a follower's freshness and segments current.
    async fn follow(&self) {
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return;
        };
        let done = match replica.catch_up().await {
            // Segments take the place of write buffers, which is never urgent: not a request at every look.
            Ok(()) if replica.manifest_read().elapsed() >= self.segments_every() => {
                replica.refresh().await.map(drop)
            }
            done => done,
        };
        self.followed(done);
    }

    /// Reports how following the log went.
    pub(super) fn followed(&self, done: Result<(), ReplicaError>) {
        self.note(done.as_ref().err());
        if let Err(error) = done {
            tracing::warn!(partition = %self.partition, %error, "cannot follow the log");
            // It may have writes with vectors that this node has not heard of.
            self.context.view.hint();
        }
    }

    async fn owner_finished(&self, finished: Option<Box<Finished<Machine>>>) {
        let (replica, mut why) = match finished {
            Some(f) => {
                let Finished { replica, why } = *f;
                (Some(replica), Some(why))
            }
            // The task was aborted or panicked: start over from the bucket.
            None => (None, None),
        };
        let handover = match &mut why {
            Some(Stopped::Released { handover, .. }) => handover.take(),
            _ => None,
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
        state.handover = handover;
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

    pub(super) fn note(&self, error: Option<&ReplicaError>) {
        let permanent = error.filter(|e| !e.is_transient()).map(ToString::to_string);
        let mut state = self.state.lock();
        if permanent.is_some() && state.trouble != permanent {
            tracing::error!(partition = %self.partition, error = permanent, "the partition cannot go on");
            if let Some(ReplicaError::Wal(WalError::Poisoned { key, .. })) = error {
                self.context.events.publish(Event::LogQuarantined {
                    partition: self.partition.clone(),
                    key: key.clone(),
                });
            }
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

/// What a takeover begins with.
enum Basis {
    /// The lease, as this node read it.
    Seen(Option<Versioned<Lease>>),
    /// What the owner said when it released.
    Told(Box<Handover>),
}

impl Basis {
    fn lease(&self) -> Option<&Versioned<Lease>> {
        match self {
            Basis::Seen(lease) => lease.as_ref(),
            Basis::Told(told) => Some(&told.lease),
        }
    }
}

enum Woken {
    OwnerFinished(Option<Box<Finished<Machine>>>),
    Look,
    /// Somebody said that there is something new.
    News,
    Tick,
}

/// Why a step is not done.
pub(super) enum Step {
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
