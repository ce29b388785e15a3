//! Writes of points.

use axum::Router;
use axum::routing::{post, put};
use brainy_coordination::types::Nonce;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::AppState;
use super::body::Body;
use super::dto::points::{
    Checks, DeletePayloadDto, DeleteVectorsDto, OperationsDto, SetPayloadDto, UpdateVectorsDto,
    UpsertDto,
};
use super::dto::select::SelectorDto;
use super::errors::Answer;
use super::extract::{Call, Path};
use crate::error::ServiceError;
use crate::model::{Token, WriteOp, WriteOptions};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/collections/{name}/points", put(upsert))
        .route("/collections/{name}/points/delete", post(delete))
        .route(
            "/collections/{name}/points/payload",
            post(set_payload).put(overwrite_payload),
        )
        .route(
            "/collections/{name}/points/payload/delete",
            post(delete_payload),
        )
        .route(
            "/collections/{name}/points/payload/clear",
            post(clear_payload),
        )
        .route("/collections/{name}/points/vectors", put(update_vectors))
        .route(
            "/collections/{name}/points/vectors/delete",
            post(delete_vectors),
        )
        .route("/collections/{name}/points/batch", post(batch))
}

async fn upsert(call: Call, Path(name): Path<String>, Body(dto): Body<UpsertDto>) -> Answer {
    write(call, &name, |checks| dto.into_op(checks)).await
}

async fn delete(call: Call, Path(name): Path<String>, Body(dto): Body<SelectorDto>) -> Answer {
    write(call, &name, |checks| {
        dto.into_model(checks.limits).map(WriteOp::Delete)
    })
    .await
}

async fn set_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SetPayloadDto>,
) -> Answer {
    write(call, &name, |checks| dto.into_set(checks)).await
}

async fn overwrite_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SetPayloadDto>,
) -> Answer {
    write(call, &name, |checks| dto.into_overwrite(checks)).await
}

async fn delete_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<DeletePayloadDto>,
) -> Answer {
    write(call, &name, |checks| dto.into_op(checks)).await
}

async fn clear_payload(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<SelectorDto>,
) -> Answer {
    write(call, &name, |checks| {
        dto.into_model(checks.limits).map(WriteOp::ClearPayload)
    })
    .await
}

async fn update_vectors(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<UpdateVectorsDto>,
) -> Answer {
    write(call, &name, |checks| dto.into_op(checks)).await
}

async fn delete_vectors(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<DeleteVectorsDto>,
) -> Answer {
    write(call, &name, |checks| dto.into_op(checks)).await
}

async fn write(
    call: Call,
    name: &str,
    op: impl FnOnce(Checks<'_>) -> Result<WriteOp, ServiceError>,
) -> Answer {
    let schema = call.service.schema(name).await?;
    let op = op(Checks {
        schema: &schema.spec.schema,
        limits: &call.limits,
    })?;
    let receipt = call.service.write(name, op, call.write_options()).await?;
    call.written(call.update_result(&receipt), &receipt.token)
}

/// Applies the operations in order and stops at the first that fails; the error says which. Each has an identity of its own
/// that follows from the request's, so a repeat applies only what is missing.
async fn batch(call: Call, Path(name): Path<String>, Body(dto): Body<OperationsDto>) -> Answer {
    let schema = call.service.schema(&name).await?;
    let ops = dto.into_ops(Checks {
        schema: &schema.spec.schema,
        limits: &call.limits,
    })?;
    let count = ops.len();
    let mut results = Vec::with_capacity(count);
    let mut token = Token::default();
    for (i, op) in ops.into_iter().enumerate() {
        let options = WriteOptions {
            request_id: derived_id(call.params.request_id, i),
        };
        let receipt = call.service.write(&name, op, options).await.map_err(|error| {
            error.within(&format!(
                "operations[{i}] of {count} failed, the {i} before it are applied; repeating with the same \
                 'brainy-request-id' applies only what is missing"
            ))
        })?;
        results.push(call.update_result(&receipt));
        for (partition, position) in receipt.token.0 {
            let seen = token.0.entry(partition).or_default();
            *seen = position.max(*seen);
        }
    }
    call.written(results, &token)
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
