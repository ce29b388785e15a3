//! Points in answers.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use crate::api::extract::position_number;
use crate::model::{OrderValue, Payload, PointId, Record, ScoredPoint, Vector, Vectors};

/// Vectors as Qdrant answers them: a lone unnamed one bare, others by name.
pub(crate) struct VectorsDto(pub(crate) Vectors);

impl Serialize for VectorsDto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() == 1
            && let Some(vector) = self.0.get("")
        {
            return VectorDto(vector).serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, vector) in self.0.iter() {
            map.serialize_entry(name, &VectorDto(vector))?;
        }
        map.end()
    }
}

schema!(VectorsDto, "AnsweredVectors", generator => {
    "anyOf": [
        generator.subschema_for::<VectorDto<'static>>(),
        {
            "type": "object",
            "additionalProperties": generator.subschema_for::<VectorDto<'static>>(),
        },
    ],
});

pub(crate) struct VectorDto<'v>(pub(crate) &'v Vector);

schema!(VectorDto<'_>, "AnsweredVector", _generator => {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        {
            "type": "object",
            "required": ["indices", "values"],
            "properties": {
                "indices": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "values": {"type": "array", "items": {"type": "number"}},
            },
        },
    ],
});

impl Serialize for VectorDto<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Vector::Dense(components) => components.serialize(serializer),
            Vector::Multi(list) => {
                let rows = list.rows();
                let mut seq = serializer.serialize_seq(Some(rows.len()))?;
                for row in rows {
                    seq.serialize_element(row)?;
                }
                seq.end()
            }
            Vector::Sparse(vector) => {
                let mut object = serializer.serialize_struct("SparseVector", 2)?;
                object.serialize_field("indices", vector.indices())?;
                object.serialize_field("values", vector.values())?;
                object.end()
            }
        }
    }
}

/// A bare number.
pub(crate) struct OrderValueDto(pub(crate) OrderValue);

impl Serialize for OrderValueDto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            OrderValue::Int(n) => serializer.serialize_i64(n),
            OrderValue::Float(x) => serializer.serialize_f64(x),
        }
    }
}

schema!(OrderValueDto, "OrderValue", _generator => {"type": "number"});

/// A point by id.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct RecordDto {
    pub(crate) id: PointId,
    pub(crate) payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<VectorsDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order_value: Option<OrderValueDto>,
}

impl From<Record> for RecordDto {
    fn from(record: Record) -> Self {
        let Record {
            id,
            payload,
            vectors,
            order_value,
        } = record;
        Self {
            id,
            payload,
            vector: vectors.map(VectorsDto),
            order_value: order_value.map(OrderValueDto),
        }
    }
}

/// A search hit.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct HitDto {
    pub(crate) id: PointId,
    pub(crate) version: u64,
    pub(crate) score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<VectorsDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order_value: Option<OrderValueDto>,
}

impl From<ScoredPoint> for HitDto {
    fn from(hit: ScoredPoint) -> Self {
        let ScoredPoint {
            record,
            score,
            version,
        } = hit;
        let Record {
            id,
            payload,
            vectors,
            order_value,
        } = record;
        Self {
            id,
            version: position_number(version),
            score,
            payload,
            vector: vectors.map(VectorsDto),
            order_value: order_value.map(OrderValueDto),
        }
    }
}

/// A page of a scroll.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct PageDto {
    pub(crate) points: Vec<RecordDto>,
    pub(crate) next_page_offset: Option<PointId>,
}

/// How many points.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct CountedDto {
    pub(crate) count: u64,
}

/// Answer of the universal query API.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct HitsDto {
    pub(crate) points: Vec<HitDto>,
}
