//! How fresh a read finds the partition (design rule 7).

use std::time::Duration;

use brainy_coordination::document::DocumentError;
use brainy_coordination::freshness::Freshness;
use brainy_coordination::owner::Owner;
use brainy_coordination::types::LogPosition;
use tokio::time::Instant;

use super::{Host, Machine};
use crate::error::ServiceError;
use crate::model::Consistency;

impl Host {
    /// Makes the engine at least as fresh as asked (design rule 7).
    ///
    /// # Errors
    /// `WrongNode` while the partition is not loaded, `Unavailable` when the log cannot be read.
    pub(in crate::node) async fn freshen(
        &self,
        consistency: Consistency,
        at_least: Option<LogPosition>,
    ) -> Result<(), ServiceError> {
        let asked = Instant::now();
        self.adopt_schema().await?;
        let wanted = match consistency {
            Consistency::Strong => Freshness::Strong,
            Consistency::Bounded(ms) => Freshness::Bounded(Duration::from_millis(ms)),
            Consistency::Eventual => Freshness::Eventual,
        };
        let owner = self.state.lock().owner.clone();
        if let Some(owner) = owner {
            return self.freshen_owner(&owner, wanted, asked, at_least).await;
        }
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return Err(self.wrong_node("it is not loaded yet"));
        };
        let before = replica.caught_up();
        let done = replica.freshen(wanted, asked, at_least).await;
        // Only who has read the log knows whether it can be read.
        if done.is_err() || replica.caught_up() != before {
            self.note(done.as_ref().err());
        }
        if done.is_err() {
            // The log may have writes with vectors that this node has not heard of.
            self.context.view.hint();
        }
        let reached = done.map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        match at_least.filter(|_| !reached) {
            Some(position) => Err(self.beyond_the_log(position)),
            None => Ok(()),
        }
    }

    async fn freshen_owner(
        &self,
        owner: &Owner<Machine>,
        wanted: Freshness,
        asked: Instant,
        at_least: Option<LogPosition>,
    ) -> Result<(), ServiceError> {
        let fresh = if self.is_alone() {
            Ok(true)
        } else {
            self.confirmed.is_fresh(owner, wanted, asked).await
        };
        let missing = || at_least.filter(|p| *p > self.machine.state().position());
        if !self.judge(fresh)? {
            return Err(self.wrong_node("another instance has taken it over"));
        }
        if missing().is_none() {
            return Ok(());
        }
        // Who is still the owner, now that the token is here, has applied all that a token can be of.
        if !self.confirm(owner, asked).await? {
            return Err(self.wrong_node("another instance has taken it over"));
        }
        match missing() {
            Some(position) => Err(self.beyond_the_log(position)),
            None => Ok(()),
        }
    }

    /// Everything that a token of this log can be of is applied, and it is of more.
    fn beyond_the_log(&self, position: LogPosition) -> ServiceError {
        ServiceError::BadRequest(format!(
            "header 'brainy-token' asks for {position} of {}, which its log has not reached: the token is of another cluster, or \
             of before a backup was restored. Go on without it, or with 'new'",
            self.partition
        ))
    }

    /// Whether the lease was still ours at some moment at or after `since`; callers that wait for the same check share it.
    pub(super) async fn confirm(
        &self,
        owner: &Owner<Machine>,
        since: Instant,
    ) -> Result<bool, ServiceError> {
        if self.is_alone() {
            return Ok(true);
        }
        self.judge(self.confirmed.since(owner, since).await)
    }

    /// Whether nobody else can have taken the partition: a process without a role holds the only directory there is, and
    /// acknowledges what it has applied.
    fn is_alone(&self) -> bool {
        self.context.config.role.is_none()
    }

    /// Passes on whether this node still is the owner, and looks into it if not.
    fn judge(&self, ours: Result<bool, DocumentError>) -> Result<bool, ServiceError> {
        let ours = ours.map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        if !ours {
            self.suspect();
        }
        Ok(ours)
    }
}
