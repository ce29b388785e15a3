//! What was written and what was acknowledged, and whether the cluster still has it.
//!
//! Each key is written by one task only, with values that grow. So a read is right if it brings a value from the last
//! acknowledged one up to the last attempted one, whatever was lost on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::HarnessError;
use crate::client::{Client, Point, Read, Record};

/// Ids of one retrieval of the check.
const BATCH: usize = 500;
/// Findings of a kind that are described in words.
const DESCRIBED: usize = 10;

/// A row that a load writes: its id, vector and text never change, the value in its payload does.
#[derive(Clone, Debug)]
pub struct Row {
    /// Id of the point.
    pub id: u64,
    /// Its vector.
    pub vector: Vec<f32>,
    /// Its text.
    pub text: String,
}

impl Row {
    /// The point with `value`.
    #[must_use]
    pub fn point(&self, value: u64) -> Point {
        Point {
            id: self.id,
            vector: self.vector.clone(),
            payload: json!({"text": self.text, "value": value}),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Key {
    attempted: u64,
    acknowledged: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<u64, Key>,
    acknowledged: u64,
}

/// What was written. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<State>>);

/// What the check of a cluster against the history came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Writes of points that were acknowledged.
    pub acknowledged: u64,
    /// Distinct ids among them.
    pub distinct: u64,
    /// Acknowledged ids that are missing or older than acknowledged.
    pub lost: u64,
    /// Ids that came twice, or points beyond the distinct ids.
    pub duplicated: u64,
    /// Points nobody wrote, or values nobody attempted.
    pub unexpected: u64,
    /// Some of the above in words.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.unexpected == 0
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < DESCRIBED {
            self.findings.push(text());
        }
    }
}

impl History {
    /// `value` is about to be written to `ids`.
    pub async fn attempt(&self, ids: &[u64], value: u64) {
        let mut state = self.0.lock().await;
        for id in ids {
            let key = state.keys.entry(*id).or_default();
            key.attempted = key.attempted.max(value);
        }
    }

    /// The write of `value` to `ids` was acknowledged.
    pub async fn acknowledge(&self, ids: &[u64], value: u64) {
        let mut state = self.0.lock().await;
        state.acknowledged += ids.len() as u64;
        for id in ids {
            let key = state.keys.entry(*id).or_default();
            key.acknowledged = key.acknowledged.max(Some(value));
        }
    }

    /// The last value of `id` that was acknowledged.
    pub async fn acknowledged(&self, id: u64) -> Option<u64> {
        self.0.lock().await.keys.get(&id)?.acknowledged
    }

    /// Writes of points acknowledged so far.
    pub async fn writes(&self) -> u64 {
        self.0.lock().await.acknowledged
    }

    /// Whether `record` may be the answer to a strong read of `id` that began when `before` was the last acknowledged
    /// value; says what is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn judge(
        &self,
        id: u64,
        before: Option<u64>,
        record: Option<&Record>,
    ) -> Result<(), String> {
        let attempted = {
            let state = self.0.lock().await;
            state.keys.get(&id).map(|k| k.attempted)
        };
        let found = record.map(value_of);
        match (before, found) {
            (Some(before), None) => {
                Err(format!("{id} is missing, value {before} was acknowledged"))
            }
            (Some(before), Some(found)) if found < Some(before) => Err(format!(
                "{id} has value {found:?}, but {before} was acknowledged"
            )),
            (_, Some(found)) if found > attempted => {
                Err(format!("{id} has value {found:?}, which nobody wrote"))
            }
            _ => Ok(()),
        }
    }

