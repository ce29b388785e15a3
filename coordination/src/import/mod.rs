//! Taking the data of one store into the empty prefix of another: how a standalone directory becomes a cluster.
//!
//! Both hold the same objects under the same keys, so what is imported is copied, not converted: collections keep their uids,
//! their partitions and their logs. What belongs to the process that used the directory is left behind: leases, the assignment
//! table, heartbeats, events. The first owner of each partition finds no lease, takes the epoch after the one in the partition's
//! manifest, fences the old log and replays it.
//!
//! # Order
//! 1. The *marker* is created in a prefix that has nothing in it. It names the cluster that is imported; whoever finds it there
//!    goes on with that import, and anything else that is there is refused.
//! 2. What never changes: the files of segments, log slots, marks of accepted losses. Each is verified on the way.
//! 3. Documents that name them: manifests of partitions, snapshots, the shared configuration.
//! 4. The cluster's manifest, by create-if-absent. Before it is there, the prefix is no cluster.
//!
//! # Failure cases
//! - The import ends anywhere: the next one skips what is there with its full size (a put is whole or not there), replaces
//!   documents, and removes what the source no longer has.
//! - A node was started on the prefix before step 4: it made a manifest of its own, and the import ends with that, the source
//!   being as it was.
//! - An object of the source is damaged or missing: the import stops before step 3 and names it.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::document::{self, Document, DocumentError, Written};
use crate::keys;
use crate::manifest::ClusterManifest;
use crate::partition::PartitionManifest;
use crate::snapshot;
use crate::store::StoreError;
use crate::store::retry::{Created, Store};
use crate::types::Nonce;

use plan::{Contents, Plan, Planned, plan};

/// Objects that are copied at a time.
const AT_ONCE: usize = 16;
/// Memory of the objects that are copied at a time, in MiB.
const MEMORY_MIB: u32 = 256;

/// Contents of `_brainy/import.json`: whose data is in the prefix, or on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The cluster's identity, from its manifest.
    pub cluster: Nonce,
    /// Where it comes from, for people.
    pub from: String,
}

impl Document for Marker {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "marker of an import";
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects that are there.
    pub objects: usize,
    /// Objects in all.
    pub of_objects: usize,
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
}

/// What an import came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Identity of the cluster.
    pub cluster: Nonce,
    /// Collections.
    pub collections: usize,
    /// Partitions.
    pub partitions: usize,
    /// Complete snapshots.
    pub snapshots: usize,
    /// All objects with their bytes.
    pub copied: Progress,
    /// Whether an earlier import had ended well already, and this one did nothing.
    pub already: bool,
}

/// Why an import did not end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is nothing to import.
    #[error(
        "there is no data in it: it has no cluster manifest. Name the data directory of a standalone brainyd that was used"
    )]
    NoData,
    /// The prefix has other data.
    #[error(
        "the prefix is not empty: '{key}' is there, which is of no import of this directory. Choose an empty prefix, and start no \
         nodes on it before the import has ended"
    )]
    NotEmpty {
        /// One of the objects, below the prefix.
        key: String,
    },
    /// Another directory is being imported, or was.
    #[error(
        "cluster {theirs} was imported to the prefix from {from}, this is cluster {ours}. Choose another prefix"
    )]
    OtherImport {
        /// The cluster whose marker is there.
        theirs: Nonce,
        /// Where it came from.
        from: String,
        /// The cluster that was to be imported.
        ours: Nonce,
    },
    /// An object of the source cannot be trusted.
    #[error(
        "'{key}' {what}: nothing of the import is visible. Restore the object from a backup, or start brainyd on the directory and \
         follow what it says about the damage, then import again"
    )]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// Either store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document of either store.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Copies everything in `source`, which nobody uses meanwhile, to `target`, an empty prefix or that of an earlier, interrupted
/// import of the same source. `from` says for people where the source is. Repeating it is harmless.
///
/// # Errors
/// [`ImportError`]; what was copied stays, and the next import goes on from there.
pub async fn import(
    source: &Store,
    target: &Store,
    from: &str,
    report: impl Fn(Progress) + Send + Sync,
) -> Result<Imported, ImportError> {
    let object = source.get(keys::MANIFEST).await?;
    let object = object.ok_or(ImportError::NoData)?;
    let manifest = document::decode::<ClusterManifest>(keys::MANIFEST, &object)?.body;
    let already = claim(target, manifest.cluster, from).await?;
    let contents = read(source, manifest).await?;
    let plan = plan(&contents);
    let total = Progress {
        of_objects: plan.objects.len() + plan.documents.len(),
        of_bytes: plan.objects.iter().map(|o| o.bytes).sum(),
        ..Progress::default()
    };
    let mut done = Imported {
        cluster: contents.manifest.cluster,
        collections: contents.manifest.collections.len(),
        partitions: contents.partitions.len(),
        snapshots: contents.snapshots.len(),
        copied: total,
        already,
    };
    if already {
        return Ok(done);
    }
    done.copied = copy_all(source, target, &plan, total, report).await?;
    // By this the prefix becomes a cluster.
    match target.create(keys::MANIFEST, object.body).await? {
        Created::Ours(_) => Ok(done),
        Created::Exists(_) => Err(ImportError::NotEmpty {
            key: keys::MANIFEST.to_owned(),
        }),
    }
}

