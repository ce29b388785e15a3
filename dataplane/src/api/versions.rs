//! Brainy's own additions for clusters in which several instances write: versions of points, and changes of counters and sets.

use brainy_coordination::manifest::Collection;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::Body;
use super::dto::points::OperationDto;
use super::dto::versions::{AdjustDto, VersionsDto};
use super::errors::{Answer, ApiError};
use super::extract::{Call, Path, UpdateResult};
use super::guard::Class;
use super::points::write;
use super::routes::Routes;
use super::run::no_such_point;
use crate::error::ServiceError;
use crate::model::{PointId, Selector, WriteOp};

/// A write's context: what the client has seen of the point.
pub(super) const CONTEXT: &str = "brainy-context";

pub(super) fn reads() -> Routes {
    Routes::new("Versions", Class::Read).get(
        "get_point_versions",
        "/collections/{name}/points/{id}/versions",
        versions,
        "Returns the version of a point that readers are shown, concurrent ones, and a context with which a write resolves them.",
    )
}

pub(super) fn writes() -> Routes {
    Routes::new("Versions", Class::Write).post(
        "adjust_points",
        "/collections/{name}/points/adjust",
        adjust,
        "Adds to counters, and adds and removes elements of sets, in the payload of points, by id or filter; concurrent changes are not lost.",
    )
}

async fn versions(call: Call, Path((name, id)): Path<(String, String)>) -> Answer<VersionsDto> {
    let id = PointId::parse(&id).map_err(|e| ApiError::bad_request(format!("path: {e}")))?;
    let (name, collection) = call.collection(&name).await?;
    let read = call.params.read.clone();
    let found = call.service.versions(&name, vec![id], read).await?;
    match found.into_iter().next() {
        Some(found) => {
            let context = token(&collection, id, &found.context.to_string());
            call.ok(VersionsDto::new(found, context))
        }
        None => Err(no_such_point(id).into()),
    }
}

async fn adjust(
    call: Call,
    Path(name): Path<String>,
    Body(dto): Body<AdjustDto>,
) -> Answer<UpdateResult> {
    call.ok(write(&call, &name, OperationDto::Adjust(dto)).await?)
}

/// The clock, and a sum that binds it to the point: the context of another point would take versions for seen that nobody saw.
fn token(collection: &Collection, id: PointId, clock: &str) -> String {
    format!("{clock}~{:016x}", sum(collection, id, clock))
}

fn sum(collection: &Collection, id: PointId, clock: &str) -> u64 {
    let point = xxh3_64_with_seed(&id.canonical_bytes(), 1);
    let collection = xxh3_64_with_seed(collection.uid.to_string().as_bytes(), point);
    xxh3_64_with_seed(clock.as_bytes(), collection)
}

/// The write as one by a client that has seen what the request's context says, if it has one.
pub(super) fn seeing(
    call: &Call,
    collection: &Collection,
    op: WriteOp,
) -> Result<WriteOp, ServiceError> {
    let Some(text) = &call.params.context else {
        return Ok(op);
    };
    let bad = |rule: &str| {
        Err(ServiceError::BadRequest(format!(
            "header '{CONTEXT}': {rule}"
        )))
    };
    let Some(id) = only_point(&op) else {
        return bad("a context is that of one point: the write must name exactly one, by its id");
    };
    let Some((clock, given)) = text.split_once('~') else {
        return bad("pass the 'context' of the point's versions as it was returned");
    };
    if given != format!("{:016x}", sum(collection, id, clock)) {
        return bad("it is the context of another point, or was changed");
    }
    let context = clock.parse();
    let context = context.map_err(|e: brainy_conflict::ContextError| {
        ServiceError::BadRequest(format!("header '{CONTEXT}': {e}"))
    })?;
    Ok(WriteOp::Seeing {
        context,
        op: Box::new(op),
    })
}

/// A context says what was seen of one point, operations of a batch concern several.
pub(super) fn refuse_in_batch(call: &Call) -> Result<(), ServiceError> {
    match call.params.context {
        Some(_) => Err(ServiceError::BadRequest(format!(
            "header '{CONTEXT}': a context is that of one point, send its write by itself"
        ))),
        None => Ok(()),
    }
}

fn only_point(op: &WriteOp) -> Option<PointId> {
    match op {
        WriteOp::Upsert(points) | WriteOp::UpsertIf { points, .. } => match points.as_slice() {
            [point] => Some(point.id),
            _ => None,
        },
        WriteOp::UpdateVectors(updates) | WriteOp::UpdateVectorsIf { updates, .. } => {
            match updates.as_slice() {
                [update] => Some(update.id),
                _ => None,
            }
        }
        WriteOp::Delete(selector)
        | WriteOp::ClearPayload(selector)
        | WriteOp::SetPayload { selector, .. }
        | WriteOp::OverwritePayload { selector, .. }
        | WriteOp::DeletePayload { selector, .. }
        | WriteOp::DeleteVectors { selector, .. }
        | WriteOp::Adjust { selector, .. } => match selector {
            Selector::Ids(ids) => match ids.as_slice() {
                [id] => Some(*id),
                _ => None,
            },
            Selector::Filter(_) => None,
        },
        WriteOp::Seeing { .. } => None,
    }
}
