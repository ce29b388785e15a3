//! Who is alive where no orchestrator says so: heartbeats in the store, and an observer that trusts no other clock.
//!
//! Each instance renews `_brainy/members/{instance}.json` by compare-and-swap and counts its renewals. Clocks of two machines
//! are never compared: an observer takes a member for dead only after it saw the *same* count for the member's whole
//! time to live on its own monotonic clock (design rule 3).
//!
//! # Invariants
//! - One life of an instance owns the heartbeat: a newer one replaces it, and the older one finds out at its next
//!   renewal and stops ([`Beat::Superseded`]).
//! - An observer never reports `Expired` before the time to live has passed since it first saw the count.
//!
//! # Failure cases
//! - The store is slow or away: renewals fail, observers expire the member. That is a matter of liveness only; who may
//!   write is decided by leases and epochs.
//! - The observer sleeps (a paused process): it has not looked, so its silence proves nothing. It must look again before it acts;
//!   [`LivenessObserver::observe`] judges only with the count of that very look.
//! - Two processes are started under one name: the last that finds the other's heartbeat at its start stays, and the other
//!   is superseded at its next renewal.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::assignment::Role;
use crate::document::{self, Document, DocumentError, Versioned, Written};
use crate::keys;
use crate::lease::Identity;
use crate::store::retry::Store;
use crate::types::{InstanceId, Nonce};

/// Heartbeats that are read at a time.
const AT_ONCE: usize = 16;

/// How far a process is, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It takes its share.
    #[default]
    Serving,
    /// It was told to stop, and gives everything away first.
    Leaving,
    /// It is over: its last heartbeat.
    Stopped,
}

/// A heartbeat's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatRecord {
    /// Whose.
    pub instance: InstanceId,
    /// Which life of it: random, drawn at its start.
    pub incarnation: Nonce,
    /// What it does.
    pub role: Role,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Renewals in this life, the first is 1.
    pub counter: u64,
    /// How long an observer waits without a renewal, milliseconds.
    pub ttl_ms: u64,
    /// How far the process is.
    #[serde(default)]
    pub phase: Phase,
}

impl Document for HeartbeatRecord {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "heartbeat";
}

/// What one renewal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Renewed.
    Renewed,
    /// A newer life of the same instance has taken over: this one must stop.
    Superseded {
        /// The newer life.
        by: Nonce,
    },
}

/// The heartbeat of this process.
#[derive(Debug)]
pub struct Heartbeat {
    store: Store,
    key: String,
    next: HeartbeatRecord,
    current: Option<Versioned<HeartbeatRecord>>,
    /// The life that this one replaces, once the first look has told.
    replaces: Option<Option<Nonce>>,
}

impl Heartbeat {
    /// A heartbeat for the life `me`; nothing is written before the first [`Heartbeat::beat`].
    #[must_use]
    pub fn new(store: Store, me: Identity, role: Role, address: String, ttl: Duration) -> Self {
        Self {
            store,
            key: keys::member(&me.instance),
            next: HeartbeatRecord {
                instance: me.instance,
                incarnation: me.incarnation,
                role,
                address,
                counter: 1,
                ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
                phase: Phase::Serving,
            },
            current: None,
            replaces: None,
        }
    }

    /// Which life this is.
    #[must_use]
    pub fn incarnation(&self) -> Nonce {
        self.next.incarnation
    }

    /// What the next beat says.
    pub fn set_phase(&mut self, phase: Phase) {
        self.next.phase = phase;
    }

    /// Whether another life has the heartbeat by now, other than the one that this one replaced. Reads only.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn check(&self) -> Result<Beat, DocumentError> {
        let found = document::load::<HeartbeatRecord>(&self.store, &self.key).await?;
        let holder = found.map(|found| found.incarnation);
        let replaced = self.replaces.flatten();
        Ok(match holder {
            Some(by) if by != self.next.incarnation && holder != replaced => {
                Beat::Superseded { by }
            }
            _ => Beat::Renewed,
        })
    }

    /// Renews once. Takes over from the life that the first call found, and from no other.
    ///
    /// # Errors
    /// [`DocumentError`]; beat again.
    pub async fn beat(&mut self) -> Result<Beat, DocumentError> {
        if self.current.is_none() {
            self.current = document::load(&self.store, &self.key).await?;
        }
        let found = self.current.as_ref().map(|c| c.incarnation);
        let replaces = *self.replaces.get_or_insert(found);
        loop {
            let holder = self.current.as_ref().map(|c| c.incarnation);
            if let Some(by) = holder.filter(|by| *by != self.next.incarnation && holder != replaces)
            {
                return Ok(Beat::Superseded { by });
            }
            let body = self.next.clone();
            match document::try_write(&self.store, &self.key, self.current.as_ref(), body).await? {
                Written::Ours(written) => {
                    self.current = Some(written);
                    self.next.counter += 1;
                    return Ok(Beat::Renewed);
                }
                // Also after a removal, which only says that somebody took us for gone: create it again.
                Written::Lost(found) => self.current = found,
            }
        }
    }
}

/// What an observer knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its count has grown since the last look, or it is new.
    Alive,
    /// Its count stands still, but not for the time to live yet.
    Suspect {
        /// When this observer first saw the count, on its own clock.
        since: Duration,
    },
    /// Its count has stood still for the time to live.
    Expired,
}

#[derive(Clone, Copy, Debug)]
struct Sighting {
    incarnation: Nonce,
    counter: u64,
    first_seen: Duration,
}

/// Judges members by their counts. Pure: the caller reads the heartbeats and its own monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct LivenessObserver {
    sightings: BTreeMap<InstanceId, Sighting>,
}

impl LivenessObserver {
    /// Takes in that `record` was read at `now` (time on the observer's monotonic clock, taken *before* the read).
    pub fn observe(&mut self, record: &HeartbeatRecord, now: Duration) -> Liveness {
        let seen = Sighting {
            incarnation: record.incarnation,
            counter: record.counter,
            first_seen: now,
        };
        let known = self.sightings.entry(record.instance.clone());
        let known = match known {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(seen);
                return Liveness::Alive;
            }
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        };
        if (known.incarnation, known.counter) != (seen.incarnation, seen.counter) {
            *known = seen;
            return Liveness::Alive;
        }
        let stood_still = now.saturating_sub(known.first_seen);
        if stood_still >= Duration::from_millis(record.ttl_ms) {
            Liveness::Expired
        } else {
            Liveness::Suspect {
                since: known.first_seen,
            }
        }
    }

    /// Forgets members whose heartbeat is not there any more.
    pub fn retain(&mut self, present: impl Fn(&InstanceId) -> bool) {
        self.sightings.retain(|instance, _| present(instance));
    }
}

/// All heartbeats there are.
///
/// # Errors
/// [`DocumentError`] of the listing or of any heartbeat.
pub async fn load_all(store: &Store) -> Result<Vec<HeartbeatRecord>, DocumentError> {
    let objects = store.list_all(keys::MEMBERS).await?;
    let records: Vec<Option<HeartbeatRecord>> = stream::iter(objects)
        .map(|object| async move {
            let found = document::load::<HeartbeatRecord>(store, &object.key).await?;
            Ok::<_, DocumentError>(found.map(|found| found.body))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    // One that vanished since the listing belongs to a member that was removed.
    Ok(records.into_iter().flatten().collect())
}
