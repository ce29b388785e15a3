//! Taking a partition over: lease, manifest, fences, replay.
//!
//! 1. *Lease*: compare-and-swap to the next epoch `n`. From here on nobody else tries under `n`.
//! 2. *Manifest*: compare-and-swap `n` into it. From here on no older owner can publish, so `applied` stands still and
//!    no slot beyond it can be collected.
//! 3. *Fence and replay*: from `applied` (or the warm replica's position, if that is further) walk the log; where the
//!    first slot of an epoch below `n` is absent, create a fence there. Whatever an older owner had created before
//!    the fence is replayed, whatever comes after it never is; and the older owner cannot acknowledge past the fence,
//!    because that slot is not its own.
//! 4. *Serve* from slot `n:1`.
//!
//! A crash between any two steps leaves a state from which the next takeover, under a further epoch, starts again. Two
//! takeovers at once differ in epoch; the smaller one finds the greater epoch in the manifest, or its own log fenced,
//! and gives up.
//!
//! A partition that its owner hands over is taken over in fewer requests: [`crate::handover`].

use crate::document::{DocumentError, Versioned};
use crate::keys;
use crate::lease::{self, Identity, Lease};
use crate::partition::{PartitionManifest, PublishError, publish};
use crate::replica::{Machine, Replica, ReplicaError};
use crate::store::StoreError;
use crate::store::retry::Created;
use crate::types::{LogPosition, PartitionId};
use crate::wal::{LogObject, Slot, WalError, read_slot, slots_beyond};

/// More objects than this beyond a missing slot cannot be writes in flight: the log has a hole.
pub const MAX_IN_FLIGHT: usize = 32;

/// The right to append to a partition's log under one epoch.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// The lease as it was written.
    pub lease: Versioned<Lease>,
}

impl Ownership {
    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }
}

