//! The two clusters and what they are asked to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brainy_coordination::assignment::Role;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Args;
use crate::HarnessError;
use crate::client::{Client, Point, Read};
use crate::cluster::LocalCluster;
use crate::figures::say;
use crate::history::Row;
use crate::load::random_rows;
use crate::manifest::Manifest;
use crate::wait::{holds, until};

/// Clients that search, and that write, at a time.
const SEARCHERS: usize = 4;
const WRITERS: usize = 4;
/// Points of a write.
const BATCH: usize = 100;
/// Ids that writes during measurements use, so that a collection does not grow without end.
const SCRATCH: u64 = 2_000;
const QUERIES: usize = 200;

/// A cluster: who is written to and who is searched.
struct Side {
    cluster: LocalCluster,
    writes: Client,
    reads: Client,
}

/// What is done at a time.
#[derive(Clone, Copy)]
struct Load {
    searches: bool,
    writes: bool,
}

/// Searches and points written, each in a second.
#[derive(Clone, Copy)]
struct Rates {
    searches: f64,
    points: f64,
}

impl Side {
    async fn start(manifest: Manifest) -> Result<Self, HarnessError> {
        let cluster = LocalCluster::start(manifest).await?;
        let table = cluster.client().assignments().await?.table;
        let member = |may: fn(Role) -> bool| {
            let found = table.members.values().find(|m| may(m.role));
            found.map(|m| Client::new(format!("http://{}", m.address)))
        };
        let none = || HarnessError::Late {
            what: "members are in the table".to_owned(),
            within: Duration::ZERO,
            seen: format!("{:?}", table.members),
        };
        Ok(Self {
            writes: member(|role| role != Role::Reader).ok_or_else(none)?,
            reads: member(|role| role != Role::Writer).ok_or_else(none)?,
            cluster,
        })
    }

    async fn write(&self, collection: &str, rows: &[Row]) -> Result<(), HarnessError> {
        let points: Vec<Point> = rows.iter().map(|row| row.point(0)).collect();
        self.writes.upsert(collection, &points).await.map(drop)
    }

    async fn run(
        &self,
        collection: &str,
        rows: &[Row],
        load: Load,
        lasts: Duration,
    ) -> Result<Rates, HarnessError> {
        let (searched, written) = (AtomicU64::new(0), AtomicU64::new(0));
        let end = CancellationToken::new();
        let searcher = |at: usize| {
            let (searched, end) = (&searched, &end);
            async move {
                for row in rows.iter().cycle().skip(at * 37) {
                    if end.is_cancelled() {
                        break;
                    }
                    let reads = &self.reads;
                    reads
                        .search(collection, &row.vector, 10, &Read::Eventual)
                        .await?;
                    searched.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, HarnessError>(())
            }
        };
        let writer = |at: usize| {
            let (written, end) = (&written, &end);
            async move {
                for batch in rows.chunks(BATCH).cycle().skip(at * 5) {
                    if end.is_cancelled() {
                        break;
                    }
                    let scratch: Vec<Row> = batch
                        .iter()
                        .map(|row| Row {
                            id: u64::from(u32::MAX) + row.id % SCRATCH,
                            vector: row.vector.clone(),
                            text: row.text.clone(),
                        })
                        .collect();
                    self.write(collection, &scratch).await?;
                    written.fetch_add(scratch.len() as u64, Ordering::Relaxed);
                }
                Ok::<_, HarnessError>(())
            }
        };
        let began = Instant::now();
        let timer = async {
            tokio::time::sleep(lasts).await;
            end.cancel();
        };
        let searchers = (0..if load.searches { SEARCHERS } else { 0 }).map(searcher);
        let writers = (0..if load.writes { WRITERS } else { 0 }).map(writer);
        let ((), searches, writes) = tokio::join!(timer, join_all(searchers), join_all(writers));
        for done in searches.into_iter().chain(writes) {
            done?;
        }
        let took = began.elapsed().as_secs_f64();
        Ok(Rates {
            searches: searched.load(Ordering::Relaxed) as f64 / took,
            points: written.load(Ordering::Relaxed) as f64 / took,
        })
    }
}

/// A writer with a reader, and a hybrid.
pub(super) struct Pair {
    separate: Side,
    hybrid: Side,
    rows: Arc<Vec<Row>>,
    args: Args,
}

impl Pair {
    pub(super) async fn start(args: &Args) -> Result<Self, HarnessError> {
        let budget = format!("{}Mi", args.budget_mib);
        let base = |writers, readers| {
            Manifest::new(writers, readers).with("spec.partitioning.partitionsPerCollection", 2)
        };
        let separate = base(1, 1)
            .with("spec.writers.memoryBudget", budget.as_str())
            .with("spec.readers.memoryBudget", budget.as_str());
        let hybrid = base(0, 0)
            .with("spec.hybrids.replicas", 1)
            .with("spec.hybrids.memoryBudget", budget.as_str());
        Ok(Self {
            separate: Side::start(separate).await?,
            hybrid: Side::start(hybrid).await?,
            rows: Arc::default(),
            args: args.clone(),
        })
    }

