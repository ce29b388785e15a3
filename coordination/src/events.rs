//! The ordered event log of a cluster: what happened, for people and as hints for processes.
//!
//! Event `n` is the object `_brainy/events/{n:020}`, created once (`If-None-Match: *`) and never changed. An appender takes the
//! number after the last one it knows; if that is taken it looks for the new end.
//!
//! # Invariants
//! - An event is created only when its predecessor was seen, so numbers have no gaps except where [`EventLog::trim`] removed
//!   the beginning.
//! - An append that succeeded appears exactly once, also when an answer was lost: the body carries a nonce.
//! - Events are hints (design rule 9). Nothing correct depends on them; times are informational and from clocks that differ.
//!
//! # Failure cases
//! - An append that ends in an ambiguous error may appear later, also after a repetition of it: readers tolerate
//!   an event twice.
//! - An event of a kind that this binary does not know is read as [`Event::Unknown`]; an unreadable body stops the reader by name.

use parking_lot::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::document::DocumentError;
use crate::keys;
use crate::store::retry::{Created, Store};
use crate::types::{CollectionUid, InstanceId, LogPosition, Nonce, PartitionId, SegmentId};

/// Format of an event's body.
pub const EVENT_FORMAT: u32 = 1;
const WHAT: &str = "event";
/// Events read at once.
const READ_AHEAD: usize = 16;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A member joined.
    MemberJoined {
        /// Who.
        member: InstanceId,
    },
    /// A member left or was removed.
    MemberLeft {
        /// Who.
        member: InstanceId,
    },
    /// The assignment table has new targets.
    AssignmentChanged {
        /// Its epoch.
        epoch: u64,
    },
    /// A partition began to change hands.
    HandoffStarted {
        /// Which.
        partition: PartitionId,
        /// The owner to be.
        to: InstanceId,
    },
    /// A partition changed hands.
    HandoffCompleted {
        /// Which.
        partition: PartitionId,
        /// The owner.
        owner: InstanceId,
    },
    /// A partition's lease was taken.
    PartitionTakenOver {
        /// Which.
        partition: PartitionId,
        /// Epoch of the new lease.
        epoch: u64,
        /// Why, in words.
        reason: String,
    },
    /// A partition has a new segment.
    SegmentPublished {
        /// Which.
        partition: PartitionId,
        /// The segment.
        segment: SegmentId,
    },
    /// A log object is unreadable, and the partition waits for a decision.
    LogQuarantined {
        /// Which.
        partition: PartitionId,
        /// Key of the log object.
        key: String,
    },
    /// The shared configuration changed.
    ConfigurationUpdated {
        /// Its version.
        version: u64,
    },
    /// A collection was created.
    CollectionCreated {
        /// Which.
        collection: CollectionUid,
    },
    /// A collection was dropped.
    CollectionDropped {
        /// Which.
        collection: CollectionUid,
    },
    /// A member is about to leave and gives its partitions away.
    Draining {
        /// Who.
        member: InstanceId,
    },
    /// Writes to a partition were acknowledged. Told to those who follow its log, and never written down: there are too many.
    LogAdvanced {
        /// Which.
        partition: PartitionId,
        /// The log is acknowledged up to here.
        position: LogPosition,
    },
    /// An event of a kind that a newer Brainy knows.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Event {
    /// The name of its kind, as in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::MemberJoined { .. } => "member_joined",
            Event::MemberLeft { .. } => "member_left",
            Event::AssignmentChanged { .. } => "assignment_changed",
            Event::HandoffStarted { .. } => "handoff_started",
            Event::HandoffCompleted { .. } => "handoff_completed",
            Event::PartitionTakenOver { .. } => "partition_taken_over",
            Event::SegmentPublished { .. } => "segment_published",
            Event::LogQuarantined { .. } => "log_quarantined",
            Event::ConfigurationUpdated { .. } => "configuration_updated",
            Event::CollectionCreated { .. } => "collection_created",
            Event::CollectionDropped { .. } => "collection_dropped",
            Event::Draining { .. } => "draining",
            Event::LogAdvanced { .. } => "log_advanced",
            Event::Unknown => "unknown",
        }
    }

    /// Whether it is worth an object in the log: not what happens with every write.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        !matches!(self, Event::LogAdvanced { .. } | Event::Unknown)
    }
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number; the first is 1.
    pub sequence: u64,
    /// Who reported it.
    pub instance: InstanceId,
    /// When, by the reporter's clock, milliseconds since 1970. Informational.
    pub unix_ms: u64,
    /// What happened.
    pub event: Event,
}

#[derive(Serialize, Deserialize)]
struct Body {
    format: u32,
    nonce: Nonce,
    instance: InstanceId,
    unix_ms: u64,
    event: Event,
}

/// Access to the event log for one instance.
#[derive(Debug)]
pub struct EventLog {
    store: Store,
    instance: InstanceId,
    /// Highest number known to be taken.
    last: Mutex<u64>,
}

impl EventLog {
    /// The log as seen by `instance`.
    #[must_use]
    pub fn new(store: Store, instance: InstanceId) -> Self {
        Self {
            store,
            instance,
            last: Mutex::new(0),
        }
    }

