//! The cluster manifest: which collections exist, their schema and how many partitions each has.
//!
//! # Invariants
//! - A collection's uid is never used again while anything of an earlier collection of that name may be left in the bucket:
//!   the uid of a dropped one stays listed until its objects are removed.
//! - Partition count never changes; changing it means a new collection. Nor do sizes and distances of vectors: a vector that
//!   is dropped and added again under its name is another one ([`DenseParams::since`]).
//! - No alias has the name of a collection, and every alias stands for a collection that there is.
//! - Which partition a point belongs to ([`partition_index`]) is part of the format: it never changes for a collection.
//!
//! # Failure cases
//! - A create whose answer was lost is repeated with the same creation nonce and recognises itself.
//! - A drop that is repeated drops only the uid it met first, never a collection made under the same name since.

mod aliases;
mod change;
mod recovery;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::document::{self, Document, DocumentError, Update, Versioned};
use crate::keys;
use crate::store::retry::Store;
use crate::types::{CollectionUid, NameError, Nonce, PartitionId};

pub use aliases::{AliasChange, MAX_ALIASES, change_aliases};
pub use change::change_collection;
pub use recovery::{Recovery, abandon_recovery, beat_recovery, begin_recovery, finish_recovery};
pub use schema::{
    DenseParams, Distance, HnswParams, MAX_VECTOR_NAME, MAX_VECTOR_SIZE, MAX_VECTORS, Quantization,
    SchemaError, SparseParams, VectorSchema,
};

/// Most partitions a collection can have; names of partitions have five digits.
pub const MAX_PARTITIONS: u32 = 16_384;
/// Most payload fields of a collection that can be indexed.
pub const MAX_INDEXED_FIELDS: usize = 256;

/// Why the manifest could not be read or changed as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManifestError {
    /// Reading or writing the manifest failed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The collection's name breaks the rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A value of the schema is out of range.
    #[error("collection '{name}': {error}")]
    Invalid {
        /// The collection.
        name: String,
        /// Which value, and what is allowed.
        error: SchemaError,
    },
    /// Another collection has that name.
    #[error("collection '{name}' already exists. Choose another name or drop it first")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// It has no room for one more indexed payload field.
    #[error(
        "collection '{name}' has {MAX_INDEXED_FIELDS} indexed payload fields, the most there can be. Drop the index of one"
    )]
    TooManyIndexes {
        /// The collection.
        name: String,
    },
    /// There is no collection of that name.
    #[error("there is no collection '{name}'")]
    NotFound {
        /// The name.
        name: String,
    },
    /// An alias has that name.
    #[error("there is an alias '{name}'. Choose another name or delete the alias first")]
    NameIsAlias {
        /// The name.
        name: String,
    },
    /// There is no alias of that name.
    #[error("there is no alias '{name}'")]
    NoSuchAlias {
        /// The name.
        name: String,
    },
    /// The cluster has no room for one more alias.
    #[error("there are {MAX_ALIASES} aliases, the most there can be. Delete some first")]
    TooManyAliases,
    /// The collection was created by this request and dropped by somebody else before the answer arrived.
    #[error("collection '{name}' was created and then dropped by another request meanwhile")]
    DroppedMeanwhile {
        /// The name.
        name: String,
    },
    /// The vectors of a snapshot are not those of the collection that it would replace.
    #[error(
        "the vectors of the snapshot are not those of collection '{name}'. Recover it under another name, or drop that collection first"
    )]
    Incompatible {
        /// The collection.
        name: String,
    },
    /// The objects of a recovery may be gone.
    #[error(
        "the recovery of {uid} was given up meanwhile because it made no progress. Recover again"
    )]
    RecoveryAbandoned {
        /// Which.
        uid: CollectionUid,
    },
}

/// What a client asks for when it creates a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionSpec {
    /// Partitions, 1 to [`MAX_PARTITIONS`]; fixed for the collection's life.
    pub partitions: u32,
    /// Its vectors.
    #[serde(flatten)]
    pub schema: VectorSchema,
    /// Settings that the coordination layer carries without understanding them.
    #[serde(default)]
    pub extra: serde_json::Value,
}

impl CollectionSpec {
    fn validate(&self, name: &str) -> Result<(), ManifestError> {
        schema::in_range("partitions", self.partitions, 1, MAX_PARTITIONS)
            .and_then(|()| self.schema.validate())
            .map_err(|error| ManifestError::Invalid {
                name: name.to_owned(),
                error,
            })
    }
}

/// A collection that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name in the bucket.
    pub uid: CollectionUid,
    /// Chosen by the creating request; by it a repeated request recognises its own success.
    pub created: Nonce,
    /// What was asked for.
    #[serde(flatten)]
    pub spec: CollectionSpec,
    /// Indexed payload fields by path, and how, which the coordination layer carries without understanding it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub payload_indexes: BTreeMap<String, serde_json::Value>,
}

