//! Points that a write names and that must exist.

use super::extract::Call;
use crate::error::ServiceError;
use crate::model::{
    Consistency, PayloadSelector, PointId, ReadOptions, RetrieveRequest, Selector, VectorSelector,
    WriteOp,
};

/// The first id, in the order of the request, that a write means to change in place and the collection lacks.
///
/// As in Qdrant, such a write changes the points that exist and is then answered with 404. Nobody is told who did not ask to
/// wait. To be called before the write: a point that is deleted in between might as well have been deleted after it, while
/// one that is made in between must not be reported as changed.
pub(super) async fn missing(
    call: &Call,
    name: &str,
    op: &WriteOp,
) -> Result<Option<PointId>, ServiceError> {
    let ids = if call.params.wait {
        named(op)
    } else {
        Vec::new()
    };
    if ids.is_empty() {
        return Ok(None);
    }
    let request = RetrieveRequest {
        ids: ids.clone(),
        with_payload: PayloadSelector::None,
        with_vector: VectorSelector::None,
    };
    let options = ReadOptions {
        consistency: Some(Consistency::Strong),
        ..ReadOptions::default()
    };
    let mut found = call
        .service
        .retrieve(name, request, options)
        .await?
        .into_iter()
        .map(|record| record.id)
        .peekable();
    // What is found comes in the order asked.
    Ok(ids.into_iter().find(|id| found.next_if_eq(id).is_none()))
}

/// What a write that was applied says of the point it did not find.
pub(super) fn no_such_point(id: PointId) -> ServiceError {
    ServiceError::NotFound(format!(
        "Not found: No point with id {id} found; those of the request that exist are changed"
    ))
}

/// Ids that must exist, each once.
fn named(op: &WriteOp) -> Vec<PointId> {
    let mut ids: Vec<PointId> = match op {
        WriteOp::SetPayload { selector, .. }
        | WriteOp::OverwritePayload { selector, .. }
        | WriteOp::DeletePayload { selector, .. }
        | WriteOp::ClearPayload(selector)
        | WriteOp::Adjust { selector, .. }
        | WriteOp::DeleteVectors { selector, .. } => match selector {
            Selector::Ids(ids) => ids.clone(),
            Selector::Filter(_) => Vec::new(),
        },
        WriteOp::UpdateVectors(updates) | WriteOp::UpdateVectorsIf { updates, .. } => {
            updates.iter().map(|update| update.id).collect()
        }
        WriteOp::Seeing { op, .. } => return named(op),
        WriteOp::Upsert(_) | WriteOp::UpsertIf { .. } | WriteOp::Delete(_) => Vec::new(),
    };
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}
