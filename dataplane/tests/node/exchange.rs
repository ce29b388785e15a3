//! Two clusters that follow each other: both take writes, both come to the same points, and what cannot be exchanged is told and left alone.

use std::sync::Arc;
use std::time::Duration;

use brainy_conflict::Policy;
use brainy_coordination::assignment::MemberState;
use brainy_coordination::config::SharedConfig;
use brainy_coordination::document;
use brainy_coordination::exchange::ReadOnly;
use brainy_coordination::keys;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::store::retry::{Created, RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::{InstanceId, Nonce};
use brainy_coordination::writers;
use brainy_dataplane::model::{
    Consistency, DenseParams, Distance, FieldChange, PayloadSelector, Point, PointId, ReadOptions,
    Record, RetrieveRequest, Selector, VectorSchema, VectorSelector, Vectors, WriteOp,
    WriteOptions,
};
use brainy_dataplane::node::{ExchangeConfig, PeerConfig};
use brainy_dataplane::service::{CreateCollection, DataService};
use serde_json::{Value, json};

use crate::support::{Cluster, Kind, Served, WITHIN};

/// A cluster of one node, which has the same name in each.
struct Side {
    bucket: Arc<SimBucket>,
    cluster: Cluster,
}

impl Side {
    fn new(seed: u64) -> Self {
        let bucket = SimBucket::new(seed);
        let store = Store::new(bucket.client("test"), RetryPolicy::default());
        let cluster = Cluster::over(store, tempfile::tempdir().unwrap());
        Self { bucket, cluster }
    }

    async fn start(&self, policy: Policy, follows: &[&Side]) -> Served {
        let store = Store::new(self.bucket.client("hybrid-0"), RetryPolicy::default());
        // As brainyd does before it starts a node.
        let agreed = writers::agree(&store, Some(policy.as_str())).await;
        assert!(agreed.unwrap());
        let quick = RetryPolicy {
            deadline: Duration::from_secs(1),
            ..RetryPolicy::default()
        };
        let peer = |side: &&Side| PeerConfig {
            name: InstanceId::new("other").unwrap(),
            store: Store::new(ReadOnly::new(side.bucket.client("peer")), quick),
        };
        let kind = Kind {
            lanes: Some(store),
            policy,
            exchange: ExchangeConfig {
                peers: follows.iter().map(peer).collect(),
                poll: Duration::from_millis(20),
            },
            settings: SharedConfig {
                flush_interval_ms: Some(100),
                ..SharedConfig::default()
            },
            ..Kind::default()
        };
        let served = self.cluster.start_as("hybrid-0", kind).await;
        let me = [(&served, MemberState::Active)];
        self.cluster.settle(&me).await;
        served
    }

    /// Creates `things` in so many partitions.
    async fn create(&self, at: &Served, size: u32, partitions: u32) {
        let spec = CreateCollection {
            schema: VectorSchema::unnamed(DenseParams::new(size, Distance::Cosine)),
            partitions: Some(partitions),
            settings: Default::default(),
        };
        at.node.create_collection("things", spec).await.unwrap();
        self.cluster.settle(&[(at, MemberState::Active)]).await;
    }

    /// Waits until the log is in segments, then removes it, as the collector does in time.
    async fn forget_log(&self, at: &Served) {
        // What was acknowledged is in this node's lane, and after a strong read in the log.
        read(at).await;
        let collection = at.node.schema("things").await.unwrap();
        let store = &self.cluster.store;
        for partition in collection.partitions() {
            let slots = store
                .list_all(&keys::wal_partition(&partition))
                .await
                .unwrap();
            let written: Vec<_> = slots
                .iter()
                .filter_map(|o| keys::parse_wal_slot(&o.key))
                .collect();
            let last = *written.iter().max().unwrap();
            let applied = async {
                loop {
                    let key = keys::partition_manifest(&partition);
                    let manifest = document::load::<PartitionManifest>(store, &key).await;
                    if manifest.unwrap().is_some_and(|m| m.applied >= last) {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(WITHIN, applied).await.unwrap();
            for slot in written.into_iter().filter(|slot| *slot < last) {
                let key = keys::wal_slot(&partition, slot);
                store.delete(&key).await.unwrap();
            }
        }
    }
}

async fn write(at: &Served, op: WriteOp) {
    let options = WriteOptions {
        request_id: Nonce::random(),
    };
    at.node.write("things", op, options).await.unwrap();
}

async fn put(at: &Served, ids: std::ops::Range<u64>, from: &str) {
    let point = |id: u64| Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![id as f32 + 1.0, 0.3]),
        payload: json!({"from": from, "views": 0})
            .as_object()
            .unwrap()
            .clone(),
    };
    write(at, WriteOp::Upsert(ids.map(point).collect())).await;
}

async fn read(at: &Served) -> Vec<Record> {
    let request = RetrieveRequest {
        ids: (0..100).map(PointId::Num).collect(),
        with_payload: PayloadSelector::All,
        with_vector: VectorSelector::All,
    };
    let strong = ReadOptions {
        consistency: Some(Consistency::Strong),
        ..ReadOptions::default()
    };
    let mut records = at.node.retrieve("things", request, strong).await.unwrap();
    records.sort_by_key(|record| record.id);
    records
}

fn exchange(at: &Served) -> Value {
    at.node.exchange()["peers"][0].clone()
}

fn count(at: &Served, what: &str) -> u64 {
    let partitions = exchange(at)["partitions"].as_array().unwrap().clone();
    partitions.iter().map(|p| p[what].as_u64().unwrap()).sum()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let done = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, done).await.expect(what);
}

/// Waits until both answer the same, `points` points, and both have read everything of the other.
async fn converge(a: &Served, b: &Served, points: usize) -> Vec<Record> {
    let equal = async {
        loop {
            let (at_a, at_b) = (read(a).await, read(b).await);
            if at_a.len() == points && at_a == at_b {
                return at_a;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(WITHIN, equal).await {
        Ok(records) => records,
        Err(_) => panic!("the clusters differ: {} and {}", exchange(a), exchange(b)),
    }
}

async fn exchanged_under(policy: Policy) {
    let (here, there) = (Side::new(1), Side::new(2));
    let a = here.start(policy, &[&there]).await;
    here.create(&a, 2, 4).await;
    put(&a, 0..40, "a").await;
    write(&a, WriteOp::Delete(Selector::Ids(vec![PointId::Num(3)]))).await;
    // What the other one is going to find is in segments, its log is gone.
    here.forget_log(&a).await;
    let b = there.start(policy, &[&here]).await;
    there.create(&b, 2, 3).await;
    converge(&a, &b, 39).await;

    put(&b, 30..60, "b").await;
    write(&b, WriteOp::Delete(Selector::Ids(vec![PointId::Num(5)]))).await;
    let both = converge(&a, &b, 58).await;
    let of_b = both.iter().filter(|record| {
        let payload = record.payload.as_ref().unwrap();
        payload["from"] == "b"
    });
    assert_eq!(of_b.count(), 30, "what b wrote later has won");

    // Both change the same points at once.
    let ids = || Selector::Ids((30..40).map(PointId::Num).collect());
    let set = |key: &str| WriteOp::SetPayload {
        selector: ids(),
        payload: json!({key: 1}).as_object().unwrap().clone(),
        key: None,
    };
    tokio::join!(write(&a, set("x")), write(&b, set("y")));
    if policy == Policy::Crdt {
        let add = || WriteOp::Adjust {
            selector: ids(),
            ops: vec![FieldChange::Increment {
                path: "views".to_owned(),
                by: 2,
            }],
        };
        tokio::join!(write(&a, add()), write(&b, add()));
    }
    until("both have read the other", async || {
        read(&a).await == read(&b).await && {
            let records = read(&a).await;
            let payload = records[30].payload.clone().unwrap();
            match policy {
                Policy::Crdt => payload["views"] == 4 && payload.contains_key("x"),
                _ => payload.contains_key("x") || payload.contains_key("y"),
            }
        }
    })
    .await;
    if policy == Policy::Crdt {
        let payload = read(&b).await[30].payload.clone().unwrap();
        assert!(
            payload.contains_key("x") && payload.contains_key("y"),
            "{payload:?}"
        );
    }
    // Nothing circulates: what came back was known.
    until("both have seen their own writes come back", async || {
        count(&a, "unchanged") > 30 && count(&b, "unchanged") > 30
    })
    .await;
    let merged = count(&a, "merged") + count(&b, "merged");
    assert!(merged < 200, "{merged} states were merged for 130 writes");
    assert_eq!(count(&a, "unversioned") + count(&b, "unversioned"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn last_writes_win_in_both_clusters() {
    exchanged_under(Policy::LastWriteWins).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_versions_are_kept_in_both_clusters() {
    exchanged_under(Policy::VectorClock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fields_and_counters_merge_across_clusters() {
    exchanged_under(Policy::Crdt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_is_away_holds_up_nobody_and_is_caught_up_with() {
    let (here, there) = (Side::new(3), Side::new(4));
    let policy = Policy::LastWriteWins;
    let a = here.start(policy, &[&there]).await;
    let b = there.start(policy, &[&here]).await;
    here.create(&a, 2, 2).await;
    there.create(&b, 2, 2).await;
    put(&a, 0..10, "a").await;
    converge(&a, &b, 10).await;
    there.bucket.partition("peer", true);
    put(&a, 10..20, "a").await;
    put(&b, 20..30, "b").await;
    assert_eq!(read(&a).await.len(), 20);
    until("b hears of a all the same", async || {
        read(&b).await.len() == 30
    })
    .await;
    until("a says that it cannot read b", async || {
        let partitions = exchange(&a)["partitions"].as_array().unwrap().clone();
        partitions.iter().any(|p| p["error"].is_string())
    })
    .await;
    assert!(a.node.ready().is_ok(), "its health is its own");
    there.bucket.partition("peer", false);
    converge(&a, &b, 30).await;
    until("a has caught up", async || {
        let partitions = exchange(&a)["partitions"].as_array().unwrap().clone();
        partitions.iter().all(|p| p["caught_up"] == true)
    })
    .await;
    let text = DataService::metrics(&a.node);
    assert!(
        text.contains("brainy_exchange_lag_seconds{peer=\"other\"}"),
        "{text}"
    );
    assert!(text.contains("brainy_exchange_states_total{peer=\"other\",result=\"merged\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_does_not_fit_is_told_and_left_alone() {
    let (here, there) = (Side::new(5), Side::new(6));
    let a = here.start(Policy::LastWriteWins, &[&there]).await;
    here.create(&a, 2, 1).await;
    let told = async |what: &str, at: &Served| {
        until(what, async || exchange(at).to_string().contains(what)).await;
    };
    told("no cluster", &a).await;
    let b = there.start(Policy::LastWriteWins, &[&there]).await;
    there.create(&b, 3, 1).await;
    told("other vectors", &a).await;
    told("this very cluster", &b).await;
    put(&a, 0..5, "a").await;
    assert_eq!(read(&a).await.len(), 5);
    assert!(read(&b).await.is_empty());

    let other = Side::new(7);
    let c = other.start(Policy::Crdt, &[&here]).await;
    other.create(&c, 2, 1).await;
    told("conflict-resolution", &c).await;
    assert!(read(&c).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_from_the_future_wait_and_harm_nothing() {
    use brainy_conflict::{Blob, Hlc, PointState, Stamp, Writer};
    let (here, there) = (Side::new(8), Side::new(9));
    let a = here.start(Policy::LastWriteWins, &[&there]).await;
    let b = there.start(Policy::LastWriteWins, &[]).await;
    here.create(&a, 2, 1).await;
    there.create(&b, 2, 1).await;
    put(&b, 0..5, "b").await;
    until("a has them", async || read(&a).await.len() == 5).await;
    // A slot as an instance would write it whose clock runs an hour ahead.
    let collection = b.node.schema("things").await.unwrap();
    let partition = collection.partitions().next().unwrap();
    let store = &there.cluster.store;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = now.unwrap().as_millis() as u64 + 3_600_000;
    let stamp = Stamp {
        hlc: Hlc::at(millis),
        writer: Writer(1),
    };
    let vector = brainy_dataplane::model::Vector::from(vec![1.0_f32, 0.0]);
    let value = brainy_conflict::Value {
        payload: Default::default(),
        vectors: [(
            String::new(),
            Blob(rmp_serde::to_vec(&vector).unwrap().into()),
        )]
        .into(),
    };
    let state = PointState::new(Policy::LastWriteWins).put(&value, stamp, None);
    let delta = brainy_dataplane::engine::Delta::new(&state).unwrap();
    let change = brainy_dataplane::engine::Change::Merge(PointId::Num(1), delta);
    let payload = brainy_dataplane::engine::change::encode(0, &[change]).unwrap();
    let entry = brainy_coordination::wal::Entry {
        request: Nonce::random(),
        payload,
    };
    let object = brainy_coordination::wal::LogObject::Data(vec![entry]);
    loop {
        let slots = store.list_all(&keys::wal_partition(&partition)).await;
        let slots = slots.unwrap();
        let last = slots.iter().filter_map(|o| keys::parse_wal_slot(&o.key));
        let next = last.max().unwrap().next();
        let key = keys::wal_slot(&partition, next);
        let created = store.create(&key, object.encode(next)).await.unwrap();
        if let Created::Ours(_) = created {
            break;
        }
    }
    until("a tells of the clock", async || {
        exchange(&a).to_string().contains("NTP")
    })
    .await;
    put(&a, 1..2, "a").await;
    let records = read(&a).await;
    assert_eq!(records[1].payload.as_ref().unwrap()["from"], "a");
}
