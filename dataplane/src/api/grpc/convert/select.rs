//! Which points, which of their parts, and how fresh.

use super::filter::filter;
use super::needed;
use super::unknown;
use super::vectors::ids;
use crate::api::dto::filter::FilterDto;
use crate::api::dto::select::{WithPayload, WithVector};
use crate::api::grpc::proto;
use crate::error::ServiceError;
use crate::model::{Consistency, PayloadSelector, PointId};

/// Ids or a filter; the handlers ask for exactly one of them.
pub(super) type Points = (Option<Vec<PointId>>, Option<FilterDto>);

pub(super) fn points(selector: Option<proto::PointsSelector>) -> Result<Points, ServiceError> {
    use proto::points_selector::PointsSelectorOneOf as Kind;
    Ok(match selector.and_then(|s| s.points_selector_one_of) {
        None => (None, None),
        Some(Kind::Points(list)) => (Some(ids("ids", list.ids)?), None),
        Some(Kind::Filter(by)) => (None, filter(Some(by))?),
    })
}

pub(super) fn with_payload(
    selector: Option<proto::WithPayloadSelector>,
) -> Result<Option<WithPayload>, ServiceError> {
    use proto::with_payload_selector::SelectorOptions as Kind;
    let Some(selector) = selector else {
        return Ok(None);
    };
    Ok(Some(WithPayload(
        match needed("with_payload", selector.selector_options)? {
            Kind::Enable(true) => PayloadSelector::All,
            Kind::Enable(false) => PayloadSelector::None,
            Kind::Include(paths) => PayloadSelector::Include(paths.fields),
            Kind::Exclude(paths) => PayloadSelector::Exclude(paths.fields),
        },
    )))
}

pub(super) fn with_vectors(
    selector: Option<proto::WithVectorsSelector>,
) -> Result<Option<WithVector>, ServiceError> {
    use proto::with_vectors_selector::SelectorOptions as Kind;
    let Some(selector) = selector else {
        return Ok(None);
    };
    Ok(Some(
        match needed("with_vectors", selector.selector_options)? {
            Kind::Enable(all) => WithVector::All(all),
            Kind::Include(named) => WithVector::Names(named.names),
        },
    ))
}

/// As REST's parameter of this name: a number asks for copies, of which the cluster's default decides.
pub(in crate::api::grpc) fn consistency(
    consistency: Option<proto::ReadConsistency>,
) -> Result<Option<Consistency>, ServiceError> {
    use proto::read_consistency::Value;
    Ok(match consistency.and_then(|c| c.value) {
        None | Some(Value::Factor(1..)) => None,
        Some(Value::Factor(0)) => {
            return Err(super::bad("'read_consistency.factor' must be at least 1"));
        }
        Some(Value::Type(number)) => match proto::ReadConsistencyType::try_from(number) {
            Ok(_) => Some(Consistency::Strong),
            Err(_) => return Err(unknown("read_consistency.type", number)),
        },
    })
}
