//! What every cluster's work shares.

use std::sync::Arc;

use brainy_coordination::store::s3::Connector;
use kube::Client;
use tokio::sync::Semaphore;

use super::events::Events;
use super::index::Index;
use super::metrics::Metrics;
use super::streams::Streams;
use crate::hint::Messenger;

/// Buckets that are probed at the same time: a probe is a burst of requests.
const PROBES: usize = 4;

/// Shared by the work on all clusters.
pub(super) struct Context {
    /// For requests that end soon.
    pub(super) client: Client,
    pub(super) index: Arc<Index>,
    pub(super) streams: Arc<Streams>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Events,
    /// Connections to S3.
    pub(super) connector: Connector,
    /// Turns of those who probe a bucket.
    pub(super) probes: Arc<Semaphore>,
    /// For hints to members without TLS.
    pub(super) messenger: Messenger,
    /// Image of clusters that name none.
    pub(super) default_image: String,
}

impl Context {
    /// Turns of those who probe a bucket.
    pub(super) fn probe_turns() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(PROBES))
    }
}
