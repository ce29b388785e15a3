//! Following a log that somebody said has grown.

use futures::StreamExt;
use futures::stream::FuturesOrdered;

use super::{Machine, READ_AHEAD, Replica, ReplicaError};
use crate::types::LogPosition;
use crate::wal::read_slot;

impl<M: Machine> Replica<M> {
    /// Applies the log at least up to `position`, of which somebody said that it is acknowledged: one request a slot, all at once,
    /// and none to find out that nothing follows, which [`Replica::catch_up`] needs.
    ///
    /// What was said is a hint: if the log is elsewhere (another epoch, a slot collected or never written), or far ahead, this is
    /// a [`Replica::catch_up`]. A position that is contained costs nothing.
    ///
    /// # Errors
    /// As [`Replica::catch_up`].
    pub async fn follow_to(&mut self, position: LogPosition) -> Result<(), ReplicaError> {
        if position <= self.position {
            return Ok(());
        }
        let ahead = position.seq.saturating_sub(self.position.seq);
        if position.epoch != self.position.epoch || ahead > READ_AHEAD as u64 {
            return self.catch_up().await;
        }
        let mut slots = FuturesOrdered::new();
        let mut next = self.position;
        while next < position {
            next = next.next();
            let (store, partition, at) = (self.store.clone(), self.partition.clone(), next);
            slots.push_back(async move { read_slot(&store, &partition, at).await });
        }
        while let Some(slot) = slots.next().await {
            let expected = self.position.next();
            if !self.pass(slot?).await? || self.position != expected {
                return self.catch_up().await;
            }
        }
        Ok(())
    }
}
