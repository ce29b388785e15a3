//! Figures of a server's connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::activity::Slow;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: Slow,
}

/// Connections open, and those that were cut because their client was slow. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    open: Gauge,
    cut: Family<Reason, Counter>,
}

impl ServerMetrics {
    /// Makes metrics that `registry` exports: `brainy_connections` and `brainy_connections_cut_total`, the latter by reason
    /// (`head`, `body`, `answer`, `idle`).
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "brainy_connections",
            "Connections of clients and other nodes that are open",
            metrics.open.clone(),
        );
        registry.register(
            "brainy_connections_cut",
            "Connections and bodies that were cut because the client was slow or idle",
            metrics.cut.clone(),
        );
        metrics
    }

    pub(crate) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    pub(crate) fn cut(&self, reason: Slow) {
        self.cut.get_or_create(&Reason { reason }).inc();
    }
}

/// An open connection.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
