//! Writes.

use serde::Deserialize;

use super::filter::FilterDto;
use super::select::{SelectorDto, selector};
use super::vector::VectorInput;
use super::{Given, at_most, check_paths, refuse};
use crate::error::ServiceError;
use crate::model::{Payload, Point, PointId, VectorParams, VectorUpdate, WriteOp};
use crate::service::Limits;

/// What writes are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// The collection's vectors.
    pub(crate) vector: &'a VectorParams,
    /// Limits in force.
    pub(crate) limits: &'a Limits,
}

/// `{"points": [...]}` or `{"batch": {...}}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpsertDto {
    points: Option<Vec<PointDto>>,
    batch: Option<BatchDto>,
    shard_key: Given,
    update_filter: Given,
    update_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointDto {
    id: PointId,
    vector: VectorInput,
    payload: Option<Payload>,
}

/// Points by columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchDto {
    ids: Vec<PointId>,
    vectors: BatchVectors,
    payloads: Option<Vec<Option<Payload>>>,
}

/// A list of vectors; an object would be columns of named vectors.
#[derive(Debug)]
enum BatchVectors {
    List(Vec<VectorInput>),
    Named,
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer};
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = BatchVectors;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of vectors")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<BatchVectors, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(BatchVectors::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(BatchVectors::Named)
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl UpsertDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        refuse(&[
            ("shard_key", self.shard_key.is_some()),
            (
                "conditional upserts ('update_filter')",
                self.update_filter.is_some(),
            ),
        ])?;
        match self.update_mode.as_deref() {
            None | Some("upsert") => {}
            Some(mode @ ("insert_only" | "update_only")) => {
                return Err(ServiceError::Unsupported(format!("update_mode '{mode}'")));
            }
            Some(_) => {
                return Err(ServiceError::BadRequest(
                    "update_mode must be 'upsert'".to_owned(),
                ));
            }
        }
        match (self.points, self.batch) {
            (Some(points), None) => from_points(points, checks),
            (None, Some(batch)) => batch.into_op(checks),
            _ => Err(ServiceError::BadRequest(
                "exactly one of 'points' and 'batch' is needed".to_owned(),
            )),
        }
    }
}

fn from_points(points: Vec<PointDto>, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
    at_most("'points'", points.len(), checks.limits.max_batch_points)?;
    let points = points.into_iter().enumerate().map(|(i, p)| {
        Ok(Point {
            vector: p.vector.prepare(checks.vector, || {
                format!("points[{i}].vector of id {}", p.id)
            })?,
            id: p.id,
            payload: p.payload.unwrap_or_default(),
        })
    });
    points
        .collect::<Result<_, ServiceError>>()
        .map(WriteOp::Upsert)
}

impl BatchDto {
    fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        let BatchVectors::List(vectors) = self.vectors else {
            return Err(ServiceError::Unsupported(
                "named vectors (an object in batch.vectors)".to_owned(),
            ));
        };
        let count = self.ids.len();
        at_most("'batch.ids'", count, checks.limits.max_batch_points)?;
        let payloads = self.payloads.unwrap_or_else(|| vec![None; count]);
        for (name, length) in [("vectors", vectors.len()), ("payloads", payloads.len())] {
            if length != count {
                return Err(ServiceError::BadRequest(format!(
                    "batch.{name} has {length} entries and batch.ids has {count}: they must be the same"
                )));
            }
        }
        let points = self.ids.into_iter().zip(vectors).zip(payloads).enumerate();
        let points = points.map(|(i, ((id, vector), payload))| {
            Ok(Point {
                vector: vector
                    .prepare(checks.vector, || format!("batch.vectors[{i}] of id {id}"))?,
                id,
                payload: payload.unwrap_or_default(),
            })
        });
        points
            .collect::<Result<_, ServiceError>>()
            .map(WriteOp::Upsert)
    }
}

/// New payload for some points.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPayloadDto {
    payload: Payload,
    points: Option<Vec<PointId>>,
    filter: Option<FilterDto>,
    key: Option<String>,
    shard_key: Given,
}

