//! Orders other than that of distance, and counts of values.

use super::filter::{filter, micros};
use super::{bad, count, given, needed, unknown};
use crate::api::dto::facet::{FacetDto, FacetHitsDto, FacetValueDto};
use crate::api::dto::order::{DirectionDto, OrderByDto, SampleDto, StartFromDto};
use crate::api::grpc::proto;
use crate::engine::filter::datetime;
use crate::error::ServiceError;
use crate::model::OrderValue;

/// By a payload field.
pub(super) fn order_by(order: proto::OrderBy) -> Result<OrderByDto, ServiceError> {
    let proto::OrderBy {
        key,
        direction,
        start_from,
    } = order;
    Ok(OrderByDto {
        key,
        direction: direction.map(self::direction).transpose()?,
        start_from: start_from.map(self::start_from).transpose()?,
    })
}

fn direction(number: i32) -> Result<DirectionDto, ServiceError> {
    match proto::Direction::try_from(number) {
        Ok(proto::Direction::Asc) => Ok(DirectionDto::Asc),
        Ok(proto::Direction::Desc) => Ok(DirectionDto::Desc),
        Err(_) => Err(unknown("direction", number)),
    }
}

fn start_from(start: proto::StartFrom) -> Result<StartFromDto, ServiceError> {
    use proto::start_from::Value;
    let value = match needed("start_from", start.value)? {
        Value::Float(x) if x.is_nan() => return Err(bad("'start_from' is not a number")),
        Value::Float(x) => OrderValue::Float(x),
        Value::Integer(n) => OrderValue::Int(n),
        Value::Timestamp(at) => OrderValue::Int(micros("start_from", &at)?),
        Value::Datetime(text) => {
            let micros = datetime::parse(&text);
            let wrong = || bad("'start_from' is not a date and time such as 2024-05-01T12:00:00Z");
            OrderValue::Int(micros.ok_or_else(wrong)?)
        }
    };
    Ok(StartFromDto(value))
}

/// At random.
pub(super) fn sample(number: i32) -> Result<SampleDto, ServiceError> {
    match proto::Sample::try_from(number) {
        Ok(proto::Sample::Random) => Ok(SampleDto::Random),
        Err(_) => Err(unknown("sample", number)),
    }
}

/// Which values are counted.
pub(in crate::api::grpc) fn facet(message: proto::FacetCounts) -> Result<FacetDto, ServiceError> {
    let proto::FacetCounts {
        collection_name: _,
        key,
        filter,
        limit,
        exact,
        timeout: _,
        read_consistency: _,
        shard_key_selector,
    } = message;
    Ok(FacetDto {
        key,
        limit: limit.map(count),
        filter: self::filter(filter)?,
        _exact: exact,
        shard_key: given(&shard_key_selector),
    })
}

/// How often each value occurs.
pub(in crate::api::grpc) fn from_facet(found: FacetHitsDto) -> Vec<proto::FacetHit> {
    use proto::facet_value::Variant;
    let hits = found.hits.into_iter().map(|hit| {
        let variant = match hit.value {
            FacetValueDto::Bool(truth) => Variant::BoolValue(truth),
            FacetValueDto::Int(n) => Variant::IntegerValue(n),
            FacetValueDto::Text(text) => Variant::StringValue(text),
        };
        proto::FacetHit {
            value: Some(proto::FacetValue {
                variant: Some(variant),
            }),
            count: hit.count,
        }
    });
    hits.collect()
}
