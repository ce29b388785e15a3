//! One table of good and bad specs, checked twice: by `validate` in Rust and by the generated CEL rules. Both must blame the same
//! fields with the same words. And every rule of the schema must have been seen to refuse something.

#![allow(clippy::unwrap_used)]

mod cases;

use std::collections::BTreeSet;

use brainy_crds::{BrainyCluster, validate, validate_update};
use kube_cel::Validator;
use serde_json::{Value, json};

use cases::{Case, cluster, table};

/// Field and message of everything that is wrong.
type Verdict = BTreeSet<(String, String)>;

fn by_rust(new: &BrainyCluster, old: Option<&BrainyCluster>) -> Verdict {
    let result = match old {
        Some(old) => validate_update(new, old),
        None => validate(new),
    };
    let errors = result.err().unwrap_or_default();
    errors
        .into_iter()
        .map(|error| (error.field.clone(), error.message()))
        .collect()
}

fn by_cel(new: &BrainyCluster, old: Option<&BrainyCluster>) -> Verdict {
    let value = |cluster: &BrainyCluster| serde_json::to_value(cluster).unwrap();
    let result = Validator::new().validate(
        brainy_crds::schema().unwrap(),
        &value(new),
        old.map(value).as_ref(),
    );
    let errors = result
        .err()
        .map(|errors| errors.into_vec())
        .unwrap_or_default();
    errors
        .into_iter()
        .map(|error| match error.field_path.as_str() {
            // A rule cannot point into metadata; the one on the whole resource is about its name.
            "" => ("metadata.name".to_owned(), error.message),
            field => (field.to_owned(), error.message),
        })
        .collect()
}

#[test]
fn rust_and_cel_blame_the_same_fields_with_the_same_words() {
    for Case {
        name,
        old,
        spec,
        cluster: cluster_name,
        blamed,
    } in table()
    {
        let old = old.map(|old| cluster(cluster_name, &old));
        let new = cluster(cluster_name, &spec);
        let rust = by_rust(&new, old.as_ref());
        assert_eq!(rust, by_cel(&new, old.as_ref()), "{name}: {spec}");
        let fields: BTreeSet<&str> = rust.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            blamed.iter().copied().collect(),
            "{name}: {spec}: {rust:?}"
        );
    }
}

#[test]
fn every_rule_says_what_to_do_and_was_seen_to_refuse() {
    fn collect(node: &Value, rules: &mut BTreeSet<String>) {
        match node {
            Value::Object(object) => {
                for rule in object
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    let message = rule["message"]
                        .as_str()
                        .unwrap_or_else(|| panic!("{rule} has no message"));
                    assert!(
                        message.contains("; ") && !message.contains('\n'),
                        "{message}"
                    );
                    rules.insert(message.to_owned());
                }
                object.values().for_each(|value| collect(value, rules));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, rules)),
            _ => {}
        }
    }
    let mut rules = BTreeSet::new();
    collect(brainy_crds::schema().unwrap(), &mut rules);
    let mut seen = BTreeSet::new();
    for Case {
        old,
        spec,
        cluster: name,
        ..
    } in table()
    {
        let old = old.map(|old| cluster(name, &old));
        seen.extend(
            by_rust(&cluster(name, &spec), old.as_ref())
                .into_iter()
                .map(|(_, message)| message),
        );
    }
    let unseen: Vec<&String> = rules.difference(&seen).collect();
    assert!(unseen.is_empty(), "no case violates {unseen:#?}");
    assert!(rules.len() > 30, "only {} rules found", rules.len());
}

#[test]
fn objects_made_in_code_are_held_to_the_schema_too() {
    let mut cluster = cluster("search", &json!({}));
    cluster.spec.writers.replicas = 257;
    cluster.spec.partitioning.virtual_nodes = 0;
    let fields: Vec<String> = validate(&cluster)
        .unwrap_err()
        .into_iter()
        .map(|error| error.field)
        .collect();
    assert_eq!(
        fields,
        ["spec.writers.replicas", "spec.partitioning.virtualNodes"]
    );
}
