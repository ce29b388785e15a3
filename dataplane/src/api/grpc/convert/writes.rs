//! Writes.

use super::filter::filter;
use super::json::object;
use super::select::{Points, points};
use super::vectors::{id, vectors};
use super::{bad, given, needed, unknown};
use crate::api::dto::points::{
    DeletePayloadDto, DeleteVectorsDto, OperationDto, OperationsDto, PointDto, PointVectorDto,
    SetPayloadDto, UpdateVectorsDto, UpsertDto,
};
use crate::api::dto::select::SelectorDto;
use crate::api::grpc::proto::points_update_operation::{
    self as one, Operation, PointStructList, SetPayload,
};
use crate::api::grpc::proto::{
    self, PointStruct, PointVectors, PointsSelector, ShardKeySelector, VectorsSelector,
};
use crate::error::ServiceError;
use crate::model::UpdateMode;

/// Points to insert or to replace.
pub(in crate::api::grpc) fn upsert(list: PointStructList) -> Result<OperationDto, ServiceError> {
    let PointStructList {
        points,
        shard_key_selector,
        update_filter,
        update_mode,
    } = list;
    let update_mode = update_mode.map(mode).transpose()?;
    let points = points.into_iter().enumerate().map(|(i, point)| {
        let place = |e: ServiceError| e.within(&format!("points[{i}]"));
        self::point(point).map_err(place)
    });
    Ok(OperationDto::Upsert(UpsertDto {
        points: Some(points.collect::<Result<_, _>>()?),
        shard_key: given(&shard_key_selector),
        update_filter: filter(update_filter)?,
        update_mode,
        ..UpsertDto::default()
    }))
}

fn mode(number: i32) -> Result<UpdateMode, ServiceError> {
    Ok(match proto::UpdateMode::try_from(number) {
        Ok(proto::UpdateMode::Upsert) => UpdateMode::Upsert,
        Ok(proto::UpdateMode::InsertOnly) => UpdateMode::InsertOnly,
        Ok(proto::UpdateMode::UpdateOnly) => UpdateMode::UpdateOnly,
        Err(_) => return Err(unknown("update_mode", number)),
    })
}

fn point(point: PointStruct) -> Result<PointDto, ServiceError> {
    let PointStruct {
        id,
        payload,
        vectors,
    } = point;
    Ok(PointDto {
        id: self::id("id", id)?,
        vector: self::vectors(needed("vectors", vectors)?)?,
        payload: Some(object(payload)?),
    })
}

/// Points to remove.
pub(in crate::api::grpc) fn delete(
    points: Option<PointsSelector>,
    shard_key: Option<ShardKeySelector>,
) -> Result<OperationDto, ServiceError> {
    selector(points, shard_key).map(OperationDto::Delete)
}

/// Points whose payloads to empty.
pub(in crate::api::grpc) fn clear(
    points: Option<PointsSelector>,
    shard_key: Option<ShardKeySelector>,
) -> Result<OperationDto, ServiceError> {
    selector(points, shard_key).map(OperationDto::ClearPayload)
}

fn selector(
    selector: Option<PointsSelector>,
    shard_key: Option<ShardKeySelector>,
) -> Result<SelectorDto, ServiceError> {
    let (points, filter) = self::points(selector)?;
    Ok(SelectorDto {
        points,
        filter,
        shard_key: given(&shard_key),
    })
}

/// Payload to merge into that of points.
pub(in crate::api::grpc) fn set_payload(set: SetPayload) -> Result<OperationDto, ServiceError> {
    payload(set).map(OperationDto::SetPayload)
}

/// Payload to replace that of points.
pub(in crate::api::grpc) fn overwrite_payload(
    set: SetPayload,
) -> Result<OperationDto, ServiceError> {
    payload(set).map(OperationDto::OverwritePayload)
}

fn payload(set: SetPayload) -> Result<SetPayloadDto, ServiceError> {
    let SetPayload {
        payload,
        points_selector,
        shard_key_selector,
        key,
    } = set;
    let (points, filter) = self::points(points_selector)?;
    Ok(SetPayloadDto {
        payload: object(payload)?,
        points,
        filter,
        key,
        shard_key: given(&shard_key_selector),
    })
}

