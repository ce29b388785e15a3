//! Time of each operation of coordination, beside that of one bare request.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use brainy_coordination::assignment::{AssignmentTable, Member, Role};
use brainy_coordination::document;
use brainy_coordination::keys;
use brainy_coordination::lease::{self, Identity};
use brainy_coordination::manifest::{
    self, CollectionSpec, DenseParams, Distance, VectorSchema, create_collection,
};
use brainy_coordination::members::Heartbeat;
use brainy_coordination::owner::{Owner, Stopped};
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::rebalance;
use brainy_coordination::replica::{Machine, MachineError, Replica};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::{AppenderConfig, Entry};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::bucket::{Bucket, failed};
use crate::HarnessError;
use crate::figures::{Quantiles, say, short};

/// The proposal's limit, milliseconds above the bare request.
const AIM_MS: f64 = 100.0;
/// The latency at which the limit is judged.
const AIM_AT_MS: u64 = 30;
const QUEUE: usize = 16;

/// One operation at one latency.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    injected_ms: u64,
    operation: &'static str,
    /// Requests to S3 of one operation, the mean.
    requests: f64,
    #[serde(flatten)]
    took: Quantiles,
    /// What the median is above the median of one bare request, milliseconds.
    added_p50: f64,
    added_p99: f64,
}

/// A state machine without state: only the protocol is measured.
struct Stateless;

#[async_trait]
impl Machine for Stateless {
    type Request = Bytes;
    type Rejection = MachineError;

    async fn load(&self, _manifest: &PartitionManifest) -> Result<(), MachineError> {
        Ok(())
    }

    fn apply(&self, _position: LogPosition, _entries: &[Entry]) -> Result<(), MachineError> {
        Ok(())
    }

    fn advance(&self, _position: LogPosition) {}

    fn stage(&self, _ticket: u64, request: Bytes) -> Result<Bytes, MachineError> {
        Ok(request)
    }

    fn unstage(&self, _ticket: u64) {}
}

struct Bench {
    store: Store,
    injected_ms: u64,
    rows: Vec<Row>,
    bare_put: Quantiles,
    bare_get: Quantiles,
}

/// Measures everything `rounds` times with `injected_ms` of latency.
///
/// # Errors
/// What failed.
pub(super) async fn measure(injected_ms: u64, rounds: u32) -> Result<Vec<Row>, HarnessError> {
    let bucket = Bucket::start().await?;
    let mut bench = Bench {
        store: bucket.store("").await?,
        injected_ms,
        rows: Vec::new(),
        bare_put: Quantiles::default(),
        bare_get: Quantiles::default(),
    };
    bucket.inject(Duration::from_millis(injected_ms));
    bench.bare(rounds).await?;
    bench.lock(rounds).await?;
    bench.renewal(rounds).await?;
    bench.manifest(rounds).await?;
    bench.assignments(rounds).await?;
    bench.handoff(rounds).await?;
    bench.takeover(rounds).await?;
    Ok(bench.rows)
}

fn id(name: &str) -> Result<InstanceId, HarnessError> {
    InstanceId::new(name).map_err(|e| failed("a name", &e))
}

fn partition(n: u32) -> Result<PartitionId, HarnessError> {
    let parsed = format!("bench-0/{n}").parse();
    parsed.map_err(|e| failed("a partition", &e))
}

impl Bench {
    fn sent(&self) -> u64 {
        let counts = self.store.counts();
        [&counts.gets, &counts.puts, &counts.lists, &counts.deletes]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    fn row(&mut self, operation: &'static str, times: &[Duration], sent: u64, bare: Quantiles) {
        let took = Quantiles::of(times);
        let row = Row {
            injected_ms: self.injected_ms,
            operation,
            requests: sent as f64 / times.len().max(1) as f64,
            took,
            added_p50: (took.p50 - bare.p50).max(0.0),
            added_p99: (took.p99 - bare.p99).max(0.0),
        };
        say(&format!(
            "  {operation}: {} ms, {} above the bare request",
            short(took.p50),
            short(row.added_p50)
        ));
        self.rows.push(row);
    }

    /// One request each, of which the others are compared.
    async fn bare(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let body = Bytes::from_static(&[7; 512]);
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let began = Instant::now();
            let put = self.store.put("bare", body.clone()).await;
            put.map_err(|e| failed("put", &e))?;
            puts.push(began.elapsed());
            let began = Instant::now();
            let got = self.store.get("bare").await;
            got.map_err(|e| failed("get", &e))?;
            gets.push(began.elapsed());
        }
        self.bare_put = Quantiles::of(&puts);
        self.bare_get = Quantiles::of(&gets);
        self.row("bare PUT", &puts, u64::from(rounds), self.bare_put);
        self.row("bare GET", &gets, u64::from(rounds), self.bare_get);
        Ok(())
    }

