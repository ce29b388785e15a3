//! Nodes tell each other what happens, at once, over WebSocket connections between them.
//!
//! Each node dials every other member of the assignment table (`dial`) and says its events over that connection; it hears
//! theirs over the ones that they dialed (`accept`). So a connection carries events one way, whoever dialed it says who is
//! speaking, and two nodes that dial each other at the same moment are not a special case. Connections need the cluster's key, and
//! TLS where the cluster has it, as requests between nodes do.
//!
//! # Failure cases
//! - A connection breaks, or its other end is silent: it is dialed again after a pause with jitter that grows, at once when the
//!   other end shows that it is up by dialing here. What was said last about each log and document is then said again, so
//!   that what the break swallowed is heard.
//! - A peer does not read: its events wait in a [`Mailbox`] of its own, where a flood about the same log is one event; when
//!   that is full the oldest is dropped and counted. Nobody else waits for it.
//! - A peer is cut off for good: polling finds what it would have heard.

mod accept;
mod dial;
mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::types::InstanceId;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Backend, Deliver, Envelope, EventMetrics, Mailbox, Pushed, peers, subject};
use crate::node::View;
use crate::transport::ClientTls;
use link::Link;

pub(crate) use accept::{Inbound, accept};

/// Where nodes take each other's events.
pub const PATH: &str = "/internal/events";
/// Header that names the node that dials.
const INSTANCE: &str = "brainy-instance";
/// The name in metrics.
pub(crate) const NAME: &str = "websocket";
/// Events that wait for one peer.
const OUTBOX: usize = 1024;
/// Logs and documents of which the last word is kept for peers that connect later.
const LAST_WORDS: usize = 4096;

/// The back end. See the module.
pub(crate) struct WebSocket {
    me: InstanceId,
    key: Option<String>,
    tls: Option<ClientTls>,
    views: watch::Receiver<Arc<View>>,
    links: RwLock<BTreeMap<InstanceId, Arc<Link>>>,
    /// The newest event about each thing that has a newest state.
    last_words: Mailbox,
    metrics: EventMetrics,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("me", &self.me)
            .field("links", &self.links.read().len())
            .finish_non_exhaustive()
    }
}

impl WebSocket {
    /// Connects node `me` to the others in `views`, with the cluster's `key` and over TLS if the cluster has them.
    pub(crate) fn new(
        me: InstanceId,
        key: Option<String>,
        tls: Option<ClientTls>,
        views: watch::Receiver<Arc<View>>,
        metrics: EventMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            me,
            key,
            tls,
            views,
            links: RwLock::default(),
            last_words: Mailbox::new(LAST_WORDS),
            metrics,
        })
    }

    /// `peer` dialed this node: it is up.
    pub(crate) fn peer_is_up(&self, peer: &InstanceId) {
        if let Some(link) = self.links.read().get(peer) {
            link.dial_now();
        }
    }

    fn queue(&self, link: &Link, envelope: &Envelope) {
        let view = self.views.borrow().clone();
        if peers::wants(&view, link.peer(), &envelope.event)
            && link.outbox().push(envelope.clone()) == Pushed::DroppedOldest
        {
            self.metrics.dropped(NAME);
        }
    }

    /// Makes the links those of the members in the newest view, and starts those that are new.
    fn follow_members(self: &Arc<Self>, running: &mut JoinSet<()>, stop: &CancellationToken) {
        let view = self.views.borrow().clone();
        let others = peers::others(&view, &self.me);
        let mut links = self.links.write();
        links.retain(|peer, link| {
            let stays = others.get(peer).is_some_and(|at| at == link.address());
            if !stays {
                link.end();
            }
            stays
        });
        for (peer, address) in others {
            links.entry(peer.clone()).or_insert_with(|| {
                let link = Arc::new(Link::new(peer, address, OUTBOX, stop.child_token()));
                running.spawn(link::keep(self.clone(), link.clone()));
                link
            });
        }
    }
}

#[async_trait]
impl Backend for WebSocket {
    fn name(&self) -> &'static str {
        NAME
    }

    fn publish(&self, envelope: &Envelope) {
        if subject::of(&envelope.event).is_some() {
            // A full one forgets the thing that was spoken of first.
            self.last_words.push(envelope.clone());
        }
        for link in self.links.read().values() {
            self.queue(link, envelope);
        }
    }

    async fn run(self: Arc<Self>, _deliver: Deliver, stop: CancellationToken) {
        let mut views = self.views.clone();
        let mut running = JoinSet::new();
        loop {
            views.borrow_and_update();
            self.follow_members(&mut running, &stop);
            tokio::select! {
                () = stop.cancelled() => break,
                changed = views.changed() => if changed.is_err() { break },
                Some(_) = running.join_next() => {}
            }
        }
        // They say what waits, within a limit.
        while running.join_next().await.is_some() {}
    }
}
