//! Making a collection out of a snapshot.
//!
//! Everything is verified and copied under a uid that nothing refers to; then the name changes hands in one step
//! ([`brainy_coordination::manifest::finish_recovery`]). What an interrupted recovery leaves is removed like a dropped collection.

use std::path::Path;
use std::sync::Arc;

use brainy_coordination::document::{self, Written};
use brainy_coordination::keys;
use brainy_coordination::manifest::{
    Collection, ManifestError, abandon_recovery, beat_recovery, begin_recovery, finish_recovery,
};
use brainy_coordination::partition::{PartitionManifest, SegmentMeta};
use brainy_coordination::rebalance;
use brainy_coordination::snapshot::{PinnedPartition, Snapshot};
use brainy_coordination::types::{CollectionUid, Nonce, PartitionId};
use futures::{StreamExt, TryStreamExt, stream};

use super::create::BEAT;
use super::scratch::{Scratch, receive};
use super::{fetch, unavailable};
use crate::archive::{Archive, ArchiveError};
use crate::engine::{OpenOptions, Segment};
use crate::error::ServiceError;
use crate::node::Node;
use crate::node::service::from_manifest;
use crate::snapshots::Origin;

/// Segments that are copied at once. Each takes a file in memory and one segment on the disk.
const SEGMENTS: usize = 2;

/// Where the objects of a collection are copied from.
enum Source {
    /// The bucket: a snapshot of this cluster pins the segments of this collection.
    Pinned(CollectionUid),
    /// A verified file, and the directory in which it lies.
    File {
        archive: Arc<Archive>,
        _dir: Scratch,
    },
}

/// A collection in a source.
struct Found {
    source: Source,
    /// Its number in the source.
    number: usize,
    collection: Collection,
    partitions: Vec<PinnedPartition>,
}

impl Node {
    pub(super) async fn recover_snapshot(
        &self,
        name: &str,
        origin: Origin,
        sha256: Option<String>,
    ) -> Result<(), ServiceError> {
        let found = match origin {
            Origin::Here(snapshot) => self.find_here(&snapshot, name, sha256.as_deref()).await?,
            Origin::Upload(body) => self.spool(body, name, sha256).await?,
            Origin::Url { url, api_key } => {
                let tls = self.config().tls.as_ref();
                let body = fetch::get(&url, api_key.as_deref(), tls).await?;
                self.spool(body, name, sha256).await?
            }
        };
        let _turn = self.context().snapshots.acquire().await;
        let created = Nonce::random();
        let uid = begin_recovery(self.store(), name, &found.collection.spec, created)
            .await
            .map_err(from_recovery)?;
        let collection = Collection {
            uid: uid.clone(),
            created,
            ..found.collection.clone()
        };
        let copied = self.copy_and_switch(&found, &collection).await;
        if let Err(error) = copied {
            if let Err(e) = abandon_recovery(self.store(), &uid, None).await {
                tracing::warn!(%uid, error = %e, "cannot give up a recovery yet");
            }
            return Err(error);
        }
        tracing::info!(collection = name, %uid, "recovered a collection from a snapshot");
        rebalance::step(self.store(), |_| {})
            .await
            .map_err(unavailable)?;
        self.view().refresh().await.map_err(unavailable)?;
        self.context().sync_members().await;
        self.wait_until_serving(&collection).await;
        Ok(())
    }

    async fn copy_and_switch(
        &self,
        found: &Found,
        collection: &Collection,
    ) -> Result<(), ServiceError> {
        let mut copying = std::pin::pin!(self.copy(found, collection));
        loop {
            tokio::select! {
                done = &mut copying => {
                    done?;
                    break;
                }
                () = tokio::time::sleep(BEAT) => {
                    beat_recovery(self.store(), &collection.uid).await.map_err(from_recovery)?;
                }
            }
        }
        finish_recovery(self.store(), collection)
            .await
            .map(drop)
            .map_err(from_recovery)
    }

