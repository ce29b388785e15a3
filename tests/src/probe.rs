//! How long each partition takes no writes when it changes hands.
//!
//! One task a partition writes one point again and again. The epoch in each acknowledgement's token says under which
//! ownership it was written; the gap between the last acknowledgement of an epoch and the first of a later one is the pause
//! that a client saw.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::manifest::{
    Collection, CollectionSpec, DenseParams, Distance, VectorSchema,
};
use brainy_coordination::types::{CollectionUid, Nonce};
use brainy_dataplane::model::PointId;
use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::HarnessError;
use crate::client::{Client, token};
use crate::history::{History, Row};

/// Pause between an acknowledgement and the next write; part of every gap.
const PACE: Duration = Duration::from_millis(50);

/// A change of hands as a client saw it.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// The partition.
    pub partition: String,
    /// The new epoch.
    pub epoch: u64,
    /// When the first write under it was acknowledged.
    pub at: Instant,
    /// Time since the last acknowledgement under the epoch before.
    pub gap: Duration,
}

/// What the probes saw.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Changes of hands.
    pub takeovers: Vec<Takeover>,
    /// Gaps between acknowledgements without a change of hands, and when they ended.
    pub steady: Vec<(Instant, Duration)>,
    /// Writes that failed for good, in words.
    pub failed: Vec<String>,
}

/// Running probes.
#[derive(Debug)]
pub struct Probes {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Probed>>,
}

impl Probes {
    /// Starts one probe for each of `rows`, which should be in different partitions. Values begin with `first`.
    #[must_use]
    pub fn start(
        client: &Client,
        collection: &str,
        history: &History,
        rows: Vec<Row>,
        first: u64,
    ) -> Self {
        let (stop, seen) = (
            CancellationToken::new(),
            Arc::new(Mutex::new(Probed::default())),
        );
        let tasks = rows.into_iter().map(|row| {
            let probe = Probe {
                client: client.clone(),
                collection: collection.to_owned(),
                history: history.clone(),
                row,
                stop: stop.clone(),
                seen: seen.clone(),
            };
            tokio::spawn(async move {
                if let Err(error) = probe.run(first).await {
                    probe.seen.lock().await.failed.push(error.to_string());
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            seen,
        }
    }

    /// Ends the probes.
    pub async fn stop(mut self) -> Probed {
        self.stop.cancel();
        for ended in join_all(std::mem::take(&mut self.tasks)).await {
            if let Err(error) = ended {
                self.seen.lock().await.failed.push(error.to_string());
            }
        }
        self.seen.lock().await.clone()
    }
}

/// Left alone, its tasks would go on.
impl Drop for Probes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Probe {
    client: Client,
    collection: String,
    history: History,
    row: Row,
    stop: CancellationToken,
    seen: Arc<Mutex<Probed>>,
}

impl Probe {
    async fn run(&self, first: u64) -> Result<(), HarnessError> {
        let ids = [self.row.id];
        let mut before: Option<(u64, Instant)> = None;
        let mut value = first;
        while !self.stop.is_cancelled() {
            self.history.attempt(&ids, value).await;
            let points = [self.row.point(value)];
            let written = self.client.upsert(&self.collection, &points).await?;
            let now = Instant::now();
            self.history.acknowledge(&ids, value).await;
            value += 1;
            let Some((partition, position)) = token(&written)?.0.into_iter().next() else {
                continue;
            };
            if let Some((epoch, at)) = before {
                let gap = now.duration_since(at);
                let mut seen = self.seen.lock().await;
                if position.epoch == epoch {
                    seen.steady.push((now, gap));
                } else {
                    seen.takeovers.push(Takeover {
                        partition: partition.to_string(),
                        epoch: position.epoch,
                        at: now,
                        gap,
                    });
                }
            }
            before = Some((position.epoch, now));
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(PACE) => {}
            }
        }
        Ok(())
    }
}

/// Number of the partition that the point `id` belongs to: it depends on the id and the number of partitions only.
///
/// # Errors
/// Never for a number of partitions that a collection can have.
pub fn partition_of(id: u64, partitions: u32) -> Result<u32, HarnessError> {
    let uid = CollectionUid::new("rows").map_err(|e| HarnessError::Unexpected {
        request: "partition of a row".to_owned(),
        message: e.to_string(),
    })?;
    let collection = Collection {
        uid,
        created: Nonce(0),
        spec: CollectionSpec {
            partitions,
            schema: VectorSchema::unnamed(DenseParams::new(1, Distance::Cosine)),
            extra: serde_json::Value::Null,
        },
        payload_indexes: std::collections::BTreeMap::new(),
    };
    Ok(collection
        .partition_of(&PointId::Num(id).canonical_bytes())
        .index)
}

/// Divides `rows` into one for each of `partitions`, in their order, and the rest.
///
/// # Errors
/// A partition has no row.
pub fn one_per_partition(
    rows: Vec<Row>,
    partitions: u32,
) -> Result<(Vec<Row>, Vec<Row>), HarnessError> {
    let mut first = BTreeMap::new();
    let mut rest = Vec::new();
    for row in rows {
        match first.entry(partition_of(row.id, partitions)?) {
            Entry::Vacant(entry) => {
                entry.insert(row);
            }
            Entry::Occupied(_) => rest.push(row),
        }
    }
    if first.len() == partitions as usize {
        return Ok((first.into_values().collect(), rest));
    }
    Err(HarnessError::Unexpected {
        request: "rows by partition".to_owned(),
        message: format!("{} of {partitions} partitions have rows", first.len()),
    })
}

/// The value below which `percent` of `values` lie (nearest rank); zero if there are none.
#[must_use]
pub fn percentile(values: &[Duration], percent: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::random_rows;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let ms = |n| Duration::from_millis(n);
        let values: Vec<Duration> = (1..=100).rev().map(ms).collect();
        assert_eq!(percentile(&values, 50.0), ms(50));
        assert_eq!(percentile(&values, 99.0), ms(99));
        assert_eq!(percentile(&values[..1], 99.0), ms(100));
        assert_eq!(percentile(&[], 99.0), Duration::ZERO);
    }

    #[test]
    fn every_partition_gets_one_row_and_no_row_is_lost() {
        let rows = random_rows(0, 1000, 2, 7);
        let (first, rest) = one_per_partition(rows, 12).unwrap();
        assert_eq!((first.len(), rest.len()), (12, 988));
        assert!(one_per_partition(random_rows(0, 3, 2, 7), 12).is_err());
    }
}
