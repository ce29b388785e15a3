//! Bringing what was acknowledged into segments, wherever a partition's owner is.

use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::types::{InstanceId, PartitionId};
use tokio::time::Instant;

use crate::error::ServiceError;
use crate::node::Node;
use crate::node::router::{Tries, retryable};
use crate::node::rpc::{Request, Response};
use crate::node::view::View;

/// A partition that is not flushed after this long fails the snapshot. A merge that is under way comes first.
const WITHIN: Duration = Duration::from_secs(300);
/// How long one node is waited for; what it has begun goes on.
const ONE_TRY: Duration = Duration::from_secs(30);

impl Node {
    /// Returns when the manifest of `partition` contains every write that was acknowledged before the call.
    ///
    /// # Errors
    /// `NoSuchCollection` when it was dropped; otherwise why its owner did not do it in time.
    pub(super) async fn flush_partition(
        &self,
        partition: &PartitionId,
    ) -> Result<(), ServiceError> {
        let mut tries = Tries::until(Instant::now() + WITHIN);
        loop {
            let error = match self.flush_once(partition, tries.left().min(ONE_TRY)).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !retryable(&error) {
                return Err(error);
            }
            tries.next(error).await?;
            self.look_again().await;
        }
    }

    async fn flush_once(
        &self,
        partition: &PartitionId,
        timeout: Duration,
    ) -> Result<(), ServiceError> {
        let view = self.view().get();
        let Some(assignment) = view.assignment(partition) else {
            return Err(self.not_assigned(&view, partition, "it is not assigned yet"));
        };
        let candidates = [
            assignment.owner.as_ref(),
            assignment.handoff.as_ref().map(|h| &h.to),
        ];
        let mut last = self.not_assigned(&view, partition, "it has no owner");
        for instance in candidates.into_iter().flatten() {
            let flushed = match self.host(partition) {
                Some(host) if *instance == self.me().instance => {
                    match tokio::time::timeout(timeout, host.flush()).await {
                        Ok(flushed) => flushed,
                        Err(_) => Err(ServiceError::Unavailable(format!(
                            "{partition} was not flushed within {timeout:?}"
                        ))),
                    }
                }
                None if *instance == self.me().instance => {
                    Err(self.not_assigned(&view, partition, "it is not loaded here yet"))
                }
                _ => self.flush_there(&view, instance, partition, timeout).await,
            };
            match flushed {
                Ok(()) => return Ok(()),
                Err(error) if retryable(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn flush_there(
        &self,
        view: &View,
        instance: &InstanceId,
        partition: &PartitionId,
        timeout: Duration,
    ) -> Result<(), ServiceError> {
        let member = view.member(instance);
        let Some(member) = member.filter(|m| m.state != MemberState::Gone) else {
            return Err(ServiceError::Unavailable(format!(
                "{instance}, the owner of {partition}, is gone"
            )));
        };
        let call = Request::Flush {
            partition: partition.clone(),
        };
        match self.rpc().call(&member.address, &call, timeout).await? {
            Response::Flushed => Ok(()),
            _ => Err(ServiceError::Internal(format!(
                "{instance} gave another answer to a flush"
            ))),
        }
    }
}
