//! Figures of the event bus, in Prometheus terms.

use brainy_coordination::events::Event;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Received {
    backend: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct At {
    at: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendName {
    backend: &'static str,
}

/// Which way a connection carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To another node.
    Out,
    /// From another node.
    In,
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Direction::Out => "out",
            Direction::In => "in",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connection {
    backend: &'static str,
    direction: Direction,
}

/// Counters and gauges of the bus and its back ends. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct EventMetrics {
    published: Family<Kind, Counter>,
    received: Family<Received, Counter>,
    dropped: Family<At, Counter>,
    failures: Family<BackendName, Counter>,
    connections: Family<Connection, Gauge>,
}

impl EventMetrics {
    /// Makes metrics that `registry` exports under `brainy_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("brainy");
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "events_published",
            "Events of this node, by kind",
            m.published,
        );
        registry.register(
            "events_received",
            "Events of other nodes, by kind and by the way they came",
            m.received,
        );
        registry.register(
            "events_dropped",
            "Events that a full buffer had no room for, by buffer; polling finds what they would have told",
            m.dropped,
        );
        registry.register(
            "event_failures",
            "Connections and requests of event back ends that failed",
            m.failures,
        );
        registry.register(
            "event_connections",
            "Open connections of event back ends",
            m.connections,
        );
        metrics
    }

    pub(super) fn published(&self, event: &Event) {
        let kind = event.kind();
        self.published.get_or_create(&Kind { kind }).inc();
    }

    pub(super) fn received(&self, backend: &'static str, event: &Event) {
        let kind = event.kind();
        self.received
            .get_or_create(&Received { backend, kind })
            .inc();
    }

    /// The buffer `at` had no room for an event.
    pub fn dropped(&self, at: &'static str) {
        self.dropped.get_or_create(&At { at }).inc();
    }

    /// So many events were dropped at `at`.
    #[must_use]
    pub fn dropped_at(&self, at: &'static str) -> u64 {
        self.dropped.get_or_create(&At { at }).get()
    }

    /// A connection or a request of `backend` failed.
    pub fn failed(&self, backend: &'static str) {
        self.failures.get_or_create(&BackendName { backend }).inc();
    }

    /// A connection is open until what is returned is dropped.
    pub fn connected(&self, backend: &'static str, direction: Direction) -> OpenConnection {
        let gauge = self
            .connections
            .get_or_create(&Connection { backend, direction })
            .clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    /// Connections of `backend` that are open.
    #[must_use]
    pub fn connections(&self, backend: &'static str, direction: Direction) -> i64 {
        self.connections
            .get_or_create(&Connection { backend, direction })
            .get()
    }
}

/// Counted as open while it lives.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
