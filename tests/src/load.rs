//! A steady load: tasks that write, tasks that read what was acknowledged, tasks that search.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::seq::{IndexedRandom, index};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::HarnessError;
use crate::client::{Client, Read};
use crate::history::{History, Row};

/// What a load is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Tasks that write; each has rows of its own.
    pub writers: usize,
    /// Tasks that read acknowledged rows strongly.
    pub readers: usize,
    /// Tasks that search.
    pub searchers: usize,
    /// Rows of one write.
    pub batch: usize,
    /// Pause of each task between two requests.
    pub pause: Duration,
    /// Seed of all choices.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            writers: 4,
            readers: 2,
            searchers: 1,
            batch: 8,
            pause: Duration::from_millis(10),
            seed: 1,
        }
    }
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Searches.
    pub searches: Vec<Sample>,
    /// Strong reads that were judged.
    pub reads: u64,
    /// Strong reads that were stale, in words.
    pub stale: Vec<String>,
    /// Requests that failed for good, in words.
    pub failed: Vec<String>,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    observed: Arc<Mutex<Observed>>,
}

#[derive(Clone)]
struct Worker {
    clients: Vec<Client>,
    collection: String,
    history: History,
    pause: Duration,
    stop: CancellationToken,
    observed: Arc<Mutex<Observed>>,
}

impl Load {
    /// Starts a load on `collection` through `clients`, each request through any of them. `rows` are divided among the
    /// writers; values begin with `first`.
    #[must_use]
    pub fn start(
        clients: &[Client],
        collection: &str,
        history: &History,
        rows: &[Row],
        first: u64,
        shape: &Shape,
    ) -> Self {
        let worker = Worker {
            clients: clients.to_vec(),
            collection: collection.to_owned(),
            history: history.clone(),
            pause: shape.pause,
            stop: CancellationToken::new(),
            observed: Arc::default(),
        };
        let rows: Arc<[Row]> = rows.into();
        let rng = |n: usize| ChaCha8Rng::seed_from_u64(shape.seed.wrapping_mul(1_000) + n as u64);
        let mut tasks = Vec::new();
        for n in 0..shape.writers {
            // Every n-th row, so that each writer has rows in every partition.
            let own: Vec<Row> = rows
                .iter()
                .skip(n)
                .step_by(shape.writers)
                .cloned()
                .collect();
            tasks.push(tokio::spawn(worker.clone().write(
                own,
                first,
                shape.batch,
                rng(n),
            )));
        }
        for n in 0..shape.readers {
            tasks.push(tokio::spawn(
                worker.clone().read(rows.clone(), rng(100 + n)),
            ));
        }
        for n in 0..shape.searchers {
            tasks.push(tokio::spawn(
                worker.clone().search(rows.clone(), rng(200 + n)),
            ));
        }
        Self {
            stop: worker.stop.clone(),
            tasks,
            observed: worker.observed.clone(),
        }
    }

    /// What it saw so far.
    pub async fn observed(&self) -> Observed {
        self.observed.lock().await.clone()
    }

    /// Lets requests under way finish, and ends.
    pub async fn stop(mut self) -> Observed {
        self.stop.cancel();
        for ended in join_all(std::mem::take(&mut self.tasks)).await {
            if let Err(error) = ended {
                let text = format!("a task of the load ended badly: {error}");
                self.observed.lock().await.failed.push(text);
            }
        }
        self.observed.lock().await.clone()
    }
}

/// Left alone, its tasks would go on.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Worker {
    fn client(&self, rng: &mut ChaCha8Rng) -> Client {
        // A load has at least one client.
        self.clients.choose(rng).unwrap_or(&self.clients[0]).clone()
    }

    /// Whether to go on, after the pause.
    async fn goes_on(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(self.pause) => true,
        }
    }

    async fn failed(&self, error: &HarnessError) {
        self.observed.lock().await.failed.push(error.to_string());
    }

    async fn write(self, mut rows: Vec<Row>, first: u64, batch: usize, mut rng: ChaCha8Rng) {
        let mut value = first;
        while !rows.is_empty() && self.goes_on().await {
            let chosen = index::sample(&mut rng, rows.len(), batch.min(rows.len()));
            let points: Vec<_> = chosen.iter().map(|i| rows[i].point(value)).collect();
            let ids: Vec<u64> = points.iter().map(|p| p.id).collect();
            self.history.attempt(&ids, value).await;
            match self
                .client(&mut rng)
                .upsert(&self.collection, &points)
                .await
            {
                Ok(_) => self.history.acknowledge(&ids, value).await,
                Err(error) => {
                    self.failed(&error).await;
                    // Whether it happened is not known, and it may still: these rows are not written again.
                    rows.retain(|row| !ids.contains(&row.id));
                }
            }
            value += 1;
        }
    }

    async fn read(self, rows: Arc<[Row]>, mut rng: ChaCha8Rng) {
        while self.goes_on().await {
            let Some(row) = rows.choose(&mut rng) else {
                return;
            };
            let before = self.history.acknowledged(row.id).await;
            let client = self.client(&mut rng);
            match client
                .retrieve(&self.collection, &[row.id], &Read::Strong)
                .await
            {
                Ok(found) => {
                    let judged = self.history.judge(row.id, before, found.first()).await;
                    let mut observed = self.observed.lock().await;
                    observed.reads += 1;
                    observed.stale.extend(judged.err());
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn search(self, rows: Arc<[Row]>, mut rng: ChaCha8Rng) {
        while self.goes_on().await {
            let Some(row) = rows.choose(&mut rng) else {
                return;
            };
            let client = self.client(&mut rng);
            let at = Instant::now();
            match client
                .search(&self.collection, &row.vector, 10, &Read::Default)
                .await
            {
                Ok(_) => {
                    let took = at.elapsed();
                    self.observed
                        .lock()
                        .await
                        .searches
                        .push(Sample { at, took });
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }
}

/// `count` rows with ids from `first` and random vectors.
#[must_use]
pub fn random_rows(first: u64, count: usize, dimensions: usize, seed: u64) -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (first..first + count as u64)
        .map(|id| Row {
            id,
            vector: (0..dimensions)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect(),
            text: format!("row {id}"),
        })
        .collect()
}

/// Writes all rows with `value`, several requests at a time, and notes them in the history.
///
/// # Errors
/// The first write that failed.
pub async fn write_all(
    client: &Client,
    collection: &str,
    history: &History,
    rows: &[Row],
    value: u64,
) -> Result<(), HarnessError> {
    const BATCH: usize = 200;
    const AT_ONCE: usize = 4;
    let batches: Vec<&[Row]> = rows.chunks(BATCH).collect();
    for group in batches.chunks(AT_ONCE) {
        let writes = group.iter().map(|batch| async move {
            let points: Vec<_> = batch.iter().map(|row| row.point(value)).collect();
            let ids: Vec<u64> = batch.iter().map(|row| row.id).collect();
            history.attempt(&ids, value).await;
            client.upsert(collection, &points).await?;
            history.acknowledge(&ids, value).await;
            Ok::<_, HarnessError>(())
        });
        for done in join_all(writes).await {
            done?;
        }
    }
    Ok(())
}
