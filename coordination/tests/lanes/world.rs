//! What the simulated processes share: the bucket, who is a member and who owns the partition, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::{CollectionUid, InstanceId, Nonce, PartitionId, SegmentId};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use crate::machine::Set;
use crate::process::Process;

/// Grace of garbage collection; shorter than some pauses.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A lane's owner lets the collector have what was not copied yet.
    CollectEarly,
    /// The lane of an instance that is gone is forgotten, not fenced and copied.
    ForgetTheGone,
    /// A strong read does not look at the lanes.
    ReadTheLogOnly,
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) repeated: u64,
    pub(crate) strong_reads: u64,
    pub(crate) takeovers: u64,
    pub(crate) retired: u64,
    pub(crate) collected: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) bucket: Arc<SimBucket>,
    pub(crate) partition: PartitionId,
    pub(crate) members: Mutex<BTreeSet<InstanceId>>,
    pub(crate) leader: Mutex<InstanceId>,
    pub(crate) processes: Mutex<Vec<Arc<Process>>>,
    /// Writes that were asked for.
    pub(crate) asked: Mutex<BTreeMap<Nonce, Set>>,
    /// Writes that were acknowledged.
    pub(crate) acknowledged: Mutex<BTreeSet<Nonce>>,
    pub(crate) violations: Mutex<Vec<String>>,
    pub(crate) counts: Mutex<Counts>,
    verbose: bool,
    started: Instant,
    numbers: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Arc<Self> {
        let instances = (0..3).map(instance);
        Arc::new(Self {
            seed,
            sabotage,
            bucket: SimBucket::new(seed),
            partition: PartitionId::new(CollectionUid::new("registers-1").expect("valid"), 0),
            members: Mutex::new(instances.collect()),
            leader: Mutex::new(instance(0)),
            processes: Mutex::default(),
            asked: Mutex::default(),
            acknowledged: Mutex::default(),
            violations: Mutex::default(),
            counts: Mutex::default(),
            verbose: std::env::var_os("BRAINY_SIM_SEED").is_some(),
            started: Instant::now(),
            numbers: AtomicU64::new(1),
        })
    }

    pub(crate) fn rng(&self, actor: &str) -> ChaCha8Rng {
        let text = format!("{}/{actor}", self.seed);
        ChaCha8Rng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }

    pub(crate) fn store(&self, caller: &str) -> Store {
        let policy = RetryPolicy {
            base_pause: Duration::from_millis(20),
            max_pause: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
        };
        let seed = self.rng(&format!("{caller}/jitter")).random();
        Store::new(self.bucket.client(caller), policy).with_jitter_seed(seed)
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn segment_id(&self, epoch: u64) -> SegmentId {
        SegmentId::new(format!("{epoch:012}-{:026}", self.number())).expect("valid")
    }

    /// Virtual milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn is_member(&self, instance: &InstanceId) -> bool {
        self.members.lock().contains(instance)
    }

    pub(crate) fn violation(&self, what: impl std::fmt::Display) {
        let text = format!("at {} ms: {what}", self.now());
        self.violations.lock().push(text);
    }

    /// Prints what happens, when one seed is run.
    pub(crate) fn trace(&self, who: &str, what: impl std::fmt::Display) {
        if self.verbose {
            println!("{:>8} ms {who:>12}  {what}", self.now());
        }
    }

    pub(crate) fn count(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.counts.lock());
    }

    /// A running process of a member.
    pub(crate) fn process(&self, rng: &mut ChaCha8Rng) -> Option<Arc<Process>> {
        let processes = self.processes.lock();
        if processes.is_empty() {
            return None;
        }
        let n = rng.random_range(0..processes.len());
        processes.get(n).cloned()
    }
}

pub(crate) fn instance(n: u32) -> InstanceId {
    InstanceId::new(format!("hybrid-{n}")).expect("valid")
}

/// Waits for some virtual time.
pub(crate) async fn nap(rng: &mut ChaCha8Rng, from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
}
