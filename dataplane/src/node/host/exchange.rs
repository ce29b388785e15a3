//! What other clusters wrote, brought into a partition that this node owns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::exchange::{PullError, Puller, Round, overlap};
use brainy_coordination::manifest::Collection;
use brainy_coordination::owner::Owner;
use brainy_coordination::types::{CollectionUid, LogPosition, Nonce, PartitionId};
use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::exchange::{Inbound, InboundError, Peer, Seen};
use super::{Host, Machine};
use crate::model::VectorSchema;

/// Pause while nothing can be exchanged; a change of what is known of the peer ends it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is followed, as long as both clusters stay what they are.
struct Session {
    peer: Nonce,
    uid: CollectionUid,
    ours: Arc<Collection>,
    theirs: Arc<VectorSchema>,
    puller: Puller,
}

enum Done {
    More,
    /// For the peer to write, or for one of its partitions to be readable again.
    Waits,
    /// Nothing can be exchanged.
    Failed(String),
    Deposed,
}

impl Host {
    /// Follows a peer until `stop`, while this node owns the partition.
    pub(super) async fn exchange_with(
        self: Arc<Self>,
        peer: Arc<Peer>,
        owner: Owner<Machine>,
        stop: CancellationToken,
    ) {
        peer.following.lock().begin(&self.partition);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_peer(&peer, &owner) => {}
        }
        peer.following.lock().end(&self.partition);
    }

    /// Returns when the partition turns out to be another owner's.
    async fn follow_peer(&self, peer: &Arc<Peer>, owner: &Owner<Machine>) {
        let mut seen = peer.seen.subscribe();
        let mut session = None;
        loop {
            let pause = match self.exchange_round(peer, owner, &mut session).await {
                Done::More => continue,
                Done::Waits => self.context.config.exchange.poll,
                Done::Failed(error) => {
                    self.report(peer, error);
                    LOOK_AGAIN
                }
                Done::Deposed => {
                    self.suspect();
                    return;
                }
            };
            // Partitions do not ask at the same moment.
            let pause = pause.mul_f64(rand::rng().random_range(0.8..=1.0));
            tokio::select! {
                () = sleep(pause) => {}
                changed = seen.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn exchange_round(
        &self,
        peer: &Arc<Peer>,
        owner: &Owner<Machine>,
        session: &mut Option<Session>,
    ) -> Done {
        let began = Instant::now();
        let session = match self.session(peer, session).await {
            Ok(session) => session,
            Err(error) => return Done::Failed(error),
        };
        let told = |position: LogPosition| self.tell_advanced(position);
        let target = Inbound {
            partition: &self.partition,
            machine: &self.machine,
            owner,
            peer,
            ours: &session.ours,
            theirs: &session.theirs,
            policy: self.context.config.conflict_resolution,
            told: &told,
        };
        let Round {
            more,
            caught_up,
            errors,
        } = session.puller.round(&target).await;
        let progress = (session.puller.cursor(), session.puller.lost());
        peer.following
            .lock()
            .went_on(&self.partition, (began, caught_up), progress);
        for (source, error) in errors {
            if let PullError::Target(InboundError::Deposed) = error {
                return Done::Deposed;
            }
            if let PullError::Target(InboundError::Later(_)) = error {
                // Vectors that this node has not heard of, here or there.
                self.context.view.hint();
                peer.look.notify_one();
            }
            self.report(peer, format!("{source}: {error}"));
        }
        if more { Done::More } else { Done::Waits }
    }

    fn report(&self, peer: &Peer, error: String) {
        if peer.failed(&self.partition, error.clone()) {
            tracing::warn!(partition = %self.partition, peer = %peer.name, error, "cannot follow another cluster now");
        }
    }

    /// The session that fits what both clusters are now.
    async fn session<'s>(
        &self,
        peer: &Arc<Peer>,
        session: &'s mut Option<Session>,
    ) -> Result<&'s mut Session, String> {
        let cluster = match &*peer.seen.borrow() {
            Seen::Cluster(cluster) => Arc::clone(cluster),
            Seen::NotYet => return Err("the other cluster was not reached yet".to_owned()),
            Seen::Not(error) => return Err(error.clone()),
        };
        let view = self.context.view.get();
        let known = view.manifest.as_ref();
        let known = known.and_then(|m| m.by_uid(&self.partition.collection));
        let Some((name, ours)) = known else {
            return Err("the collection is not known here yet".to_owned());
        };
        peer.following.lock().named(&self.partition, name);
        let theirs = cluster.fit(name, ours).map_err(|e| e.to_string())?;
        let same = |s: &Session| {
            (s.peer, &s.uid) == (cluster.identity(), &theirs.uid)
                && s.theirs.version == theirs.spec.schema.version
                && s.ours.spec.schema.version == ours.spec.schema.version
        };
        if session.as_ref().is_none_or(|s| !same(s)) {
            let counts = (ours.spec.partitions, theirs.spec.partitions);
            let sources = overlap(self.partition.index, counts.0, counts.1);
            let sources: BTreeSet<PartitionId> = sources
                .map(|index| PartitionId::new(theirs.uid.clone(), index))
                .collect();
            let puller = Puller::open(
                self.context.store.clone(),
                peer.store.clone(),
                self.partition.clone(),
                (peer.name.as_str(), cluster.identity()),
                sources,
            );
            *session = Some(Session {
                peer: cluster.identity(),
                uid: theirs.uid.clone(),
                ours: Arc::new(ours.clone()),
                theirs: Arc::new(theirs.spec.schema.clone()),
                puller: puller.await.map_err(|e| e.to_string())?,
            });
        }
        session
            .as_mut()
            .ok_or_else(|| "the session ended".to_owned())
    }
}