impl Collection {
    /// The partition that the point with canonical id bytes `id` belongs to: XXH3-64 with seed 0, then [`partition_index`].
    #[must_use]
    pub fn partition_of(&self, id: &[u8]) -> PartitionId {
        self.partition(partition_index(xxh3_64(id), self.spec.partitions))
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        (0..self.spec.partitions).map(|index| self.partition(index))
    }

    fn partition(&self, index: u32) -> PartitionId {
        PartitionId::new(self.uid.clone(), index)
    }
}

/// Maps a hash to one of `partitions` equal ranges of the hash space: `floor(hash * partitions / 2^64)`.
///
/// Part of the stored format. Uses the high bits of the hash and no division (Lemire, 2019, "Fast random integer generation
/// in an interval"). Zero `partitions` gives 0.
#[must_use]
pub fn partition_index(hash: u64, partitions: u32) -> u32 {
    // The product is below 2^96, so the shifted value is below `partitions` and fits.
    ((u128::from(hash) * u128::from(partitions)) >> 64) as u32
}

/// A collection whose objects are being removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedCollection {
    /// Its name when it was dropped.
    pub name: String,
    /// Its creation nonce.
    pub created: Nonce,
    /// Version of the manifest that dropped it.
    pub at_version: u64,
}

/// The manifest's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterManifest {
    /// Identity of this cluster, random, fixed when the manifest is created. Caches on disk belong to one cluster.
    pub cluster: Nonce,
    /// Collections by name.
    #[serde(default)]
    pub collections: BTreeMap<String, Collection>,
    /// Other names of collections: the collection's name by alias.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Collections being removed.
    #[serde(default)]
    pub dropped: BTreeMap<CollectionUid, DroppedCollection>,
    /// Collections that are being copied from snapshots.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recovering: BTreeMap<CollectionUid, Recovery>,
}

impl Document for ClusterManifest {
    const FORMAT: u32 = 3;
    const OLDEST: u32 = 2;
    const WHAT: &'static str = "cluster manifest";
}

impl ClusterManifest {
    /// An empty manifest with a new identity.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            cluster: Nonce::random(),
            collections: BTreeMap::new(),
            aliases: BTreeMap::new(),
            dropped: BTreeMap::new(),
            recovering: BTreeMap::new(),
        }
    }

    /// The collection that `name` is the name or an alias of, with its own name.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<(&str, &Collection)> {
        let own = self.aliases.get(name).map_or(name, String::as_str);
        let found = self.collections.get_key_value(own);
        found.map(|(name, collection)| (name.as_str(), collection))
    }

    /// All partitions of all collections.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.collections.values().flat_map(Collection::partitions)
    }

    /// The collection with uid `uid` and its name.
    #[must_use]
    pub fn by_uid(&self, uid: &CollectionUid) -> Option<(&str, &Collection)> {
        self.collections
            .iter()
            .find(|(_, c)| c.uid == *uid)
            .map(|(name, c)| (name.as_str(), c))
    }

    /// A uid that no collection, living, being recovered or being removed, has: the name and 32 bits of the creation nonce, others of its
    /// bits where those are taken. All four being taken is not brought by chance.
    fn free_uid(&self, name: &str, created: Nonce) -> Result<CollectionUid, NameError> {
        // '.' and '-' sort before '/': a listing in directory order would differ from one in byte order.
        let safe: String = name.replace(['.', '-'], "_");
        let mut uid = CollectionUid::new(format!("{safe}-{:08x}", created.0 as u32))?;
        for word in 1..4 {
            let taken = self.by_uid(&uid).is_some()
                || self.dropped.contains_key(&uid)
                || self.recovering.contains_key(&uid);
            if !taken {
                break;
            }
            uid = CollectionUid::new(format!("{safe}-{:08x}", (created.0 >> (32 * word)) as u32))?;
        }
        Ok(uid)
    }
}

/// Checks a collection's name: 1 to 128 of `[A-Za-z0-9._-]`, not beginning with '.'.
///
/// # Errors
/// [`NameError`] with the rule.
pub fn check_collection_name(name: &str) -> Result<(), NameError> {
    check_name("collection name", name)
}

/// The rule of collections' names, which aliases keep too.
fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(NameError {
        what,
        value: name.chars().take(64).collect(),
        rule: "1 to 128 letters, digits, '.', '_' and '-', not beginning with '.'",
    })
}

/// The manifest; makes an empty one if there is none.
///
/// # Errors
/// [`DocumentError`].
pub async fn load_or_create(store: &Store) -> Result<Versioned<ClusterManifest>, DocumentError> {
    loop {
        if let Some(found) = document::load(store, keys::MANIFEST).await? {
            return Ok(found);
        }
        let fresh = ClusterManifest::generate();
        if let document::Written::Ours(written) =
            document::try_write(store, keys::MANIFEST, None, fresh).await?
        {
            return Ok(written);
        }
    }
}

