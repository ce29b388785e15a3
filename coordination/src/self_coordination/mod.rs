//! A cluster without an orchestrator: its nodes heartbeat, elect one that plans, and rebalance by its table.
//!
//! Every node runs a [`Coordinator`] and calls [`Coordinator::turn`] again and again. The one that holds the planner's lease reads
//! all heartbeats, judges them on its own monotonic clock ([`roster`]) and takes a step of [`rebalance`]; the
//! others read the planner's heartbeat, and stand for election when it has stood still for its time to live, says that it
//! stopped, or is of a newer life. The lease is part of the assignment table ([`mandate`]): who lost it writes no assignment.
//!
//! # Failure cases
//! - The planner dies: its heartbeat stands still, another node is elected, partitions stay where they are meanwhile.
//! - The planner is paused and wakes up after an election: its next write finds another lease in the table and is dropped.
//! - Two nodes stand for election at once: both write over the same lease, the table takes one.
//! - The answer of the election is lost: the node finds its own lease in the table.
//! - The planner and others die together: a candidate watches all heartbeats as soon as the planner is late, so the others are
//!   found gone soon after the election.
//! - The store is away: nobody renews, nobody can be elected. When it is back, observers judge by what they read then.

pub mod mandate;
pub mod ownership;
pub mod roster;

use std::time::Duration;

use tokio::time::Instant;

use crate::assignment::AssignmentTable;
use crate::document::{self, DocumentError, Versioned};
use crate::keys;
use crate::lease::Identity;
use crate::members::{self, HeartbeatRecord, Liveness, Phase};
use crate::rebalance::{self, PlanError, StepOutcome};
use crate::store::retry::Store;
use mandate::{Mandate, PlannerLease};
use roster::Roster;

/// What a turn came to.
#[derive(Clone, Debug)]
pub enum Turn {
    /// This node plans, and took a step.
    Planned {
        /// What the step came to.
        outcome: Box<StepOutcome>,
        /// Whether it was elected in this turn.
        elected: bool,
    },
    /// Another node plans, or another won the election.
    Follows,
    /// The table is of an orchestrator: no node plans.
    Orchestrated,
}

/// One node's part in planning.
#[derive(Debug)]
pub struct Coordinator {
    store: Store,
    me: Identity,
    ttl: Duration,
    /// Whether a table that an orchestrator planned may be taken over.
    adopts: bool,
    roster: Roster,
    began: Instant,
}

impl Coordinator {
    /// The part of `me`, which waits for members without a heartbeat as long as `ttl`. `adopts`: the prefix was given to its nodes,
    /// whoever planned its table before.
    #[must_use]
    pub fn new(store: Store, me: Identity, ttl: Duration, adopts: bool) -> Self {
        Self {
            store,
            me,
            ttl,
            adopts,
            roster: Roster::default(),
            began: Instant::now(),
        }
    }

    /// Whether `table` says that this very process plans.
    #[must_use]
    pub fn plans(&self, table: &AssignmentTable) -> bool {
        let lease = table.planner.as_ref();
        lease.and_then(|lease| lease.holder.as_ref()) == Some(&self.me)
    }

    /// Does what is due, given the table as it was read last. A stale one costs a turn and decides nothing: the write checks.
    ///
    /// # Errors
    /// [`DocumentError`]; take another turn.
    pub async fn turn(&mut self, table: Option<&AssignmentTable>) -> Result<Turn, DocumentError> {
        let lease = table.and_then(|table| table.planner.clone());
        // Once nodes plan, a table without their lease is one that an orchestrator took over.
        self.adopts &= lease.is_none();
        if let Some(lease) = lease
            .clone()
            .filter(|l| l.holder.as_ref() == Some(&self.me))
        {
            return self.plan(table, lease).await;
        }
        // An empty table is one that a node made to create a collection before there was a planner.
        let orchestrated = table.is_some_and(|t| t.planner.is_none() && !t.members.is_empty());
        if orchestrated && !self.adopts {
            return Ok(Turn::Orchestrated);
        }
        if !self.is_vacant(lease.as_ref()).await? {
            return Ok(Turn::Follows);
        }
        self.stand(lease).await
    }

