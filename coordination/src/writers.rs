//! Whether a cluster has one writer a partition or several: all nodes must agree, because only nodes that know of lanes
//! ([`crate::lane`]) copy what they hold.
//!
//! The document is created by the first node that is told that there are several writers, and never removed. A node that is told
//! otherwise does not start.

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;

/// Contents of `_brainy/writers.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Writers {
    /// Whether any hybrid may write to any partition.
    pub multi_writer: bool,
    /// What becomes of concurrent writes to a point.
    pub conflict_resolution: String,
}

impl Document for Writers {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "agreement about writers";
}

/// Whether the cluster agrees that there are several writers whose conflicts are resolved as `told`, or with `None` that there is one. The
/// first node that is told of several says so for good.
///
/// # Errors
/// The document's.
pub async fn agree(store: &Store, told: Option<&str>) -> Result<bool, DocumentError> {
    let decide = |current: Option<&Versioned<Writers>>| {
        Ok::<_, DocumentError>(match (current, told) {
            (Some(said), Some(told)) => {
                Update::Keep(said.multi_writer && said.conflict_resolution == told)
            }
            (Some(said), None) => Update::Keep(!said.multi_writer),
            (None, None) => Update::Keep(true),
            (None, Some(told)) => {
                let writers = Writers {
                    multi_writer: true,
                    conflict_resolution: told.to_owned(),
                };
                Update::Write(writers, true)
            }
        })
    };
    Ok(document::update(store, keys::WRITERS, decide)
        .await?
        .outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dir::DirStore;
    use crate::store::retry::RetryPolicy;

    #[tokio::test]
    async fn the_first_with_several_writers_decides_and_others_have_to_agree() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(DirStore::open(dir.path()).unwrap(), RetryPolicy::default());
        assert!(agree(&store, None).await.unwrap());
        assert!(agree(&store, Some("crdt")).await.unwrap());
        assert!(agree(&store, Some("crdt")).await.unwrap());
        assert!(!agree(&store, Some("last-write-wins")).await.unwrap());
        assert!(!agree(&store, None).await.unwrap());
    }
}
