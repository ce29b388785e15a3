//! The service of collections.

use tonic::{Request, Response};

use super::Api;
use super::asked::{Asked, Reply, refused, within};
use super::convert::{info, parameters, shards, update};
use super::proto::collections_server::Collections;
use super::proto::*;
use super::status::status;
use crate::api::aliases::{all, apply, of_collection};
use crate::api::cluster::places;
use crate::api::collections::{describe, is_there, make, patch};
use crate::api::dto::alias::AliasesDto;
use crate::api::extract::Call;
use crate::api::unsupported::PLACES;

/// What an operation on collections answers.
fn operated(call: &Call, result: bool) -> Reply<CollectionOperationResponse> {
    Ok(Response::new(CollectionOperationResponse {
        result,
        time: call.started.elapsed().as_secs_f64(),
    }))
}

#[tonic::async_trait]
impl Collections for Api {
    async fn get(
        &self,
        request: Request<GetCollectionInfoRequest>,
    ) -> Reply<GetCollectionInfoResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let found = within(None, class, describe(&call, &message.collection_name)).await?;
        Ok(Response::new(GetCollectionInfoResponse {
            result: Some(info::collection(&found)),
            time: call.started.elapsed().as_secs_f64(),
        }))
    }

    async fn list(
        &self,
        request: Request<ListCollectionsRequest>,
    ) -> Reply<ListCollectionsResponse> {
        let Asked { call, class, .. } = Asked::new(request)?;
        let names = within(None, class, call.service.collections()).await?;
        let names = names.into_iter();
        Ok(Response::new(ListCollectionsResponse {
            collections: names.map(|name| CollectionDescription { name }).collect(),
            time: call.started.elapsed().as_secs_f64(),
        }))
    }

    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let (name, timeout) = (message.collection_name.clone(), message.timeout);
        let dto = parameters::create(message).map_err(status)?;
        let result = within(timeout, class, make(&call, &name, dto)).await?;
        operated(&call, result)
    }

    async fn update(
        &self,
        request: Request<UpdateCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let (name, timeout) = (message.collection_name.clone(), message.timeout);
        let dto = update::update(message).map_err(status)?;
        let result = within(timeout, class, patch(&call, &name, dto)).await?;
        operated(&call, result)
    }

    async fn delete(
        &self,
        request: Request<DeleteCollection>,
    ) -> Reply<CollectionOperationResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let DeleteCollection {
            collection_name,
            timeout,
        } = message;
        let work = call.service.drop_collection(&collection_name);
        let result = within(timeout, class, work).await?;
        operated(&call, result)
    }

    async fn update_aliases(
        &self,
        request: Request<ChangeAliases>,
    ) -> Reply<CollectionOperationResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let ChangeAliases { actions, timeout } = message;
        let dto = update::aliases(actions).map_err(status)?;
        let result = within(timeout, class, apply(&call, dto)).await?;
        operated(&call, result)
    }

    async fn list_collection_aliases(
        &self,
        request: Request<ListCollectionAliasesRequest>,
    ) -> Reply<ListAliasesResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let found = within(None, class, of_collection(&call, &message.collection_name)).await?;
        Ok(aliases(&call, found))
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Reply<ListAliasesResponse> {
        let Asked { call, class, .. } = Asked::new(request)?;
        let found = within(None, class, all(&call)).await?;
        Ok(aliases(&call, found))
    }

    async fn collection_cluster_info(
        &self,
        request: Request<CollectionClusterInfoRequest>,
    ) -> Reply<CollectionClusterInfoResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let found = within(None, class, places(&call, &message.collection_name)).await?;
        let time = call.started.elapsed().as_secs_f64();
        Ok(Response::new(shards::places(found, time)))
    }

    async fn collection_exists(
        &self,
        request: Request<CollectionExistsRequest>,
    ) -> Reply<CollectionExistsResponse> {
        let Asked {
            call,
            class,
            message,
        } = Asked::new(request)?;
        let exists = within(None, class, is_there(&call, &message.collection_name)).await?;
        Ok(Response::new(CollectionExistsResponse {
            result: Some(CollectionExists { exists }),
            time: call.started.elapsed().as_secs_f64(),
        }))
    }

    async fn update_collection_cluster_setup(
        &self,
        _: Request<UpdateCollectionClusterSetupRequest>,
    ) -> Reply<UpdateCollectionClusterSetupResponse> {
        refused(PLACES)
    }

    async fn create_shard_key(
        &self,
        _: Request<CreateShardKeyRequest>,
    ) -> Reply<CreateShardKeyResponse> {
        refused("shard keys")
    }

    async fn delete_shard_key(
        &self,
        _: Request<DeleteShardKeyRequest>,
    ) -> Reply<DeleteShardKeyResponse> {
        refused("shard keys")
    }

    async fn list_shard_keys(
        &self,
        _: Request<ListShardKeysRequest>,
    ) -> Reply<ListShardKeysResponse> {
        refused("shard keys")
    }
}

fn aliases(call: &Call, found: AliasesDto) -> Response<ListAliasesResponse> {
    let aliases = found.aliases.into_iter();
    Response::new(ListAliasesResponse {
        aliases: aliases
            .map(|alias| AliasDescription {
                alias_name: alias.alias_name,
                collection_name: alias.collection_name,
            })
            .collect(),
        time: call.started.elapsed().as_secs_f64(),
    })
}