impl SetPayloadDto {
    pub(crate) fn into_set(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        check_paths("'key'", &self.key)?;
        Ok(WriteOp::SetPayload {
            selector: selector(self.points, self.filter, &self.shard_key, checks.limits)?,
            payload: self.payload,
            key: self.key,
        })
    }

    pub(crate) fn into_overwrite(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        refuse(&[("'key' when overwriting a payload", self.key.is_some())])?;
        Ok(WriteOp::OverwritePayload {
            selector: selector(self.points, self.filter, &self.shard_key, checks.limits)?,
            payload: self.payload,
        })
    }
}

/// Keys to remove from some points' payloads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePayloadDto {
    keys: Vec<String>,
    points: Option<Vec<PointId>>,
    filter: Option<FilterDto>,
    shard_key: Given,
}

impl DeletePayloadDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        at_most("'keys'", self.keys.len(), checks.limits.max_batch_points)?;
        check_paths("'keys'", &self.keys)?;
        Ok(WriteOp::DeletePayload {
            selector: selector(self.points, self.filter, &self.shard_key, checks.limits)?,
            keys: self.keys,
        })
    }
}

/// New vectors for existing points.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateVectorsDto {
    points: Vec<PointVectorDto>,
    shard_key: Given,
    update_filter: Given,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointVectorDto {
    id: PointId,
    vector: VectorInput,
}

impl UpdateVectorsDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        refuse(&[
            ("shard_key", self.shard_key.is_some()),
            (
                "conditional updates ('update_filter')",
                self.update_filter.is_some(),
            ),
        ])?;
        at_most(
            "'points'",
            self.points.len(),
            checks.limits.max_batch_points,
        )?;
        let updates = self.points.into_iter().enumerate().map(|(i, p)| {
            Ok(VectorUpdate {
                vector: p.vector.prepare(checks.vector, || {
                    format!("points[{i}].vector of id {}", p.id)
                })?,
                id: p.id,
            })
        });
        updates
            .collect::<Result<_, ServiceError>>()
            .map(WriteOp::UpdateVectors)
    }
}

/// Several writes, applied one after the other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationsDto {
    operations: Vec<OperationDto>,
}

/// One of several writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OperationDto {
    Upsert(UpsertDto),
    Delete(SelectorDto),
    SetPayload(SetPayloadDto),
    OverwritePayload(SetPayloadDto),
    DeletePayload(DeletePayloadDto),
    ClearPayload(SelectorDto),
    UpdateVectors(UpdateVectorsDto),
    DeleteVectors(serde::de::IgnoredAny),
}

impl OperationsDto {
    /// All of them, checked before the first is applied.
    pub(crate) fn into_ops(self, checks: Checks<'_>) -> Result<Vec<WriteOp>, ServiceError> {
        at_most(
            "'operations'",
            self.operations.len(),
            checks.limits.max_batch_points,
        )?;
        let ops = self
            .operations
            .into_iter()
            .enumerate()
            .map(|(i, operation)| {
                operation
                    .into_op(checks)
                    .map_err(|e| e.within(&format!("operations[{i}]")))
            });
        ops.collect()
    }
}

impl OperationDto {
    fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        match self {
            OperationDto::Upsert(dto) => dto.into_op(checks),
            OperationDto::Delete(dto) => dto.into_model(checks.limits).map(WriteOp::Delete),
            OperationDto::SetPayload(dto) => dto.into_set(checks),
            OperationDto::OverwritePayload(dto) => dto.into_overwrite(checks),
            OperationDto::DeletePayload(dto) => dto.into_op(checks),
            OperationDto::ClearPayload(dto) => {
                dto.into_model(checks.limits).map(WriteOp::ClearPayload)
            }
            OperationDto::UpdateVectors(dto) => dto.into_op(checks),
            OperationDto::DeleteVectors(_) => Err(ServiceError::Unsupported(
                "deleting vectors while keeping their points".to_owned(),
            )),
        }
    }
}
