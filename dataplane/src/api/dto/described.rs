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
