//! Partitions that wait for a person, as the nodes that stand before them report it: a damaged log object, for example.
//!
//! Nodes answer requests for everything else, so neither their readiness nor the bucket shows it; `GET /health` does. What was
//! said twice in a row is told: a bucket that does not answer for a moment looks like damage once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::hint::Messenger;

/// How often nodes are asked.
const EVERY: Duration = Duration::from_secs(10);
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 8;

/// What was found out; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    asked: Option<Instant>,
    /// Of the last look.
    last: BTreeSet<String>,
    /// Of the last two.
    told: Vec<String>,
}

/// What is needed of `/health`.
#[derive(Deserialize)]
struct Health {
    partitions: std::collections::BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    trouble: Option<String>,
}

impl Damage {
    /// Partitions and what is wrong with them, in words and in order.
    pub(crate) fn found(&self) -> Vec<String> {
        self.0.lock().told.clone()
    }

    /// Asks the active members, if it is time; the answers are there a moment later.
    pub(crate) fn look(
        &self,
        messenger: &Messenger,
        table: &AssignmentTable,
        key: Option<String>,
        now: Instant,
    ) {
        {
            let mut state = self.0.lock();
            if state.asked.is_some_and(|asked| now < asked + EVERY) {
                return;
            }
            state.asked = Some(now);
        }
        let active = table.members.values();
        let active = active.filter(|m| m.state == MemberState::Active);
        let addresses: Vec<String> = active.map(|m| m.address.clone()).collect();
        let (messenger, damage) = (messenger.clone(), self.clone());
        tokio::spawn(async move {
            let answers = stream::iter(addresses).map(|address| {
                let (messenger, key) = (messenger.clone(), key.clone());
                async move { messenger.health(&address, key.as_deref()).await }
            });
            let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
            let mut found = BTreeSet::new();
            for answer in answers {
                // A node that does not answer is another matter, which its pod shows.
                match answer.map(|body| troubles(&body)) {
                    Ok(Ok(troubles)) => found.extend(troubles),
                    Ok(Err(error)) | Err(error) => tracing::debug!(error, "health not learned"),
                }
            }
            damage.note(found);
        });
    }

    fn note(&self, found: BTreeSet<String>) {
        let mut state = self.0.lock();
        state.told = found.intersection(&state.last).cloned().collect();
        state.last = found;
    }
}

fn troubles(body: &[u8]) -> Result<Vec<String>, String> {
    let health: Health = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let troubled = health
        .partitions
        .into_iter()
        .filter_map(|(name, partition)| {
            let trouble = partition.trouble?;
            Some(format!("{name}: {trouble}"))
        });
    Ok(troubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trouble_of_partitions_is_read_from_health() {
        let body = br#"{"status": "degraded", "partitions": {
            "a/00000": {"state": "owning", "trouble": null},
            "a/00001": {"state": "idle", "trouble": "object x is damaged"}
        }}"#;
        assert_eq!(troubles(body).unwrap(), ["a/00001: object x is damaged"]);
        assert!(troubles(b"not ready").is_err());
    }

    #[test]
    fn what_is_said_once_is_not_told() {
        let damage = Damage::default();
        let one = || BTreeSet::from(["a/00001: damaged".to_owned()]);
        damage.note(one());
        assert!(damage.found().is_empty());
        damage.note(one());
        assert_eq!(damage.found(), ["a/00001: damaged"]);
        damage.note(BTreeSet::new());
        assert!(damage.found().is_empty());
    }
}
