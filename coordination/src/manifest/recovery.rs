//! Collections that come out of a snapshot.
//!
//! Their objects are copied under a new uid while nothing refers to it but an entry in the manifest's `recovering`. One
//! compare-and-swap then takes the entry away and gives the uid its name; an older collection of that name becomes a dropped
//! one in the same write. Whoever gives a recovery up moves the entry to `dropped` instead, so exactly one of the two happens,
//! and whatever was copied is removed like a dropped collection's objects.

use serde::{Deserialize, Serialize};

use super::{
    ClusterManifest, Collection, CollectionSpec, DroppedCollection, ManifestError, VectorSchema,
    check_collection_name, load_or_create,
};
use crate::document::{self, DocumentError, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;
use crate::types::{CollectionUid, Nonce};

/// A collection whose objects are being copied from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The name it is to have.
    pub name: String,
    /// Chosen by the request; by it a repeated write recognises its own success.
    pub created: Nonce,
    /// Grows while somebody is at work.
    pub beat: u64,
}

/// Reserves a uid for the collection that is to be called `name`. Repeating the call with the same `created` returns the same.
/// The vectors of `spec` must have the shape of those of the collection that it replaces, if there is one.
///
/// # Errors
/// [`ManifestError::Incompatible`], [`ManifestError::NameIsAlias`], [`ManifestError::Invalid`], [`ManifestError::Name`] or
/// [`ManifestError::Document`].
pub async fn begin_recovery(
    store: &Store,
    name: &str,
    spec: &CollectionSpec,
    created: Nonce,
) -> Result<CollectionUid, ManifestError> {
    check_collection_name(name)?;
    spec.validate(name)?;
    load_or_create(store).await?;
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let mut manifest = current.map_or_else(ClusterManifest::generate, |c| c.body.clone());
            let known = manifest
                .recovering
                .iter()
                .find(|(_, r)| r.created == created);
            if let Some((uid, _)) = known {
                return Ok::<_, ManifestError>(Update::Keep(uid.clone()));
            }
            check_replaceable(&manifest, name, &spec.schema)?;
            let uid = manifest.free_uid(name, created)?;
            let recovery = Recovery {
                name: name.to_owned(),
                created,
                beat: 0,
            };
            manifest.recovering.insert(uid.clone(), recovery);
            Ok(Update::Write(manifest, uid))
        },
    )
    .await?;
    Ok(updated.outcome)
}

/// Says that somebody is at work on `uid`.
///
/// # Errors
/// [`ManifestError::RecoveryAbandoned`] when it was given up.
pub async fn beat_recovery(store: &Store, uid: &CollectionUid) -> Result<(), ManifestError> {
    document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let mut manifest = listed(current, uid)?;
            if let Some(recovery) = manifest.recovering.get_mut(uid) {
                recovery.beat += 1;
            }
            Ok::<_, ManifestError>(Update::Write(manifest, ()))
        },
    )
    .await
    .map(drop)
}

/// Gives `collection`, all of whose objects are in the bucket, its name. Returns the uid of the collection that it replaced.
///
/// # Errors
/// [`ManifestError::RecoveryAbandoned`] when it was given up, [`ManifestError::Incompatible`], [`ManifestError::NameIsAlias`]; after an `Ambiguous` store error
/// repeat.
pub async fn finish_recovery(
    store: &Store,
    collection: &Collection,
) -> Result<Option<CollectionUid>, ManifestError> {
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let present = current.filter(|m| m.by_uid(&collection.uid).is_some());
            if present.is_some() {
                return Ok(Update::Keep(None));
            }
            let version = current.map_or(0, |c| c.version) + 1;
            let mut manifest = listed(current, &collection.uid)?;
            let Some(recovery) = manifest.recovering.remove(&collection.uid) else {
                return Err(ManifestError::RecoveryAbandoned {
                    uid: collection.uid.clone(),
                });
            };
            let name = recovery.name;
            check_replaceable(&manifest, &name, &collection.spec.schema)?;
            let replaced = manifest
                .collections
                .insert(name.clone(), collection.clone());
            let replaced = replaced.map(|old| {
                let dropped = DroppedCollection {
                    name,
                    created: old.created,
                    at_version: version,
                };
                manifest.dropped.insert(old.uid.clone(), dropped);
                old.uid
            });
            Ok(Update::Write(manifest, replaced))
        },
    )
    .await?;
    Ok(updated.outcome)
}

/// Gives the recovery of `uid` up, if its beat is still `at` where that is given: its objects are removed. Returns whether it
/// was under way.
///
/// # Errors
/// [`DocumentError`].
pub async fn abandon_recovery(
    store: &Store,
    uid: &CollectionUid,
    at: Option<u64>,
) -> Result<bool, DocumentError> {
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let Some(current) = current else {
                return Ok::<_, DocumentError>(Update::Keep(()));
            };
            let mut manifest = current.body.clone();
            match manifest.recovering.remove(uid) {
                Some(recovery) if at.is_none_or(|at| at == recovery.beat) => {
                    let dropped = DroppedCollection {
                        name: recovery.name,
                        created: recovery.created,
                        at_version: current.version + 1,
                    };
                    manifest.dropped.insert(uid.clone(), dropped);
                    Ok(Update::Write(manifest, ()))
                }
                _ => Ok(Update::Keep(())),
            }
        },
    )
    .await?;
    Ok(updated.wrote)
}

/// The manifest, if `uid` is being recovered in it.
fn listed(
    current: Option<&Versioned<ClusterManifest>>,
    uid: &CollectionUid,
) -> Result<ClusterManifest, ManifestError> {
    match current.filter(|m| m.recovering.contains_key(uid)) {
        Some(manifest) => Ok(manifest.body.clone()),
        None => Err(ManifestError::RecoveryAbandoned { uid: uid.clone() }),
    }
}

fn check_replaceable(
    manifest: &ClusterManifest,
    name: &str,
    schema: &VectorSchema,
) -> Result<(), ManifestError> {
    if manifest.aliases.contains_key(name) {
        let name = name.to_owned();
        return Err(ManifestError::NameIsAlias { name });
    }
    if manifest.aliases.contains_key(name) {
        return Err(ManifestError::NameIsAlias {
            name: name.to_owned(),
        });
    }
    match manifest.collections.get(name) {
        Some(existing) if !alike(&existing.spec.schema, schema) => {
            Err(ManifestError::Incompatible {
                name: name.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// Whether a program that uses vectors of `a` can use those of `b`; when they were added does not matter.
fn alike(a: &VectorSchema, b: &VectorSchema) -> bool {
    let plain = |schema: &VectorSchema| {
        let mut schema = schema.clone();
        schema.vectors.values_mut().for_each(|p| p.since = 0);
        schema.sparse_vectors.values_mut().for_each(|p| p.since = 0);
        schema
    };
    plain(a).same_shape(&plain(b))
}
