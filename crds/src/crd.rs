//! The CustomResourceDefinition: derived from the Rust types, then brought into the form that API servers and people like best.

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::quantity::{QUANTITY_MAX_LENGTH, QUANTITY_PATTERN};
use crate::{BrainyCluster, Error};

const SCHEMA_POINTER: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// Fields with types of Kubernetes itself, whose own descriptions would make up most of the definition, and those types.
pub(crate) const EMBEDDED: [(&str, &str); 5] = [
    ("affinity", "Affinity"),
    ("env", "EnvVar"),
    ("resources", "ResourceRequirements"),
    ("tolerations", "Toleration"),
    ("topologySpreadConstraints", "TopologySpreadConstraint"),
];

const HEADER: &str = "\
# CustomResourceDefinition of BrainyCluster. Generated from the Rust types in crds/src; do not edit.
# Write it anew with `brainy-operator crd > crds/brainycluster.yaml` or `UPDATE_GOLDEN=1 cargo test -p brainy-crds`.
";

/// The CustomResourceDefinition of `BrainyCluster`.
///
/// # Errors
/// [`Error::Definition`] if the derived definition does not have the form of a CustomResourceDefinition.
pub fn crd() -> Result<CustomResourceDefinition, Error> {
    let mut definition = serde_json::to_value(BrainyCluster::crd()).map_err(Error::Definition)?;
    let schema = definition
        .pointer_mut(SCHEMA_POINTER)
        .ok_or(Error::NoSchema)?;
    refine(schema);
    shorten_defaults(schema);
    serde_json::from_value(definition).map_err(Error::Definition)
}

/// The CustomResourceDefinition as YAML, with a comment that says how to write it anew.
///
/// # Errors
/// As [`crd`], and [`Error::Yaml`] if it cannot be written as YAML.
pub fn crd_yaml() -> Result<String, Error> {
    let mut definition = serde_json::to_value(crd()?).map_err(Error::Definition)?;
    write_whole_numbers(&mut definition);
    let yaml = serde_yaml::to_string(&definition).map_err(Error::Yaml)?;
    Ok(format!("{HEADER}{yaml}"))
}

/// The OpenAPI schema of `BrainyCluster`, computed once.
///
/// # Errors
/// As [`crd`].
pub fn schema() -> Result<&'static Value, Error> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    if let Some(schema) = SCHEMA.get() {
        return Ok(schema);
    }
    let definition = serde_json::to_value(crd()?).map_err(Error::Definition)?;
    let schema = definition.pointer(SCHEMA_POINTER).ok_or(Error::NoSchema)?;
    Ok(SCHEMA.get_or_init(|| schema.clone()))
}

/// Brings a schema node and all below it into form:
/// - `nullable` goes: the API server then treats null as absent and fills in the default, as Kubernetes' own types do;
/// - quantities get the pattern that Kubernetes' generators write;
/// - descriptions inside embedded types of Kubernetes go.
fn refine(node: &mut Value) {
    let Some(object) = node.as_object_mut() else {
        return;
    };
    object.remove("nullable");
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        object.insert(
            "anyOf".into(),
            json!([{"type": "integer"}, {"type": "string"}]),
        );
        object.insert("pattern".into(), json!(QUANTITY_PATTERN));
        object.insert("maxLength".into(), json!(QUANTITY_MAX_LENGTH));
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            refine(property);
            if EMBEDDED.iter().any(|(field, _)| field == name) {
                let description = property.get("description").cloned();
                remove_descriptions(property);
                if let (Some(description), Some(property)) = (description, property.as_object_mut())
                {
                    property.insert("description".into(), description);
                }
            }
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(below) {
            refine(below);
        }
    }
}

/// Limits are floating point numbers in the type of a schema; `1` reads better than `1.0`.
fn write_whole_numbers(node: &mut Value) {
    match node {
        Value::Object(object) => object.values_mut().for_each(write_whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Number(number) => {
            // 2^53: up to there a float holds every whole number exactly.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            if let Some(float) = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)
            {
                *node = Value::from(float as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn remove_descriptions(node: &mut Value) {
    let Some(object) = node.as_object_mut() else {
        return;
    };
    object.remove("description");
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(remove_descriptions);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(below) {
            remove_descriptions(below);
        }
    }
}

/// Removes from an object's default what the defaults of its fields say anyway: `{}` instead of a copy of them all.
///
/// An object with rules of its own keeps the copy: the API server checks a default against them before it fills in the fields'.
fn shorten_defaults(node: &mut Value) {
    let Some(object) = node.as_object_mut() else {
        return;
    };
    if let Some(items) = object.get_mut("items") {
        shorten_defaults(items);
    }
    let Some(mut properties) = object.remove("properties") else {
        return;
    };
    if !object.contains_key("x-kubernetes-validations")
        && let Some(Value::Object(default)) = object.get_mut("default")
    {
        shorten(default, &properties);
    }
    if let Some(properties) = properties.as_object_mut() {
        properties.values_mut().for_each(shorten_defaults);
    }
    object.insert("properties".into(), properties);
}

fn shorten(default: &mut Map<String, Value>, properties: &Value) {
    default.retain(|name, value| {
        let property = &properties[name.as_str()];
        // Compared before the field's own default is shortened: both are complete here.
        if property.get("default") == Some(value) {
            return false;
        }
        if let Value::Object(value) = value
            && property.get("x-kubernetes-validations").is_none()
        {
            shorten(value, &property["properties"]);
        }
        true
    });
}
