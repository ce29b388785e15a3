//! The ways to other nodes that events take, besides connections between nodes.

use std::sync::Arc;

use brainy_coordination::events::EventLog;
use brainy_http_server::tls::TlsError;

use super::config::{Coordination, NodeConfig};
use super::quiet::Quiet;
use crate::events::log::{Follow, LogBackend};
use crate::events::nats::Nats;
use crate::events::{Backend, EventMetrics};

/// The back ends of the method of coordination: NATS, and the log in the bucket. Every node of a cluster writes into the log, for
/// people; where nothing is pushed it is followed as well.
///
/// # Errors
/// [`TlsError`] of the NATS server's authorities.
pub(super) fn besides_websocket(
    config: &NodeConfig,
    quiet: &Arc<Quiet>,
    metrics: &EventMetrics,
) -> Result<Vec<Arc<dyn Backend>>, TlsError> {
    let mut all: Vec<Arc<dyn Backend>> = Vec::new();
    if let Coordination::PubSub(options) = &config.coordination {
        all.push(Arc::new(Nats::new(options.clone(), metrics.clone())?));
    }
    if config.role.is_some() && config.coordination != Coordination::None {
        let me = config.identity.instance.clone();
        let log = Arc::new(EventLog::new(config.store.clone(), me));
        let polled = config.coordination == Coordination::S3Polling;
        let follow = polled.then(|| {
            let (quiet, shorter) = (quiet.clone(), quiet.shorter());
            Follow::new(move || quiet.pause_of_events(), shorter)
        });
        all.push(Arc::new(LogBackend::new(log, follow, metrics.clone())));
    }
    Ok(all)
}
