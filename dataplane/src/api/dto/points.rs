//! Writes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::filter::FilterDto;
use super::select::{SelectorDto, check_names, selector};
use super::vector::{StoredVector, VectorInput, VectorsInput};
use super::versions::AdjustDto;
use super::{Given, at_most, check_paths, refuse};
use crate::error::ServiceError;
use crate::model::{
    Filter, Payload, Point, PointId, UpdateMode, VectorSchema, VectorUpdate, Vectors, WriteOp,
};
use crate::service::Limits;

objects!(
    UpsertDto,
    PointDto,
    BatchDto,
    SetPayloadDto,
    DeletePayloadDto,
    UpdateVectorsDto,
    PointVectorDto,
    DeleteVectorsDto,
    OperationsDto
);

/// What writes are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// The collection's vectors.
    pub(crate) schema: &'a VectorSchema,
    /// Limits in force.
    pub(crate) limits: &'a Limits,
    /// The collection's payload indexes, as the manifest has them.
    pub(crate) indexes: &'a BTreeMap<String, Value>,
}

/// `{"points": [...]}` or `{"batch": {...}}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = points_or_batch)]
pub(crate) struct UpsertDto {
    pub(crate) points: Option<Vec<PointDto>>,
    pub(crate) batch: Option<BatchDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    pub(crate) update_filter: Option<FilterDto>,
    pub(crate) update_mode: Option<UpdateMode>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PointDto {
    pub(crate) id: PointId,
    pub(crate) vector: VectorsInput,
    pub(crate) payload: Option<Payload>,
}

/// Points by columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct BatchDto {
    pub(crate) ids: Vec<PointId>,
    pub(crate) vectors: BatchVectors,
    pub(crate) payloads: Option<Vec<Option<Payload>>>,
}

/// A list of vectors, or columns of named ones.
#[derive(Debug)]
pub(crate) enum BatchVectors {
    List(Vec<VectorsInput>),
    Named(Vec<(String, Vec<VectorInput>)>),
}

impl<'de> Deserialize<'de> for BatchVectors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer};
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = BatchVectors;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of vectors, or such lists by name")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<BatchVectors, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(BatchVectors::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BatchVectors, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(BatchVectors::Named(columns))
            }
        }
        deserializer.deserialize_any(V)
    }
}

schema!(BatchVectors, "BatchVectors", generator => {
    "anyOf": [
        {"type": "array", "items": generator.subschema_for::<VectorsInput>()},
        {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": generator.subschema_for::<StoredVector>(),
            },
        },
    ],
});

fn points_or_batch(schema: &mut schemars::Schema) {
    super::exactly_one(schema, [("points", "array"), ("batch", "object")]);
}

impl UpsertDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let mode = self.update_mode.unwrap_or_default();
        let filter = update_filter(self.update_filter, checks)?;
        let points = match (self.points, self.batch) {
            (Some(points), None) => from_points(points, checks),
            (None, Some(batch)) => batch.into_points(checks),
            _ => Err(ServiceError::BadRequest(
                "exactly one of 'points' and 'batch' is needed".to_owned(),
            )),
        }?;
        Ok(match (mode, filter) {
            (UpdateMode::Upsert, None) => WriteOp::Upsert(points),
            (mode, filter) => WriteOp::UpsertIf {
                points,
                mode,
                filter,
            },
        })
    }
}

/// The filter of a conditional write.
fn update_filter(
    dto: Option<FilterDto>,
    checks: Checks<'_>,
) -> Result<Option<Filter>, ServiceError> {
    dto.map(|filter| filter.into_model(checks.limits.max_batch_points))
        .transpose()
        .map_err(|e| e.within("update_filter"))
}

fn from_points(points: Vec<PointDto>, checks: Checks<'_>) -> Result<Vec<Point>, ServiceError> {
    at_most("'points'", points.len(), checks.limits.max_batch_points)?;
    let points = points.into_iter().enumerate().map(|(i, p)| {
        Ok(Point {
            vectors: p.vector.prepare(checks.schema, &|| {
                format!("points[{i}].vector of id {}", p.id)
            })?,
            id: p.id,
            payload: p.payload.unwrap_or_default(),
        })
    });
    points.collect()
}

