//! Values that several unit tests of the node need.

use brainy_coordination::manifest::{
    Collection, CollectionSpec, DenseParams, Distance, VectorSchema,
};
use brainy_coordination::types::{CollectionUid, Nonce};

/// A collection with `partitions` partitions.
pub(crate) fn collection(partitions: u32, size: u32, distance: Distance) -> Collection {
    Collection {
        uid: CollectionUid::new("things-00000000").unwrap(),
        created: Nonce(1),
        spec: CollectionSpec {
            partitions,
            schema: VectorSchema::unnamed(DenseParams::new(size, distance)),
            extra: serde_json::Value::Null,
        },
        payload_indexes: std::collections::BTreeMap::new(),
    }
}
