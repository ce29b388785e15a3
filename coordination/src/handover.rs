//! A planned handoff without look-ups: what an owner that leaves tells its successor, and the takeover that begins with it.
//!
//! Between the seal of the old owner and the first write of the new one a partition takes no writes, so what lies between counts
//! requests in a row. There are two:
//!
//! 1. the old owner, after its last write: release the lease, and at the same time fence its own log behind that write;
//! 2. the new owner, which was told the lease, the manifest and where the log ends: take the lease, and at the same time claim the
//!    manifest and read what it has not read of the log.
//!
//! # Why that is safe
//! What was told decides nothing. Both documents are swapped against the tags that were told, so an old or invented word loses both
//! swaps, and a takeover that loses the lease serves nothing.
//!
//! - *Claiming before the lease is ours.* Serving under an epoch takes both its lease and its manifest. Of those who try the same epoch
//!   only one swaps the lease to it and only one swaps the manifest to it; whoever has one of the two alone gives up, and the
//!   next takeover takes a further epoch. Nobody is pushed aside by it: the one attempt is against the manifest of an owner that has
//!   released, and any later manifest makes it fail.
//! - *Not reading the fence.* The lease that we swapped was the released one, so nobody took the partition over in between, and only
//!   its owner, which had finished, or a successor writes to that log. The owner says where it ended after it had fenced that very slot.
//!   A fence that misleads ([`Replica::catch_up`]) is one in a slot that was collected; this one lies beyond what was ever applied.
//! - *Reading the log before the manifest is ours.* Slots are never changed. One that is absent, damaged or anything but data is
//!   not used: the walk of an ordinary takeover begins there, after the claim.

use futures::future::{join_all, join3};
use serde::{Deserialize, Serialize};

use crate::document::{self, Versioned, Written};
use crate::keys;
use crate::lease::{self, Identity, Lease, LeaseState};
use crate::partition::PartitionManifest;
use crate::replica::{Machine, Replica};
use crate::takeover::{Ownership, TakeoverError};
use crate::types::LogPosition;
use crate::wal::{Slot, read_slot};

/// More slots than this behind the owner, and a successor walks the log instead of reading it at once.
const TAIL: u64 = 32;

/// What an owner knows when it has released and fenced its log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The lease as released, which says where the log ends.
    pub lease: Versioned<Lease>,
    /// The manifest as the owner knew it; `None` while it was being published.
    pub manifest: Option<Versioned<PartitionManifest>>,
}

impl<M: Machine> Replica<M> {
    /// [`Replica::take_over`] of a partition whose owner has just handed it over.
    ///
    /// # Errors
    /// [`TakeoverError`]; the replica stays a correct follower.
    pub async fn take_over_from(
        &mut self,
        me: &Identity,
        handover: &Handover,
    ) -> Result<Ownership, TakeoverError> {
        let told = &handover.lease;
        let newest = [handover.manifest.as_ref(), self.manifest.as_ref()];
        let known = newest.into_iter().flatten().max_by_key(|m| m.version);
        let known = known.filter(|m| m.epoch == told.epoch).cloned();
        let (LeaseState::Released { at, .. }, Some(known)) = (&told.state, known) else {
            return self.take_over(me, Some(told)).await;
        };
        let (at, epoch) = (*at, told.epoch + 1);
        let key = keys::partition_manifest(&self.partition);
        let claim = PartitionManifest {
            epoch,
            ..known.body.clone()
        };
        let (taken, claimed, tail) = join3(
            lease::acquire(&self.store, &self.partition, me, Some(told), told.epoch),
            document::try_write(&self.store, &key, Some(&known), claim),
            self.slots_up_to(at),
        )
        .await;
        let lease = self.taken(taken)?;
        match claimed {
            Ok(Written::Ours(manifest)) => self.adopt(manifest).await?,
            // A publication of the old owner came first.
            Ok(Written::Lost(Some(found))) => self.claim(epoch, Some(found)).await?,
            _ => self.claim(epoch, Some(known)).await?,
        }
        for (position, slot) in tail {
            if self.position.next() == position && matches!(slot, Slot::Data(_)) {
                self.pass(slot).await?;
            }
        }
        if self.position == at && at.epoch == told.epoch {
            self.position = at.next_epoch();
            self.machine.advance(self.position);
        }
        self.fence_and_replay(epoch, me).await?;
        Ok(Ownership { lease })
    }

    /// What can be read of the log up to `at`; nothing if that is much, or in another epoch.
    async fn slots_up_to(&self, at: LogPosition) -> Vec<(LogPosition, Slot)> {
        let from = self.position;
        if from.epoch != at.epoch || at.seq.saturating_sub(from.seq) > TAIL {
            return Vec::new();
        }
        let slots = (from.seq + 1..=at.seq).map(|seq| async move {
            let position = LogPosition::new(at.epoch, seq);
            let read = read_slot(&self.store, &self.partition, position).await;
            read.ok().map(|slot| (position, slot))
        });
        join_all(slots).await.into_iter().flatten().collect()
    }
}