    /// Gives the planner's lease back if this process has it, so that another is elected at once.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn resign(&mut self, table: &AssignmentTable) -> Result<(), DocumentError> {
        let Some(lease) = table.planner.clone().filter(|_| self.plans(table)) else {
            return Ok(());
        };
        match rebalance::step_as(&self.store, &Mandate::Resigns(lease), |_| {}).await {
            Ok(_) | Err(PlanError::Deposed(_)) => Ok(()),
            Err(PlanError::Document(error)) => Err(error),
        }
    }

    /// Whether nobody holds `lease` any more.
    async fn is_vacant(&mut self, lease: Option<&PlannerLease>) -> Result<bool, DocumentError> {
        let Some(holder) = lease.and_then(|lease| lease.holder.as_ref()) else {
            return Ok(true);
        };
        let now = self.began.elapsed();
        let key = keys::member(&holder.instance);
        let found: Option<Versioned<HeartbeatRecord>> = document::load(&self.store, &key).await?;
        if holder.instance == self.me.instance {
            // An earlier life of this process, unless this process is the earlier one.
            return Ok(found.is_some_and(|found| found.incarnation == self.me.incarnation));
        }
        let Some(found) = found else {
            return Ok(self.roster.missing(&holder.instance, now, self.ttl) >= self.ttl);
        };
        if found.incarnation != holder.incarnation || found.phase == Phase::Stopped {
            return Ok(true);
        }
        match self.roster.sight(found.body, now) {
            Liveness::Alive => Ok(false),
            Liveness::Expired => Ok(true),
            Liveness::Suspect { .. } => {
                // Whoever comes after the planner must know who else is silent.
                let records = members::load_all(&self.store).await?;
                self.roster.look(records, now);
                Ok(false)
            }
        }
    }

    async fn stand(&mut self, over: Option<PlannerLease>) -> Result<Turn, DocumentError> {
        let lease = PlannerLease::after(over.as_ref(), &self.me);
        let mandate = Mandate::Elects {
            over,
            lease: lease.clone(),
        };
        let elected = match rebalance::step_as(&self.store, &mandate, |_| {}).await {
            Ok(outcome) => outcome,
            Err(PlanError::Deposed(_)) => return Ok(Turn::Follows),
            Err(PlanError::Document(error)) => return Err(error),
        };
        match self.plan(Some(&elected.table), lease).await? {
            Turn::Planned { outcome, .. } => Ok(Turn::Planned {
                outcome,
                elected: true,
            }),
            other => Ok(other),
        }
    }

    async fn plan(
        &mut self,
        table: Option<&AssignmentTable>,
        lease: PlannerLease,
    ) -> Result<Turn, DocumentError> {
        let now = self.began.elapsed();
        let records = members::load_all(&self.store).await?;
        self.roster.look(records, now);
        let (verdicts, forget) = self.roster.judge(table, &self.me.instance, self.ttl);
        let mandate = Mandate::Holds(lease);
        let step = rebalance::step_as(&self.store, &mandate, |edit| {
            for (id, verdict) in &verdicts {
                verdict.apply(id, edit.members);
            }
        });
        let outcome = match step.await {
            Ok(outcome) => outcome,
            Err(PlanError::Deposed(_)) => return Ok(Turn::Follows),
            Err(PlanError::Document(error)) => return Err(error),
        };
        for id in forget {
            // A life that began meanwhile writes its heartbeat again.
            self.store
                .delete(&keys::member(&id))
                .await
                .map_err(DocumentError::Store)?;
        }
        Ok(Turn::Planned {
            outcome: Box::new(outcome),
            elected: false,
        })
    }
}
