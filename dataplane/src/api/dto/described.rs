//! Small answers, and documents that are handed on as they are.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

/// Collections by name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CollectionsDto {
    pub(crate) collections: Vec<CollectionNameDto>,
}

/// A collection's name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CollectionNameDto {
    pub(crate) name: String,
}

/// Whether something is there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExistsDto {
    pub(crate) exists: bool,
}

/// What answers at this address.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VersionDto {
    pub(crate) title: &'static str,
    /// Version of Qdrant's API that is followed.
    pub(crate) version: &'static str,
    /// Version of Brainy.
    pub(crate) brainy: &'static str,
}

/// What is known of a collection, as `info_document` writes it.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct CollectionInfoDto(pub(crate) Value);

schema!(CollectionInfoDto, "CollectionInfo", _generator => {
    "type": "object",
    "required": [
        "status", "optimizer_status", "indexed_vectors_count", "points_count", "segments_count", "config",
        "payload_schema",
    ],
    "properties": {
        "status": {"enum": ["green", "yellow"], "description": "Green if every partition is served."},
        "optimizer_status": {"const": "ok"},
        "indexed_vectors_count": {"type": "integer", "minimum": 0, "description": "Points in segments with a graph."},
        "points_count": {"type": "integer", "minimum": 0},
        "segments_count": {"type": "integer", "minimum": 0},
        "config": {
            "type": "object",
            "required": ["params", "hnsw_config", "optimizer_config"],
            "properties": {
                "params": {"type": "object", "description": "Vectors and partitions, in the form of a request that creates them."},
                "hnsw_config": {"type": "object"},
                "quantization_config": {"type": ["object", "null"]},
                "strict_mode_config": {"type": "object"},
                "metadata": {"type": "object"},
            },
        },
        "payload_schema": {
            "type": "object",
            "description": "Each indexed field: its type, and how many points have a value in the index.",
            "additionalProperties": {
                "type": "object",
                "required": ["data_type", "points"],
                "properties": {
                    "data_type": {"type": "string"},
                    "points": {"type": "integer", "minimum": 0},
                    "params": {"type": "object"},
                },
            },
        },
    },
});

/// A JSON object whose fields are described where it is made.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct AnyObject(pub(crate) Value);

impl JsonSchema for AnyObject {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object"})
    }
}
