//! Several writers: every node takes writes for every partition, all come to the same state, and the death of one holds up nobody's
//! writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::MemberState;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::store::sim::SimBucket;
use brainy_coordination::types::Nonce;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::{
    Consistency, CountRequest, PayloadSelector, Point, PointId, ReadOptions, Record,
    RetrieveRequest, VectorSelector, Vectors, WriteOp, WriteOptions, WriteReceipt,
};
use brainy_dataplane::service::DataService;

use crate::support::{Cluster, Kind, Served, WITHIN};

/// A write may not take longer than this while another node is dead and nobody has noticed.
const PROMPT: Duration = Duration::from_secs(3);

struct Lanes {
    bucket: Arc<SimBucket>,
    cluster: Cluster,
}

impl Lanes {
    fn new() -> Self {
        let bucket = SimBucket::new(1);
        let store = Store::new(bucket.client("test"), RetryPolicy::default());
        let cluster = Cluster::over(store, tempfile::tempdir().unwrap());
        Self { bucket, cluster }
    }

    async fn start(&self, name: &str) -> Served {
        let store = Store::new(self.bucket.client(name), RetryPolicy::default());
        let kind = Kind {
            lanes: Some(store),
            ..Kind::default()
        };
        self.cluster.start_as(name, kind).await
    }

    /// The node is gone at once: no request of it reaches the bucket, none of others is answered.
    fn kill(&self, served: &Served) {
        self.bucket.partition(served.id.as_str(), true);
        served.close();
    }
}

async fn put(at: &Served, ids: std::ops::Range<u64>, x: f32) -> Result<WriteReceipt, ServiceError> {
    let point = |id| Point {
        id: PointId::Num(id),
        vectors: Vectors::unnamed(vec![x, 2.0]),
        payload: Default::default(),
    };
    let options = WriteOptions {
        request_id: Nonce::random(),
    };
    let op = WriteOp::Upsert(ids.map(point).collect());
    at.node.write("things", op, options).await
}

async fn count(at: &Served, options: ReadOptions) -> Result<u64, ServiceError> {
    let all = CountRequest { filter: None };
    at.node.count("things", all, options).await
}

fn strong() -> ReadOptions {
    ReadOptions {
        consistency: Some(Consistency::Strong),
        ..ReadOptions::default()
    }
}

async fn read(at: &Served, ids: std::ops::Range<u64>) -> Vec<Record> {
    let request = RetrieveRequest {
        ids: ids.map(PointId::Num).collect(),
        with_payload: PayloadSelector::All,
        with_vector: VectorSelector::All,
    };
    at.node.retrieve("things", request, strong()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writes_at_all_nodes_come_to_one_state() {
    let lanes = Lanes::new();
    let (a, b, c) = (
        lanes.start("hybrid-0").await,
        lanes.start("hybrid-1").await,
        lanes.start("hybrid-2").await,
    );
    let all = [&a, &b, &c].map(|n| (n, MemberState::Active));
    lanes.cluster.settle(&all).await;
    a.create().await;
    lanes.cluster.settle(&all).await;
    for round in 0..10_u8 {
        let x = f32::from(round);
        let (first, second, third) = tokio::join!(
            put(&a, 0..20, x),
            put(&b, 10..30, x + 0.25),
            put(&c, 5..25, x + 0.5)
        );
        first.unwrap();
        let token = second.unwrap().token;
        third.unwrap();
        // A session reads its own write at another node, without asking for more.
        let own = ReadOptions {
            consistency: Some(Consistency::Eventual),
            token: Some(token),
            ..ReadOptions::default()
        };
        assert!(count(&c, own).await.unwrap() >= 20);
    }
    let (at_a, at_b, at_c) = tokio::join!(read(&a, 0..30), read(&b, 0..30), read(&c, 0..30));
    assert_eq!(at_a.len(), 30);
    assert_eq!(at_a, at_b);
    assert_eq!(at_b, at_c);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_node_holds_up_no_write_and_loses_none() {
    let lanes = Lanes::new();
    let (a, b, dead) = (
        lanes.start("hybrid-0").await,
        lanes.start("hybrid-1").await,
        lanes.start("hybrid-2").await,
    );
    let all = [&a, &b, &dead].map(|n| (n, MemberState::Active));
    lanes.cluster.settle(&all).await;
    a.create().await;
    let table = lanes.cluster.settle(&all).await;
    assert!(
        table.owned_by(&dead.id).next().is_some(),
        "the dead node owned something"
    );
    put(&a, 0..50, 1.0).await.unwrap();
    put(&dead, 50..100, 1.0).await.unwrap();
    lanes.kill(&dead);
    // Nobody was told. Each write goes to all partitions, also to those that the dead node owned.
    for n in 0..20 {
        for at in [&a, &b] {
            let began = Instant::now();
            put(at, 0..200, n as f32).await.unwrap();
            let took = began.elapsed();
            assert!(took < PROMPT, "a write took {took:?} while a node was dead");
        }
    }
    // The orchestrator notices. What the dead node had acknowledged is merged from its lane.
    put(&b, 200..210, 1.0).await.unwrap();
    let left = [
        (&a, MemberState::Active),
        (&b, MemberState::Active),
        (&dead, MemberState::Gone),
    ];
    lanes.cluster.settle(&left).await;
    let everywhere = async {
        while count(&a, strong()).await.ok() != Some(210)
            || count(&b, strong()).await.ok() != Some(210)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, everywhere)
        .await
        .expect("all acknowledged points are there");
    assert_eq!(read(&a, 0..210).await, read(&b, 0..210).await);
}
