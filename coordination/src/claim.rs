//! Whose prefix it is: one document that names the cluster that uses it, so that another does not take it for its own, and nobody
//! deletes data that is not theirs.
//!
//! The claim guards against mistakes, not against processes: fences and leases do that. It is made at the first contact and read
//! again before anything is deleted.

use serde::{Deserialize, Serialize};

use crate::document::{self, Document, DocumentError, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;

/// Who uses a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Identity that is never given twice, such as the uid of a Kubernetes object.
    pub uid: String,
    /// Name that people know, such as `namespace/name`. Whoever has the same name is taken for a successor.
    pub name: String,
}

impl Document for Claim {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "claim of the prefix";
}

/// Claims the prefix of `store`: if nobody has, if it was ours or that of one with our name, or if `adopt` says to take it over
/// from whoever had it.
///
/// # Errors
/// The document's. `Ok(Err(other))` if the prefix is another's.
pub async fn claim(
    store: &Store,
    mine: &Claim,
    adopt: bool,
) -> Result<Result<(), Claim>, DocumentError> {
    let decide = |current: Option<&Versioned<Claim>>| {
        Ok::<_, DocumentError>(match current.map(|c| &c.body) {
            Some(theirs) if theirs == mine => Update::Keep(Ok(())),
            Some(theirs) if !adopt && theirs.uid != mine.uid && theirs.name != mine.name => {
                Update::Keep(Err(theirs.clone()))
            }
            _ => Update::Write(mine.clone(), Ok(())),
        })
    };
    Ok(document::update(store, keys::CLAIM, decide).await?.outcome)
}

/// Who has claimed the prefix of `store`.
///
/// # Errors
/// The document's.
pub async fn holder(store: &Store) -> Result<Option<Claim>, DocumentError> {
    let found = document::load::<Claim>(store, keys::CLAIM).await?;
    Ok(found.map(|c| c.body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dir::DirStore;
    use crate::store::retry::RetryPolicy;

    fn by(uid: &str, name: &str) -> Claim {
        Claim {
            uid: uid.to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_prefix_has_one_holder_and_its_successor_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(DirStore::open(dir.path()).unwrap(), RetryPolicy::default());
        let (first, other) = (by("1", "team/search"), by("2", "team/other"));
        assert_eq!(holder(&store).await.unwrap(), None);
        assert_eq!(claim(&store, &first, false).await.unwrap(), Ok(()));
        assert_eq!(claim(&store, &first, false).await.unwrap(), Ok(()));
        assert_eq!(
            claim(&store, &other, false).await.unwrap(),
            Err(first.clone())
        );
        assert_eq!(holder(&store).await.unwrap(), Some(first));

        let again = by("3", "team/search");
        assert_eq!(claim(&store, &again, false).await.unwrap(), Ok(()));
        assert_eq!(claim(&store, &other, true).await.unwrap(), Ok(()));
        assert_eq!(holder(&store).await.unwrap(), Some(other));
    }
}
