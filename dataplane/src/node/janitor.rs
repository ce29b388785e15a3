//! Removes what dropped collections left in the bucket.
//!
//! One node does it, the first in the table that may own partitions; that two do it at once for a moment is harmless,
//! because nothing can refer to a dropped collection again: its uid is never reused.

use std::time::Duration;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::keys;
use brainy_coordination::manifest::forget_dropped;
use brainy_coordination::types::CollectionUid;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Node;

/// How often the list of dropped collections is looked at.
const EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(node: Node, stop: CancellationToken) {
    let mut since: std::collections::BTreeMap<CollectionUid, Instant> = Default::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if !is_janitor(&node) {
            since.clear();
            continue;
        }
        let dropped: Vec<CollectionUid> = node
            .view()
            .get()
            .manifest
            .as_ref()
            .map(|m| m.dropped.keys().cloned().collect())
            .unwrap_or_default();
        since.retain(|uid, _| dropped.contains(uid));
        for uid in dropped {
            // Readers and owners need a moment to let go.
            let seen = *since.entry(uid.clone()).or_insert_with(Instant::now);
            if seen.elapsed() < node.config().gc_grace {
                continue;
            }
            if let Err(error) = remove(&node, &uid).await {
                tracing::warn!(collection = %uid, %error, "cannot remove a dropped collection yet");
            }
        }
    }
}

fn is_janitor(node: &Node) -> bool {
    let view = node.view().get();
    let Some(table) = &view.table else {
        return false;
    };
    let first = table
        .members
        .iter()
        .find(|(_, m)| m.role.can_own() && m.state == MemberState::Active);
    first.is_some_and(|(instance, _)| *instance == node.me().instance)
}

async fn remove(
    node: &Node,
    uid: &CollectionUid,
) -> Result<(), brainy_coordination::document::DocumentError> {
    let store = node.store();
    for prefix in keys::collection_prefixes(uid) {
        for object in store.list_all(&prefix).await? {
            store.delete(&object.key).await?;
        }
    }
    forget_dropped(store, uid).await?;
    tracing::info!(collection = %uid, "removed a dropped collection");
    Ok(())
}
