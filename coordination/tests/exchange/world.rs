//! Two simulated clusters, each with a bucket, an owner for each partition, and a puller that follows the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use brainy_conflict::{PointState, Policy, Stamp};
use brainy_coordination::exchange::{Puller, ReadOnly, Target, overlap};
use brainy_coordination::gc::Collector;
use brainy_coordination::keys;
use brainy_coordination::lease::{self, Identity};
use brainy_coordination::manifest::partition_index;
use brainy_coordination::owner::{Owner, WriteError};
use brainy_coordination::partition::SegmentMeta;
use brainy_coordination::replica::Replica;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::{
    CollectionUid, InstanceId, LogPosition, Nonce, PartitionId, SegmentId,
};
use brainy_coordination::wal::{AppenderConfig, Entry};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::points::{EPOCH_MS, Points, Request, States, nothing_is_built, read_segment};

/// Grace of garbage collection; shorter than many pauses of the pullers, so that logs are gone before they are read.
const GRACE: Duration = Duration::from_secs(8);

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The cursor passes what was not made durable.
    PassEarly,
    /// A log that is gone is skipped: segments are not read.
    SkipSegments,
    /// What comes from the peer is always written.
    WriteWhatIsKnown,
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) merged: u64,
    pub(crate) segments: u64,
    pub(crate) crashes: u64,
    pub(crate) cursors_lost: u64,
    pub(crate) cuts: u64,
    pub(crate) collected: u64,
}

/// Who writes a partition's log, and its state.
type Owned = (Owner<Points>, Arc<Points>);

/// One cluster.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) bucket: Arc<SimBucket>,
    uid: CollectionUid,
    pub(crate) partitions: u32,
    /// How far its clocks are ahead.
    skew_ms: u64,
    pub(crate) owned: Mutex<BTreeMap<u32, Owned>>,
    /// Running processes: one a partition.
    pub(crate) processes: Mutex<BTreeMap<u32, (String, AbortHandle)>>,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) policy: Policy,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) sides: [Side; 2],
    /// Stamps of acknowledged writes, by point.
    pub(crate) acknowledged: Mutex<Vec<(u64, Stamp)>>,
    pub(crate) counts: Mutex<Counts>,
    pub(crate) quiet: std::sync::atomic::AtomicBool,
    started: Instant,
    numbers: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Arc<Self> {
        let side = |name, n: u64| Side {
            name,
            bucket: SimBucket::new(seed * 2 + n),
            uid: CollectionUid::new(format!("things-{name}")).expect("valid"),
            partitions: ((seed + n) % 3 + 1) as u32,
            skew_ms: n * (seed % 5) * 3000,
            owned: Mutex::default(),
            processes: Mutex::default(),
        };
        Arc::new(Self {
            seed,
            policy: Policy::ALL[(seed % 3) as usize],
            sabotage,
            sides: [side("a", 0), side("b", 1)],
            acknowledged: Mutex::default(),
            counts: Mutex::default(),
            quiet: std::sync::atomic::AtomicBool::new(false),
            started: Instant::now(),
            numbers: AtomicU64::new(1),
        })
    }

    pub(crate) fn rng(&self, actor: &str) -> ChaCha8Rng {
        let text = format!("{}/{actor}", self.seed);
        ChaCha8Rng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn now_ms(&self, side: &Side) -> u64 {
        EPOCH_MS + side.skew_ms + self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn count(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.counts.lock());
    }

    fn policy_of_retries() -> RetryPolicy {
        RetryPolicy {
            base_pause: Duration::from_millis(20),
            max_pause: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
        }
    }

    pub(crate) fn store(&self, side: usize, caller: &str) -> Store {
        let seed = self.rng(&format!("{caller}/jitter")).random();
        let client = self.sides[side].bucket.client(caller);
        Store::new(client, Self::policy_of_retries()).with_jitter_seed(seed)
    }

    /// How processes of the other side read this one's bucket.
    fn as_peer(&self, side: usize, caller: &str) -> Store {
        let seed = self.rng(&format!("{caller}/peer")).random();
        let client = self.sides[side].bucket.client("peer");
        Store::new(ReadOnly::new(client), Self::policy_of_retries()).with_jitter_seed(seed)
    }

    /// Starts the process that owns a partition.
    pub(crate) fn start(self: &Arc<Self>, side: usize, index: u32) {
        let name = format!("{}{index}-{}", self.sides[side].name, self.number());
        let work = own(Arc::clone(self), side, index, name.clone());
        let handle = tokio::spawn(work).abort_handle();
        let mut processes = self.sides[side].processes.lock();
        processes.insert(index, (name, handle));
    }

    /// Ends it without a word; what it had sent may still arrive.
    pub(crate) fn crash(&self, side: usize, index: u32) {
        let side = &self.sides[side];
        if let Some((name, handle)) = side.processes.lock().remove(&index) {
            side.bucket.partition(&name, true);
            handle.abort();
        }
        side.owned.lock().remove(&index);
    }

    /// A client's write.
    pub(crate) async fn write(&self, side: usize, id: u64, kind: u8) {
        let value = self.number();
        let now_ms = self.now_ms(&self.sides[side]);
        let index = self.sides[side].partition_of(id);
        let owned = self.sides[side].owned.lock().get(&index).cloned();
        let Some((owner, points)) = owned else { return };
        let request = Request::Write {
            id,
            kind,
            value,
            now_ms,
        };
        if owner.write(Nonce(value.into()), request).await.is_ok() {
            let stamps = points.stamps.lock();
            if let Some((_, stamp)) = stamps.iter().find(|(v, _)| *v == value) {
                self.acknowledged.lock().push((id, *stamp));
                self.count(|c| c.acknowledged += 1);
            }
        }
    }

    /// What all partitions of a cluster hold, and how far their logs are; none while one has no owner.
    pub(crate) fn everything(
        &self,
        side: usize,
    ) -> Option<(BTreeMap<u64, PointState>, Vec<LogPosition>)> {
        let side = &self.sides[side];
        let owned = side.owned.lock();
        let mut all = BTreeMap::new();
        let mut positions = Vec::new();
        for index in 0..side.partitions {
            let (_, points) = owned.get(&index)?;
            all.extend(points.states());
            positions.push(points.position());
        }
        Some((all, positions))
    }
}

