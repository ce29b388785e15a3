//! The lease of a partition: who owns it, under which epoch.
//!
//! The lease decides who *tries* to write; the epoch and the fences in the log decide who *can* (design rule 3). Losing
//! track of a lease therefore costs time, never data. Every takeover, also one that repeats a takeover that failed
//! half-way, takes a new epoch, so two takeovers never share a log.
//!
//! A held lease is not renewed: what shows that its owner lives is the owner's heartbeat ([`crate::members`]), one
//! object an instance instead of one a partition, or the orchestrator's word. A cluster's idle cost thus does not grow
//! with its partitions.

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Versioned, Written};
use crate::keys;
use crate::store::retry::Store;
use crate::types::{InstanceId, LogPosition, Nonce, PartitionId};

/// One run of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Which instance.
    pub instance: InstanceId,
    /// Fresh with every start of its process.
    pub incarnation: Nonce,
}

impl Identity {
    /// A new run of `instance`.
    #[must_use]
    pub fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            incarnation: Nonce::random(),
        }
    }
}

/// Whether the owner still claims the partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseState {
    /// It does.
    Held,
    /// It has stopped writing; everything it acknowledged is in the log up to `at`.
    Released {
        /// Its last slot; sequence 0 when another run released it and did not know. Decides nothing by itself: see
        /// [`crate::handover`].
        at: LogPosition,
        /// Who asked for it.
        to: Option<InstanceId>,
    },
}

/// Contents of `_brainy/locks/{partition}.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who took it last.
    pub owner: Identity,
    /// Grows by one with every takeover; names the owner's log.
    pub epoch: u64,
    /// Held or released.
    pub state: LeaseState,
}

impl Document for Lease {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "partition lease";
}

/// What is known of the process that holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerEvidence {
    /// Nothing says that it is gone.
    Presumed,
    /// The orchestrator says that it is gone, or it is no member any more.
    Gone,
    /// Its heartbeat stood still for its time to live on our own clock.
    Expired,
}

/// What to do about a lease that one wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it now.
    Take(TakeReason),
    /// Ask its owner to release it.
    AskRelease(InstanceId),
}

/// Why a lease may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TakeReason {
    /// Nobody ever had it.
    Vacant,
    /// Its owner released it.
    Released,
    /// It is our own: from an earlier run of this instance, or from a takeover of this run that failed half-way.
    Own,
    /// The orchestrator says that its owner is gone.
    OwnerGone,
    /// Its owner's heartbeat expired.
    OwnerExpired,
}

/// Decides about a lease that `me` wants. Pure.
#[must_use]
pub fn decide(lease: Option<&Lease>, me: &Identity, evidence: OwnerEvidence) -> Verdict {
    let Some(lease) = lease else {
        return Verdict::Take(TakeReason::Vacant);
    };
    if matches!(lease.state, LeaseState::Released { .. }) {
        return Verdict::Take(TakeReason::Released);
    }
    if lease.owner.instance == me.instance {
        return Verdict::Take(TakeReason::Own);
    }
    match evidence {
        OwnerEvidence::Gone => Verdict::Take(TakeReason::OwnerGone),
        OwnerEvidence::Expired => Verdict::Take(TakeReason::OwnerExpired),
        OwnerEvidence::Presumed => Verdict::AskRelease(lease.owner.instance.clone()),
    }
}

/// Reads the lease.
///
/// # Errors
/// The store's, or an unreadable document.
pub async fn load(
    store: &Store,
    partition: &PartitionId,
) -> Result<Option<Versioned<Lease>>, DocumentError> {
    document::load(store, &keys::lock(partition)).await
}

/// Takes the lease that was `observed` under the next epoch, which is also beyond `claimed`, the epoch in the partition
/// manifest: a lease that was lost does not bring old epochs back. `None`: it changed meanwhile; look again and decide
/// again.
///
/// # Errors
/// The store's. After an ambiguous one the lease may be ours; the next attempt sees that and takes a further epoch.
pub async fn acquire(
    store: &Store,
    partition: &PartitionId,
    me: &Identity,
    observed: Option<&Versioned<Lease>>,
    claimed: u64,
) -> Result<Option<Versioned<Lease>>, DocumentError> {
    let lease = Lease {
        owner: me.clone(),
        epoch: observed.map_or(0, |o| o.epoch).max(claimed) + 1,
        state: LeaseState::Held,
    };
    match document::try_write(store, &keys::lock(partition), observed, lease).await? {
        Written::Ours(written) => Ok(Some(written)),
        Written::Lost(_) => Ok(None),
    }
}

/// Releases a `held` lease after the last write, which is at `at`, and returns it as written. `None`: it was not ours any more.
///
/// # Errors
/// The store's.
pub async fn release(
    store: &Store,
    partition: &PartitionId,
    held: &Versioned<Lease>,
    at: LogPosition,
    to: Option<InstanceId>,
) -> Result<Option<Versioned<Lease>>, DocumentError> {
    let lease = Lease {
        state: LeaseState::Released { at, to },
        ..held.body.clone()
    };
    let written = document::try_write(store, &keys::lock(partition), Some(held), lease).await?;
    Ok(match written {
        Written::Ours(released) => Some(released),
        Written::Lost(_) => None,
    })
}

/// Releases a lease that names `me` although this run does not own the partition: an earlier run took it and crashed, or a
/// takeover of this run failed half-way. Whoever is asked to release and owns nothing calls this; otherwise the successor
/// would wait for an owner that does not exist. `false`: the lease is not held in this instance's name.
///
/// # Errors
/// The store's.
pub async fn give_up(
    store: &Store,
    partition: &PartitionId,
    me: &InstanceId,
    to: Option<InstanceId>,
) -> Result<bool, DocumentError> {
    match load(store, partition).await? {
        Some(held) if held.owner.instance == *me && held.state == LeaseState::Held => {
            let unknown = LogPosition::new(held.epoch, 0);
            let released = release(store, partition, &held, unknown, to).await?;
            Ok(released.is_some())
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, run: u128) -> Identity {
        Identity {
            instance: InstanceId::new(name).unwrap(),
            incarnation: Nonce(run),
        }
    }

    #[test]
    fn only_evidence_or_consent_lets_a_lease_be_taken() {
        let held = Lease {
            owner: who("a", 1),
            epoch: 4,
            state: LeaseState::Held,
        };
        let released = Lease {
            state: LeaseState::Released {
                at: LogPosition::new(4, 9),
                to: None,
            },
            ..held.clone()
        };
        let b = who("b", 1);
        let presumed = OwnerEvidence::Presumed;
        assert_eq!(
            decide(None, &b, presumed),
            Verdict::Take(TakeReason::Vacant)
        );
        assert_eq!(
            decide(Some(&held), &b, presumed),
            Verdict::AskRelease(InstanceId::new("a").unwrap())
        );
        assert_eq!(
            decide(Some(&held), &b, OwnerEvidence::Gone),
            Verdict::Take(TakeReason::OwnerGone)
        );
        assert_eq!(
            decide(Some(&held), &b, OwnerEvidence::Expired),
            Verdict::Take(TakeReason::OwnerExpired)
        );
        assert_eq!(
            decide(Some(&released), &b, presumed),
            Verdict::Take(TakeReason::Released)
        );
        assert_eq!(
            decide(Some(&held), &who("a", 2), presumed),
            Verdict::Take(TakeReason::Own)
        );
    }
}
