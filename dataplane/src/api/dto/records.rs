//! Points in answers.

use serde::Serialize;

use crate::api::extract::position_number;
use crate::model::{Payload, PointId, Record, ScoredPoint};

/// A point by id.
#[derive(Serialize)]
pub(crate) struct RecordDto {
    id: PointId,
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
}

impl From<Record> for RecordDto {
    fn from(record: Record) -> Self {
        let Record {
            id,
            payload,
            vector,
        } = record;
        Self {
            id,
            payload,
            vector,
        }
    }
}

/// A search hit.
#[derive(Serialize)]
pub(crate) struct HitDto {
    id: PointId,
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
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
            vector,
        } = record;
        Self {
            id,
            version: position_number(version),
            score,
            payload,
            vector,
        }
    }
}

/// A page of a scroll.
#[derive(Serialize)]
pub(crate) struct PageDto {
    pub(crate) points: Vec<RecordDto>,
    pub(crate) next_page_offset: Option<PointId>,
}

/// Answer of the universal query API.
#[derive(Serialize)]
pub(crate) struct HitsDto {
    pub(crate) points: Vec<HitDto>,
}
