//! Snapshots as a node makes them and recovers from them. What keeps them whole is in [`brainy_coordination::snapshot`].
//!
//! Any node does it for the whole cluster: owners flush, the bucket has the rest.

mod create;
mod fetch;
mod flush;
mod names;
mod recover;
mod scratch;

use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::document::DocumentError;
use brainy_coordination::snapshot::{self, Snapshot, SnapshotError, check_snapshot_name};
use futures::stream;
use tokio::sync::mpsc;

use super::Node;
use crate::archive::{self, ArchiveError, Plan};
use crate::error::ServiceError;
use crate::snapshots::{Download, Origin, Scope, SnapshotDescription, SnapshotService};

pub(crate) use names::civil;
pub(super) use scratch::clear as clear_scratch;

/// Pieces of an archive between who reads the bucket and who takes them.
const QUEUE: usize = 4;

fn unavailable(error: DocumentError) -> ServiceError {
    ServiceError::Unavailable(error.to_string())
}

impl From<SnapshotError> for ServiceError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Document(e) => unavailable(e),
            SnapshotError::Exists(_)
            | SnapshotError::Abandoned(_)
            | SnapshotError::Dropped(_)
            | SnapshotError::NoManifest(_) => ServiceError::Conflict(error.to_string()),
        }
    }
}

#[async_trait]
impl SnapshotService for Node {
    async fn create(&self, scope: &Scope) -> Result<SnapshotDescription, ServiceError> {
        self.create_snapshot(scope).await
    }

    async fn list(&self, scope: &Scope) -> Result<Vec<SnapshotDescription>, ServiceError> {
        let all = snapshot::list(self.store()).await.map_err(unavailable)?;
        let own = self.without_alias(scope).await?;
        let described: Vec<_> = all
            .into_iter()
            .filter(|(_, snapshot)| is_of(snapshot, &own))
            .filter_map(|(name, snapshot)| describe(name, &snapshot))
            .collect();
        if let (Scope::Collection(name), true) = (scope, described.is_empty()) {
            self.view().collection(name).await?;
        }
        Ok(described)
    }

    async fn delete(&self, scope: &Scope, name: &str) -> Result<(), ServiceError> {
        self.find(scope, name).await?;
        snapshot::delete(self.store(), name)
            .await
            .map_err(unavailable)?;
        tracing::info!(snapshot = name, "deleted a snapshot");
        Ok(())
    }

    async fn download(&self, scope: &Scope, name: &str) -> Result<Download, ServiceError> {
        let snapshot = self.find(scope, name).await?;
        let plan = Plan::new(name, &snapshot)?;
        let bytes = plan.bytes();
        let (out, pieces) = mpsc::channel(QUEUE);
        let (store, name) = (self.store().clone(), name.to_owned());
        let writing = tokio::spawn(async move {
            let written = archive::write(&store, &plan, &out).await;
            match &written {
                Ok(()) | Err(ArchiveError::Cancelled) => {}
                Err(error) => tracing::warn!(snapshot = name, %error, "a download was cut short"),
            }
            written
        });
        let body = stream::unfold((pieces, Some(writing)), |(mut pieces, writing)| async {
            if let Some(piece) = pieces.recv().await {
                return Some((Ok(piece), (pieces, writing)));
            }
            let ended = match writing?.await {
                Ok(ended) => ended,
                Err(_) => Err(ArchiveError::Cancelled),
            };
            ended.err().map(|error| (Err(error), (pieces, None)))
        });
        Ok(Download {
            bytes,
            body: Box::pin(body),
        })
    }

    async fn recover(
        &self,
        collection: &str,
        origin: Origin,
        sha256: Option<String>,
    ) -> Result<(), ServiceError> {
        self.recover_snapshot(collection, origin, sha256).await
    }
}

impl Node {
    /// The same, with a collection's own name in place of an alias. A collection that is not there has no other name.
    async fn without_alias(&self, scope: &Scope) -> Result<Scope, ServiceError> {
        let Scope::Collection(name) = scope else {
            return Ok(Scope::Whole);
        };
        match self.view().resolve(name).await {
            Ok((own, _)) => Ok(Scope::Collection(own)),
            Err(ServiceError::NoSuchCollection(_)) => Ok(scope.clone()),
            Err(error) => Err(error),
        }
    }

    /// The usable snapshot called `name`.
    async fn find(&self, scope: &Scope, name: &str) -> Result<Arc<Snapshot>, ServiceError> {
        check_snapshot_name(name).map_err(|e| ServiceError::BadRequest(e.to_string()))?;
        let scope = &self.without_alias(scope).await?;
        let found = snapshot::load(self.store(), name)
            .await
            .map_err(unavailable)?;
        found
            .filter(|s| s.complete().is_some() && is_of(s, scope))
            .map(|s| Arc::new(s.body))
            .ok_or_else(|| ServiceError::NotFound(format!("Snapshot {name} not found")))
    }
}

fn is_of(snapshot: &Snapshot, scope: &Scope) -> bool {
    match scope {
        Scope::Collection(name) => snapshot.of.as_deref() == Some(name),
        Scope::Whole => snapshot.of.is_none(),
    }
}

fn describe(name: String, snapshot: &Snapshot) -> Option<SnapshotDescription> {
    let (bytes, sha256) = snapshot.complete()?;
    Some(SnapshotDescription {
        name,
        created: snapshot.created,
        bytes,
        sha256: sha256.to_owned(),
    })
}
