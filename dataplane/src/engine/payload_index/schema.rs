//! Which payload fields of a collection are indexed, and as what.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::path::Path;
use crate::engine::text::{Analyzer, TextParams, Texts};

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
pub struct PayloadSchema {
    /// Which fields, and as what.
    pub fields: BTreeMap<String, FieldKind>,
    texts: Texts,
}

impl FromIterator<(String, FieldKind)> for PayloadSchema {
    /// Text fields have the default settings.
    fn from_iter<I: IntoIterator<Item = (String, FieldKind)>>(fields: I) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            texts: Texts::default(),
        }
    }
}

impl PayloadSchema {
    /// What the manifest says; what this version cannot read is left out, such fields are filtered without an index.
    #[must_use]
    pub fn from_manifest(fields: &BTreeMap<String, Value>) -> Self {
        let mut own = Self::default();
        for (field, schema) in fields {
            let (Ok(path), Some(kind)) = (Path::parse(field), FieldKind::of(schema)) else {
                continue;
            };
            if kind == FieldKind::Text {
                let Ok(params) = TextParams::of(schema) else {
                    continue;
                };
                own.texts.insert(field, path, Analyzer::new(params));
            }
            own.fields.insert(field.clone(), kind);
        }
        own
    }

    /// How texts of fields with a text index become words.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.texts
    }
}
