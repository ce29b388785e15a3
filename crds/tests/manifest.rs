//! Reading manifests: what is refused is refused by name.

#![allow(clippy::unwrap_used)]

use brainy_crds::{ManifestError, parse_manifest};

const HEAD: &str =
    "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: search\n";

fn refused(yaml: &str) -> String {
    match parse_manifest(yaml) {
        Ok(cluster) => panic!("accepted: {cluster:?}"),
        Err(error) => error.to_string(),
    }
}

fn refused_spec(spec: &str) -> String {
    refused(&format!("{HEAD}spec:\n  {}\n", spec.replace('\n', "\n  ")))
}

#[test]
fn an_empty_spec_gets_every_default_and_a_missing_one_is_named() {
    assert!(refused(HEAD).contains("spec: is required; add it"));
    let cluster = parse_manifest(&format!("{HEAD}spec: {{}}\n")).unwrap();
    assert_eq!(cluster.spec, brainy_crds::BrainyClusterSpec::default());
    assert_eq!(cluster.spec.coordination.poll_interval.as_str(), "500ms");
}

#[test]
fn type_and_version_are_checked_first() {
    let spec = "spec: {unknown: 1}\n";
    for (yaml, message) in [
        (
            "kind: BrainyCluster\n",
            "apiVersion is missing, expected `brainy.io/v1alpha1`",
        ),
        (
            "apiVersion: brainy.io/v1\nkind: BrainyCluster\n",
            "apiVersion is `brainy.io/v1`, expected `brainy.io/v1alpha1`",
        ),
        (
            "apiVersion: brainy.io/v1alpha1\nkind: Cluster\n",
            "kind is `Cluster`, expected `BrainyCluster`",
        ),
        (
            "apiVersion: 1\nkind: BrainyCluster\n",
            "apiVersion is `1`, expected `brainy.io/v1alpha1`",
        ),
    ] {
        assert_eq!(refused(&format!("{yaml}{spec}")), message);
    }
}

#[test]
fn one_document_is_read_and_empty_ones_do_not_count() {
    assert!(parse_manifest(&format!("---\n# a comment\n---\n{HEAD}spec: {{}}\n---\n")).is_ok());
    for (yaml, found) in [
        (String::new(), 0),
        ("# nothing\n".to_owned(), 0),
        (format!("{HEAD}---\n{HEAD}"), 2),
    ] {
        match parse_manifest(&yaml) {
            Err(ManifestError::Documents { found: n }) => assert_eq!(n, found),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        parse_manifest("- a\n"),
        Err(ManifestError::NotAMapping)
    ));
    assert!(matches!(
        parse_manifest("a: [\n"),
        Err(ManifestError::Yaml(_))
    ));
    assert!(refused(&format!("{HEAD}kind: BrainyCluster\n")).contains("duplicate"));
}

#[test]
fn unknown_fields_are_named_with_their_path() {
    for (spec, message) in [
        (
            "writer: {replicas: 1}",
            "spec.writer: is not a known field; did you mean writers?",
        ),
        (
            "writers: {replica: 1}",
            "spec.writers.replica: is not a known field; did you mean replicas?",
        ),
        (
            "storage: {credentials: {secretRef: {name: a, namespace: b}}}",
            "spec.storage.credentials.secretRef.namespace: is not",
        ),
        (
            "readers: {scheduling: {tolerations: [{key: a}, {kee: b}]}}",
            "spec.readers.scheduling.tolerations[1].kee: is not",
        ),
        (
            "readers: {resources: {limit: {}}}",
            "spec.readers.resources.limit: is not a known field; did you mean limits?",
        ),
    ] {
        let error = refused_spec(spec);
        assert!(error.contains(message), "{error}");
    }
    assert!(refused(&format!("{HEAD}storage: {{}}\n")).contains("storage: is not a known field"));
    assert!(
        refused(&HEAD.replace("name:", "nme:"))
            .contains("metadata.nme: is not a known field; did you mean name?")
    );
}

#[test]
fn limits_and_types_are_named_with_what_was_found() {
    for (spec, message) in [
        (
            "writers: {replicas: 257}",
            "spec.writers.replicas: must be between 0 and 256, is 257",
        ),
        (
            "writers: {replicas: -1}",
            "spec.writers.replicas: must be between 0 and 256, is -1",
        ),
        (
            "writers: {replicas: '3'}",
            "spec.writers.replicas: must be a whole number, is `3`",
        ),
        (
            "writers: {replicas: 1.5}",
            "spec.writers.replicas: must be a whole number, is `1.5`",
        ),
        ("writers: []", "spec.writers: must be a mapping, is a list"),
        (
            "paused: 'yes'",
            "spec.paused: must be true or false, is `yes`",
        ),
        (
            "coordination: {method: zookeeper}",
            "spec.coordination.method: `zookeeper` is not known; use one of `none`, `s3-polling`, `websocket`, `pubsub`",
        ),
        (
            "coordination: {leaseTtl: 20}",
            "spec.coordination.leaseTtl: must be a text, is `20`",
        ),
        (
            "coordination: {leaseTtl: 1d}",
            "spec.coordination.leaseTtl: `1d` is not a duration; write whole numbers with ms, s, m or h",
        ),
        (
            "readers: {memoryBudget: 6GB}",
            "spec.readers.memoryBudget: `6GB` is not a quantity; write a number with a unit, such as 512Mi",
        ),
        (
            "readers: {cacheVolume: {}}",
            "spec.readers.cacheVolume.size: is required",
        ),
        (
            "readers: {podTemplate: {env: [{name: A}, {name: A}]}}",
            "spec.readers.podTemplate.env[1]: `A` is listed twice",
        ),
        ("storage: {region: ''}", "spec.storage.region: is empty"),
    ] {
        let error = refused_spec(spec);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let error = refused_spec("writers: {replicas: 300}\nreader: {}\npaused: 1");
    for field in ["spec.writers.replicas", "spec.reader", "spec.paused"] {
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn rules_are_applied_after_the_structure() {
    let error = refused_spec("storage: {bucket: s3://data}\nwriters: {replicas: 0}");
    assert!(
        error.contains("spec.storage.bucket: ") && error.contains("use the bucket's name alone"),
        "{error}"
    );
    assert!(
        error.contains(
            "spec.writers.replicas: a running cluster needs at least one writer or hybrid"
        ),
        "{error}"
    );
}

#[test]
fn a_name_is_needed() {
    assert!(
        refused("apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\n")
            .contains("metadata.name: is required")
    );
}

#[test]
fn null_is_absent_and_a_status_is_left_out() {
    let yaml = format!(
        "{HEAD}spec: {{writers: null, storage: {{bucket: null}}}}\nstatus: {{anything: [1]}}\n"
    );
    let cluster = parse_manifest(&yaml).unwrap();
    assert_eq!(
        (cluster.spec, cluster.status),
        (brainy_crds::BrainyClusterSpec::default(), None)
    );
}