impl Side {
    pub(crate) fn partition_of(&self, id: u64) -> u32 {
        partition_index(
            xxhash_rust::xxh3::xxh3_64(&id.to_le_bytes()),
            self.partitions,
        )
    }

    pub(crate) fn partition(&self, index: u32) -> PartitionId {
        PartitionId::new(self.uid.clone(), index)
    }
}

pub(crate) async fn nap(rng: &mut ChaCha8Rng, from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
}

/// Owns a partition again and again.
async fn own(world: Arc<World>, side: usize, index: u32, name: String) {
    let mut rng = world.rng(&name);
    let partition = world.sides[side].partition(index);
    let me = Identity {
        instance: InstanceId::new(name.clone()).expect("valid"),
        incarnation: Nonce(world.number().into()),
    };
    let store = world.store(side, &name);
    loop {
        nap(&mut rng, 50, 500).await;
        let points = Points::new(store.clone(), partition.clone(), world.policy, &name);
        let opened = Replica::open(store.clone(), partition.clone(), Arc::clone(&points), GRACE);
        let Ok(mut replica) = opened.await else {
            continue;
        };
        let Ok(lease) = lease::load(&store, &partition).await else {
            continue;
        };
        let Ok(ownership) = replica.take_over(&me, lease.as_ref()).await else {
            continue;
        };
        let epoch = ownership.epoch();
        let (owner, task) = Owner::start(replica, ownership, AppenderConfig::default(), 16);
        let owned = (owner.clone(), Arc::clone(&points));
        world.sides[side].owned.lock().insert(index, owned);
        let mut collector = Collector::new(store.clone(), partition.clone(), epoch, GRACE);
        let pull = pull(&world, side, &partition, &owner, &points, &name);
        let maintain = async {
            let mut rng = world.rng(&format!("{name}/maintain"));
            while !task.is_finished() {
                nap(&mut rng, 500, 4000).await;
                let all = rng.random_bool(0.25);
                let id = SegmentId::new(format!("{epoch:012}-{:026}", world.number()));
                let Some((meta, applied)) = points.upload(id.expect("valid"), all).await else {
                    continue;
                };
                let published = owner.publisher().publish(|m| {
                    if applied > m.applied {
                        if all {
                            m.segments.clear();
                        }
                        m.segments.push(meta.clone());
                        m.applied = applied;
                    }
                });
                if let Ok(manifest) = published.await {
                    points.published(manifest.applied);
                    if let Ok(done) = collector.collect(&nothing_is_built()).await {
                        world.count(|c| c.collected += done.slots as u64);
                    }
                }
            }
        };
        tokio::select! {
            () = pull => {}
            () = maintain => {}
        }
        world.sides[side].owned.lock().remove(&index);
    }
}

