//! A node's part in a cluster without an orchestrator: it heartbeats, takes turns at planning, and leaves in order.
//!
//! Who plans and by what right is in [`brainy_coordination::self_coordination`]. Requests between nodes only make things happen
//! sooner: whoever joins or leaves asks the planner to look now, and without an answer is seen at the planner's next look.

use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, HandoffReason};
use brainy_coordination::document::DocumentError;
use brainy_coordination::members::Phase;
use brainy_coordination::rebalance::{self, StepOutcome};
use brainy_coordination::self_coordination::{Coordinator, Turn};
use brainy_coordination::types::InstanceId;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Node;
use super::rpc::{Request, Response};
use super::service::{describe, from_document};
use crate::error::ServiceError;

/// First pause between two steps while partitions move; doubles while a step finds nothing to do.
const MOVING: Duration = Duration::from_millis(500);
/// Pause between two looks at what this node still holds.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for the planner's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait until others have heard that this process is over.
const FAREWELL: Duration = Duration::from_secs(1);
/// Requests to plan that may wait.
const QUEUE: usize = 16;

/// Settings of a node that coordinates itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfCoordination {
    /// How often the heartbeat is renewed, and others' are looked at.
    pub heartbeat_interval: Duration,
    /// How long a heartbeat stands still before its process is taken for dead.
    pub lease_ttl: Duration,
}

type Reply = oneshot::Sender<Result<Value, ServiceError>>;

/// The way to this node's coordinator.
#[derive(Debug)]
pub(crate) struct Planning {
    settings: SelfCoordination,
    asks: mpsc::Sender<Reply>,
}

/// Requests to the coordinator, which reads them.
pub(super) struct Asked(mpsc::Receiver<Reply>);

impl Planning {
    pub(super) fn new(settings: SelfCoordination) -> (Self, Asked) {
        let (asks, asked) = mpsc::channel(QUEUE);
        (Self { settings, asks }, Asked(asked))
    }
}

