//! Removes what dropped collections left in the bucket, unfinished snapshots and recoveries whose makers died, and old events.
//!
//! One node does it, the first in the table that may own partitions; that two do it at once for a moment is harmless,
//! because nothing but snapshots can refer to a dropped collection again: its uid is never reused.

use std::collections::BTreeMap;
use std::time::Duration;

use brainy_coordination::document::DocumentError;
use brainy_coordination::dropped::{self, Removal};
use brainy_coordination::events::EventLog;
use brainy_coordination::snapshot::{Pins, Reaper};
use brainy_coordination::types::CollectionUid;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Node;
use super::quiet::watchmen;

/// How often the list of dropped collections is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How often unfinished snapshots and recoveries are looked at.
const REAP_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether there are any.
const REAP_RARELY: Duration = Duration::from_secs(300);
/// How often the event log is shortened.
const TRIM_EVERY: Duration = Duration::from_secs(1800);
/// Events that stay in it.
const KEEP_EVENTS: u64 = 5_000;
/// What makes no progress for this long, and for the grace period, is given up; its maker beats far more often.
const PATIENCE: Duration = Duration::from_secs(300);

/// A dropped collection as this node knows it.
struct Dropped {
    since: Instant,
    /// What was left when it was last looked at.
    left: Option<Pins>,
}

pub(super) async fn run(node: Node, stop: CancellationToken) {
    let mut known: BTreeMap<CollectionUid, Dropped> = BTreeMap::new();
    let patience = PATIENCE.max(node.config().gc_grace);
    let mut reaper = Reaper::new(node.store().clone(), patience);
    let mut reaped = Instant::now();
    let events = EventLog::new(node.store().clone(), node.me().instance.clone());
    let mut trimmed = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if !is_janitor(&node) {
            known.clear();
            continue;
        }
        let every = if reaper.is_watching() {
            REAP_EVERY
        } else {
            REAP_RARELY
        };
        if reaped.elapsed() >= every {
            reaped = Instant::now();
            match reaper.pass().await {
                Ok(done) => {
                    for snapshot in done.snapshots {
                        tracing::warn!(snapshot, "gave up a snapshot whose maker is silent");
                    }
                    for collection in done.recoveries {
                        tracing::warn!(%collection, "gave up a recovery whose maker is silent");
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot look at unfinished snapshots"),
            }
        }
        if trimmed.elapsed() >= TRIM_EVERY {
            trimmed = Instant::now();
            match events.trim(KEEP_EVENTS).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed the oldest events"),
                Err(error) => tracing::warn!(%error, "cannot shorten the event log"),
            }
        }
        let dropped: Vec<CollectionUid> = node
            .view()
            .get()
            .manifest
            .as_ref()
            .map(|m| m.dropped.keys().cloned().collect())
            .unwrap_or_default();
        known.retain(|uid, _| dropped.contains(uid));
        for uid in dropped {
            let entry = known.entry(uid.clone()).or_insert_with(|| Dropped {
                since: Instant::now(),
                left: None,
            });
            // Readers and owners need a moment to let go.
            if entry.since.elapsed() < node.config().gc_grace {
                continue;
            }
            if let Err(error) = remove(&node, &uid, &mut entry.left).await {
                tracing::warn!(collection = %uid, %error, "cannot remove a dropped collection yet");
            }
        }
    }
}

fn is_janitor(node: &Node) -> bool {
    watchmen(&node.view().get()).next() == Some(&node.me().instance)
}

async fn remove(
    node: &Node,
    uid: &CollectionUid,
    left: &mut Option<Pins>,
) -> Result<(), DocumentError> {
    let pins = &node.context().pins;
    match dropped::remove(node.store(), pins, uid, left.as_ref()).await? {
        Removal::Done => tracing::info!(collection = %uid, "removed a dropped collection"),
        Removal::Wait => {}
        Removal::Pinned(pins) => *left = Some(pins),
    }
    Ok(())
}
