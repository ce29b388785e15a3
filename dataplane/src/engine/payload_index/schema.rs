//! Which payload fields of a collection are indexed, and as what.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::path::Path;

/// How the values of a field are indexed. Values of other types are not, and are found by looking at payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Whole texts.
    Keyword,
    /// Integers, to compare and to order.
    Integer,
    /// Numbers, to order.
    Float,
    /// Booleans.
    Bool,
    /// Texts that read as dates and times.
    Datetime,
    /// Places.
    Geo,
    /// Words of texts.
    Text,
    /// Whole texts that are UUIDs; the same as [`Self::Keyword`].
    Uuid,
}

impl FieldKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Keyword,
        Self::Integer,
        Self::Float,
        Self::Bool,
        Self::Datetime,
        Self::Geo,
        Self::Text,
        Self::Uuid,
    ];

    /// The kind in what the manifest holds for a field: its name, or an object with the name under `type`.
    #[must_use]
    pub fn of(schema: &Value) -> Option<Self> {
        let name = schema.get("type").unwrap_or(schema);
        Self::deserialize(name).ok()
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The indexed fields of a collection: path of the field, kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadSchema(pub BTreeMap<String, FieldKind>);

impl PayloadSchema {
    /// What the manifest says; what this version cannot read is left out, such fields are filtered without an index.
    #[must_use]
    pub fn from_manifest(fields: &BTreeMap<String, Value>) -> Self {
        let known = |(field, schema): (&String, &Value)| {
            Path::parse(field).ok()?;
            FieldKind::of(schema).map(|kind| (field.clone(), kind))
        };
        Self(fields.iter().filter_map(known).collect())
    }
}