/// Keys to remove from payloads.
pub(in crate::api::grpc) fn delete_payload(
    delete: one::DeletePayload,
) -> Result<OperationDto, ServiceError> {
    let one::DeletePayload {
        keys,
        points_selector,
        shard_key_selector,
    } = delete;
    let (points, filter) = self::points(points_selector)?;
    Ok(OperationDto::DeletePayload(DeletePayloadDto {
        keys,
        points,
        filter,
        shard_key: given(&shard_key_selector),
    }))
}

/// New vectors for existing points.
pub(in crate::api::grpc) fn update_vectors(
    update: one::UpdateVectors,
) -> Result<OperationDto, ServiceError> {
    let one::UpdateVectors {
        points,
        shard_key_selector,
        update_filter,
    } = update;
    let points = points.into_iter().enumerate().map(|(i, point)| {
        let PointVectors { id, vectors } = point;
        let place = |e: ServiceError| e.within(&format!("points[{i}]"));
        let read = || {
            Ok(PointVectorDto {
                id: self::id("id", id)?,
                vector: self::vectors(needed("vectors", vectors)?)?,
            })
        };
        read().map_err(place)
    });
    Ok(OperationDto::UpdateVectors(UpdateVectorsDto {
        points: points.collect::<Result<_, _>>()?,
        shard_key: given(&shard_key_selector),
        update_filter: filter(update_filter)?,
    }))
}

/// Vectors to remove from points.
pub(in crate::api::grpc) fn delete_vectors(
    delete: one::DeleteVectors,
) -> Result<OperationDto, ServiceError> {
    let one::DeleteVectors {
        points_selector,
        vectors,
        shard_key_selector,
    } = delete;
    let (points, filter): Points = self::points(points_selector)?;
    let VectorsSelector { names } = needed("vectors", vectors)?;
    Ok(OperationDto::DeleteVectors(DeleteVectorsDto {
        vector: names,
        points,
        filter,
        shard_key: given(&shard_key_selector),
    }))
}

/// Writes, one after the other.
pub(in crate::api::grpc) fn operations(
    list: Vec<proto::PointsUpdateOperation>,
) -> Result<OperationsDto, ServiceError> {
    let operations = list.into_iter().enumerate().map(|(i, message)| {
        let place = |e: ServiceError| e.within(&format!("operations[{i}]"));
        operation(message).map_err(place)
    });
    Ok(OperationsDto {
        operations: operations.collect::<Result<_, _>>()?,
    })
}

fn operation(message: proto::PointsUpdateOperation) -> Result<OperationDto, ServiceError> {
    match message.operation {
        None => Err(bad("an operation is empty")),
        Some(Operation::Upsert(list)) => upsert(list),
        Some(Operation::DeleteDeprecated(points)) => delete(Some(points), None),
        Some(Operation::SetPayload(set)) => set_payload(set),
        Some(Operation::OverwritePayload(set)) => {
            let one::OverwritePayload {
                payload,
                points_selector,
                shard_key_selector,
                key,
            } = set;
            overwrite_payload(SetPayload {
                payload,
                points_selector,
                shard_key_selector,
                key,
            })
        }
        Some(Operation::DeletePayload(keys)) => delete_payload(keys),
        Some(Operation::ClearPayloadDeprecated(points)) => clear(Some(points), None),
        Some(Operation::UpdateVectors(update)) => update_vectors(update),
        Some(Operation::DeleteVectors(vectors)) => delete_vectors(vectors),
        Some(Operation::DeletePoints(points)) => {
            let one::DeletePoints {
                points,
                shard_key_selector,
            } = points;
            delete(points, shard_key_selector)
        }
        Some(Operation::ClearPayload(points)) => {
            let one::ClearPayload {
                points,
                shard_key_selector,
            } = points;
            clear(points, shard_key_selector)
        }
    }
}
