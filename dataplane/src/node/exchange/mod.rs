//! Exchange with other clusters: what a node knows of each peer. The protocol is [`brainy_coordination::exchange`]; what drives it is in
//! `host/exchange.rs`, partition by partition, at the partition's owner.

mod inbound;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::exchange::{Lookout, PeerCluster};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{InstanceId, PartitionId};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::cache::{CacheError, SegmentCache};
use super::context::Context;

pub(super) use inbound::{Inbound, InboundError};
pub(super) use status::{ExchangeMetrics, Following};

/// How often a peer's collections are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// With whom a node exchanges.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// The other clusters.
    pub peers: Vec<PeerConfig>,
    /// Pause between looks at a peer's log that holds nothing new.
    pub poll: Duration,
}

impl Default for ExchangeConfig {
    /// With nobody.
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            poll: Duration::from_secs(1),
        }
    }
}

/// Another cluster.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What it is called here.
    pub name: InstanceId,
    /// Its bucket and prefix, for reading.
    pub store: Store,
}

/// What is known of a peer.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It was not looked at yet.
    NotYet,
    /// It can be followed.
    Cluster(Arc<PeerCluster>),
    /// Why not.
    Not(String),
}

/// Another cluster, as this node follows it.
pub(crate) struct Peer {
    pub(super) name: InstanceId,
    pub(super) store: Store,
    /// Its segments, while they are read.
    pub(super) cache: SegmentCache,
    pub(super) seen: watch::Sender<Seen>,
    /// Its collections may have changed.
    pub(super) look: Notify,
    pub(super) following: Mutex<Following>,
    metrics: ExchangeMetrics,
}

/// All peers of a node.
pub(crate) struct Exchange {
    pub(super) peers: Vec<Arc<Peer>>,
    metrics: ExchangeMetrics,
}

impl Exchange {
    /// Peers as `config` says, whose segments are read below `data_dir`, each in a cache that `cache_in` makes.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(super) fn open(
        config: &ExchangeConfig,
        data_dir: &Path,
        registry: &mut Registry,
        cache_in: impl Fn(PathBuf, &Store) -> Result<SegmentCache, CacheError>,
    ) -> Result<Self, CacheError> {
        let metrics = ExchangeMetrics::register(registry);
        let root = data_dir.join("exchange");
        // What an earlier run was reading.
        let _absent = std::fs::remove_dir_all(&root);
        let peer = |config: &PeerConfig| {
            let dir = root.join(config.name.as_str());
            Ok::<_, CacheError>(Arc::new(Peer {
                name: config.name.clone(),
                store: config.store.clone(),
                cache: cache_in(dir, &config.store)?,
                seen: watch::Sender::new(Seen::NotYet),
                look: Notify::new(),
                following: Mutex::default(),
                metrics: metrics.clone(),
            }))
        };
        Ok(Self {
            peers: config.peers.iter().map(peer).collect::<Result<_, _>>()?,
            metrics,
        })
    }

    /// Brings the figures up to date.
    pub(super) fn observe(&self) {
        for peer in &self.peers {
            let lag = peer.following.lock().lag();
            self.metrics.set_lag(&peer.name, lag);
        }
    }

    /// `GET /coordinate/exchange`.
    pub(super) fn describe(&self) -> Value {
        let peers = self.peers.iter().map(|peer| {
            let seen = peer.seen.borrow().clone();
            let (state, error, cluster) = match &seen {
                Seen::NotYet => ("connecting", None, None),
                Seen::Not(error) => ("refused", Some(error.clone()), None),
                Seen::Cluster(cluster) => ("following", None, Some(cluster.identity())),
            };
            let following = peer.following.lock();
            json!({
                "name": peer.name,
                "state": state,
                "error": error,
                "cluster": cluster,
                "lag_seconds": following.lag().map(|lag| lag.as_secs_f64()),
                "partitions": following.describe(),
            })
        });
        json!({ "peers": peers.collect::<Vec<_>>() })
    }
}

impl Peer {
    /// Looks at the peer again and again.
    pub(super) async fn watch(self: Arc<Self>, context: Arc<Context>, stop: CancellationToken) {
        let mut lookout = Lookout::new(self.store.clone());
        loop {
            if let Some(manifest) = context.view.get().manifest.clone() {
                let policy = context.config.conflict_resolution.as_str();
                let looked = tokio::select! {
                    () = stop.cancelled() => return,
                    looked = lookout.look(manifest.cluster, policy) => looked,
                };
                self.saw(looked.map_err(|error| {
                    let known = matches!(&*self.seen.borrow(), Seen::Cluster(_));
                    (error.to_string(), error.is_transient() && known)
                }));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// A partition does not get on. Says whether that is news.
    pub(super) fn failed(&self, partition: &PartitionId, error: String) -> bool {
        self.metrics.failed(&self.name);
        self.following.lock().failed(partition, error)
    }

    fn saw(&self, looked: Result<PeerCluster, (String, bool)>) {
        let now = match looked {
            Ok(cluster) => Seen::Cluster(Arc::new(cluster)),
            // What is known of it still holds; its partitions say for themselves that they cannot be read.
            Err((error, true)) => {
                tracing::debug!(peer = %self.name, error, "another cluster does not answer");
                return;
            }
            Err((error, false)) => Seen::Not(error),
        };
        self.seen.send_if_modified(|seen| {
            match (&*seen, &now) {
                (Seen::Cluster(before), Seen::Cluster(after))
                    if before.manifest.nonce == after.manifest.nonce =>
                {
                    return false;
                }
                (Seen::Not(before), Seen::Not(after)) if before == after => return false,
                (_, Seen::Not(error)) => {
                    tracing::warn!(peer = %self.name, error, "nothing is exchanged with another cluster");
                }
                (_, Seen::Cluster(cluster)) => {
                    tracing::info!(peer = %self.name, cluster = %cluster.identity(), "following another cluster");
                }
                (_, Seen::NotYet) => {}
            }
            *seen = now;
            true
        });
    }
}