    /// Reads a lease and takes it.
    async fn lock(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let partition = partition(0)?;
        let sent = self.sent();
        let mut times = Vec::new();
        for n in 0..rounds {
            let me = Identity::new(id(&format!("node-{}", n % 2))?);
            let began = Instant::now();
            let found = lease::load(&self.store, &partition).await;
            let found = found.map_err(|e| failed("read a lease", &e))?;
            let taken = lease::acquire(&self.store, &partition, &me, found.as_ref(), 0).await;
            taken.map_err(|e| failed("take a lease", &e))?;
            times.push(began.elapsed());
        }
        let sent = self.sent() - sent;
        self.row("lock: read a lease, take it", &times, sent, self.bare_put);
        Ok(())
    }

    async fn renewal(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let ttl = Duration::from_secs(20);
        let (me, address) = (Identity::new(id("node-0")?), "127.0.0.1:1".to_owned());
        let mut heart = Heartbeat::new(self.store.clone(), me, Role::Writer, address, ttl);
        // The first one looks for an earlier life.
        heart.beat().await.map_err(|e| failed("heartbeat", &e))?;
        let sent = self.sent();
        let mut times = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            heart.beat().await.map_err(|e| failed("heartbeat", &e))?;
            times.push(began.elapsed());
        }
        let sent = self.sent() - sent;
        self.row(
            "renewal of all of an instance's leases",
            &times,
            sent,
            self.bare_put,
        );
        Ok(())
    }

    async fn manifest(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let spec = CollectionSpec {
            partitions: 12,
            schema: VectorSchema::unnamed(DenseParams::new(4, Distance::Cosine)),
            extra: serde_json::Value::Null,
        };
        let created = create_collection(&self.store, "bench", &spec, Nonce::random()).await;
        created.map_err(|e| failed("create a collection", &e))?;
        let sent = self.sent();
        let mut times = Vec::new();
        for n in 0..rounds {
            let schema = (n % 2 == 0).then(|| json!("keyword"));
            let began = Instant::now();
            let done =
                manifest::set_payload_index(&self.store, "bench", "field", schema.as_ref()).await;
            done.map_err(|e| failed("change the manifest", &e))?;
            times.push(began.elapsed());
        }
        let sent = self.sent() - sent;
        self.row(
            "manifest update: read, change, swap",
            &times,
            sent,
            self.bare_put,
        );
        Ok(())
    }

    async fn assignments(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let me = id("node-0")?;
        let made = rebalance::step(&self.store, |edit| {
            edit.members
                .insert(me.clone(), Member::new(Role::Hybrid, "127.0.0.1:1"));
        })
        .await
        .map_err(|e| failed("make a table", &e))?;
        let sent = self.sent();
        let mut times = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            let read = document::load_if_changed::<AssignmentTable>(
                &self.store,
                keys::ASSIGNMENTS,
                &made.table.etag,
            );
            read.await.map_err(|e| failed("read the table", &e))?;
            times.push(began.elapsed());
        }
        let sent = self.sent() - sent;
        self.row("assignment read, unchanged", &times, sent, self.bare_get);
        Ok(())
    }

    /// From the seal of one owner to the first moment at which the other, who followed the log and is told what the first knows, takes
    /// writes.
    async fn handoff(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let partition = partition(1)?;
        let names = [id("node-0")?, id("node-1")?];
        let identities = names.clone().map(Identity::new);
        let mut sent = 0;
        let mut times = Vec::new();
        let mut first = self.follower(&partition).await?;
        let taken = first.take_over(&identities[0], None).await;
        let taken = taken.map_err(|e| failed("take over", &e))?;
        let start =
            |replica, ownership| Owner::start(replica, ownership, AppenderConfig::default(), QUEUE);
        let (mut owner, mut task) = start(first, taken);
        for n in 0..rounds as usize {
            let write = owner.write(Nonce::random(), Bytes::from_static(b"x")).await;
            write.map_err(|e| failed("write", &format!("{e:?}")))?;
            let mut next = self.follower(&partition).await?;
            let to = (n + 1) % 2;
            let before = self.sent();
            let began = Instant::now();
            owner.seal(Some(names[to].clone())).await;
            let ended = task.await;
            let why = ended.map_err(|e| failed("the owner", &e))?.why;
            let Stopped::Released {
                handover: Some(told),
                ..
            } = why
            else {
                return Err(failed("hand over", &format!("{why:?}")));
            };
            let taken = next.take_over_from(&identities[to], &told).await;
            let taken = taken.map_err(|e| failed("take over", &e))?;
            times.push(began.elapsed());
            sent += self.sent() - before;
            (owner, task) = start(next, taken);
        }
        owner.seal(None).await;
        task.await.map_err(|e| failed("the owner", &e))?;
        self.row("handoff: writes wait", &times, sent, self.bare_put);
        Ok(())
    }

    /// From the word that an owner is gone to the first moment at which another, who followed the log, takes writes.
    async fn takeover(&mut self, rounds: u32) -> Result<(), HarnessError> {
        let partition = partition(2)?;
        let mut sent = 0;
        let mut times = Vec::new();
        for n in 0..rounds {
            let me = Identity::new(id(&format!("node-{}", n % 2))?);
            let mut next = self.follower(&partition).await?;
            let before = self.sent();
            let began = Instant::now();
            let found = lease::load(&self.store, &partition).await;
            let found = found.map_err(|e| failed("read a lease", &e))?;
            let taken = next.take_over(&me, found.as_ref()).await;
            let taken = taken.map_err(|e| failed("take over", &e))?;
            times.push(began.elapsed());
            sent += self.sent() - before;
            let (owner, task) = Owner::start(next, taken, AppenderConfig::default(), QUEUE);
            let write = owner.write(Nonce::random(), Bytes::from_static(b"x")).await;
            write.map_err(|e| failed("write", &format!("{e:?}")))?;
            // As a process that is killed: without a word.
            task.abort();
        }
        self.row(
            "takeover from an owner that is gone",
            &times,
            sent,
            self.bare_put,
        );
        Ok(())
    }

    /// A replica at the end of the log, as a successor has one before it asks.
    async fn follower(&self, partition: &PartitionId) -> Result<Replica<Stateless>, HarnessError> {
        let grace = Duration::from_secs(600);
        let machine = Arc::new(Stateless);
        let opened = Replica::open(self.store.clone(), partition.clone(), machine, grace).await;
        let mut replica = opened.map_err(|e| failed("open a replica", &e))?;
        let followed = replica.catch_up().await;
        followed.map_err(|e| failed("follow the log", &e))?;
        Ok(replica)
    }
}

