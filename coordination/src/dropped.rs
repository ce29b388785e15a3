//! Removes what dropped collections left in the bucket, apart from what snapshots pin.
//!
//! Nothing refers to a dropped collection again but snapshots: its uid is never reused. It stays on the list of dropped ones
//! until nothing of it is left, so the last of its segments go after the last snapshot that pins them.

use crate::document::DocumentError;
use crate::keys;
use crate::manifest::forget_dropped;
use crate::snapshot::{PinReader, Pins};
use crate::store::retry::Store;
use crate::types::CollectionUid;

/// How far the removal of a dropped collection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is left.
    Done,
    /// A snapshot of it has just begun: nothing was touched.
    Wait,
    /// Only what these pins hold is left.
    Pinned(Pins),
}

/// Removes what may go of `uid`, which the caller has seen among the dropped ones of the cluster manifest: `pins` is read
/// after that ([`crate::snapshot`]). Owners and readers need a moment to let go; the caller gives it to them. With the
/// pins that the last call `left`, and no others since, nothing is listed again.
///
/// # Errors
/// The store's, or an unreadable snapshot; the next call goes on.
pub async fn remove(
    store: &Store,
    pins: &PinReader,
    uid: &CollectionUid,
    left: Option<&Pins>,
) -> Result<Removal, DocumentError> {
    let pins = pins.of(uid).await?;
    if pins == Pins::Everything {
        return Ok(Removal::Wait);
    }
    if left == Some(&pins) {
        return Ok(Removal::Pinned(pins));
    }
    for prefix in keys::collection_prefixes(uid) {
        for object in store.list_all(&prefix).await? {
            let pinned = keys::parse_segment(uid, &object.key)
                .is_some_and(|(index, segment)| pins.hold(index, &segment));
            if !pinned {
                store.delete(&object.key).await?;
            }
        }
    }
    if !pins.is_empty() {
        return Ok(Removal::Pinned(pins));
    }
    forget_dropped(store, uid).await?;
    Ok(Removal::Done)
}
