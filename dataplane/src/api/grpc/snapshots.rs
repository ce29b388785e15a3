//! The service of snapshots.

use tonic::Request;

use super::Api;
use super::points::{Reply, refused};
use super::proto::snapshots_server::Snapshots;
use super::proto::*;

#[tonic::async_trait]
impl Snapshots for Api {
    async fn create(&self, _: Request<CreateSnapshotRequest>) -> Reply<CreateSnapshotResponse> {
        refused("Qdrant's snapshot API")
    }

    async fn list(&self, _: Request<ListSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        refused("Qdrant's snapshot API")
    }

    async fn delete(&self, _: Request<DeleteSnapshotRequest>) -> Reply<DeleteSnapshotResponse> {
        refused("Qdrant's snapshot API")
    }

    async fn create_full(
        &self,
        _: Request<CreateFullSnapshotRequest>,
    ) -> Reply<CreateSnapshotResponse> {
        refused("Qdrant's snapshot API")
    }

    async fn list_full(
        &self,
        _: Request<ListFullSnapshotsRequest>,
    ) -> Reply<ListSnapshotsResponse> {
        refused("Qdrant's snapshot API")
    }

    async fn delete_full(
        &self,
        _: Request<DeleteFullSnapshotRequest>,
    ) -> Reply<DeleteSnapshotResponse> {
        refused("Qdrant's snapshot API")
    }
}
