//! How fresh a read finds the partition (design rule 7).

use std::time::Duration;

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
            let missing = || at_least.filter(|p| *p > self.machine.state().position());
            if enough && missing().is_none() {
                return Ok(());
            }
            // Who is still the owner, now that the token is here, has applied all that a token can be of.
            if enough && self.confirm(&owner, asked).await? {
                return match missing() {
                    Some(position) => Err(self.beyond_the_log(position)),
                    None => Ok(()),
                };
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
            if done.is_err() {
                // The log may have writes with vectors that this node has not heard of.
                self.context.view.hint();
            }
            done.map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        }
        if let Some(position) = at_least.filter(|p| *p > replica.position()) {
            return Err(self.beyond_the_log(position));
        }
        Ok(())
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
}
