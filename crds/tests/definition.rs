//! The generated definition: current, documented, with the same defaults as the types; and the examples that come with it.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use brainy_crds::{BrainyCluster, BrainyClusterSpec, crd, crd_yaml, parse_manifest, schema};
use serde_json::{Value, json};

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// Visits every schema node under `spec` and `status` with its path; embedded Kubernetes types are named but not entered.
fn walk(node: &Value, at: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(at, node);
    let embedded = [
        "affinity",
        "env",
        "resources",
        "tolerations",
        "topologySpreadConstraints",
        "conditions",
    ];
    if embedded.iter().any(|name| at.ends_with(name)) {
        return;
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{at}.{name}"), visit);
    }
    if node["items"].is_object() {
        walk(&node["items"], &format!("{at}[]"), visit);
    }
}

#[test]
fn generated_file_is_current() {
    let generated = crd_yaml().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path("brainycluster.yaml"), &generated).unwrap();
    }
    assert!(
        read("brainycluster.yaml") == generated,
        "crds/brainycluster.yaml is not what the types say; write it anew with UPDATE_GOLDEN=1 cargo test -p brainy-crds"
    );
}

#[test]
fn definition_fits_into_the_annotation_that_kubectl_apply_writes() {
    let size = serde_json::to_string(&crd().unwrap()).unwrap().len();
    assert!(
        size < 262_144,
        "{size} bytes: `kubectl apply` without --server-side would refuse it"
    );
}

#[test]
fn names_and_subresources() {
    let crd = crd().unwrap();
    assert_eq!(
        crd.metadata.name.as_deref(),
        Some("brainyclusters.brainy.io")
    );
    assert_eq!(crd.spec.scope, "Namespaced");
    assert_eq!(crd.spec.names.short_names, Some(vec!["bc".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["brainy".to_owned()]));
    let version = &crd.spec.versions[0];
    assert_eq!(
        (version.name.as_str(), version.served, version.storage),
        ("v1alpha1", true, true)
    );
    let subresources = version.subresources.as_ref().unwrap();
    assert!(subresources.status.is_some());
    let scale = subresources.scale.as_ref().unwrap();
    for scale_path in [
        &scale.spec_replicas_path,
        &scale.status_replicas_path,
        scale.label_selector_path.as_ref().unwrap(),
    ] {
        let pointer = format!(
            "/properties{}",
            scale_path
                .replace('.', "/properties/")
                .replacen("/properties", "", 1)
        );
        assert!(
            schema().unwrap().pointer(&pointer).is_some(),
            "{scale_path} does not exist"
        );
    }
}

#[test]
fn every_field_is_documented() {
    let mut missing = Vec::new();
    walk(schema().unwrap(), "", &mut |at, node| {
        if !at.is_empty()
            && !at.ends_with("[]")
            && node["description"].as_str().is_none_or(str::is_empty)
        {
            missing.push(at.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_scalar_that_has_a_default_names_it() {
    let mut wrong = Vec::new();
    walk(
        &schema().unwrap()["properties"]["spec"],
        "spec",
        &mut |at, node| {
            let Some(default) = node.get("default") else {
                return;
            };
            let shown = match default {
                Value::String(text) => text.clone(),
                Value::Object(_) | Value::Array(_) => return,
                other => other.to_string(),
            };
            if !node["description"]
                .as_str()
                .is_some_and(|text| text.contains(&format!("Default: {shown}")))
            {
                wrong.push(format!("{at}: Default: {shown}"));
            }
        },
    );
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn schema_is_structural_and_nothing_is_nullable() {
    fn forbid(node: &Value, at: &str) {
        match node {
            Value::Object(object) => {
                for (key, value) in object {
                    if at.ends_with(".properties") || at.ends_with(".default") {
                        forbid(value, &format!("{at}/{key}"));
                        continue;
                    }
                    let forbidden = [
                        "nullable",
                        "const",
                        "$ref",
                        "definitions",
                        "oneOf",
                        "uniqueItems",
                        "patternProperties",
                    ];
                    assert!(!forbidden.contains(&key.as_str()), "{at} uses {key}");
                    if key == "format" {
                        let known = ["int32", "int64", "double", "date-time"];
                        assert!(
                            value.as_str().is_some_and(|format| known.contains(&format)),
                            "{at} has format {value}"
                        );
                    }
                    forbid(value, &format!("{at}.{key}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| forbid(item, at)),
            _ => {}
        }
    }
    forbid(schema().unwrap(), "");
}

/// Fills in the schema's defaults. The API server also descends into what it just filled in; `apply_defaults` needs another pass.
fn defaulted(spec: &Value) -> Value {
    let next = kube_cel::apply_defaults(&schema().unwrap()["properties"]["spec"], spec);
    if next == *spec {
        next
    } else {
        defaulted(&next)
    }
}

#[test]
fn defaults_of_schema_and_types_are_the_same() {
    for spec in [
        json!({}),
        json!({"hybrids": {}, "writers": {"scheduling": {}, "podTemplate": {"metadata": {}}}}),
        json!({"storage": {"bucket": "data", "credentials": {"secretRef": {"name": "s3"}}}}),
        json!({"storage": {"bucket": "data", "credentials": {"workloadIdentity": {}}}}),
        json!({"apiKeys": {"secretRef": {"name": "keys"}}, "monitoring": {"serviceMonitor": {"enabled": true}}}),
        json!({"service": {"port": 80}, "coordination": {"method": "websocket"}, "consistency": {}, "rebalance": {}}),
    ] {
        let by_schema = defaulted(&spec);
        let by_types: BrainyClusterSpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(by_schema, serde_json::to_value(by_types).unwrap(), "{spec}");
    }
}

#[test]
fn the_default_spec_is_the_empty_one() {
    let empty: BrainyClusterSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, BrainyClusterSpec::default());
}

#[test]
fn a_stored_resource_with_fields_of_a_newer_version_is_read() {
    let cluster: BrainyCluster = serde_json::from_value(json!({
        "apiVersion": "brainy.io/v1alpha1", "kind": "BrainyCluster", "metadata": {"name": "a"},
        "spec": {"newField": 1, "writers": {"newField": true}}, "status": {"newField": []},
    }))
    .unwrap();
    assert_eq!(cluster.spec, BrainyClusterSpec::default());
}

#[test]
fn quickstart_is_what_its_comments_say() {
    let cluster = parse_manifest(&read("../examples/quickstart.yaml")).unwrap();
    assert_eq!(cluster.metadata.name.as_deref(), Some("quickstart"));
    assert_eq!(
        (
            cluster.spec.writers.replicas,
            cluster.spec.readers.replicas,
            cluster.spec.hybrids.replicas
        ),
        (3, 2, 0)
    );
    assert_eq!(cluster.spec.partitioning.partitions_per_collection, 12);
    assert_eq!(cluster.spec.storage.bucket, None);
}

#[test]
fn production_example_is_valid() {
    let cluster = parse_manifest(&read("../examples/production.yaml")).unwrap();
    assert_eq!(cluster.storage_prefix(), "clusters/search");
    assert_eq!(
        cluster.spec.writers.scheduling,
        cluster.spec.readers.scheduling
    );
    let read_back: BrainyCluster =
        serde_json::from_value(serde_json::to_value(&cluster).unwrap()).unwrap();
    assert_eq!(read_back, cluster);
}
