//! What the simulated processes share: the bucket, the network between them, and the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brainy_coordination::assignment::{Member, Role};
use brainy_coordination::store::ObjectStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::{CollectionUid, InstanceId, LogPosition, PartitionId, SegmentId};
use futures::FutureExt;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::audit::Audit;
use crate::node::Process;
use crate::sabotage::{Sabotage, Saboteur};

/// Grace period of garbage collection. Pauses of processes are often longer.
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// What a run is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// Prints what happens.
    pub(crate) verbose: bool,
    /// Breaks a rule on purpose.
    pub(crate) sabotage: Option<Sabotage>,
}

/// How often things happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) strong_reads: u64,
    pub(crate) bounded_reads: u64,
    pub(crate) session_reads: u64,
    pub(crate) eventual_reads: u64,
    pub(crate) takeovers: u64,
    pub(crate) deposed: u64,
    pub(crate) released: u64,
    pub(crate) handed_over: u64,
    pub(crate) published: u64,
    pub(crate) collected: u64,
    pub(crate) pauses: u64,
    pub(crate) crashes: u64,
    pub(crate) damaged: u64,
    pub(crate) damage_found: u64,
}

impl Counts {
    /// Names and values.
    pub(crate) fn rows(&self) -> [(&'static str, u64); 17] {
        [
            ("writes acknowledged", self.acknowledged),
            ("writes refused", self.refused),
            ("writes without answer", self.unknown),
            ("strong reads", self.strong_reads),
            ("bounded reads", self.bounded_reads),
            ("reads of sessions", self.session_reads),
            ("eventual reads", self.eventual_reads),
            ("takeovers", self.takeovers),
            ("owners deposed", self.deposed),
            ("leases released", self.released),
            ("partitions handed over", self.handed_over),
            ("manifests published", self.published),
            ("objects collected", self.collected),
            ("pauses", self.pauses),
            ("crashes", self.crashes),
            ("log objects damaged", self.damaged),
            ("damage reported", self.damage_found),
        ]
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.strong_reads += other.strong_reads;
        self.bounded_reads += other.bounded_reads;
        self.session_reads += other.session_reads;
        self.eventual_reads += other.eventual_reads;
        self.takeovers += other.takeovers;
        self.deposed += other.deposed;
        self.released += other.released;
        self.handed_over += other.handed_over;
        self.published += other.published;
        self.collected += other.collected;
        self.pauses += other.pauses;
        self.crashes += other.crashes;
        self.damaged += other.damaged;
        self.damage_found += other.damage_found;
    }
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) bucket: Arc<SimBucket>,
    pub(crate) partitions: Vec<PartitionId>,
    /// What the orchestrator says about the members.
    pub(crate) members: Mutex<BTreeMap<InstanceId, Member>>,
    /// Instances whose heartbeat seems to stand still, rightly or not.
    pub(crate) suspected: Mutex<BTreeSet<InstanceId>>,
    /// Every process that was not crashed, paused ones and old runs of an instance included.
    pub(crate) processes: Mutex<Vec<Arc<Process>>>,
    pub(crate) audit: Mutex<Audit>,
    pub(crate) counts: Mutex<Counts>,
    /// Whether log objects are damaged in this run.
    pub(crate) lossy: bool,
    started: Instant,
    numbers: AtomicU64,
}

impl World {
    pub(crate) fn new(options: Options, partitions: u32, lossy: bool) -> Arc<Self> {
        let collection = CollectionUid::new("lists-1").expect("valid");
        let partition = |index| PartitionId::new(collection.clone(), index);
        Arc::new(Self {
            options,
            bucket: SimBucket::new(options.seed),
            partitions: (0..partitions).map(partition).collect(),
            members: Mutex::default(),
            suspected: Mutex::default(),
            processes: Mutex::default(),
            audit: Mutex::default(),
            counts: Mutex::default(),
            lossy,
            started: Instant::now(),
            numbers: AtomicU64::new(1),
        })
    }

    /// Randomness of one actor, independent of the others'.
    pub(crate) fn rng(&self, actor: &str) -> ChaCha8Rng {
        let text = format!("{}/{actor}", self.options.seed);
        ChaCha8Rng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }

    /// Access to the bucket for `caller`, without sabotage.
    pub(crate) fn honest_store(&self, caller: &str) -> Store {
        self.store_over(caller, self.bucket.client(caller))
    }

    /// Access to the bucket for the process `caller`.
    pub(crate) fn store(&self, caller: &str) -> Store {
        let client = self.bucket.client(caller);
        match self.options.sabotage {
            Some(sabotage) => self.store_over(caller, Arc::new(Saboteur::new(sabotage, client))),
            None => self.store_over(caller, client),
        }
    }

    fn store_over(&self, caller: &str, client: Arc<dyn ObjectStore>) -> Store {
        let policy = RetryPolicy {
            base_pause: Duration::from_millis(20),
            max_pause: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
        };
        let seed = self.rng(&format!("{caller}/jitter")).random();
        Store::new(client, policy).with_jitter_seed(seed)
    }

    /// The next of the run's numbers.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A segment name that does not depend on real time.
    pub(crate) fn segment_id(&self, epoch: u64) -> SegmentId {
        SegmentId::new(format!("{epoch:012}-{:026}", self.number())).expect("valid")
    }

    /// Virtual time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn trace(&self, who: &str, what: impl Display) {
        if self.options.verbose {
            println!("{:>9.3}s {who:>8}  {what}", self.now().as_secs_f64());
        }
    }

    /// Notes that a rule was broken.
    pub(crate) fn violation(&self, what: impl Display) {
        self.trace("CHECKER", format_args!("VIOLATION {what}"));
        let text = format!("at {:.3}s: {what}", self.now().as_secs_f64());
        self.audit.lock().violations.push(text);
    }

    /// A process found a log slot unreadable: true in runs with damage, a false alarm otherwise.
    pub(crate) fn damage_found(&self, who: &str, partition: &PartitionId, at: LogPosition) {
        let known = self.audit.lock().is_damaged(partition, at);
        self.trace(who, format_args!("{partition}: slot {at} is damaged"));
        if !known {
            self.violation(format_args!(
                "{who} calls {partition} {at} damaged, which nobody touched"
            ));
            return;
        }
        let first = self.audit.lock().found(partition, at);
        if first {
            self.counts.lock().damage_found += 1;
        }
    }

    /// Runs `task`; a panic in it is a violation.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                world.violation("a task panicked, see above");
            }
        })
    }

    /// The newest process of `instance`.
    pub(crate) fn process(&self, instance: &InstanceId) -> Option<Arc<Process>> {
        let processes = self.processes.lock();
        let mut runs = processes.iter().rev();
        runs.find(|p| p.me.instance == *instance).cloned()
    }
}

/// A member that may own and read.
pub(crate) fn member(instance: &InstanceId) -> Member {
    Member::new(Role::Hybrid, format!("{instance}:6333"))
}

/// Instance number `n`.
pub(crate) fn instance(n: usize) -> InstanceId {
    InstanceId::new(format!("node-{n}")).expect("valid")
}

/// Lets between `low` and `high` milliseconds of virtual time pass.
pub(crate) async fn nap(rng: &mut ChaCha8Rng, low: u64, high: u64) {
    sleep(Duration::from_millis(rng.random_range(low..=high))).await;
}