    fn last(&self) -> u64 {
        *self.last.lock()
    }

    /// Remembers that `sequence` is taken.
    fn saw(&self, sequence: u64) {
        let mut last = self.last.lock();
        *last = sequence.max(*last);
    }

    /// Appends `event` and returns its number.
    ///
    /// # Errors
    /// [`DocumentError`]; after `Store(Ambiguous)` the event may be there.
    pub async fn append(&self, event: Event) -> Result<u64, DocumentError> {
        let body = Body {
            format: EVENT_FORMAT,
            nonce: Nonce::random(),
            instance: self.instance.clone(),
            unix_ms: unix_ms(),
            event,
        };
        let bytes = serde_json::to_vec(&body).map(Bytes::from);
        let bytes = bytes.map_err(|e| DocumentError::Encode {
            what: WHAT,
            key: keys::EVENTS.to_owned(),
            message: e.to_string(),
        })?;
        loop {
            let sequence = self.find_end().await? + 1;
            match self
                .store
                .create(&keys::event(sequence), bytes.clone())
                .await?
            {
                Created::Ours(_) => {
                    self.saw(sequence);
                    return Ok(sequence);
                }
                Created::Exists(_) => self.saw(sequence),
            }
        }
    }

    /// The highest number taken, looked for from the highest one known.
    async fn find_end(&self) -> Result<u64, DocumentError> {
        loop {
            let page = self.page(self.last(), 1000).await?;
            let Some(&last) = page.0.last() else {
                return Ok(self.last());
            };
            self.saw(last);
            if !page.1 {
                return Ok(last);
            }
        }
    }

    /// Numbers after `sequence`, at most `limit`, and whether more may follow.
    async fn page(&self, sequence: u64, limit: usize) -> Result<(Vec<u64>, bool), DocumentError> {
        let after = keys::event(sequence);
        let limit = limit.clamp(1, 1000);
        let page = self.store.list(keys::EVENTS, Some(&after), limit).await?;
        let mut numbers = Vec::with_capacity(page.objects.len());
        for object in &page.objects {
            let number = object
                .key
                .strip_prefix(keys::EVENTS)
                .and_then(|n| n.parse().ok());
            numbers.push(number.ok_or_else(|| DocumentError::Corrupt {
                what: WHAT,
                key: object.key.clone(),
                message: "its name is not a number".to_owned(),
            })?);
        }
        Ok((numbers, page.truncated))
    }

    /// Number of the newest event, 0 if there never was one; costs a LIST.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn end(&self) -> Result<u64, DocumentError> {
        self.find_end().await
    }

    /// The event with number `sequence`, `None` if it was not appended yet or was trimmed; costs a GET.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn read(&self, sequence: u64) -> Result<Option<Recorded>, DocumentError> {
        let key = keys::event(sequence);
        let Some(object) = self.store.get(&key).await? else {
            return Ok(None);
        };
        self.saw(sequence);
        decode(&key, sequence, &object.body).map(Some)
    }

    /// Events after number `sequence` in order, at most `limit` (1 to 1000).
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn read_after(
        &self,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, DocumentError> {
        let numbers = self.page(sequence, limit).await?.0;
        let read = numbers.into_iter().map(|number| self.read(number));
        let mut read = futures::stream::iter(read).buffered(READ_AHEAD);
        let mut events = Vec::new();
        while let Some(event) = read.next().await {
            // None: one that was trimmed since the listing.
            events.extend(event?);
        }
        Ok(events)
    }

    /// Removes all but the newest `keep_last` events (at least one is kept, so that numbers go on). Returns how many.
    ///
    /// # Errors
    /// [`DocumentError`]; what was removed until then stays removed.
    pub async fn trim(&self, keep_last: u64) -> Result<u64, DocumentError> {
        let end = self.find_end().await?;
        let upto = end.saturating_sub(keep_last.max(1));
        let mut removed = 0;
        let mut from = 0;
        loop {
            let (numbers, more) = self.page(from, 1000).await?;
            for &number in numbers.iter().take_while(|&&n| n <= upto) {
                self.store.delete(&keys::event(number)).await?;
                removed += 1;
            }
            match numbers.last() {
                Some(&last) if more && last < upto => from = last,
                _ => return Ok(removed),
            }
        }
    }
}

fn decode(key: &str, sequence: u64, bytes: &[u8]) -> Result<Recorded, DocumentError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let corrupt = |e: serde_json::Error| DocumentError::Corrupt {
        what: WHAT,
        key: key.to_owned(),
        message: e.to_string(),
    };
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(corrupt)?;
    if format != EVENT_FORMAT {
        return Err(DocumentError::UnknownFormat {
            what: WHAT,
            key: key.to_owned(),
            found: format,
            known: EVENT_FORMAT,
        });
    }
    let body: Body = serde_json::from_slice(bytes).map_err(corrupt)?;
    Ok(Recorded {
        sequence,
        instance: body.instance,
        unix_ms: body.unix_ms,
        event: body.event,
    })
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX))
}