    /// Makes a collection in both whose vectors and graph take `percent` of a node's budget, and waits until both are at rest.
    pub(super) async fn fill(&mut self, name: &str, percent: u64) -> Result<(), HarnessError> {
        let size = self.args.dimensions as usize;
        // Full vectors, links at m = 16, and what is kept of a row.
        let per_row = size as u64 * 4 + 132 + 64;
        let count = (self.args.budget_mib << 20) / 100 * percent / per_row;
        let rows = random_rows(0, count as usize, size, percent);
        let collection = collection(name);
        for side in [&self.separate, &self.hybrid] {
            let body = serde_json::json!({
                "vectors": {"size": size, "distance": "Cosine"},
                "quantization_config": "Disabled",
                "shard_number": 2,
            });
            let path = format!("/collections/{collection}");
            let client = side.cluster.client();
            let body = Some(body.to_string().into_bytes());
            let created = client.send(reqwest::Method::PUT, &path, &[], body).await?;
            if created.status != 200 {
                return Err(HarnessError::Refused {
                    request: format!("PUT {path}"),
                    status: created.status,
                    message: created.message(),
                });
            }
            for group in rows.chunks(BATCH * WRITERS) {
                let writes = group
                    .chunks(BATCH)
                    .map(|batch| side.write(&collection, batch));
                for done in join_all(writes).await {
                    done?;
                }
            }
        }
        for side in [&self.separate, &self.hybrid] {
            until(
                "the collection is indexed",
                Duration::from_secs(300),
                async || {
                    let figures = side.reads.collection(&collection).await;
                    let figures = figures.map_err(|e| e.to_string())?;
                    holds(figures.indexed >= count * 9 / 10, || format!("{figures:?}"))
                },
            )
            .await?;
            // Once through, so that both know what is asked for.
            let lasts = Duration::from_secs(3);
            let searches = Load {
                searches: true,
                writes: false,
            };
            side.run(&collection, &rows, searches, lasts).await?;
        }
        self.rows = Arc::new(rows.into_iter().take(QUERIES.max(BATCH * 20)).collect());
        say(&format!("  {count} points of {size} dimensions"));
        Ok(())
    }

    /// One round: what was measured, for writer and reader, and for the hybrid.
    pub(super) async fn round(
        &self,
        name: &str,
    ) -> Result<Vec<(&'static str, f64, f64)>, HarnessError> {
        let lasts = Duration::from_secs(u64::from(self.args.seconds));
        let collection = collection(name);
        let mut measured = Vec::new();
        for (searches, writes) in [(true, false), (true, true), (false, true)] {
            let load = Load { searches, writes };
            let separate = self
                .separate
                .run(&collection, &self.rows, load, lasts)
                .await?;
            let hybrid = self
                .hybrid
                .run(&collection, &self.rows, load, lasts)
                .await?;
            if searches {
                let what = match writes {
                    true => "searches while writes come",
                    false => "searches",
                };
                measured.push((what, separate.searches, hybrid.searches));
            }
            if writes {
                let what = match searches {
                    true => "points written while searches come",
                    false => "points written",
                };
                measured.push((what, separate.points, hybrid.points));
            }
        }
        Ok(measured)
    }

    pub(super) async fn stop(mut self) -> Result<(), HarnessError> {
        self.separate.cluster.stop().await?;
        self.hybrid.cluster.stop().await
    }
}

fn collection(name: &str) -> String {
    name.replace(' ', "-")
}
