//! Other names of collections. All changes of one request are one change of the manifest: whoever reads it sees all of them
//! or none, so an alias moves from one collection to another without a moment in between.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{self, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;

use super::{ClusterManifest, ManifestError, check_name};

/// Most aliases of a cluster.
pub const MAX_ALIASES: usize = 10_000;

/// One change of the aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasChange {
    /// Makes `alias` another name of `collection`; one of that name moves there.
    Create {
        /// A collection's own name.
        collection: String,
        /// The other name.
        alias: String,
    },
    /// Removes an alias, if there is one of that name.
    Delete {
        /// Which.
        alias: String,
    },
    /// Gives an alias another name; one that had it before is replaced.
    Rename {
        /// Its name.
        from: String,
        /// Its name from now on.
        to: String,
    },
}

impl AliasChange {
    /// Names of aliases that it is about.
    fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Create { alias, .. } | Self::Delete { alias } => (alias, None),
            Self::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }

    fn apply(&self, manifest: &mut ClusterManifest) -> Result<(), ManifestError> {
        let free = |manifest: &ClusterManifest, name: &str| {
            check_name("alias", name)?;
            if manifest.collections.contains_key(name) {
                let name = name.to_owned();
                return Err(ManifestError::AlreadyExists { name });
            }
            Ok(())
        };
        match self {
            Self::Create { collection, alias } => {
                if !manifest.collections.contains_key(collection) {
                    let name = collection.clone();
                    return Err(ManifestError::NotFound { name });
                }
                free(manifest, alias)?;
                manifest.aliases.insert(alias.clone(), collection.clone());
            }
            Self::Delete { alias } => {
                manifest.aliases.remove(alias);
            }
            Self::Rename { from, to } => {
                free(manifest, to)?;
                let Some(collection) = manifest.aliases.remove(from) else {
                    let name = from.clone();
                    return Err(ManifestError::NoSuchAlias { name });
                };
                manifest.aliases.insert(to.clone(), collection);
            }
        }
        Ok(())
    }
}

/// Carries out `changes` in their order, all or none.
///
/// # Errors
/// [`ManifestError`] of the first change that cannot be made; after an `Ambiguous` store error look before repeating.
pub async fn change_aliases(store: &Store, changes: &[AliasChange]) -> Result<(), ManifestError> {
    let names: BTreeSet<&str> = changes.iter().flat_map(AliasChange::names).collect();
    let about = |aliases: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let all = aliases
            .iter()
            .filter(|(name, _)| names.contains(name.as_str()));
        all.map(|(a, c)| (a.clone(), c.clone())).collect()
    };
    // What an attempt whose answer was lost made of the names: found again, it is done.
    let mut attempted = None;
    document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let mut next = current.map_or_else(ClusterManifest::generate, |c| c.body.clone());
            if attempted.as_ref() == Some(&about(&next.aliases)) {
                return Ok(Update::Keep(()));
            }
            let before = next.aliases.clone();
            for change in changes {
                change.apply(&mut next)?;
            }
            if next.aliases.len() > MAX_ALIASES {
                return Err(ManifestError::TooManyAliases);
            }
            if next.aliases == before {
                return Ok(Update::Keep(()));
            }
            attempted = Some(about(&next.aliases));
            Ok(Update::Write(next, ()))
        },
    )
    .await?;
    Ok(())
}
