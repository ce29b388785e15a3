//! The owner of a partition bringing what a peer holds into it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Cursor, Found, Place, Source};
use crate::document::DocumentError;
use crate::partition::SegmentMeta;
use crate::replica::ReplicaError;
use crate::store::retry::Store;
use crate::types::{LogPosition, Nonce, PartitionId};
use crate::wal::Entry;

/// How often the cursor is written while it moves: one that is behind costs reading again, each write costs a request.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Pause of one of the peer's partitions after its first failure; doubles with each further one. Others go on meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A partition that takes in what others wrote.
#[async_trait]
pub trait Target: Send + Sync {
    /// Why it cannot take something in now.
    type Error: std::fmt::Display + Send;

    /// Merges what entries of the log of the peer's partition `from` add to points of this one. Returns when all of it is durable; to be
    /// told of some of it again changes nothing.
    async fn merge(&self, from: &PartitionId, entries: &[Entry]) -> Result<(), Self::Error>;

    /// As [`Self::merge`], what a segment of the peer holds that is newer than `after`.
    async fn merge_segment(
        &self,
        from: &PartitionId,
        segment: &SegmentMeta,
        after: LogPosition,
    ) -> Result<(), Self::Error>;
}

/// Why a partition of a peer is not followed further now.
#[derive(Debug, thiserror::Error)]
pub enum PullError<E> {
    /// The peer's bucket, or damage there.
    #[error(transparent)]
    Source(#[from] ReplicaError),
    /// This cluster's cursor.
    #[error(transparent)]
    Cursor(#[from] DocumentError),
    /// This partition does not take it.
    #[error("{0}")]
    Target(E),
}

/// What a round came to.
#[derive(Debug)]
pub struct Round<E> {
    /// Whether more waits already.
    pub more: bool,
    /// Whether everything that the peer had acknowledged when the round began is merged.
    pub caught_up: bool,
    /// What went wrong, by the peer's partition.
    pub errors: BTreeMap<PartitionId, PullError<E>>,
}

struct Stream {
    source: Source,
    /// What is durable here.
    place: Place,
    /// Segments that are being read, and what they contain together.
    pending: Option<(Vec<SegmentMeta>, LogPosition)>,
    /// After a failure: until when nothing is tried, and the pause that this was.
    waits: Option<(Instant, Duration)>,
    /// Most slots that were passed as lost at any time: those after the place are met again after a failure.
    lost: u64,
    /// Those up to the place that sources before this one passed, and those of this one.
    lost_before: u64,
    lost_here: u64,
}

/// Follows some partitions of one peer for one partition of this cluster.
pub struct Puller {
    store: Store,
    peer_store: Store,
    partition: PartitionId,
    name: String,
    peer: Nonce,
    streams: BTreeMap<PartitionId, Stream>,
    saved: Instant,
    /// Whether the cursor that is stored says less than what is durable.
    behind: bool,
    /// After a cursor could not be written: as with a stream.
    waits: Option<(Instant, Duration)>,
}

impl Puller {
    /// One that goes on from the cursor of `partition` in `store`, following `sources`, partitions of the peer in `peer_store` that is called
    /// `name` here and whose identity is `peer`.
    ///
    /// # Errors
    /// The cursor cannot be read.
    pub async fn open(
        store: Store,
        peer_store: Store,
        partition: PartitionId,
        (name, peer): (&str, Nonce),
        sources: BTreeSet<PartitionId>,
    ) -> Result<Self, DocumentError> {
        let mut cursor = Cursor::load(&store, &partition, name, peer).await?;
        let streams = sources.into_iter().map(|source| {
            let place = cursor.places.remove(&source).unwrap_or_default();
            let stream = Stream {
                source: Source::new(peer_store.clone(), source.clone(), place.position),
                place,
                pending: None,
                waits: None,
                lost: 0,
                lost_before: 0,
                lost_here: 0,
            };
            (source, stream)
        });
        let streams = streams.collect();
        Ok(Self {
            store,
            peer_store,
            partition,
            name: name.to_owned(),
            peer,
            streams,
            saved: Instant::now(),
            behind: false,
            waits: None,
        })
    }

    /// What is durable of each of the peer's partitions.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let places = self.streams.iter();
        Cursor {
            peer: self.peer,
            places: places
                .map(|(source, stream)| (source.clone(), stream.place.clone()))
                .collect(),
        }
    }

    /// Slots of the peer's log that were passed because their loss had been accepted there.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.streams.values().map(|s| s.lost).sum()
    }

