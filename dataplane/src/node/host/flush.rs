//! Bringing the log of an owned partition into segments.

use brainy_coordination::handoff::Local;
use tokio::time::Instant;

use super::Host;
use crate::error::ServiceError;

impl Host {
    /// Returns when the partition's manifest contains every write that was acknowledged before the call.
    ///
    /// # Errors
    /// `WrongNode` when this node does not own the partition, or no longer before that is done; `Unavailable` when the lease
    /// cannot be read.
    pub(in crate::node) async fn flush(&self) -> Result<(), ServiceError> {
        let asked = Instant::now();
        let owner = self.state.lock().owner.clone();
        let Some(owner) = owner else {
            return Err(self.wrong_node("it is not owned by this instance"));
        };
        // A successor may have acknowledged what this node has never seen.
        if !self.confirm(&owner, asked).await? {
            return Err(self.wrong_node("another instance has taken it over"));
        }
        let position = self.machine.state().position();
        let mut local = self.local.subscribe();
        let lost = async { drop(local.wait_for(|l| *l != Local::Owning).await) };
        tokio::select! {
            () = self.machine.flush_up_to(position) => Ok(()),
            () = lost => Err(self.wrong_node("it is moving to another instance")),
        }
    }
}
