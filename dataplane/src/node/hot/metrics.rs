//! Figures of the cache.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Figures of what is held and what is not. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct CacheMetrics {
    /// Bytes of segments in memory.
    pub(super) bytes: Gauge,
    /// Bytes that may be.
    pub(super) limit: Gauge,
    /// Pieces of segments that were read from memory, about.
    pub(super) hits: Counter,
    /// Pieces that were read from files or the bucket, about.
    pub(super) misses: Counter,
    /// Parts that left memory.
    pub(super) evictions: Counter,
    /// Parts that were loaded because searches asked for them, or would.
    pub(super) prefetches: Counter,
    /// Bytes of segment files on the local disk.
    pub(super) disk_bytes: Gauge,
    /// Segments whose files left the local disk while they are open.
    pub(super) disk_evictions: Counter,
    /// Ranges that were read from the bucket because the disk has no room.
    pub(in crate::node) remote_reads: Counter,
}

impl CacheMetrics {
    /// Registers all of them under `brainy_cache_`.
    pub(in crate::node) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("brainy_cache");
        let m = Self::default();
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("bytes", "Bytes of segments held in memory", &m.bytes);
        gauge(
            "limit_bytes",
            "Bytes of segments that may be held in memory",
            &m.limit,
        );
        gauge(
            "disk_bytes",
            "Bytes of segment files on the local disk",
            &m.disk_bytes,
        );
        let mut counter = |name, help, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "hits",
            "Pieces of segments that searches found in memory, estimated",
            &m.hits,
        );
        counter(
            "misses",
            "Pieces of segments that searches read from files or the bucket, estimated",
            &m.misses,
        );
        counter(
            "evictions",
            "Parts of segments that left memory",
            &m.evictions,
        );
        counter(
            "prefetches",
            "Parts of open segments that were loaded into memory",
            &m.prefetches,
        );
        counter(
            "disk_evictions",
            "Open segments whose files left the local disk",
            &m.disk_evictions,
        );
        counter(
            "remote_reads",
            "Ranges of segment files read from the bucket for a search or a merge",
            &m.remote_reads,
        );
        m
    }
}
