//! The owner's side of the log: group commit with several PUTs in flight, acknowledged in order.
//!
//! Entries that arrive while `max_in_flight` objects are on their way wait and leave together in the next object, so
//! the group grows with the load and an idle log pays one PUT of latency. A slot is acknowledged when it and all before
//! it were created by this appender (design rules 3 and 4); the first slot that somebody else holds ends the appender
//! for good, because it is a successor's fence.

use std::future::Future;
use std::pin::Pin;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::object::{Entry, LogObject};
use crate::keys;
use crate::store::StoreError;
use crate::store::retry::{Created, Store};
use crate::takeover::MAX_IN_FLIGHT;
use crate::types::{LogPosition, PartitionId};

/// Shape of the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct AppenderConfig {
    /// Objects on their way at once, 1 to [`MAX_IN_FLIGHT`]. Beyond a few, S3's throughput per partition does not grow but takeovers do.
    pub max_in_flight: usize,
    /// An object is closed when its entries reach this many bytes.
    pub max_object_bytes: usize,
    /// An object is closed at this many entries.
    pub max_object_entries: usize,
}

impl Default for AppenderConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 4,
            max_object_bytes: 8 << 20,
            max_object_entries: 512,
        }
    }
}

/// Why the log accepts nothing more from this owner.
#[derive(Clone, Debug)]
pub enum StopReason {
    /// A successor fenced the log: entries that were not committed are not in the log and never will be.
    Deposed,
    /// The store refused for good; entries that were not committed are not in the log and never will be, once a
    /// successor (or this owner under a new epoch) has fenced the slot.
    Refused(StoreError),
    /// No answer in time: entries that were not committed may or may not be in the log. The next takeover decides.
    Unknown(StoreError),
}

/// What the appender reports, in log order.
#[derive(Debug)]
pub enum Commit {
    /// These entries are durable at `position`, and everything before them is.
    Durable {
        /// Their slot.
        position: LogPosition,
        /// The entries, in order.
        entries: Vec<Entry>,
    },
    /// The end: nothing after the last `Durable` was acknowledged. Always the last report.
    Stopped(StopReason),
}

/// Handle of a running appender. Dropping it lets what is in flight finish, then ends the task.
#[derive(Debug)]
pub struct Appender {
    entries: mpsc::Sender<Entry>,
}

impl Appender {
    /// Starts appending to slot 1 of `epoch` on, which the caller's lease must own. Reports go to `reports`.
    #[must_use]
    pub fn spawn(
        store: Store,
        partition: PartitionId,
        epoch: u64,
        config: AppenderConfig,
        reports: mpsc::UnboundedSender<Commit>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let config = AppenderConfig {
            max_in_flight: config.max_in_flight.clamp(1, MAX_IN_FLIGHT),
            ..config
        };
        let (entries, queue) = mpsc::channel(config.max_object_entries);
        let pipeline = Pipeline {
            store,
            partition,
            config,
            next: LogPosition::new(epoch, 1),
            reports,
        };
        (Self { entries }, tokio::spawn(pipeline.run(queue)))
    }

    /// Queues an entry; its outcome is reported. `false` when the appender has stopped and the entry was not taken.
    pub async fn append(&self, entry: Entry) -> bool {
        self.entries.send(entry).await.is_ok()
    }
}

type Put =
    Pin<Box<dyn Future<Output = (LogPosition, Vec<Entry>, Result<Created, StoreError>)> + Send>>;

struct Pipeline {
    store: Store,
    partition: PartitionId,
    config: AppenderConfig,
    next: LogPosition,
    reports: mpsc::UnboundedSender<Commit>,
}

impl Pipeline {
    async fn run(mut self, mut queue: mpsc::Receiver<Entry>) {
        let mut in_flight: FuturesOrdered<Put> = FuturesOrdered::new();
        let mut open = true;
        // An entry that did not fit into the object being closed.
        let mut carried: Option<Entry> = None;
        while open || carried.is_some() || !in_flight.is_empty() {
            let may_send = in_flight.len() < self.config.max_in_flight;
            if may_send && let Some(first) = carried.take() {
                let group = self.fill(first, &mut queue, &mut carried);
                in_flight.push_back(self.put(group));
                continue;
            }
            tokio::select! {
                biased;
                Some((position, entries, outcome)) = in_flight.next() => {
                    let report = match outcome {
                        Ok(Created::Ours(_)) => Commit::Durable { position, entries },
                        Ok(Created::Exists(_)) => Commit::Stopped(StopReason::Deposed),
                        Err(e @ StoreError::Ambiguous { .. }) => Commit::Stopped(StopReason::Unknown(e)),
                        Err(e) => Commit::Stopped(StopReason::Refused(e)),
                    };
                    let stop = matches!(report, Commit::Stopped(_));
                    if self.reports.send(report).is_err() || stop {
                        return;
                    }
                }
                entry = queue.recv(), if open && may_send => match entry {
                    Some(first) => {
                        let group = self.fill(first, &mut queue, &mut carried);
                        in_flight.push_back(self.put(group));
                    }
                    None => open = false,
                },
            }
        }
    }

    /// `first` and whatever waits behind it, up to the limits of one object.
    fn fill(
        &self,
        first: Entry,
        queue: &mut mpsc::Receiver<Entry>,
        carried: &mut Option<Entry>,
    ) -> Vec<Entry> {
        let mut bytes = first.payload.len();
        let mut group = vec![first];
        while group.len() < self.config.max_object_entries
            && let Ok(entry) = queue.try_recv()
        {
            bytes += entry.payload.len();
            if bytes > self.config.max_object_bytes {
                *carried = Some(entry);
                break;
            }
            group.push(entry);
        }
        group
    }

    fn put(&mut self, entries: Vec<Entry>) -> Put {
        let position = self.next;
        self.next = position.next();
        let store = self.store.clone();
        let key = keys::wal_slot(&self.partition, position);
        Box::pin(async move {
            let object = LogObject::Data(entries);
            let body = object.encode(position);
            let outcome = store.create(&key, body).await;
            let LogObject::Data(entries) = object else {
                unreachable!("built as data above")
            };
            (position, entries, outcome)
        })
    }
}