impl BatchDto {
    fn into_points(self, checks: Checks<'_>) -> Result<Vec<Point>, ServiceError> {
        let count = self.ids.len();
        at_most("'batch.ids'", count, checks.limits.max_batch_points)?;
        let same_length = |name: &str, length: usize| {
            if length == count {
                return Ok(());
            }
            Err(ServiceError::BadRequest(format!(
                "batch.{name} has {length} entries and batch.ids has {count}: they must be the same"
            )))
        };
        let payloads = self.payloads.unwrap_or_else(|| vec![None; count]);
        same_length("payloads", payloads.len())?;
        let mut points = Vec::with_capacity(count);
        for (id, payload) in self.ids.into_iter().zip(payloads) {
            points.push(Point {
                id,
                vectors: Vectors::default(),
                payload: payload.unwrap_or_default(),
            });
        }
        match self.vectors {
            BatchVectors::List(list) => {
                same_length("vectors", list.len())?;
                for (i, (point, vectors)) in points.iter_mut().zip(list).enumerate() {
                    let id = point.id;
                    let place = || format!("batch.vectors[{i}] of id {id}");
                    point.vectors = vectors.prepare(checks.schema, &place)?;
                }
            }
            BatchVectors::Named(columns) => {
                for (name, column) in columns {
                    same_length(&format!("vectors['{name}']"), column.len())?;
                    for (i, (point, vector)) in points.iter_mut().zip(column).enumerate() {
                        let id = point.id;
                        let place = || format!("batch.vectors['{name}'][{i}] of id {id}");
                        let vector = vector.prepare(checks.schema, &name, &place)?;
                        point.vectors.insert(name.clone(), vector);
                    }
                }
            }
        }
        Ok(points)
    }
}

/// New payload for some points.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = super::points_or_filter)]
pub(crate) struct SetPayloadDto {
    pub(crate) payload: Payload,
    pub(crate) points: Option<Vec<PointId>>,
    pub(crate) filter: Option<FilterDto>,
    pub(crate) key: Option<String>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = super::points_or_filter)]
pub(crate) struct DeletePayloadDto {
    pub(crate) keys: Vec<String>,
    pub(crate) points: Option<Vec<PointId>>,
    pub(crate) filter: Option<FilterDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct UpdateVectorsDto {
    pub(crate) points: Vec<PointVectorDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
    pub(crate) update_filter: Option<FilterDto>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PointVectorDto {
    pub(crate) id: PointId,
    pub(crate) vector: VectorsInput,
}

impl UpdateVectorsDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        refuse(&[("shard_key", self.shard_key.is_some())])?;
        let filter = update_filter(self.update_filter, checks)?;
        at_most(
            "'points'",
            self.points.len(),
            checks.limits.max_batch_points,
        )?;
        let updates = self.points.into_iter().enumerate().map(|(i, p)| {
            Ok(VectorUpdate {
                vectors: p.vector.prepare(checks.schema, &|| {
                    format!("points[{i}].vector of id {}", p.id)
                })?,
                id: p.id,
            })
        });
        let updates = updates.collect::<Result<_, ServiceError>>()?;
        Ok(match filter {
            None => WriteOp::UpdateVectors(updates),
            Some(filter) => WriteOp::UpdateVectorsIf { updates, filter },
        })
    }
}

/// Vectors to remove from some points.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(transform = super::points_or_filter)]
pub(crate) struct DeleteVectorsDto {
    pub(crate) vector: Vec<String>,
    pub(crate) points: Option<Vec<PointId>>,
    pub(crate) filter: Option<FilterDto>,
    #[schemars(with = "Option<super::Refused>")]
    pub(crate) shard_key: Given,
}

impl DeleteVectorsDto {
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
        if self.vector.is_empty() {
            return Err(ServiceError::BadRequest(
                "'vector' names no vector to delete".to_owned(),
            ));
        }
        check_names("vector", &self.vector, checks.schema)?;
        Ok(WriteOp::DeleteVectors {
            selector: selector(self.points, self.filter, &self.shard_key, checks.limits)?,
            names: self.vector,
        })
    }
}

/// Several writes, applied one after the other.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct OperationsDto {
    pub(crate) operations: Vec<OperationDto>,
}

/// One of several writes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationDto {
    Upsert(UpsertDto),
    Delete(SelectorDto),
    SetPayload(SetPayloadDto),
    OverwritePayload(SetPayloadDto),
    DeletePayload(DeletePayloadDto),
    ClearPayload(SelectorDto),
    UpdateVectors(UpdateVectorsDto),
    DeleteVectors(DeleteVectorsDto),
    Adjust(AdjustDto),
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
    pub(crate) fn into_op(self, checks: Checks<'_>) -> Result<WriteOp, ServiceError> {
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
            OperationDto::DeleteVectors(dto) => dto.into_op(checks),
            OperationDto::Adjust(dto) => dto.into_op(checks),
        }
    }
}
