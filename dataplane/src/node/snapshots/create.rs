//! Making a snapshot: the steps of [`brainy_coordination::snapshot`], with owners that flush and a checksum of everything.

use std::time::Duration;

use brainy_coordination::manifest::Collection;
use brainy_coordination::snapshot::{Draft, PinnedCollection, SnapshotError};
use brainy_coordination::types::PartitionId;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{QUEUE, names, unavailable};
use crate::archive::{self, ArchiveError, Plan, hex};
use crate::error::ServiceError;
use crate::node::Node;
use crate::snapshots::{Scope, SnapshotDescription};

/// How often a maker says that it is at work.
pub(super) const BEAT: Duration = Duration::from_secs(20);
/// Partitions that are flushed at once.
const FLUSHES: usize = 16;

impl Node {
    pub(super) async fn create_snapshot(
        &self,
        scope: &Scope,
    ) -> Result<SnapshotDescription, ServiceError> {
        let _turn = self.context().snapshots.acquire().await;
        let view = self.view().refresh().await.map_err(unavailable)?;
        let pinned = |name: &str, collection: &Collection| PinnedCollection {
            name: name.to_owned(),
            collection: collection.clone(),
            partitions: Vec::new(),
        };
        let (of, collections) = match scope {
            Scope::Whole => {
                let all = view.manifest.iter().flat_map(|m| &m.collections);
                (None, all.map(|(name, c)| pinned(name, c)).collect())
            }
            Scope::Collection(wanted) => {
                let Some((own, collection)) = view.collection(wanted) else {
                    return Err(ServiceError::NoSuchCollection(wanted.clone()));
                };
                (Some(own.to_owned()), vec![pinned(own, collection)])
            }
        };
        let scope = of.clone().map_or(Scope::Whole, Scope::Collection);
        let created = names::now();
        let name = names::name(&scope, created);
        let mut draft = Draft::begin(self.store(), &name, of, created, collections).await?;
        match self.fill(&name, &mut draft).await {
            Ok((bytes, sha256)) => {
                tracing::info!(snapshot = name, bytes, "made a snapshot");
                Ok(SnapshotDescription {
                    name,
                    created,
                    bytes,
                    sha256,
                })
            }
            Err(error) => {
                draft.abandon().await;
                Err(error)
            }
        }
    }

    /// Everything after the first step. Returns size and SHA-256 of the archive.
    async fn fill(&self, name: &str, draft: &mut Draft) -> Result<(u64, String), ServiceError> {
        let view = self.view().refresh().await.map_err(unavailable)?;
        let mut partitions: Vec<PartitionId> = Vec::new();
        for pinned in &draft.snapshot().collections {
            if view.by_uid(&pinned.collection.uid).is_none() {
                return Err(ServiceError::NoSuchCollection(pinned.name.clone()));
            }
            partitions.extend(pinned.collection.partitions());
        }
        let mut flushes = Vec::with_capacity(partitions.len());
        for partition in &partitions {
            flushes.push(self.flush_partition(partition));
        }
        let flushes = stream::iter(flushes).buffer_unordered(FLUSHES);
        let flushes = flushes.try_collect::<()>();
        beating(draft, flushes).await??;
        draft.pin().await?;
        let plan = Plan::new(name, draft.snapshot())?;
        let (bytes, sha256) = beating(draft, self.sum_up(&plan)).await??;
        draft.complete(bytes, sha256.clone()).await?;
        Ok((bytes, sha256))
    }

    /// Reads the whole archive: size and SHA-256.
    async fn sum_up(&self, plan: &Plan) -> Result<(u64, String), ArchiveError> {
        let (out, mut pieces) = mpsc::channel(QUEUE);
        let writing = async move { archive::write(self.store(), plan, &out).await };
        let hashing = async {
            let (mut bytes, mut sha256) = (0, Sha256::new());
            while let Some(piece) = pieces.recv().await {
                bytes += piece.len() as u64;
                sha256.update(&piece);
            }
            (bytes, hex(&sha256.finalize()))
        };
        let (written, summed) = futures::future::join(writing, hashing).await;
        written.map(|()| summed)
    }
}

/// Does `work` and says now and then that somebody is at it.
async fn beating<T>(draft: &mut Draft, work: impl Future<Output = T>) -> Result<T, SnapshotError> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(BEAT) => draft.beat().await?,
        }
    }
}
