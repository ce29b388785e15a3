//! The service of snapshots.

use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::Api;
use super::asked::{Asked, Reply};
use super::proto::snapshots_server::Snapshots;
use super::proto::{
    CreateFullSnapshotRequest, CreateSnapshotRequest, CreateSnapshotResponse,
    DeleteFullSnapshotRequest, DeleteSnapshotRequest, DeleteSnapshotResponse,
    ListFullSnapshotsRequest, ListSnapshotsRequest, ListSnapshotsResponse, SnapshotDescription,
};
use super::status::status;
use crate::api::snapshots::{create_of, delete_of, list_of};
use crate::snapshots::{Scope, SnapshotDescription as Described};

#[tonic::async_trait]
impl Snapshots for Api {
    async fn create(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Reply<CreateSnapshotResponse> {
        let asked = Asked::new(request)?;
        let scope = Scope::Collection(asked.message.collection_name.clone());
        create(asked, scope).await
    }

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Reply<ListSnapshotsResponse> {
        let asked = Asked::new(request)?;
        let scope = Scope::Collection(asked.message.collection_name.clone());
        list(asked, &scope).await
    }

    async fn delete(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Reply<DeleteSnapshotResponse> {
        let asked = Asked::new(request)?;
        let scope = Scope::Collection(asked.message.collection_name.clone());
        let name = asked.message.snapshot_name.clone();
        delete(asked, &scope, &name).await
    }

    async fn create_full(
        &self,
        request: Request<CreateFullSnapshotRequest>,
    ) -> Reply<CreateSnapshotResponse> {
        create(Asked::new(request)?, Scope::Whole).await
    }

    async fn list_full(
        &self,
        request: Request<ListFullSnapshotsRequest>,
    ) -> Reply<ListSnapshotsResponse> {
        list(Asked::new(request)?, &Scope::Whole).await
    }

    async fn delete_full(
        &self,
        request: Request<DeleteFullSnapshotRequest>,
    ) -> Reply<DeleteSnapshotResponse> {
        let asked = Asked::new(request)?;
        let name = asked.message.snapshot_name.clone();
        delete(asked, &Scope::Whole, &name).await
    }
}

async fn create<T>(asked: Asked<T>, scope: Scope) -> Reply<CreateSnapshotResponse> {
    let made = create_of(&asked.call, scope).await.map_err(status)?;
    Ok(Response::new(CreateSnapshotResponse {
        snapshot_description: Some(description(made)?),
        time: asked.call.started.elapsed().as_secs_f64(),
    }))
}

async fn list<T>(asked: Asked<T>, scope: &Scope) -> Reply<ListSnapshotsResponse> {
    let listed = list_of(&asked.call, scope).await.map_err(status)?;
    let listed = listed.into_iter().map(description);
    Ok(Response::new(ListSnapshotsResponse {
        snapshot_descriptions: listed.collect::<Result<_, _>>()?,
        time: asked.call.started.elapsed().as_secs_f64(),
    }))
}

async fn delete<T>(asked: Asked<T>, scope: &Scope, name: &str) -> Reply<DeleteSnapshotResponse> {
    let deleted = delete_of(&asked.call, scope, name).await;
    deleted.map_err(status)?;
    Ok(Response::new(DeleteSnapshotResponse {
        time: asked.call.started.elapsed().as_secs_f64(),
    }))
}

fn description(described: Described) -> Result<SnapshotDescription, Status> {
    let Described {
        name,
        created,
        bytes,
        sha256,
    } = described;
    let beyond = |_| Status::internal("a figure of the snapshot does not fit the protocol");
    Ok(SnapshotDescription {
        name,
        creation_time: Some(Timestamp {
            seconds: i64::try_from(created).map_err(beyond)?,
            nanos: 0,
        }),
        size: i64::try_from(bytes).map_err(beyond)?,
        checksum: Some(sha256),
    })
}