    /// Takes one step with each of the peer's partitions.
    pub async fn round<T: Target>(&mut self, target: &T) -> Round<T::Error> {
        let mut round = Round {
            more: false,
            caught_up: true,
            errors: BTreeMap::new(),
        };
        let mut segment_done = false;
        for (id, stream) in &mut self.streams {
            if waiting(stream.waits) {
                round.caught_up = false;
                continue;
            }
            let before = stream.place.position;
            let stepped = stream.step(id, target).await;
            let passed = stream.source.lost();
            stream.lost = stream.lost.max(stream.lost_before + passed);
            if stream.place.position > before {
                stream.lost_here = passed;
            }
            match stepped {
                Ok(Step::End) => stream.waits = None,
                Ok(step) => {
                    stream.waits = None;
                    round.more = true;
                    round.caught_up = false;
                    segment_done |= matches!(step, Step::Segment);
                    self.behind = true;
                }
                Err(error) => {
                    round.caught_up = false;
                    round.errors.insert(id.clone(), error);
                    // What was found and not merged is found again.
                    let at = stream.place.position;
                    stream.source = Source::new(self.peer_store.clone(), id.clone(), at);
                    stream.pending = None;
                    stream.lost_before += std::mem::take(&mut stream.lost_here);
                    stream.waits = Some(longer(&self.store, stream.waits));
                }
            }
        }
        // A segment is much to read again.
        let due = segment_done || self.waits.is_some() || self.saved.elapsed() >= SAVE_EVERY;
        if self.behind && due && !waiting(self.waits) {
            let saved = self.cursor();
            match saved.save(&self.store, &self.partition, &self.name).await {
                Ok(()) => {
                    self.behind = false;
                    self.saved = Instant::now();
                    self.waits = None;
                }
                // It only says less.
                Err(error) => {
                    self.waits = Some(longer(&self.store, self.waits));
                    tracing::warn!(partition = %self.partition, peer = self.name, %error, "the cursor of an exchange stays behind");
                }
            }
        }
        round
    }
}

fn waiting(waits: Option<(Instant, Duration)>) -> bool {
    waits.is_some_and(|(until, _)| Instant::now() < until)
}

/// Until when nothing is tried after a further failure, and the pause that this is. Many that fail together do not try together again.
fn longer(store: &Store, waits: Option<(Instant, Duration)>) -> (Instant, Duration) {
    let pause = waits.map_or(FIRST_PAUSE, |(_, pause)| pause * 2);
    let pause = pause.min(LONGEST_PAUSE);
    (Instant::now() + store.jittered(pause), pause)
}

enum Step {
    End,
    Log,
    Segment,
}

impl Stream {
    async fn step<T: Target>(
        &mut self,
        id: &PartitionId,
        target: &T,
    ) -> Result<Step, PullError<T::Error>> {
        if let Some((segments, to)) = &mut self.pending {
            let Some(next) = segments.pop() else {
                self.place = Place {
                    position: *to,
                    ..Place::default()
                };
                self.pending = None;
                return Ok(Step::Segment);
            };
            if self.place.needs(&next.id, next.newest) {
                let merged = target.merge_segment(id, &next, self.place.position);
                merged.await.map_err(PullError::Target)?;
                self.place.segments.insert(next.id);
            }
            return Ok(Step::Segment);
        }
        match self.source.next().await? {
            Found::End => Ok(Step::End),
            Found::Log { entries, to } => {
                let merged = target.merge(id, &entries);
                merged.await.map_err(PullError::Target)?;
                self.place = Place {
                    position: to,
                    ..Place::default()
                };
                Ok(Step::Log)
            }
            Found::Segments { mut segments, to } => {
                // The oldest last, which is taken first: a deletion that hides nothing here yet may be forgotten before what it hides
                // comes.
                segments.sort_by_key(|segment| Reverse(segment.newest));
                // Those that are gone from the manifest are never met again.
                let place = &mut self.place.segments;
                place.retain(|id| segments.iter().any(|segment| segment.id == *id));
                self.pending = Some((segments, to));
                Ok(Step::Log)
            }
        }
    }
}

#[cfg(test)]
#[path = "puller_tests.rs"]
mod tests;