    /// Copies all segments, then writes the manifests of the partitions.
    async fn copy(&self, found: &Found, collection: &Collection) -> Result<(), ServiceError> {
        let scratch = Scratch::new(&self.config().data_dir)?;
        let mut copies = Vec::new();
        for (index, partition) in (0..).zip(&found.partitions) {
            for segment in &partition.segments {
                copies.push(self.copy_segment(found, collection, index, segment, &scratch));
            }
        }
        let copies = stream::iter(copies).buffer_unordered(SEGMENTS);
        copies.try_collect::<()>().await?;
        for (partition, pinned) in collection.partitions().zip(&found.partitions) {
            let key = keys::partition_manifest(&partition);
            let manifest = PartitionManifest::from(pinned.clone());
            match document::try_write(self.store(), &key, None, manifest).await {
                Ok(Written::Ours(_)) => {}
                Ok(Written::Lost(_)) => {
                    return Err(ServiceError::Internal(format!(
                        "'{key}' exists although its collection is new"
                    )));
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(())
    }

    /// Brings one segment to the disk, opens it as whoever hosts it will, and uploads it.
    async fn copy_segment(
        &self,
        found: &Found,
        collection: &Collection,
        index: u32,
        segment: &SegmentMeta,
        scratch: &Scratch,
    ) -> Result<(), ServiceError> {
        let dir = scratch.path().join(format!("{index:05}-{}", segment.id));
        std::fs::create_dir(&dir).map_err(|e| ArchiveError::Disk {
            action: format!("create '{}'", dir.display()),
            message: e.to_string(),
        })?;
        self.collect_segment(found, index, segment, &dir).await?;
        let (opened, meta) = (dir.clone(), segment.clone());
        let check = move || Segment::open(&opened, &meta, OpenOptions { resident: false });
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|e| ServiceError::Internal(format!("opening a segment: {e}")))?
            .map_err(ArchiveError::Segment)?;
        let to = PartitionId::new(collection.uid.clone(), index);
        for file in &segment.files {
            let path = dir.join(&file.name);
            let body = tokio::fs::read(&path)
                .await
                .map_err(|e| ArchiveError::Disk {
                    action: format!("read '{}'", path.display()),
                    message: e.to_string(),
                })?;
            let key = keys::segment_file(&to, &segment.id, &file.name);
            let put = self.store().put(&key, body.into()).await;
            put.map_err(ArchiveError::Store)?;
        }
        if let Err(error) = tokio::fs::remove_dir_all(&dir).await {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a copied segment");
        }
        Ok(())
    }

    /// Writes the files of a segment into `dir`.
    async fn collect_segment(
        &self,
        found: &Found,
        index: u32,
        segment: &SegmentMeta,
        dir: &Path,
    ) -> Result<(), ArchiveError> {
        match &found.source {
            Source::File { archive, .. } => {
                let (archive, number) = (archive.clone(), found.number);
                let (segment, dir) = (segment.clone(), dir.to_owned());
                let copy = move || {
                    segment.files.iter().try_for_each(|file| {
                        archive.copy(number, index, &segment, file, &dir.join(&file.name))
                    })
                };
                tokio::task::spawn_blocking(copy)
                    .await
                    .map_err(|_| ArchiveError::Cancelled)?
            }
            Source::Pinned(uid) => {
                let from = PartitionId::new(uid.clone(), index);
                for file in &segment.files {
                    let key = keys::segment_file(&from, &segment.id, &file.name);
                    let Some(object) = self.store().get(&key).await? else {
                        return Err(ArchiveError::Missing { key });
                    };
                    let path = dir.join(&file.name);
                    let written = tokio::fs::write(&path, &object.body).await;
                    written.map_err(|e| ArchiveError::Disk {
                        action: format!("write '{}'", path.display()),
                        message: e.to_string(),
                    })?;
                }
                Ok(())
            }
        }
    }

    /// A snapshot of this cluster.
    async fn find_here(
        &self,
        snapshot: &str,
        name: &str,
        sha256: Option<&str>,
    ) -> Result<Found, ServiceError> {
        let found = brainy_coordination::snapshot::load(self.store(), snapshot)
            .await
            .map_err(unavailable)?
            .map(|s| s.body);
        let Some((found, sum)) = found.as_ref().and_then(|s| Some((s, s.complete()?.1))) else {
            return Err(ServiceError::NotFound(format!(
                "Snapshot {snapshot} not found in this cluster: its own are 'file://<name>', others a URL or an upload"
            )));
        };
        check_sum(sum, sha256)?;
        let Snapshot { collections, .. } = found;
        let names = collections.iter().map(|c| c.name.as_str());
        let number = choose(names, name)?;
        let pinned = &collections[number];
        Ok(Found {
            source: Source::Pinned(pinned.collection.uid.clone()),
            number,
            collection: pinned.collection.clone(),
            partitions: pinned.partitions.clone(),
        })
    }

    /// Writes an archive to the disk as it comes, then reads and verifies it.
    async fn spool(
        &self,
        body: crate::snapshots::Upload,
        name: &str,
        sha256: Option<String>,
    ) -> Result<Found, ServiceError> {
        let scratch = Scratch::new(&self.config().data_dir)?;
        let path = scratch.path().join("upload.snapshot");
        let sum = receive(body, &path).await?;
        check_sum(&sum, sha256.as_deref())?;
        let archive = tokio::task::spawn_blocking(move || Archive::open(&path))
            .await
            .map_err(|e| ServiceError::Internal(format!("reading a snapshot: {e}")))??;
        let names = archive.collections.iter().map(|c| c.name.as_str());
        let number = choose(names, name)?;
        let chosen = archive.collections[number].clone();
        Ok(Found {
            source: Source::File {
                archive: Arc::new(archive),
                _dir: scratch,
            },
            number,
            collection: chosen.collection,
            partitions: chosen.partitions,
        })
    }
}

/// The collection of a snapshot that is to become `name`: the only one, or the one of that name.
fn choose<'a>(
    held: impl Iterator<Item = &'a str> + Clone,
    name: &str,
) -> Result<usize, ArchiveError> {
    if held.clone().count() == 1 {
        return Ok(0);
    }
    let position = held.clone().position(|n| n == name);
    position.ok_or_else(|| ArchiveError::NoSuchCollection {
        name: name.to_owned(),
        held: held.map(str::to_owned).collect(),
    })
}

fn check_sum(found: &str, expected: Option<&str>) -> Result<(), ArchiveError> {
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(found) => Err(ArchiveError::Checksum {
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn from_recovery(error: ManifestError) -> ServiceError {
    match error {
        ManifestError::RecoveryAbandoned { .. } => ServiceError::Conflict(error.to_string()),
        other => from_manifest(other),
    }
}