/// The table of the document.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| injected | operation | requests | p50 | p99 | added p50 | added p99 | aim |\n|---:|---|---:|---:|---:|---:|---:|---|\n",
    );
    for row in rows {
        let Row {
            injected_ms,
            operation,
            requests,
            took,
            added_p50,
            added_p99,
        } = row;
        let aimed = !operation.starts_with("bare") && !operation.starts_with("takeover");
        let judged = *injected_ms == AIM_AT_MS && aimed;
        let aim = match judged {
            true if *added_p50 < AIM_MS => format!("< {AIM_MS} ms: met"),
            true => format!("< {AIM_MS} ms: missed"),
            false => String::new(),
        };
        // Writing to a String does not fail.
        let _infallible = writeln!(
            text,
            "| {injected_ms} ms | {operation} | {} | {} ms | {} ms | {} ms | {} ms | {aim} |",
            short(*requests),
            short(took.p50),
            short(took.p99),
            short(*added_p50),
            short(*added_p99),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_operation_is_measured_with_its_requests() {
        let rows = measure(0, 2).await.unwrap();
        let requests = |operation: &str| {
            let row = rows.iter().find(|row| row.operation.starts_with(operation));
            row.unwrap_or_else(|| panic!("{operation}: {rows:?}"))
                .requests
        };
        for (operation, expected) in [
            ("bare PUT", 1.0),
            ("bare GET", 1.0),
            ("lock", 2.0),
            ("renewal", 1.0),
            ("manifest", 2.0),
            ("assignment", 1.0),
        ] {
            assert!((requests(operation) - expected).abs() < 1e-9, "{operation}");
        }
        for (operation, most) in [("handoff", 5.0), ("takeover", 8.0)] {
            assert!(requests(operation) <= most, "{operation}: {rows:?}");
        }
        assert!(table(&rows).lines().count() == rows.len() + 2);
    }
}
