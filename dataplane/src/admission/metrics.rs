//! Figures of what is taken on and what is refused.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Figures of a node's admission. Clones share their values.
#[derive(Clone, Debug)]
pub struct AdmissionMetrics {
    running: Gauge,
    waiting: Gauge,
    waited: Histogram,
    refused: Family<Reason, Counter>,
    request_bytes: Gauge,
    write_bytes: Gauge,
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        Self {
            running: Gauge::default(),
            waiting: Gauge::default(),
            // From a tenth of a millisecond to about half a minute.
            waited: Histogram::new(exponential_buckets(0.000_1, 2.0, 19)),
            refused: Family::default(),
            request_bytes: Gauge::default(),
            write_bytes: Gauge::default(),
        }
    }
}

impl AdmissionMetrics {
    /// Makes metrics that `registry` exports under `brainy_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("brainy");
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register("reads_running", "Reads that have a core", m.running);
        registry.register("reads_waiting", "Reads that wait for a core", m.waiting);
        registry.register(
            "read_wait_seconds",
            "Time that reads waited for a core",
            m.waited,
        );
        registry.register(
            "refused",
            "What was refused because the node had too much to do, by what was full",
            m.refused,
        );
        registry.register(
            "request_bytes",
            "Memory that requests under way may take, estimated from their bodies",
            m.request_bytes,
        );
        registry.register(
            "queued_write_bytes",
            "Memory of writes that are not applied yet, estimated",
            m.write_bytes,
        );
        metrics
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }

    /// What is to be exported now.
    pub(crate) fn set(&self, running: usize, waiting: usize, requests: u64, writes: u64) {
        self.running.set(running as i64);
        self.waiting.set(waiting as i64);
        self.request_bytes.set(requests as i64);
        self.write_bytes.set(writes as i64);
    }
}