/// Makes sure that nothing but this import is in `target`. Says whether it has ended already.
async fn claim(target: &Store, cluster: Nonce, from: &str) -> Result<bool, ImportError> {
    let marker = Marker {
        cluster,
        from: from.to_owned(),
    };
    let found = match document::load::<Marker>(target, keys::IMPORT).await? {
        Some(found) => found,
        None => {
            let page = target.list("", None, 1000).await?;
            let mut foreign = page.objects.into_iter().map(|o| o.key);
            if let Some(key) = foreign.find(|key| !is_ours(key)) {
                return Err(ImportError::NotEmpty { key });
            }
            match document::try_write(target, keys::IMPORT, None, marker).await? {
                Written::Ours(_) => return Ok(false),
                Written::Lost(Some(found)) => found,
                Written::Lost(None) => {
                    let key = keys::IMPORT.to_owned();
                    return Err(ImportError::NotEmpty { key });
                }
            }
        }
    };
    if found.cluster != cluster {
        return Err(ImportError::OtherImport {
            theirs: found.cluster,
            from: found.body.from,
            ours: cluster,
        });
    }
    match document::load::<ClusterManifest>(target, keys::MANIFEST).await? {
        None => Ok(false),
        Some(there) if there.cluster == cluster => Ok(true),
        Some(_) => Err(ImportError::NotEmpty {
            key: keys::MANIFEST.to_owned(),
        }),
    }
}

/// Keys that mean nothing: objects of start-up probes, some tools' object of the prefix itself, and our marker.
fn is_ours(key: &str) -> bool {
    key.is_empty() || key == keys::IMPORT || key.starts_with(keys::PROBES)
}

async fn read(source: &Store, manifest: ClusterManifest) -> Result<Contents, ImportError> {
    let mut partitions = BTreeMap::new();
    for partition in manifest.partitions() {
        let key = keys::partition_manifest(&partition);
        let found = document::load::<PartitionManifest>(source, &key).await?;
        let slots = source.list_all(&keys::wal_partition(&partition)).await?;
        partitions.insert(partition, (found.map(|m| m.body), slots));
    }
    let mut snapshots = Vec::new();
    for (name, snapshot) in snapshot::list(source).await? {
        // What is not complete has lost its maker.
        if snapshot.complete().is_some() {
            snapshots.push((name, snapshot.body));
        }
    }
    let config = source.list_all(keys::CONFIG).await?;
    Ok(Contents {
        accepted: source.list_all(keys::QUARANTINE).await?,
        has_config: config.iter().any(|object| object.key == keys::CONFIG),
        manifest,
        partitions,
        snapshots,
    })
}

async fn copy_all(
    source: &Store,
    target: &Store,
    plan: &Plan,
    total: Progress,
    report: impl Fn(Progress) + Send + Sync,
) -> Result<Progress, ImportError> {
    let there = target.list_all("").await?;
    for object in &there {
        if !is_ours(&object.key) && !plan.has(&object.key) {
            target.delete(&object.key).await?;
        }
    }
    let there: BTreeMap<String, u64> = there.into_iter().map(|o| (o.key, o.size)).collect();
    let memory = Arc::new(Semaphore::new(MEMORY_MIB as usize));
    let mut progress = total;
    let (present, missing): (Vec<&Planned>, Vec<&Planned>) = plan
        .objects
        .iter()
        .partition(|o| there.get(&o.key) == Some(&o.bytes));
    for object in present {
        progress.objects += 1;
        progress.bytes += object.bytes;
    }
    report(progress);
    let mut copies = stream::iter(missing)
        .map(|object| {
            let memory = Arc::clone(&memory);
            async move {
                let mib = u32::try_from(object.bytes >> 20).unwrap_or(MEMORY_MIB);
                // It is never closed; without a permit there would be more memory in use, and nothing else.
                let _permit = memory.acquire_many(mib.clamp(1, MEMORY_MIB)).await.ok();
                copy(source, target, object).await.map(|()| object.bytes)
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(bytes) = copies.try_next().await? {
        progress.objects += 1;
        progress.bytes += bytes;
        report(progress);
    }
    for key in &plan.documents {
        let object = source.get(key).await?;
        let object = object.ok_or_else(|| missing_object(key))?;
        target.put(key, object.body).await?;
        progress.objects += 1;
        report(progress);
    }
    Ok(progress)
}

async fn copy(source: &Store, target: &Store, object: &Planned) -> Result<(), ImportError> {
    let found = source.get(&object.key).await?;
    let found = found.ok_or_else(|| missing_object(&object.key))?;
    object
        .verify(&found.body)
        .map_err(|what| ImportError::Damaged {
            key: object.key.clone(),
            what,
        })?;
    target.put(&object.key, found.body).await?;
    Ok(())
}

fn missing_object(key: &str) -> ImportError {
    ImportError::Damaged {
        key: key.to_owned(),
        what: "is missing".to_owned(),
    }
}
