//! The OpenAPI document: open to all, complete, and consistent in itself.

use std::collections::BTreeSet;

use brainy_dataplane::api::{ApiConfig, ApiKeys, openapi};
use serde_json::Value;

use crate::support::Server;

#[tokio::test]
async fn the_document_is_served_without_a_key() {
    let keys = ApiKeys::new(Some("admin".to_owned()), None, None).unwrap();
    let server = Server::new(ApiConfig {
        api_keys: keys,
        ..ApiConfig::default()
    });
    server.get("/collections").await.error(401);
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), openapi::document());
}

/// All values under `key`, anywhere in the document.
fn all<'v>(value: &'v Value, key: &str, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    out.push(value);
                }
                all(value, key, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, out)),
        _ => {}
    }
}

#[test]
fn every_reference_is_to_something_that_is_there() {
    let document = openapi::document();
    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_is_described_and_has_an_id_of_its_own() {
    let document = openapi::document();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{place}: '{id}' is used twice");
            let summary = operation["summary"].as_str().unwrap();
            assert!(summary.ends_with('.'), "{place}: '{summary}'");
            assert!(operation["responses"]["200"].is_object(), "{place}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let described =
                    parameter["$ref"].is_string() || parameter["description"].is_string();
                assert!(
                    described,
                    "{place}: {parameter} is not explained in api/openapi.rs"
                );
            }
        }
    }
}

#[test]
fn names_of_schemas_tell_them_apart() {
    let document = openapi::document();
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        // The generator numbers types of the same name, and names instances of generic ones.
        let own = !name.ends_with(|c: char| c.is_ascii_digit())
            && !name.contains('_')
            && !name.contains("Dto");
        assert!(
            own,
            "give {name} a name of its own: #[schemars(rename = \"...\")]"
        );
    }
}

#[test]
fn the_document_in_docs_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/reference/openapi.json"
    );
    let current = format!("{:#}\n", openapi::document());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == current,
        "docs/reference/openapi.json is stale: make openapi writes it"
    );
}
