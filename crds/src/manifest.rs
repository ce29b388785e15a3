//! Reads a manifest file the way the API server reads what is applied, but strictly.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::BrainyCluster;
use crate::rules::{FieldError, Findings};
use crate::structural;
use crate::validate::{check_spec, validate};

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not YAML.
    #[error("the manifest is not valid YAML: {0}")]
    Yaml(#[source] serde_yaml::Error),

    /// The file holds no document, or several.
    #[error(
        "the manifest holds {found} YAML documents, expected one; keep a single BrainyCluster in the file"
    )]
    Documents {
        /// How many documents the file holds, empty ones aside.
        found: usize,
    },

    /// The document is a list or a scalar.
    #[error(
        "the manifest is not a mapping; it begins with `apiVersion: brainy.io/v1alpha1` and `kind: BrainyCluster`"
    )]
    NotAMapping,

    /// The document describes something else.
    #[error("{field} is {found}, expected `{expected}`")]
    WrongType {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What the manifest says, quoted, or `missing`.
        found: String,
        /// What it should say.
        expected: String,
    },

    /// Fields are unknown, missing, of the wrong type or beyond their limits, or rules are violated.
    #[error("the BrainyCluster is not valid:{}", listed(.0))]
    Invalid(Vec<FieldError>),

    /// The structure is right and still cannot be read; a number beyond its type, for example.
    #[error("the BrainyCluster cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
}

fn listed(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

/// Reads one BrainyCluster from YAML, fills in every default, and validates it as [`validate`] does.
///
/// A `status` in the manifest is left out, as the API server does.
///
/// # Errors
/// [`ManifestError`], which names every field that is wrong.
pub fn parse_manifest(yaml: &str) -> Result<BrainyCluster, ManifestError> {
    let mut manifest = single_document(yaml)?;
    expect_type(&manifest, "apiVersion", &BrainyCluster::api_version(&()))?;
    expect_type(&manifest, "kind", &BrainyCluster::kind(&()))?;
    manifest.remove("status");
    manifest.retain(|_, value| !value.is_null());
    manifest.values_mut().for_each(remove_nulls);
    let mut findings = Findings::default();
    check_envelope(&manifest, &mut findings);
    match manifest.get("spec") {
        Some(spec) => check_spec(spec, &mut findings),
        None => findings.push(FieldError {
            field: "spec".to_owned(),
            problem: "is required".to_owned(),
            remedy: "add it; `spec: {}` asks for every default".to_owned(),
        }),
    }
    findings.into_result().map_err(ManifestError::Invalid)?;
    let cluster: BrainyCluster =
        serde_json::from_value(Value::Object(manifest)).map_err(ManifestError::Unreadable)?;
    validate(&cluster).map_err(ManifestError::Invalid)?;
    Ok(cluster)
}

fn single_document(yaml: &str) -> Result<Map<String, Value>, ManifestError> {
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        // Read as YAML first: unlike JSON maps, its mappings refuse a key that is written twice.
        let document = serde_yaml::Value::deserialize(document).map_err(ManifestError::Yaml)?;
        if !document.is_null() {
            documents.push(document);
        }
    }
    let found = documents.len();
    let (Some(document), 1) = (documents.pop(), found) else {
        return Err(ManifestError::Documents { found });
    };
    match serde_yaml::from_value(document).map_err(ManifestError::Yaml)? {
        Value::Object(manifest) => Ok(manifest),
        _ => Err(ManifestError::NotAMapping),
    }
}

fn expect_type(
    manifest: &Map<String, Value>,
    field: &'static str,
    expected: &str,
) -> Result<(), ManifestError> {
    let found = match manifest.get(field) {
        Some(Value::String(found)) if found == expected => return Ok(()),
        Some(Value::String(found)) => format!("`{found}`"),
        Some(other) => format!("`{other}`"),
        None => "missing".to_owned(),
    };
    Err(ManifestError::WrongType {
        field,
        found,
        expected: expected.to_owned(),
    })
}

/// The API server treats null as absent where a field is not nullable, and none of ours is.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Checks what surrounds the spec: top-level fields and metadata.
fn check_envelope(manifest: &Map<String, Value>, findings: &mut Findings) {
    for field in manifest.keys() {
        if !["apiVersion", "kind", "metadata", "spec"].contains(&field.as_str()) {
            findings.push(FieldError {
                field: field.clone(),
                problem: "is not a known field".to_owned(),
                remedy: "a BrainyCluster has apiVersion, kind, metadata and spec; indent the field if it belongs into one"
                    .to_owned(),
            });
        }
    }
    let empty = Value::Object(Map::new());
    let metadata = manifest.get("metadata").unwrap_or(&empty);
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings
        .into_generator()
        .into_root_schema_for::<ObjectMeta>();
    structural::check(schema.as_value(), metadata, "metadata", findings);
    if metadata.get("name").is_none() {
        findings.push(FieldError {
            field: "metadata.name".to_owned(),
            problem: "is required".to_owned(),
            remedy: "name the cluster, such as quickstart".to_owned(),
        });
    }
}
