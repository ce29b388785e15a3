//! Reading slots, and what to do with a slot that cannot be read.
//!
//! A poisoned object (bad checksum, zero bytes, truncated, foreign) may hold acknowledged writes. It is never skipped
//! silently: reading stops with an error that names the key. An administrator who cannot restore the object accepts
//! its loss by a marker ([`accept_loss`]); from then on every reader skips exactly that slot, and reports it.

use bytes::Bytes;

use super::object::{Entry, LogObject, ObjectError};
use crate::keys;
use crate::store::StoreError;
use crate::store::retry::{Created, Store};
use crate::types::{LogPosition, PartitionId};

/// What a slot holds, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Entries to apply, in order.
    Data(Vec<Entry>),
    /// The epoch ends here.
    Fence,
    /// Poisoned, and its loss was accepted.
    Lost,
    /// No object.
    Absent,
}

/// Why the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The object is there but not readable.
    #[error(
        "log object '{key}' is damaged ({cause}); the partition stops before it. Restore the object from a bucket \
         version or a backup, or accept its loss with POST /coordinate/quarantine/{partition}/{position}"
    )]
    Poisoned {
        /// Which partition.
        partition: PartitionId,
        /// Which slot.
        position: LogPosition,
        /// Its key.
        key: String,
        /// What is wrong with it.
        cause: ObjectError,
    },
    /// A slot is missing although a later one proves that it had been written.
    #[error(
        "log slot {position} of {partition} is missing although {witness} lies beyond it; the partition stops before \
         it. Restore '{key}', or accept its loss with POST /coordinate/quarantine/{partition}/{position}"
    )]
    Hole {
        /// Which partition.
        partition: PartitionId,
        /// The missing slot.
        position: LogPosition,
        /// Key of the missing slot.
        key: String,
        /// What proves it.
        witness: LogPosition,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads one slot.
///
/// # Errors
/// [`WalError::Poisoned`] for an unreadable object whose loss nobody accepted, or the store's error.
pub async fn read_slot(
    store: &Store,
    partition: &PartitionId,
    position: LogPosition,
) -> Result<Slot, WalError> {
    let key = keys::wal_slot(partition, position);
    let Some(object) = store.get(&key).await? else {
        return Ok(Slot::Absent);
    };
    let cause = match LogObject::decode(&object.body, position) {
        Ok(object) => return Ok(object.into()),
        // Bytes can be damaged on the way: ask once more before calling the object damaged.
        Err(_) => match store.get(&key).await? {
            None => return Ok(Slot::Absent),
            Some(again) => match LogObject::decode(&again.body, position) {
                Ok(object) => return Ok(object.into()),
                Err(cause) => cause,
            },
        },
    };
    if loss_accepted(store, partition, position).await? {
        return Ok(Slot::Lost);
    }
    Err(WalError::Poisoned {
        partition: partition.clone(),
        position,
        key,
        cause,
    })
}

impl From<LogObject> for Slot {
    fn from(object: LogObject) -> Self {
        match object {
            LogObject::Data(entries) => Slot::Data(entries),
            LogObject::Fence { .. } => Slot::Fence,
        }
    }
}

/// Whether a slot holds an unreadable object, or is missing in front of one that exists.
///
/// # Errors
/// The store's.
pub async fn is_damaged(
    store: &Store,
    partition: &PartitionId,
    position: LogPosition,
) -> Result<bool, StoreError> {
    match read_slot(store, partition, position).await {
        Err(WalError::Store(error)) => Err(error),
        Err(_) | Ok(Slot::Lost) => Ok(true),
        Ok(Slot::Absent) => Ok(!slots_beyond(store, partition, position).await?.is_empty()),
        Ok(Slot::Data(_) | Slot::Fence) => Ok(false),
    }
}

/// Whether an administrator accepted the loss of a slot.
pub(crate) async fn loss_accepted(
    store: &Store,
    partition: &PartitionId,
    position: LogPosition,
) -> Result<bool, StoreError> {
    let key = keys::quarantine_accept(partition, position);
    Ok(store.get(&key).await?.is_some())
}

/// Accepts the loss of a poisoned or missing slot; idempotent.
///
/// # Errors
/// The store's.
pub async fn accept_loss(
    store: &Store,
    partition: &PartitionId,
    position: LogPosition,
    by: &str,
) -> Result<(), StoreError> {
    let key = keys::quarantine_accept(partition, position);
    match store
        .create(&key, Bytes::copy_from_slice(by.as_bytes()))
        .await?
    {
        Created::Ours(_) | Created::Exists(_) => Ok(()),
    }
}

/// The slots of an epoch that exist beyond `position`, ascending, at most 1,000.
///
/// # Errors
/// The store's.
pub async fn slots_beyond(
    store: &Store,
    partition: &PartitionId,
    position: LogPosition,
) -> Result<Vec<LogPosition>, StoreError> {
    let prefix = keys::wal_epoch(partition, position.epoch);
    let after = keys::wal_slot(partition, position);
    let page = store.list(&prefix, Some(&after), 1000).await?;
    Ok(page
        .objects
        .iter()
        .filter_map(|o| keys::parse_wal_slot(&o.key))
        .collect())
}
