//! A partition that takes in what a peer wrote: its state decides what is news, its log makes it durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use brainy_conflict::{PointState, Policy};
use brainy_coordination::exchange::Target;
use brainy_coordination::lane::{Copied, Marker};
use brainy_coordination::manifest::Collection;
use brainy_coordination::owner::{Owner, WriteError};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::types::{LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::Peer;
use super::status::Counts;
use crate::engine::change::{decode, encode};
use crate::engine::payload_index::PayloadSchema;
use crate::engine::{Change, EngineError, IncomingError};
use crate::error::ServiceError;
use crate::model::{PointId, VectorSchema};
use crate::node::lane::now_ms;
use crate::node::machine::PartitionMachine;

/// Most changes of one entry of the log.
const CHANGES: usize = 128;
/// Bytes of changes after which an entry ends.
const BYTES: usize = 256 << 10;
/// Entries that wait for the log at once.
const AT_ONCE: usize = 8;
/// Pause before a write is tried again that found too many waiting.
const FULL: Duration = Duration::from_millis(100);

/// Why something is not taken in now.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum InboundError {
    /// This process does not own the partition any more.
    #[error("this process does not own the partition any more")]
    Deposed,
    /// A state that cannot be merged, or not yet.
    #[error(transparent)]
    Refused(#[from] IncomingError),
    /// What the peer wrote does not decode.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A segment of the peer.
    #[error(transparent)]
    Segment(#[from] super::CacheError),
    /// The partition's log does not take it now, or the peer's schema is not known yet.
    #[error("{0}")]
    Later(String),
}

/// One owned partition and one peer.
pub(in crate::node) struct Inbound<'a> {
    /// The partition.
    pub(in crate::node) partition: &'a PartitionId,
    /// Its state.
    pub(in crate::node) machine: &'a Arc<PartitionMachine>,
    /// Who writes its log.
    pub(in crate::node) owner: &'a Owner<PartitionMachine>,
    /// Who is followed.
    pub(in crate::node) peer: &'a Arc<Peer>,
    /// The collection here.
    pub(in crate::node) ours: &'a Arc<Collection>,
    /// Its vectors there.
    pub(in crate::node) theirs: &'a Arc<VectorSchema>,
    /// How conflicts are resolved.
    pub(in crate::node) policy: Policy,
    /// Hears how far the log grew.
    pub(in crate::node) told: &'a (dyn Fn(LogPosition) + Send + Sync),
}

/// What is news, as it goes into the log.
struct News {
    entries: Vec<Bytes>,
    counts: Counts,
}

/// What decides it, without the rest of [`Inbound`]: it goes to another thread.
#[derive(Clone)]
struct Judge {
    partition: PartitionId,
    machine: Arc<PartitionMachine>,
    ours: Arc<Collection>,
    policy: Policy,
}

impl Judge {
    fn is_mine(&self, id: PointId) -> bool {
        self.ours.partition_of(&id.canonical_bytes()) == self.partition
    }

    /// Entries of the log for those of `states` that the partition does not contain.
    fn news(&self, states: BTreeMap<PointId, PointState>) -> Result<News, InboundError> {
        let state = self.machine.state();
        let schema = state.schema().version;
        let mut news = News {
            entries: Vec::new(),
            counts: Counts::default(),
        };
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (id, theirs) in states {
            match state.incoming(id, &theirs, self.policy, now_ms())? {
                None => news.counts.unchanged += 1,
                Some(change) => {
                    news.counts.merged += 1;
                    if let Change::Merge(_, delta) = &change {
                        bytes += delta.len();
                    }
                    changes.push(change);
                }
            }
            if changes.len() == CHANGES || bytes >= BYTES {
                news.entries.push(encode(schema, &changes)?);
                changes.clear();
                bytes = 0;
            }
        }
        if !changes.is_empty() {
            news.entries.push(encode(schema, &changes)?);
        }
        Ok(news)
    }

    /// What entries of the peer's log add, point by point.
    fn of_log(&self, theirs: u64, entries: &[Entry]) -> Result<News, InboundError> {
        let mut states: BTreeMap<PointId, PointState> = BTreeMap::new();
        let mut unversioned = 0;
        for entry in entries {
            let marker = Marker::decode(&entry.payload);
            if marker
                .map_err(|e| InboundError::Later(e.to_string()))?
                .is_some()
            {
                continue;
            }
            let entry = decode(&entry.payload)?;
            if entry.schema > theirs {
                return Err(InboundError::Later(
                    "the other cluster has changed the collection's vectors".to_owned(),
                ));
            }
            for change in entry.changes {
                let id = change.id();
                if !self.is_mine(id) {
                    continue;
                }
                let Change::Merge(_, delta) = change else {
                    unversioned += 1;
                    continue;
                };
                join(&mut states, id, delta.decode()?)?;
            }
        }
        let mut news = self.news(states)?;
        news.counts.unversioned = unversioned;
        Ok(news)
    }
}

/// Adds a state of a point to those that are known. It is judged before it is joined with them: joining takes time that the sizes of
/// both bound.
fn join(
    states: &mut BTreeMap<PointId, PointState>,
    id: PointId,
    state: PointState,
) -> Result<(), InboundError> {
    let foreign = |error| InboundError::Refused(IncomingError::Foreign { id, error });
    state.check_foreign(now_ms()).map_err(foreign)?;
    let joined = match states.remove(&id) {
        None => state,
        Some(before) => {
            let joined = before.merge(state).map_err(|e| foreign(e.into()))?;
            joined.check_whole().map_err(|e| foreign(e.into()))?;
            joined
        }
    };
    states.insert(id, joined);
    Ok(())
}

impl Inbound<'_> {
    fn judge(&self) -> Judge {
        Judge {
            partition: self.partition.clone(),
            machine: Arc::clone(self.machine),
            ours: Arc::clone(self.ours),
            policy: self.policy,
        }
    }

    /// Makes it durable here.
    async fn log(&self, news: News) -> Result<(), InboundError> {
        let entries = stream::iter(news.entries).map(|entry| self.write(entry));
        let written: Vec<LogPosition> = entries.buffered(AT_ONCE).try_collect().await?;
        if let Some(last) = written.into_iter().max() {
            (self.told)(last);
        }
        self.peer.metrics.count(&self.peer.name, &news.counts);
        let mut following = self.peer.following.lock();
        following.count(self.partition, &news.counts);
        Ok(())
    }

    async fn write(&self, entry: Bytes) -> Result<LogPosition, InboundError> {
        loop {
            let body = Copied(entry.clone()).into();
            return match self.owner.write(Nonce::random(), body).await {
                Ok(position) => Ok(position),
                Err(
                    WriteError::Overloaded | WriteError::Rejected(ServiceError::Overloaded { .. }),
                ) => {
                    tokio::time::sleep(FULL).await;
                    continue;
                }
                Err(WriteError::NotOwner) => Err(InboundError::Deposed),
                Err(WriteError::Rejected(error)) => Err(InboundError::Later(error.to_string())),
                Err(WriteError::StoreFailed(error)) => Err(InboundError::Later(error.to_string())),
                Err(WriteError::Unknown(text)) => Err(InboundError::Later(text)),
            };
        }
    }
}