    /// Compares a collection with the history, nothing being written meanwhile: once by scrolling through everything, once
    /// by retrieving every acknowledged id, and by counting; all strong.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn verify(&self, client: &Client, collection: &str) -> Result<Verdict, HarnessError> {
        let scrolled = client.scroll_all(collection, &Read::Strong).await?;
        let ids: Vec<u64> = {
            let state = self.0.lock().await;
            let acknowledged = state.keys.iter().filter(|(_, k)| k.acknowledged.is_some());
            acknowledged.map(|(id, _)| *id).collect()
        };
        let mut retrieved = Vec::new();
        for batch in ids.chunks(BATCH) {
            retrieved.extend(client.retrieve(collection, batch, &Read::Strong).await?);
        }
        let count = client.count(collection, &Read::Strong).await?;
        Ok(self.compare(&scrolled, &retrieved, count).await)
    }

    async fn compare(&self, scrolled: &[Record], retrieved: &[Record], count: u64) -> Verdict {
        let state = self.0.lock().await;
        let mut verdict = Verdict {
            acknowledged: state.acknowledged,
            distinct: state
                .keys
                .values()
                .filter(|k| k.acknowledged.is_some())
                .count() as u64,
            ..Verdict::default()
        };
        let mut seen = BTreeSet::new();
        for record in scrolled {
            if !seen.insert(record.id) {
                verdict.duplicated += 1;
                verdict.note(|| format!("{} came twice", record.id));
            }
            match state.keys.get(&record.id) {
                Some(key) if value_of(record) <= Some(key.attempted) => {}
                _ => {
                    verdict.unexpected += 1;
                    verdict.note(|| format!("{record:?} was never written"));
                }
            }
        }
        if count != seen.len() as u64 {
            verdict.duplicated += count.saturating_sub(seen.len() as u64);
            verdict.unexpected += u64::from(count < seen.len() as u64);
            verdict.note(|| format!("count is {count}, the scroll brought {}", seen.len()));
        }
        let by_id = |records: &[Record]| -> BTreeMap<u64, Option<u64>> {
            records.iter().map(|r| (r.id, value_of(r))).collect()
        };
        let (scrolled, retrieved) = (by_id(scrolled), by_id(retrieved));
        for (id, key) in &state.keys {
            let Some(acknowledged) = key.acknowledged else {
                continue;
            };
            let holds = |found: &BTreeMap<u64, Option<u64>>| {
                found.get(id).is_some_and(|v| *v >= Some(acknowledged))
            };
            if !holds(&scrolled) || !holds(&retrieved) {
                verdict.lost += 1;
                verdict.note(|| {
                    let (a, b) = (scrolled.get(id), retrieved.get(id));
                    format!(
                        "{id}: {acknowledged} was acknowledged, scrolled {a:?}, retrieved {b:?}"
                    )
                });
            }
        }
        verdict
    }
}

fn value_of(record: &Record) -> Option<u64> {
    record.payload.get("value").and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, value: u64) -> Record {
        Record {
            id,
            payload: json!({"value": value}),
        }
    }

    async fn history() -> History {
        let history = History::default();
        history.attempt(&[1, 2], 5).await;
        history.acknowledge(&[1, 2], 5).await;
        history.attempt(&[2, 3], 6).await;
        history
    }

    #[tokio::test]
    async fn what_is_between_acknowledged_and_attempted_is_right() {
        let right = [record(1, 5), record(2, 6)];
        let verdict = history().await.compare(&right, &right, 2).await;
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.acknowledged, verdict.distinct), (2, 2));
    }

    #[tokio::test]
    async fn each_kind_of_wrong_is_found() {
        let right = [record(1, 5), record(2, 6)];
        for (scrolled, count, expected) in [
            (vec![record(1, 5)], 1, (1, 0, 0)),
            (vec![record(1, 4), record(2, 5)], 2, (1, 0, 0)),
            (vec![record(1, 5), record(1, 5), record(2, 5)], 2, (0, 1, 0)),
            (vec![record(1, 5), record(2, 5)], 3, (0, 1, 0)),
            (vec![record(1, 9), record(2, 5)], 2, (0, 0, 1)),
            (vec![record(1, 5), record(2, 5), record(9, 5)], 3, (0, 0, 1)),
        ] {
            let v = history().await.compare(&scrolled, &right, count).await;
            assert_eq!((v.lost, v.duplicated, v.unexpected), expected, "{v:?}");
        }
    }

    #[tokio::test]
    async fn a_stale_or_invented_read_is_found() {
        let history = history().await;
        assert!(history.judge(1, Some(5), Some(&record(1, 5))).await.is_ok());
        assert!(history.judge(3, None, None).await.is_ok());
        for (before, found) in [
            (Some(5), None),
            (Some(5), Some(record(1, 4))),
            (None, Some(record(1, 6))),
        ] {
            assert!(history.judge(1, before, found.as_ref()).await.is_err());
        }
    }
}