/// Creates collection `name`. Repeating the call with the same `created` nonce returns the same collection.
///
/// # Errors
/// [`ManifestError`]; after an `Ambiguous` store error repeat with the same nonce.
pub async fn create_collection(
    store: &Store,
    name: &str,
    spec: &CollectionSpec,
    created: Nonce,
) -> Result<Collection, ManifestError> {
    check_collection_name(name)?;
    spec.validate(name)?;
    load_or_create(store).await?;
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let mut manifest = current.map_or_else(ClusterManifest::generate, |c| c.body.clone());
            if let Some(existing) = manifest.collections.get(name) {
                if existing.created == created {
                    return Ok(Update::Keep(existing.clone()));
                }
                return Err(ManifestError::AlreadyExists {
                    name: name.to_owned(),
                });
            }
            if manifest.aliases.contains_key(name) {
                return Err(ManifestError::NameIsAlias {
                    name: name.to_owned(),
                });
            }
            if manifest.dropped.values().any(|d| d.created == created) {
                return Err(ManifestError::DroppedMeanwhile {
                    name: name.to_owned(),
                });
            }
            let collection = Collection {
                uid: manifest.free_uid(name, created)?,
                created,
                spec: spec.clone(),
                payload_indexes: BTreeMap::new(),
            };
            manifest
                .collections
                .insert(name.to_owned(), collection.clone());
            Ok(Update::Write(manifest, collection))
        },
    )
    .await?;
    Ok(updated.outcome)
}

/// Says how payload field `field` of collection `name` is indexed; `None`: not at all. Returns whether that was a change.
///
/// # Errors
/// [`ManifestError::NotFound`], [`ManifestError::TooManyIndexes`], or
/// [`ManifestError::Document`]; after an `Ambiguous` store error repeat.
pub async fn set_payload_index(
    store: &Store,
    name: &str,
    field: &str,
    schema: Option<&serde_json::Value>,
) -> Result<bool, ManifestError> {
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let mut next = current.map_or_else(ClusterManifest::generate, |c| c.body.clone());
            let Some(collection) = next.collections.get_mut(name) else {
                return Err(ManifestError::NotFound {
                    name: name.to_owned(),
                });
            };
            let fields = &mut collection.payload_indexes;
            if fields.get(field) == schema {
                return Ok(Update::Keep(()));
            }
            match schema {
                Some(schema) => fields.insert(field.to_owned(), schema.clone()),
                None => fields.remove(field),
            };
            if fields.len() > MAX_INDEXED_FIELDS {
                return Err(ManifestError::TooManyIndexes {
                    name: name.to_owned(),
                });
            }
            Ok(Update::Write(next, ()))
        },
    )
    .await?;
    Ok(updated.wrote)
}

/// Moves collection `name` to the list of those being removed, and removes its aliases. `None` when there is none of that
/// name; an alias is none.
///
/// # Errors
/// [`ManifestError::Document`]; after an `Ambiguous` store error look whether the uid is gone before repeating.
pub async fn drop_collection(
    store: &Store,
    name: &str,
) -> Result<Option<CollectionUid>, ManifestError> {
    let mut target: Option<CollectionUid> = None;
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let found = current.and_then(|m| m.collections.get(name).map(|c| (m, c)));
            let Some((manifest, collection)) = found else {
                return Ok::<_, ManifestError>(Update::Keep(target.clone()));
            };
            // Later rounds act only on what the first one met: the name may belong to a new collection by now.
            let uid = target.get_or_insert_with(|| collection.uid.clone()).clone();
            if uid != collection.uid {
                return Ok(Update::Keep(Some(uid)));
            }
            let mut next = manifest.body.clone();
            next.collections.remove(name);
            next.aliases.retain(|_, collection| collection != name);
            next.dropped.insert(
                uid.clone(),
                DroppedCollection {
                    name: name.to_owned(),
                    created: collection.created,
                    at_version: manifest.version + 1,
                },
            );
            Ok(Update::Write(next, Some(uid)))
        },
    )
    .await?;
    Ok(updated.outcome)
}

/// Takes `uid` off the list of those being removed, once nothing of it is left in the bucket. Returns whether it was on it.
///
/// # Errors
/// [`DocumentError`].
pub async fn forget_dropped(store: &Store, uid: &CollectionUid) -> Result<bool, DocumentError> {
    let updated = document::update(
        store,
        keys::MANIFEST,
        |current: Option<&Versioned<ClusterManifest>>| {
            let Some(manifest) = current.filter(|m| m.dropped.contains_key(uid)) else {
                return Ok::<_, DocumentError>(Update::Keep(()));
            };
            let mut next = manifest.body.clone();
            next.dropped.remove(uid);
            Ok(Update::Write(next, ()))
        },
    )
    .await?;
    Ok(updated.wrote)
}
