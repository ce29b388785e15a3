//! Collections: list, create, look at, drop; their payload indexes.

use brainy_coordination::manifest::check_collection_name;
use serde_json::Value;

use super::body::Body;
use super::dto::check_paths;
use super::dto::collection::{CreateCollectionDto, info_document};
use super::dto::described::{CollectionInfoDto, CollectionNameDto, CollectionsDto, ExistsDto};
use super::dto::index::CreateIndexDto;
use super::dto::update::{NewVectorDto, UpdateCollectionDto};
use super::errors::Answer;
use super::extract::{Call, Path, UpdateResult};
use super::guard::Class;
use super::routes::Routes;
use super::strict::Strict;
use crate::error::ServiceError;
use crate::model::{CollectionChange, WriteReceipt};

pub(super) fn routes() -> Routes {
    reads().merge(changes()).merge(indexes())
}

fn reads() -> Routes {
    Routes::new("Collections", Class::Read)
        .get(
            "get_collections",
            "/collections",
            list,
            "Lists the collections.",
        )
        .get(
            "get_collection",
            "/collections/{name}",
            info,
            "Describes a collection.",
        )
        .get(
            "collection_exists",
            "/collections/{name}/exists",
            exists,
            "Tells whether there is such a collection.",
        )
}

fn changes() -> Routes {
    Routes::new("Collections", Class::Change)
        .put(
            "create_collection",
            "/collections/{name}",
            create,
            "Creates a collection.",
        )
        .patch(
            "update_collection",
            "/collections/{name}",
            update,
            "Changes parameters of a collection, for what is built from now on.",
        )
        .put(
            "create_vector_name",
            "/collections/{name}/vectors/{vector}",
            create_vector,
            "Adds a vector to a collection; its points have none of it.",
        )
        .delete(
            "delete_vector_name",
            "/collections/{name}/vectors/{vector}",
            drop_vector,
            "Takes a vector away from a collection and all its points.",
        )
        .delete(
            "delete_collection",
            "/collections/{name}",
            drop_collection,
            "Drops a collection with all its points; false if there is none.",
        )
}

/// Not changes: who may write points may create indexes in Qdrant too.
fn indexes() -> Routes {
    Routes::new("Indexes", Class::Write)
        .put(
            "create_field_index",
            "/collections/{name}/index",
            create_index,
            "Indexes a field of payloads, which makes filters on it fast.",
        )
        .delete(
            "delete_field_index",
            "/collections/{name}/index/{field}",
            delete_index,
            "Drops the index of a field.",
        )
}

async fn list(call: Call) -> Answer<CollectionsDto> {
    let names = call.service.collections().await?;
    let collections = names.into_iter().map(|name| CollectionNameDto { name });
    call.ok(CollectionsDto {
        collections: collections.collect(),
    })
}

async fn info(call: Call, Path(name): Path<String>) -> Answer<CollectionInfoDto> {
    call.ok(CollectionInfoDto(describe(&call, &name).await?))
}

/// Qdrant's description of a collection.
pub(super) async fn describe(call: &Call, name: &str) -> Result<Value, ServiceError> {
    info_document(&call.service.info(name).await?)
}

async fn exists(call: Call, Path(name): Path<String>) -> Answer<ExistsDto> {
    let exists = is_there(&call, &name).await?;
    call.ok(ExistsDto { exists })
}

/// Whether there is a collection of this name.
pub(super) async fn is_there(call: &Call, name: &str) -> Result<bool, ServiceError> {
    match call.service.schema(name).await {
        Ok(_) => Ok(true),
        Err(ServiceError::NoSuchCollection(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn create(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<CreateCollectionDto>,
) -> Answer<bool> {
    call.ok(make(&call, &name, dto).await?)
}

/// Creates a collection.
pub(super) async fn make(
    call: &Call,
    name: &str,
    dto: CreateCollectionDto,
) -> Result<bool, ServiceError> {
    check_collection_name(name).map_err(|e| ServiceError::BadRequest(e.to_string()))?;
    let spec = dto.into_spec(&call.limits)?;
    call.service.create_collection(name, spec).await?;
    Ok(true)
}

async fn update(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<UpdateCollectionDto>,
) -> Answer<bool> {
    call.ok(patch(&call, &name, dto).await?)
}

/// Changes parameters of a collection, for what is built from now on.
pub(super) async fn patch(
    call: &Call,
    name: &str,
    dto: UpdateCollectionDto,
) -> Result<bool, ServiceError> {
    let name = call.service.resolve(name).await?;
    let change = dto.into_model()?;
    call.service.change_collection(&name, change).await?;
    Ok(true)
}

async fn create_vector(
    call: Call,
    Path((name, vector)): Path<(String, String)>,
    Body(dto): Body<NewVectorDto>,
) -> Answer<UpdateResult> {
    call.ok(add_vector(&call, &name, vector, dto).await?)
}

/// Adds a vector to a collection; points that there are have none of it.
pub(super) async fn add_vector(
    call: &Call,
    name: &str,
    vector: String,
    dto: NewVectorDto,
) -> Result<UpdateResult, ServiceError> {
    let name = call.service.resolve(name).await?;
    let change = dto.into_model(vector, &call.limits)?;
    call.service.change_collection(&name, change).await?;
    Ok(call.update_result(&WriteReceipt::default()))
}

async fn drop_vector(
    call: Call,
    Path((name, vector)): Path<(String, String)>,
) -> Answer<UpdateResult> {
    call.ok(remove_vector(&call, &name, vector).await?)
}

/// Takes a vector away from a collection and from all its points.
pub(super) async fn remove_vector(
    call: &Call,
    name: &str,
    vector: String,
) -> Result<UpdateResult, ServiceError> {
    let name = call.service.resolve(name).await?;
    let change = CollectionChange::DropVector { name: vector };
    call.service.change_collection(&name, change).await?;
    Ok(call.update_result(&WriteReceipt::default()))
}

async fn drop_collection(call: Call, Path(name): Path<String>) -> Answer<bool> {
    call.ok(call.service.drop_collection(&name).await?)
}

async fn create_index(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<CreateIndexDto>,
) -> Answer<UpdateResult> {
    call.ok(add_index(&call, &name, dto).await?)
}

/// Says how a field is indexed. Filters have the same answers with and without an index, so nobody has to wait until it is
/// built.
pub(super) async fn add_index(
    call: &Call,
    name: &str,
    dto: CreateIndexDto,
) -> Result<UpdateResult, ServiceError> {
    let (field, schema) = dto.into_model()?;
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.index(&field)?;
    }
    let schema = Some(schema);
    call.service.set_payload_index(name, &field, schema).await?;
    Ok(call.update_result(&WriteReceipt::default()))
}

async fn delete_index(
    call: Call,
    Path((name, field)): Path<(String, String)>,
) -> Answer<UpdateResult> {
    call.ok(remove_index(&call, &name, &field).await?)
}

/// Says that a field is not indexed any more.
pub(super) async fn remove_index(
    call: &Call,
    name: &str,
    field: &String,
) -> Result<UpdateResult, ServiceError> {
    check_paths("field", [field])?;
    call.service.set_payload_index(name, field, None).await?;
    Ok(call.update_result(&WriteReceipt::default()))
}
