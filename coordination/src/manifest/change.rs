//! Changes of a collection that exists: settings, parameters of its vectors, vectors added and dropped.

use crate::document::{self, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;

use super::{ClusterManifest, Collection, ManifestError};

/// Replaces collection `name` by what `edit` makes of it and returns it. A change of its vectors gets the next version.
///
/// `edit` may be called several times, each time on what is there then: it must recognise its own effect. Partition count, uid
/// and the indexed fields are not its business.
///
/// # Errors
/// What `edit` returned, [`ManifestError::NotFound`], [`ManifestError::Invalid`] for what is out of range, or
/// [`ManifestError::Document`]; after an `Ambiguous` store error repeat.
pub async fn change_collection<E: From<ManifestError>>(
    store: &Store,
    name: &str,
    mut edit: impl FnMut(&mut Collection) -> Result<(), E>,
) -> Result<Collection, E> {
    /// Lets [`document::update`] carry the errors of `edit`.
    enum Failed<E> {
        Edit(E),
        Manifest(ManifestError),
    }
    impl<E> From<document::DocumentError> for Failed<E> {
        fn from(error: document::DocumentError) -> Self {
            Self::Manifest(error.into())
        }
    }
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let found = current.and_then(|m| Some((m, m.collections.get(name)?)));
            let Some((manifest, before)) = found else {
                let name = name.to_owned();
                return Err(Failed::Manifest(ManifestError::NotFound { name }));
            };
            let mut after = before.clone();
            edit(&mut after).map_err(Failed::Edit)?;
            if after == *before {
                return Ok(Update::Keep(after));
            }
            if after.spec.schema != before.spec.schema {
                after.spec.schema.version = before.spec.schema.version + 1;
            }
            after.spec.validate(name).map_err(Failed::Manifest)?;
            let mut next = manifest.body.clone();
            next.collections.insert(name.to_owned(), after.clone());
            Ok(Update::Write(next, after))
        },
    )
    .await;
    match updated {
        Ok(updated) => Ok(updated.outcome),
        Err(Failed::Edit(error)) => Err(error),
        Err(Failed::Manifest(error)) => Err(error.into()),
    }
}
