//! Writes of points.

use brainy_coordination::types::Nonce;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::body::Body;
use super::dto::points::{
    Checks, DeletePayloadDto, DeleteVectorsDto, OperationDto, OperationsDto, SetPayloadDto,
    UpdateVectorsDto, UpsertDto,
};
use super::dto::select::SelectorDto;
use super::errors::Answer;
use super::existing::{missing, no_such_point};
use super::extract::{Call, Path, UpdateResult};
use super::guard::Class;
use super::routes::Routes;
use super::strict::Strict;
use super::versions::{refuse_in_batch, seeing};
use crate::error::ServiceError;
use crate::model::WriteOptions;

pub(super) fn routes() -> Routes {
    Routes::new("Points", Class::Write)
        .put(
            "upsert_points",
            "/collections/{name}/points",
            upsert,
            "Inserts points, or replaces those that have their ids.",
        )
        .post(
            "delete_points",
            "/collections/{name}/points/delete",
            delete,
            "Deletes points by id or filter.",
        )
        .post(
            "set_payload",
            "/collections/{name}/points/payload",
            set_payload,
            "Merges a payload into that of points, by id or filter.",
        )
        .put(
            "overwrite_payload",
            "/collections/{name}/points/payload",
            overwrite_payload,
            "Replaces the payload of points, by id or filter.",
        )
        .post(
            "delete_payload",
            "/collections/{name}/points/payload/delete",
            delete_payload,
            "Removes keys from the payload of points, by id or filter.",
        )
        .post(
            "clear_payload",
            "/collections/{name}/points/payload/clear",
            clear_payload,
            "Empties the payload of points, by id or filter.",
        )
        .put(
            "update_vectors",
            "/collections/{name}/points/vectors",
            update_vectors,
            "Replaces or adds vectors of points that exist; ids without a point are skipped.",
        )
        .post(
            "delete_vectors",
            "/collections/{name}/points/vectors/delete",
            delete_vectors,
            "Removes named vectors of points, by id or filter; the points stay.",
        )
        .post(
            "batch_update",
            "/collections/{name}/points/batch",
            batch,
            "Applies several writes, one after the other.",
        )
}

async fn upsert(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<UpsertDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::Upsert(dto)).await?)
}

async fn delete(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SelectorDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::Delete(dto)).await?)
}

async fn set_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SetPayloadDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::SetPayload(dto)).await?)
}

async fn overwrite_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SetPayloadDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::OverwritePayload(dto)).await?)
}

async fn delete_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<DeletePayloadDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::DeletePayload(dto)).await?)
}

async fn clear_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SelectorDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::ClearPayload(dto)).await?)
}

async fn update_vectors(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<UpdateVectorsDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::UpdateVectors(dto)).await?)
}

async fn delete_vectors(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<DeleteVectorsDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::DeleteVectors(dto)).await?)
}

async fn batch(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<OperationsDto>,
) -> Answer<Vec<UpdateResult>> {
    call.ok(write_all(&call, &name, dto).await?)
}

/// Checks one write and applies it.
pub(super) async fn write(
    call: &Call,
    name: &str,
    dto: OperationDto,
) -> Result<UpdateResult, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    let op = dto.into_op(Checks {
        schema: &collection.spec.schema,
        limits: &call.limits,
        indexes: &collection.payload_indexes,
    })?;
    if let Some(strict) = Strict::of(call, &collection)? {
        strict.write(&op)?;
    }
    let op = seeing(call, &collection, op)?;
    let missing = missing(call, name, &op).await?;
    let receipt = call.service.write(name, op, call.write_options()).await?;
    call.params.session.wrote(&receipt.token);
    match missing {
        Some(id) => Err(no_such_point(id)),
        None => Ok(call.update_result(&receipt)),
    }
}

/// Applies the operations in order and stops at the first that fails; the error says which. Each has an identity of its own
/// that follows from the request's, so a repeat applies only what is missing.
pub(super) async fn write_all(
    call: &Call,
    name: &str,
    dto: OperationsDto,
) -> Result<Vec<UpdateResult>, ServiceError> {
    let (name, collection) = call.collection(name).await?;
    let name = name.as_str();
    refuse_in_batch(call)?;
    let ops = dto.into_ops(Checks {
        schema: &collection.spec.schema,
        limits: &call.limits,
        indexes: &collection.payload_indexes,
    })?;
    if let Some(strict) = Strict::of(call, &collection)? {
        for (i, op) in ops.iter().enumerate() {
            let place = |e: ServiceError| e.within(&format!("operations[{i}]"));
            strict.write(op).map_err(place)?;
        }
    }
    let count = ops.len();
    let mut results = Vec::with_capacity(count);
    for (i, op) in ops.into_iter().enumerate() {
        let options = WriteOptions {
            request_id: derived_id(call.params.request_id, i),
        };
        let failed = |error: ServiceError| {
            error.within(&format!(
                "operations[{i}] of {count} failed, the {i} before it are applied; repeating with the same \
                 'brainy-request-id' applies only what is missing"
            ))
        };
        let missing = missing(call, name, &op).await.map_err(failed)?;
        let receipt = call
            .service
            .write(name, op, options)
            .await
            .map_err(failed)?;
        call.params.session.wrote(&receipt.token);
        if let Some(id) = missing {
            return Err(failed(no_such_point(id)));
        }
        results.push(call.update_result(&receipt));
    }
    Ok(results)
}

fn derived_id(request: Nonce, index: usize) -> Nonce {
    Nonce(xxh3_128_with_seed(&request.0.to_le_bytes(), index as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn operations_of_a_batch_have_identities_that_repeat_and_differ() {
        let ids = |request| (0..1000).map(move |i| derived_id(Nonce(request), i).0);
        assert!(ids(7).eq(ids(7)));
        let distinct: BTreeSet<_> = ids(7).chain(ids(8)).chain([7, 8]).collect();
        assert_eq!(distinct.len(), 2002);
    }
}
