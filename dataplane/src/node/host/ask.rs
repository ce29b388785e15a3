//! A successor asks the owner to release.

use std::time::Duration;

use brainy_coordination::handover::Handover;
use brainy_coordination::replica::ReplicaError;
use brainy_coordination::types::InstanceId;

use super::Host;
use super::steps::Step;
use crate::node::rpc::{Request, Response};

/// How long an owner may take to finish its writes and release.
const PATIENCE: Duration = Duration::from_secs(30);

impl Host {
    /// Asks `owner` to release, and returns what it tells; `None`: it released, and does not tell.
    ///
    /// # Errors
    /// Why the lease is not released yet.
    pub(super) async fn ask_release(
        &self,
        owner: &InstanceId,
    ) -> Result<Option<Box<Handover>>, Step> {
        let view = self.context.view.get();
        let Some(address) = view.member(owner).map(|m| m.address.clone()) else {
            return Err(Step::Later(format!("{owner} has no address")));
        };
        // From now on nobody writes until we do: what can be loaded and read before is.
        self.draw_level()
            .await
            .map_err(|e| Step::Later(e.to_string()))?;
        let request = Request::Release {
            partition: self.partition.clone(),
            to: self.context.me.instance.clone(),
            tell: true,
        };
        let mut views = self.context.view.subscribe();
        views.borrow_and_update();
        let call = self.context.rpc.call(&address, &request, PATIENCE);
        let answer = tokio::select! {
            answer = call => answer,
            // The owner may be declared gone, or the handoff cancelled, while it does not answer.
            _ = views.changed() => return Err(Step::Again),
        };
        match answer {
            Ok(Response::HandedOver(told)) => Ok(Some(told)),
            Ok(Response::Released) => Ok(None),
            Ok(_) => Err(Step::Later(format!("{owner} gave another answer"))),
            Err(error) => {
                // The table may have changed: we may not be wanted any more.
                self.context.view.hint();
                Err(Step::Later(error.to_string()))
            }
        }
    }

    /// Loads the newest segments and reads the log to its end.
    async fn draw_level(&self) -> Result<(), ReplicaError> {
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return Ok(());
        };
        replica.refresh().await?;
        replica.catch_up().await
    }
}
