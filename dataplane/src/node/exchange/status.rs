//! How the exchange goes: figures, and what `GET /coordinate/exchange` answers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use brainy_coordination::exchange::Cursor;
use brainy_coordination::types::{InstanceId, PartitionId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPeer {
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct States {
    peer: String,
    result: &'static str,
}

/// Figures of all peers. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct ExchangeMetrics {
    lag: Family<OfPeer, Gauge<f64, AtomicU64>>,
    states: Family<States, Counter>,
    errors: Family<OfPeer, Counter>,
}

impl ExchangeMetrics {
    /// Registers them under `brainy_exchange_`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("brainy_exchange");
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "lag_seconds",
            "Time since everything that another cluster had acknowledged was merged, the longest of the partitions owned here",
            m.lag,
        );
        registry.register(
            "states",
            "States of points that another cluster told: merged, unchanged because they were known, unversioned and left out",
            m.states,
        );
        registry.register(
            "errors",
            "Times that a partition of another cluster could not be followed further",
            m.errors,
        );
        metrics
    }

    pub(super) fn set_lag(&self, peer: &InstanceId, lag: Option<Duration>) {
        let peer = peer.to_string();
        let gauge = self.lag.get_or_create(&OfPeer { peer }).clone();
        gauge.set(lag.unwrap_or_default().as_secs_f64());
    }

    pub(super) fn count(&self, peer: &InstanceId, counts: &Counts) {
        let Counts {
            merged,
            unchanged,
            unversioned,
        } = *counts;
        for (result, count) in [
            ("merged", merged),
            ("unchanged", unchanged),
            ("unversioned", unversioned),
        ] {
            let peer = peer.to_string();
            let states = States { peer, result };
            self.states.get_or_create(&states).inc_by(count);
        }
    }

    pub(super) fn failed(&self, peer: &InstanceId) {
        let peer = peer.to_string();
        self.errors.get_or_create(&OfPeer { peer }).inc();
    }
}

/// What became of states that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// They changed something and are in the log.
    pub(super) merged: u64,
    /// They were contained already.
    pub(super) unchanged: u64,
    /// Points without versions, which stay where they are.
    pub(super) unversioned: u64,
}

/// How one partition follows a peer.
#[derive(Debug)]
struct Partition {
    collection: String,
    since: Instant,
    caught_up: Option<Instant>,
    error: Option<String>,
    counts: Counts,
    cursor: Option<Cursor>,
    lost: u64,
}

/// The partitions that this node owns, as they follow one peer.
#[derive(Debug, Default)]
pub(in crate::node) struct Following(BTreeMap<PartitionId, Partition>);

impl Following {
    /// A partition of `collection` is followed from now on.
    pub(in crate::node) fn begin(&mut self, partition: &PartitionId) {
        let begun = Partition {
            collection: String::new(),
            since: Instant::now(),
            caught_up: None,
            error: None,
            counts: Counts::default(),
            cursor: None,
            lost: 0,
        };
        self.0.insert(partition.clone(), begun);
    }

    /// It is not any more.
    pub(in crate::node) fn end(&mut self, partition: &PartitionId) {
        self.0.remove(partition);
    }

    /// What its collection is called.
    pub(in crate::node) fn named(&mut self, partition: &PartitionId, collection: &str) {
        if let Some(one) = self.0.get_mut(partition)
            && one.collection != collection
        {
            one.collection = collection.to_owned();
        }
    }

    /// A round was made that began at `began`.
    pub(in crate::node) fn went_on(
        &mut self,
        partition: &PartitionId,
        (began, caught_up): (Instant, bool),
        (cursor, lost): (Cursor, u64),
    ) {
        if let Some(one) = self.0.get_mut(partition) {
            one.cursor = Some(cursor);
            one.lost = lost;
            if caught_up {
                one.caught_up = Some(began);
                one.error = None;
            }
        }
    }

    /// It does not get on. Says whether that is news.
    pub(in crate::node) fn failed(&mut self, partition: &PartitionId, error: String) -> bool {
        let Some(one) = self.0.get_mut(partition) else {
            return false;
        };
        let news = one.error.as_ref() != Some(&error);
        one.error = Some(error);
        news
    }

    pub(super) fn count(&mut self, partition: &PartitionId, counts: &Counts) {
        if let Some(one) = self.0.get_mut(partition) {
            one.counts.merged += counts.merged;
            one.counts.unchanged += counts.unchanged;
            one.counts.unversioned += counts.unversioned;
        }
    }

    /// The longest time since everything was merged, of any partition; none if none is owned here.
    pub(super) fn lag(&self) -> Option<Duration> {
        let all = self.0.values();
        all.map(|one| one.caught_up.unwrap_or(one.since).elapsed())
            .max()
    }

    pub(super) fn describe(&self) -> Value {
        let all = self.0.iter().map(|(partition, one)| {
            let cursor = one.cursor.as_ref().map(|cursor| {
                let places = cursor.places.iter();
                let places = places.map(|(p, at)| (p.to_string(), json!(at.position.to_string())));
                places.collect::<serde_json::Map<_, _>>()
            });
            let Counts {
                merged,
                unchanged,
                unversioned,
            } = one.counts;
            json!({
                "partition": partition,
                "collection": one.collection,
                "caught_up": one.caught_up.is_some() && one.error.is_none(),
                "lag_seconds": one.caught_up.unwrap_or(one.since).elapsed().as_secs_f64(),
                "error": one.error,
                "merged": merged,
                "unchanged": unchanged,
                "unversioned": unversioned,
                "lost_slots": one.lost,
                "cursor": cursor,
            })
        });
        Value::Array(all.collect())
    }
}
