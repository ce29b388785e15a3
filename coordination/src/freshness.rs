//! How fresh a read finds a partition (design rule 7).
//!
//! - *Strong*: everything acknowledged before the read began. A follower asks for the next slot of the log, an owner whether the
//!   lease is still its own: one request each, which reads that come meanwhile share.
//! - *Bounded*: everything acknowledged the bound before the read began, on the clock of the process that reads. The same request,
//!   unless one was made within the bound.
//! - *Eventual*: what is there.
//!
//! A position that must be visible comes on top of each: what a session has seen. A follower reads the log until it is there.
//! The log that ends before it has never had it: positions of a session are durable before anybody hears of them.

use std::time::Duration;

use tokio::time::Instant;

use crate::document::DocumentError;
use crate::owner::Owner;
use crate::replica::{Machine, Replica, ReplicaError};
use crate::types::LogPosition;

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What is there.
    Eventual,
    /// At most this old.
    Bounded(Duration),
    /// Everything acknowledged before.
    Strong,
}

impl Freshness {
    /// Everything acknowledged before this moment has to be visible to a read that began at `asked`.
    fn since(self, asked: Instant) -> Option<Instant> {
        match self {
            Freshness::Eventual => None,
            // A bound that reaches before the clock's beginning demands nothing.
            Freshness::Bounded(bound) => asked.checked_sub(bound),
            Freshness::Strong => Some(asked),
        }
    }
}

impl<M: Machine> Replica<M> {
    /// Makes the state as fresh as a read that began at `asked` wants it, and at least as far as `at_least`. `false`: the log ends
    /// before `at_least`.
    ///
    /// # Errors
    /// As [`Replica::catch_up`].
    pub async fn freshen(
        &mut self,
        wanted: Freshness,
        asked: Instant,
        at_least: Option<LogPosition>,
    ) -> Result<bool, ReplicaError> {
        let enough = match (self.caught_up(), wanted.since(asked)) {
            // What was loaded and never reached the end of the log is no state that anybody could have seen.
            (None, _) => false,
            (Some(_), None) => true,
            (Some(at), Some(since)) => at >= since,
        };
        if !enough || at_least.is_some_and(|p| p > self.position()) {
            self.catch_up().await?;
        }
        Ok(at_least.is_none_or(|p| p <= self.position()))
    }
}

/// When a process last made sure that it owns a partition.
#[derive(Debug, Default)]
pub struct Confirmed(tokio::sync::Mutex<Option<Instant>>);

impl Confirmed {
    /// Whether what `owner` has applied is as fresh as a read that began at `asked` wants it.
    ///
    /// # Errors
    /// As [`Owner::still_owner`].
    pub async fn is_fresh<M: Machine>(
        &self,
        owner: &Owner<M>,
        wanted: Freshness,
        asked: Instant,
    ) -> Result<bool, DocumentError> {
        match wanted.since(asked) {
            Some(since) => self.since(owner, since).await,
            None => Ok(true),
        }
    }

    /// Whether the lease was still `owner`'s at some moment at or after `since`; callers that wait for the same check share it.
    ///
    /// # Errors
    /// As [`Owner::still_owner`].
    pub async fn since<M: Machine>(
        &self,
        owner: &Owner<M>,
        since: Instant,
    ) -> Result<bool, DocumentError> {
        let mut confirmed = self.0.lock().await;
        if confirmed.is_some_and(|at| at >= since) {
            return Ok(true);
        }
        let began = Instant::now();
        let ours = owner.still_owner().await?;
        if ours {
            *confirmed = Some(began);
        }
        Ok(ours)
    }
}