impl Node {
    /// Starts this node's part, if it coordinates itself.
    pub(super) fn spawn_coordination(&self, asked: Option<Asked>, stop: &CancellationToken) {
        let Some((settings, asked)) = self.self_coordination().zip(asked) else {
            return;
        };
        let (node, token) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            if let Some(presence) = &node.context().presence {
                presence.run(settings.heartbeat_interval, token).await;
            }
        });
        let (node, token) = (self.clone(), stop.clone());
        self.0
            .tasks
            .spawn(async move { node.coordinate(settings, asked, token).await });
        let (node, token) = (self.clone(), stop.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = node.ask_to_join() => {}
            }
        });
    }

    fn self_coordination(&self) -> Option<SelfCoordination> {
        let planning = self.context().planning.as_ref();
        planning.map(|planning| planning.settings)
    }

    /// A heartbeat counts once it is seen to grow: two looks of the planner, one renewal between them.
    async fn ask_to_join(&self) {
        for look in 0..2 {
            if let Err(error) = self.plan_now().await {
                tracing::debug!(%error, "the planner was not asked to look; it will by itself");
            }
            let renewed = match &self.context().presence {
                Some(presence) if look == 0 => presence.renew().await,
                _ => Ok(()),
            };
            if let Err(error) = renewed {
                tracing::warn!(%error, "the heartbeat was not renewed");
            }
        }
    }

    async fn coordinate(
        &self,
        settings: SelfCoordination,
        Asked(mut asked): Asked,
        stop: CancellationToken,
    ) {
        let store = self.store().clone();
        let ttl = settings.lease_ttl;
        let mut coordinator = Coordinator::new(store, self.me().clone(), ttl, true);
        let mut moving = MOVING;
        let mut replies: Vec<Reply> = Vec::new();
        let mut views = self.view().subscribe();
        loop {
            let turn = self.take_turn(&mut coordinator).await;
            let mut pause = settings.heartbeat_interval;
            match &turn {
                Ok(Turn::Planned { outcome, .. }) if !outcome.status.is_settled() => {
                    moving = if outcome.changed {
                        MOVING
                    } else {
                        (moving * 2).min(pause)
                    };
                    pause = pause.min(moving);
                }
                Ok(_) => moving = MOVING,
                Err(error) => tracing::warn!(%error, "planning failed; trying again"),
            }
            for reply in replies.drain(..) {
                // Whoever asked may be gone.
                let _gone = reply.send(self.answer_of(&turn));
            }
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = stop.cancelled() => {
                        self.resign(&mut coordinator).await;
                        return;
                    }
                    () = tokio::time::sleep_until(until) => break,
                    Some(reply) = asked.recv() => {
                        replies.push(reply);
                        while let Ok(more) = asked.try_recv() {
                            replies.push(more);
                        }
                        break;
                    }
                    changed = views.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let view = views.borrow_and_update().clone();
                        if view.table.as_ref().is_some_and(|t| is_my_turn(&coordinator, t)) {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn take_turn(&self, coordinator: &mut Coordinator) -> Result<Turn, DocumentError> {
        let view = self.view().refresh().await?;
        let turn = coordinator
            .turn(view.table.as_ref().map(|t| &t.body))
            .await?;
        if let Turn::Planned { outcome, elected } = &turn {
            if *elected {
                let term = outcome.table.planner.as_ref().map(|lease| lease.term);
                tracing::info!(term, "this node plans the cluster");
            }
            if outcome.changed || *elected {
                self.view().refresh().await?;
                self.context().hint_members();
            }
        }
        Ok(turn)
    }

    async fn resign(&self, coordinator: &mut Coordinator) {
        let Some(table) = self.view().get().table.clone() else {
            return;
        };
        match coordinator.resign(&table).await {
            Ok(()) => self.context().hint_members(),
            Err(error) => tracing::warn!(%error, "the planner's lease was not given back"),
        }
    }

    fn answer_of(&self, turn: &Result<Turn, DocumentError>) -> Result<Value, ServiceError> {
        match turn {
            Ok(Turn::Planned { outcome, .. }) => Ok(describe_step(outcome)),
            Ok(Turn::Follows) => Err(ServiceError::Unavailable(format!(
                "{} does not plan this cluster: {}. Ask again",
                self.me().instance,
                match self.planner() {
                    Some(planner) => format!("{planner} does"),
                    None => "nobody is elected yet".to_owned(),
                }
            ))),
            Ok(Turn::Orchestrated) => Err(ServiceError::Conflict(
                "an operator plans this cluster now, and this node still coordinates itself: start it again".to_owned(),
            )),
            Err(error) => Err(ServiceError::Unavailable(error.to_string())),
        }
    }

    /// The node that plans, as far as this one knows.
    pub(super) fn planner(&self) -> Option<InstanceId> {
        let view = self.view().get();
        let lease = view.table.as_ref()?.planner.as_ref()?;
        lease.holder.as_ref().map(|holder| holder.instance.clone())
    }

    /// Plans now, here or at the node that plans, and tells what was planned.
    ///
    /// # Errors
    /// `Unavailable` while nobody plans or the planner does not answer.
    pub(super) async fn plan_now(&self) -> Result<Value, ServiceError> {
        if self.self_coordination().is_none() {
            let outcome = rebalance::step(self.store(), |_| {})
                .await
                .map_err(from_document)?;
            self.view().refresh().await.map_err(from_document)?;
            if outcome.changed {
                self.context().hint_members();
            }
            return Ok(describe_step(&outcome));
        }
        let view = self.view().refresh().await.map_err(from_document)?;
        let planner = self
            .planner()
            .filter(|planner| *planner != self.me().instance);
        let Some(planner) = planner else {
            return self.plan_here().await;
        };
        let Some(member) = view.member(&planner) else {
            return Err(ServiceError::Unavailable(format!(
                "{planner} was elected to plan and is no member yet: try again"
            )));
        };
        let answer = self
            .rpc()
            .call(&member.address, &Request::Plan, ANSWER_WITHIN)
            .await
            .map_err(|error| match error {
                ServiceError::Unavailable(text) => ServiceError::Unavailable(format!(
                    "{planner} plans this cluster and does not answer ({text}). Another node is elected when its heartbeat has stood still for --lease-ttl-ms"
                )),
                other => other,
            })?;
        match answer {
            Response::Planned(text) => serde_json::from_str(&text)
                .map_err(|e| ServiceError::Internal(format!("the planner's answer: {e}"))),
            _ => Err(ServiceError::Internal(
                "an answer of another kind than the question".to_owned(),
            )),
        }
    }

    /// Plans in this process.
    ///
    /// # Errors
    /// `Unavailable` when this node does not plan.
    pub(super) async fn plan_here(&self) -> Result<Value, ServiceError> {
        let Some(planning) = &self.context().planning else {
            return Err(ServiceError::Unavailable(
                "this node does not coordinate itself".to_owned(),
            ));
        };
        let (reply, answer) = oneshot::channel();
        let stopping = || ServiceError::Unavailable("this node is stopping".to_owned());
        planning.asks.send(reply).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Gives everything away while it still serves, in a cluster that coordinates itself; waits until that is done, until nobody
    /// else can take it, or for `patience`. Does nothing elsewhere.
    pub async fn leave(&self, patience: Duration) {
        let Some(presence) = self
            .self_coordination()
            .and(self.context().presence.as_ref())
        else {
            return;
        };
        if let Err(error) = presence.enter(Phase::Leaving).await {
            tracing::warn!(%error, "cannot announce that this node leaves; it stops without handing over");
            return;
        }
        let until = Instant::now() + patience;
        let asked = tokio::time::timeout_at(until, self.plan_now()).await;
        if let Ok(Err(error)) = asked {
            tracing::debug!(%error, "the planner was not asked to look; it will by itself");
        }
        let mut views = self.view().subscribe();
        while let Some(left) = self.still_to_give() {
            if Instant::now() >= until {
                tracing::warn!(left, "not everything was handed over in time");
                return;
            }
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        tracing::info!("nothing is left to hand over");
    }

    /// Partitions that this node has and another could take.
    fn still_to_give(&self) -> Option<usize> {
        let view = self.view().get();
        let member = self.membership(view.table.as_ref()?)?;
        let owned = if member.other_owners > 0 {
            member.owned
        } else {
            0
        };
        let read = if member.other_readers > 0 {
            member.read
        } else {
            0
        };
        Some(owned + read).filter(|left| *left > 0)
    }

    /// The last word of this process: it is over.
    pub(super) async fn sign_off(&self) {
        let Some(presence) = self
            .self_coordination()
            .and(self.context().presence.as_ref())
        else {
            return;
        };
        if presence.superseded().is_cancelled() {
            return;
        }
        if let Err(error) = presence.enter(Phase::Stopped).await {
            tracing::warn!(%error, "cannot announce the end of this process; others wait for --lease-ttl-ms");
        }
        // Whoever plans now removes this member; a hint that is lost is made up for at its next look.
        let told = self.context().sync_members();
        let _late = tokio::time::timeout(FAREWELL, told).await;
    }

    /// Returns when another process has taken the name of this one; never, if nobody does.
    pub async fn superseded(&self) {
        match &self.context().presence {
            Some(presence) => presence.superseded().cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// Whether a change of the table is a reason for a turn: it is ours to plan, or anybody's.
fn is_my_turn(coordinator: &Coordinator, table: &AssignmentTable) -> bool {
    let vacant = table.planner.as_ref().is_some_and(|l| l.holder.is_none());
    vacant || (coordinator.plans(table) && !rebalance::status(table).is_settled())
}

/// What a step planned: the answer to `POST /coordinate/rebalance`.
fn describe_step(outcome: &StepOutcome) -> Value {
    let table = &outcome.table;
    let moves = table.partitions.iter().filter_map(|(partition, entry)| {
        let handoff = entry.handoff.as_ref()?;
        Some(json!({
            "partition": partition,
            "from": entry.owner,
            "to": handoff.to,
            "reason": match handoff.reason {
                HandoffReason::Planned => "planned",
                HandoffReason::OwnerGone => "ownerGone",
            },
        }))
    });
    let holder = table.planner.as_ref().and_then(|l| l.holder.as_ref());
    json!({
        "changed": outcome.changed,
        "version": table.version,
        "epoch": table.epoch,
        "planner": holder.map(|holder| &holder.instance),
        "moves": moves.collect::<Vec<_>>(),
        "status": describe(&outcome.status),
    })
}