/// Why a takeover did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The lease changed after it was looked at: look again.
    #[error("the lease of {0} changed meanwhile")]
    LeaseChanged(PartitionId),
    /// Somebody took over after us.
    #[error("partition {partition} was taken over under epoch {theirs}; ours was {ours}")]
    Deposed {
        /// Which.
        partition: PartitionId,
        /// Ours.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// The log or the state cannot be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

impl From<WalError> for TakeoverError {
    fn from(e: WalError) -> Self {
        TakeoverError::Replica(e.into())
    }
}

impl From<StoreError> for TakeoverError {
    fn from(e: StoreError) -> Self {
        TakeoverError::Replica(WalError::from(e).into())
    }
}

impl<M: Machine> Replica<M> {
    /// Makes `me` the owner of this partition, given the lease it decided upon ([`lease::decide`]). When it returns, the
    /// replica holds everything that was ever acknowledged.
    ///
    /// # Errors
    /// [`TakeoverError`]; the replica stays a correct follower.
    pub async fn take_over(
        &mut self,
        me: &Identity,
        observed: Option<&Versioned<Lease>>,
    ) -> Result<Ownership, TakeoverError> {
        let lease = lease::acquire(
            &self.store,
            &self.partition,
            me,
            observed,
            self.manifest_epoch(),
        )
        .await;
        let lease = self.taken(lease)?;
        let epoch = lease.epoch;
        self.claim(epoch, self.manifest.clone()).await?;
        self.fence_and_replay(epoch, me).await?;
        Ok(Ownership { lease })
    }

    /// What came of taking the lease.
    pub(crate) fn taken(
        &self,
        lease: Result<Option<Versioned<Lease>>, DocumentError>,
    ) -> Result<Versioned<Lease>, TakeoverError> {
        lease
            .map_err(ReplicaError::from)?
            .ok_or_else(|| TakeoverError::LeaseChanged(self.partition.clone()))
    }

    /// Writes `epoch`, whose lease is ours, into the manifest, which was `known` last, and stands on it.
    pub(crate) async fn claim(
        &mut self,
        epoch: u64,
        known: Option<Versioned<PartitionManifest>>,
    ) -> Result<(), TakeoverError> {
        let mut claimed_already = false;
        let manifest = publish(&self.store, &self.partition, epoch, known, |m| {
            claimed_already = m.epoch == epoch;
        })
        .await
        .map_err(|e| match e {
            PublishError::Deposed { theirs, .. } => self.deposed(epoch, theirs),
            PublishError::Document(e) => ReplicaError::from(e).into(),
        })?;
        if claimed_already {
            // A lease that was lost and begun anew, or a successor that claimed and did not get the lease: this epoch's log is
            // somebody else's, or nobody's.
            return Err(self.deposed(epoch, epoch));
        }
        self.adopt(manifest).await?;
        Ok(())
    }

    pub(crate) async fn fence_and_replay(
        &mut self,
        epoch: u64,
        me: &Identity,
    ) -> Result<(), TakeoverError> {
        while self.position.epoch < epoch {
            // Read anew at every fence: a successor may have passed us by and collected what we are about to read.
            if self.manifest_epoch() > epoch {
                return Err(self.deposed(epoch, self.manifest_epoch()));
            }
            let mut slot = read_slot(&self.store, &self.partition, self.position.next()).await?;
            if slot == Slot::Absent {
                slot = self.fence(epoch, me).await?;
            }
            self.pass(slot).await?;
        }
        if self.position == LogPosition::new(epoch, 0) && self.manifest_epoch() == epoch {
            return Ok(());
        }
        // A fence in our own log, or a successor's manifest, has sent us beyond it.
        let theirs = self.position.epoch.max(self.manifest_epoch());
        Err(self.deposed(epoch, theirs))
    }

    /// Ends the epoch at the current position, unless the slot is not absent any more or its absence is damage. Returns
    /// what the slot holds then.
    async fn fence(&mut self, epoch: u64, me: &Identity) -> Result<Slot, TakeoverError> {
        let at = self.position.next();
        if let Some(witness) = self.hole_witness(at).await? {
            return self.hole(epoch, at, witness).await;
        }
        let fence = LogObject::Fence {
            successor: epoch,
            by: me.instance.to_string(),
        };
        let key = keys::wal_slot(&self.partition, at);
        match self.store.create(&key, fence.encode(at)).await? {
            Created::Ours(_) => Ok(Slot::Fence),
            // The older owner, or another successor, was faster.
            Created::Exists(_) => Ok(read_slot(&self.store, &self.partition, at).await?),
        }
    }

    /// What to do about the absent slot `at` although `witness` lies beyond it: nothing if a successor collected it, fill
    /// it with nothing if its loss was accepted, so that followers can pass it too, and otherwise report it.
    async fn hole(
        &mut self,
        epoch: u64,
        at: LogPosition,
        witness: LogPosition,
    ) -> Result<Slot, TakeoverError> {
        self.refresh().await?;
        if self.manifest_epoch() > epoch {
            return Err(self.deposed(epoch, self.manifest_epoch()));
        }
        let key = keys::wal_slot(&self.partition, at);
        if !crate::wal::loss_accepted(&self.store, &self.partition, at).await? {
            return Err(WalError::Hole {
                partition: self.partition.clone(),
                position: at,
                key,
                witness,
            }
            .into());
        }
        tracing::error!(partition = %self.partition, position = %at, "a missing log slot is filled with nothing: its loss was accepted");
        let nothing = LogObject::Data(Vec::new());
        self.store.create(&key, nothing.encode(at)).await?;
        Ok(read_slot(&self.store, &self.partition, at).await?)
    }

    /// A slot beyond the absent `at` that proves that `at` had been written: a fence, which is only ever put into the
    /// first free slot, or more objects than can be in flight.
    async fn hole_witness(&self, at: LogPosition) -> Result<Option<LogPosition>, TakeoverError> {
        let beyond = slots_beyond(&self.store, &self.partition, at).await?;
        if beyond.len() > MAX_IN_FLIGHT {
            return Ok(beyond.last().copied());
        }
        for position in beyond {
            // An unreadable object beyond proves nothing and will never be replayed.
            if let Ok(Slot::Fence) = read_slot(&self.store, &self.partition, position).await
                // The slot may have been created between the two requests: only if it is still absent is it a hole.
                && read_slot(&self.store, &self.partition, at).await? == Slot::Absent
            {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    fn deposed(&self, ours: u64, theirs: u64) -> TakeoverError {
        TakeoverError::Deposed {
            partition: self.partition.clone(),
            ours,
            theirs,
        }
    }
}
