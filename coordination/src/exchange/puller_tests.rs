use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::document::{self, Update, Versioned};
use crate::keys;
use crate::partition::PartitionManifest;
use crate::store::retry::RetryPolicy;
use crate::store::sim::SimBucket;
use crate::types::{CollectionUid, SegmentId};
use crate::wal::{LogObject, accept_loss};

/// Takes everything, and remembers which segments it was shown.
#[derive(Default)]
struct Taker(Mutex<Vec<SegmentId>>);

#[async_trait]
impl Target for Taker {
    type Error = String;

    async fn merge(&self, _from: &PartitionId, _entries: &[Entry]) -> Result<(), String> {
        Ok(())
    }

    async fn merge_segment(
        &self,
        _from: &PartitionId,
        segment: &SegmentMeta,
        _after: LogPosition,
    ) -> Result<(), String> {
        self.0.lock().push(segment.id.clone());
        Ok(())
    }
}

fn partition(uid: &str) -> PartitionId {
    PartitionId::new(CollectionUid::new(uid).unwrap(), 0)
}

fn client(bucket: &std::sync::Arc<SimBucket>, name: &str) -> Store {
    let policy = RetryPolicy {
        base_pause: Duration::from_millis(5),
        max_pause: Duration::from_millis(10),
        deadline: Duration::from_millis(20),
    };
    Store::new(bucket.client(name), policy)
}

/// A peer whose log is in segments that end at these positions.
async fn collected(store: &Store, ends: &[u64]) -> Vec<SegmentMeta> {
    let segments: Vec<SegmentMeta> = ends
        .iter()
        .map(|seq| SegmentMeta {
            id: SegmentId::generate(*seq),
            rows: 1,
            tombstones: 0,
            newest: LogPosition::new(1, *seq),
            files: Vec::new(),
        })
        .collect();
    let manifest = PartitionManifest {
        epoch: 1,
        applied: LogPosition::new(1, 100),
        segments: segments.clone(),
        ..PartitionManifest::default()
    };
    let key = keys::partition_manifest(&partition("there-1"));
    let write = |_: Option<&Versioned<PartitionManifest>>| {
        Ok::<_, DocumentError>(Update::Write(manifest.clone(), ()))
    };
    document::update(store, &key, write).await.unwrap();
    segments
}

async fn puller(own: Store, peer: Store) -> Puller {
    let sources = [partition("there-1")].into();
    let peer_is = ("east", Nonce(7));
    Puller::open(own, peer, partition("here-1"), peer_is, sources)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_segment_comes_first() {
    let (here, there) = (SimBucket::new(1), SimBucket::new(2));
    let segments = collected(&client(&there, "peer"), &[30, 10, 90, 20]).await;
    let mut puller = puller(client(&here, "own"), client(&there, "peer")).await;
    let taker = Taker::default();
    while puller.round(&taker).await.more {}
    let shown = taker.0.into_inner();
    let expected = [1, 3, 0, 2].map(|at: usize| segments[at].id.clone());
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_cannot_be_written_is_tried_again_with_pauses() {
    let (here, there) = (SimBucket::new(1), SimBucket::new(2));
    collected(&client(&there, "peer"), &[10]).await;
    let mut puller = puller(client(&here, "own"), client(&there, "peer")).await;
    here.partition("own", true);
    let taker = Taker::default();
    let mut slow = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let round = Instant::now();
        puller.round(&taker).await;
        // A round that tries waits for the bucket's deadline.
        slow += usize::from(round.elapsed() > Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((3..=20).contains(&slow), "{slow} tries in a minute");
    here.partition("own", false);
    tokio::time::sleep(LONGEST_PAUSE).await;
    puller.round(&taker).await;
    let key = keys::exchange_cursor(&partition("here-1"), "east");
    assert!(here.snapshot().contains_key(&key));
}

#[tokio::test(start_paused = true)]
async fn slots_that_were_lost_are_counted_once_whatever_fails_later() {
    let (here, there) = (SimBucket::new(1), SimBucket::new(2));
    let (peer, from) = (client(&there, "owner"), partition("there-1"));
    let entry = Entry {
        request: Nonce(1),
        payload: Bytes::from_static(b"1"),
    };
    for seq in 1..=5 {
        let at = LogPosition::new(1, seq);
        let whole = LogObject::Data(vec![entry.clone()]).encode(at);
        // The third waits for somebody to accept its loss.
        let body = match seq {
            1 | 3 => Bytes::from_static(b"damaged"),
            _ => whole,
        };
        peer.put(&keys::wal_slot(&from, at), body).await.unwrap();
    }
    let accept = async |seq| {
        let at = LogPosition::new(1, seq);
        accept_loss(&peer, &from, at, "test").await.unwrap();
    };
    accept(1).await;
    let mut puller = puller(client(&here, "own"), client(&there, "peer")).await;
    let taker = Taker::default();
    let mut failed = 0;
    while failed < 3 {
        failed += puller.round(&taker).await.errors.len();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(puller.lost(), 1);
    accept(3).await;
    tokio::time::sleep(LONGEST_PAUSE).await;
    while puller.round(&taker).await.more {}
    assert_eq!(puller.lost(), 2);
    assert_eq!(
        puller.cursor().places[&from].position,
        LogPosition::new(1, 5)
    );
}
