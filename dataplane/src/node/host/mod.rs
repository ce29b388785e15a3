//! One partition on this node, whatever the node is to it: reader, successor, owner.
//!
//! A task a partition looks at the table, the lease and what it holds, asks [`handoff::next`] what comes next, and does
//! it. Everything else reaches the partition through the [`Host`]: writes go to its owner if that is here, reads go to
//! the engine after the replica is as fresh as they ask.

mod adopt;
mod ask;
mod exchange;
mod flush;
mod fresh;
mod lane;
mod news;
mod pace;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brainy_coordination::freshness::Confirmed;
use brainy_coordination::handoff::{self, Local};
use brainy_coordination::handover::Handover;
use brainy_coordination::owner::{Owner, WriteError};
use brainy_coordination::replica::Replica;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(in crate::node) use pace::Pace;

use super::context::Context;
use super::lane::Lanes;
use super::machine::{PartitionMachine, ToLog};
use crate::error::ServiceError;
use crate::model::WriteOp;
use news::News;

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
    pace: Pace,
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
    confirmed: Confirmed,
    nudge: Notify,
    news: News,
    /// Version of the cluster manifest that the partition's schema was last compared with.
    schema_from: AtomicU64,
    /// In a cluster with several writers.
    lanes: Option<Lanes>,
    stop: CancellationToken,
    finished: CancellationToken,
}

#[derive(Default)]
struct State {
    owner: Option<Owner<Machine>>,
    trouble: Option<String>,
    /// What the successor that this node released to need not look up.
    handover: Option<Box<Handover>>,
}

impl Host {
    /// Starts hosting; the task ends by itself when the table gives the node nothing to do with the partition.
    pub(super) fn start(
        context: Arc<Context>,
        partition: PartitionId,
        machine: Machine,
    ) -> Arc<Self> {
        let lanes = context.config.multi_writer.then(Lanes::default);
        let host = Arc::new(Self {
            partition,
            stop: context.stop.child_token(),
            finished: CancellationToken::new(),
            context,
            machine: Arc::new(machine),
            pace: Pace::default(),
            replica: tokio::sync::Mutex::new(None),
            local: watch::Sender::new(Local::Nothing),
            state: Mutex::default(),
            asked_for: Mutex::new(None),
            suspect: AtomicBool::new(false),
            half_way: AtomicBool::new(false),
            confirmed: Confirmed::default(),
            nudge: Notify::new(),
            news: News::default(),
            schema_from: AtomicU64::new(0),
            lanes,
        });
        tokio::spawn(host.clone().run());
        if host.lanes.is_some() {
            tokio::spawn(host.clone().keep_lane());
            tokio::spawn(host.clone().tell_of_lane());
        }
        host
    }

    /// The engine.
    #[must_use]
    pub(super) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// How long searches take here.
    #[must_use]
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
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
        self.adopt_schema_for(&op).await?;
        if let Some(lanes) = &self.lanes {
            return self.write_to_lane(lanes, request, op).await;
        }
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
        let write = ToLog::Write(self.context.budget.admit(op)?);
        let written = owner.write(request, write).await;
        if let Ok(position) = &written {
            self.tell_advanced(*position);
        }
        written.map_err(|e| self.refused(e))
    }

    /// What a client hears of a write that was not acknowledged.
    fn refused(&self, error: WriteError<ServiceError>) -> ServiceError {
        match error {
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
        }
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

    /// Seals for `to`, which the table must name, and waits until the lease is released. Returns what `to` need not look up, where this
    /// node owned the partition.
    ///
    /// # Errors
    /// `Conflict` when the table does not want this handoff, `Unavailable` when the release did not succeed.
    pub(super) async fn release(
        &self,
        to: &InstanceId,
    ) -> Result<Option<Box<Handover>>, ServiceError> {
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
            let handover = {
                let mut state = self.state.lock();
                if state.owner.is_some() {
                    continue;
                }
                state.handover.take()
            };
            if handover.is_none() {
                self.context
                    .give_up_lease(&self.partition, Some(to.clone()))
                    .await?;
            }
            return Ok(handover);
        }
    }
}
