//! Answers about points.

use super::json::from_object;
use super::vectors::{from_id, from_vectors};
use crate::api::dto::records::{HitDto, OrderValueDto, RecordDto};
use crate::api::extract::UpdateResult;
use crate::api::grpc::proto;
use crate::model::{OrderValue, PointId};

/// How a write went.
pub(in crate::api::grpc) fn update_result(result: &UpdateResult) -> proto::UpdateResult {
    let status = match result.status {
        "completed" => proto::UpdateStatus::Completed,
        _ => proto::UpdateStatus::Acknowledged,
    };
    proto::UpdateResult {
        operation_id: result.operation_id,
        status: status.into(),
    }
}

/// Hits, best first.
pub(in crate::api::grpc) fn hits(hits: Vec<HitDto>) -> Vec<proto::ScoredPoint> {
    hits.into_iter().map(hit).collect()
}

/// The hits of several queries.
pub(in crate::api::grpc) fn batches(batches: Vec<Vec<HitDto>>) -> Vec<proto::BatchResult> {
    let batches = batches.into_iter();
    batches
        .map(|list| proto::BatchResult { result: hits(list) })
        .collect()
}

fn hit(hit: HitDto) -> proto::ScoredPoint {
    let HitDto {
        id,
        version,
        score,
        payload,
        vector,
        order_value,
    } = hit;
    proto::ScoredPoint {
        id: Some(from_id(id)),
        payload: payload.map(from_object).unwrap_or_default(),
        score,
        version,
        vectors: vector.map(|v| from_vectors(v.0)),
        shard_key: None,
        order_value: order_value.map(|v| self::order_value(&v)),
    }
}

fn order_value(value: &OrderValueDto) -> proto::OrderValue {
    use proto::order_value::Variant;
    let variant = match value.0 {
        OrderValue::Int(n) => Variant::Int(n),
        OrderValue::Float(x) => Variant::Float(x),
    };
    proto::OrderValue {
        variant: Some(variant),
    }
}

/// Points.
pub(in crate::api::grpc) fn records(records: Vec<RecordDto>) -> Vec<proto::RetrievedPoint> {
    records.into_iter().map(record).collect()
}

/// One point.
pub(super) fn record(record: RecordDto) -> proto::RetrievedPoint {
    let RecordDto {
        id,
        payload,
        vector,
        order_value,
    } = record;
    proto::RetrievedPoint {
        id: Some(from_id(id)),
        payload: payload.map(from_object).unwrap_or_default(),
        vectors: vector.map(|v| from_vectors(v.0)),
        shard_key: None,
        order_value: order_value.map(|v| self::order_value(&v)),
    }
}

/// Where the next page begins.
pub(in crate::api::grpc) fn next(id: Option<PointId>) -> Option<proto::PointId> {
    id.map(from_id)
}