/// Runs what compares many points where it holds up no request.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InboundError> + Send + 'static,
) -> Result<T, InboundError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| InboundError::Later("interrupted by shutdown".to_owned()))?
}

#[async_trait]
impl Target for Inbound<'_> {
    type Error = InboundError;

    async fn merge(&self, _from: &PartitionId, entries: &[Entry]) -> Result<(), InboundError> {
        let (judge, entries) = (self.judge(), entries.to_vec());
        let theirs = self.theirs.version;
        let news = blocking(move || judge.of_log(theirs, &entries)).await?;
        self.log(news).await
    }

    async fn merge_segment(
        &self,
        from: &PartitionId,
        meta: &SegmentMeta,
        after: LogPosition,
    ) -> Result<(), InboundError> {
        let cache = &self.peer.cache;
        let indexes = Arc::new(PayloadSchema::default());
        let merged = async {
            let segment = cache.open_segment(from, meta, false, &indexes).await?;
            let segment = Arc::new(segment.present(self.theirs)?);
            let mut next = Some(0);
            while let Some(from) = next {
                let (judge, segment) = (self.judge(), Arc::clone(&segment));
                let work = move || {
                    let mut carried = segment.carried(after, from)?;
                    carried.states.retain(|(id, _)| judge.is_mine(*id));
                    // A row and a deletion of one point are in different batches, or joined here.
                    let mut states: BTreeMap<PointId, PointState> = BTreeMap::new();
                    for (id, state) in carried.states {
                        join(&mut states, id, state)?;
                    }
                    let mut news = judge.news(states)?;
                    news.counts.unversioned = carried.unversioned;
                    Ok((news, carried.next))
                };
                let (news, then) = blocking(work).await?;
                self.log(news).await?;
                next = then;
            }
            Ok(())
        };
        let merged = merged.await;
        cache.remove(from, &meta.id);
        merged
    }
}
