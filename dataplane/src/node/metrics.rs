//! Figures of a node, in Prometheus terms. Units are in the names; counters end in `_total` on the wire.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters, gauges and histograms of a node. Cheap to clone; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct NodeMetrics {
    /// Takeovers that succeeded.
    pub takeovers: Counter,
    /// Time from the decision to take over to the first write accepted.
    pub takeover_seconds: Histogram,
    /// Write buffers turned into segments.
    pub flushes: Counter,
    /// Merges of segments.
    pub compactions: Counter,
    /// Time to build a segment.
    pub build_seconds: Histogram,
    /// Background jobs that failed.
    pub maintenance_errors: Counter,
    /// Objects removed by the collector.
    pub collected_objects: Counter,
    /// Partitions owned.
    pub owned: Gauge,
    /// Partitions loaded for reading.
    pub reading: Gauge,
    /// Partitions that cannot go on: damage that needs a person.
    pub troubled: Gauge,
    /// Live points in loaded partitions.
    pub points: Gauge,
    /// Bytes of writes that are not in a segment yet.
    pub unflushed_bytes: Gauge,
    /// Estimated bytes of memory that loaded partitions take.
    pub partition_memory_bytes: Gauge,
    /// Requests sent to the bucket.
    pub store_gets: Gauge,
    /// Requests sent to the bucket.
    pub store_puts: Gauge,
    /// Requests sent to the bucket.
    pub store_lists: Gauge,
    /// Attempts repeated after a transient error.
    pub store_retries: Gauge,
    /// Requests repeated at another node.
    pub routing_retries: Counter,
}

impl NodeMetrics {
    /// Registers all of them under `brainy_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("brainy");
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            takeovers: Counter::default(),
            takeover_seconds: seconds(),
            flushes: Counter::default(),
            compactions: Counter::default(),
            build_seconds: seconds(),
            maintenance_errors: Counter::default(),
            collected_objects: Counter::default(),
            owned: Gauge::default(),
            reading: Gauge::default(),
            troubled: Gauge::default(),
            points: Gauge::default(),
            unflushed_bytes: Gauge::default(),
            partition_memory_bytes: Gauge::default(),
            store_gets: Gauge::default(),
            store_puts: Gauge::default(),
            store_lists: Gauge::default(),
            store_retries: Gauge::default(),
            routing_retries: Counter::default(),
        };
        let m = metrics.clone();
        registry.register(
            "takeovers",
            "Partition takeovers that succeeded",
            m.takeovers,
        );
        registry.register(
            "takeover_seconds",
            "Time from the decision to take a partition over to its first write",
            m.takeover_seconds,
        );
        registry.register("flushes", "Write buffers turned into segments", m.flushes);
        registry.register("compactions", "Merges of segments", m.compactions);
        registry.register("build_seconds", "Time to build a segment", m.build_seconds);
        registry.register(
            "maintenance_errors",
            "Flushes, merges and collections that failed",
            m.maintenance_errors,
        );
        registry.register(
            "collected_objects",
            "Objects removed from the bucket by the collector",
            m.collected_objects,
        );
        registry.register("partitions_owned", "Partitions owned", m.owned);
        registry.register(
            "partitions_reading",
            "Partitions loaded for reading",
            m.reading,
        );
        registry.register(
            "partitions_troubled",
            "Partitions that cannot go on until a person acts",
            m.troubled,
        );
        registry.register("points", "Live points in loaded partitions", m.points);
        registry.register(
            "unflushed_bytes",
            "Writes that are not in a segment yet",
            m.unflushed_bytes,
        );
        registry.register(
            "partition_memory_bytes",
            "Memory of loaded partitions, estimated",
            m.partition_memory_bytes,
        );
        registry.register(
            "store_gets",
            "GET requests sent to the bucket",
            m.store_gets,
        );
        registry.register(
            "store_puts",
            "PUT requests sent to the bucket",
            m.store_puts,
        );
        registry.register(
            "store_lists",
            "LIST requests sent to the bucket",
            m.store_lists,
        );
        registry.register(
            "store_retries",
            "Requests to the bucket repeated after a transient error",
            m.store_retries,
        );
        registry.register(
            "routing_retries",
            "Requests repeated at another node",
            m.routing_retries,
        );
        metrics
    }
}

/// The registry as Prometheus reads it.
#[must_use]
pub(super) fn exposition(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _written = encode(&mut text, registry);
    text
}