/// Follows the other cluster until this process does not own the partition any more.
async fn pull(
    world: &World,
    side: usize,
    partition: &PartitionId,
    owner: &Owner<Points>,
    points: &Arc<Points>,
    name: &str,
) {
    let mut rng = world.rng(&format!("{name}/pull"));
    let (here, there) = (&world.sides[side], &world.sides[1 - side]);
    let store = world.store(side, name);
    let peer = world.as_peer(1 - side, name);
    let sources = overlap(partition.index, here.partitions, there.partitions);
    let sources = sources.map(|index| there.partition(index));
    let identity = Nonce(1 - side as u128);
    let mut puller = loop {
        let sources = sources.clone().collect();
        let (store, peer) = (store.clone(), peer.clone());
        let opened = Puller::open(store, peer, partition.clone(), ("peer", identity), sources);
        match opened.await {
            Ok(puller) => break puller,
            Err(_) => nap(&mut rng, 100, 1000).await,
        }
    };
    let target = Incoming {
        world,
        here,
        there,
        points,
        owner,
        peer: &peer,
        index: partition.index,
    };
    loop {
        let round = puller.round(&target).await;
        if round.errors.values().any(|e| e.to_string() == "deposed") {
            return;
        }
        if round.more {
            continue;
        }
        let quiet = world.quiet.load(Ordering::Relaxed);
        match rng.random_range(0..10) {
            0 if !quiet => nap(&mut rng, 5_000, 40_000).await,
            _ => nap(&mut rng, 50, 2000).await,
        }
    }
}

struct Incoming<'a> {
    world: &'a World,
    here: &'a Side,
    there: &'a Side,
    points: &'a Arc<Points>,
    owner: &'a Owner<Points>,
    peer: &'a Store,
    index: u32,
}

impl Incoming<'_> {
    async fn take(&self, mut states: BTreeMap<u64, PointState>) -> Result<(), String> {
        states.retain(|id, _| self.here.partition_of(*id) == self.index);
        let states = match self.world.sabotage {
            Some(Sabotage::WriteWhatIsKnown) => states,
            _ => self.points.news(states),
        };
        if states.is_empty() {
            return Ok(());
        }
        let count = states.len() as u64;
        let request = Nonce(self.world.number().into());
        let written = self.owner.write(request, Request::Incoming(states));
        if self.world.sabotage == Some(Sabotage::PassEarly) {
            let _lost = tokio::time::timeout(Duration::from_millis(150), written).await;
            return Ok(());
        }
        match written.await {
            Ok(_) => {
                self.world.count(|c| c.merged += count);
                Ok(())
            }
            Err(WriteError::NotOwner) => Err("deposed".to_owned()),
            Err(_) => Err("later".to_owned()),
        }
    }
}

#[async_trait]
impl Target for Incoming<'_> {
    type Error = String;

    async fn merge(&self, _from: &PartitionId, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            self.take(States::of_log(&entry.payload).joined()).await?;
        }
        Ok(())
    }

    async fn merge_segment(
        &self,
        from: &PartitionId,
        segment: &SegmentMeta,
        after: LogPosition,
    ) -> Result<(), String> {
        if self.world.sabotage == Some(Sabotage::SkipSegments) {
            return Ok(());
        }
        assert_eq!(from.collection, self.there.uid);
        let states = read_segment(self.peer, from, &segment.id).await?;
        self.take(states.later_than(after)).await?;
        self.world.count(|c| c.segments += 1);
        Ok(())
    }
}

/// The cursor of a partition, as an object.
pub(crate) fn cursor_key(side: &Side, index: u32) -> String {
    keys::exchange_cursor(&side.partition(index), "peer")
}
