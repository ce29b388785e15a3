//! What the values of an enumeration mean.
//!
//! The definition has the values alone: Kubernetes' schemas have no place for more. The types' own schemas have both.

use schemars::SchemaGenerator;
use serde_json::Value;

use crate::spec::BrainyClusterSpec;
use crate::status::BrainyClusterStatus;

/// Of every enumeration, its values with what they mean.
pub(super) struct Meanings(Vec<Vec<(String, String)>>);

impl Meanings {
    pub(super) fn collect() -> Self {
        let mut generator = SchemaGenerator::default();
        generator.subschema_for::<BrainyClusterSpec>();
        generator.subschema_for::<BrainyClusterStatus>();
        let enumerations = generator.definitions().values().filter_map(documented);
        Self(enumerations.collect())
    }

    /// The values that a node of the definition allows, if each is documented.
    pub(super) fn of(&self, node: &Value) -> Option<&[(String, String)]> {
        let allowed: Vec<&str> = node["enum"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let same = |values: &Vec<(String, String)>| {
            values.len() == allowed.len()
                && values
                    .iter()
                    .all(|(value, _)| allowed.contains(&value.as_str()))
        };
        self.0.iter().find(|values| same(values)).map(Vec::as_slice)
    }
}

/// The variants of a type, if it has nothing else and all are documented.
fn documented(definition: &Value) -> Option<Vec<(String, String)>> {
    let variants = definition["oneOf"].as_array()?;
    let variants = variants.iter().map(|variant| {
        let value = variant["const"].as_str()?;
        let meaning = variant["description"].as_str()?;
        Some((value.to_owned(), meaning.to_owned()))
    });
    variants.collect()
}
