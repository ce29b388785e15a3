//! What the API server checks, checked in Rust: the schema's structure first, then the rules that CEL expresses.

use serde_json::Value;

use crate::crd;
use crate::rules::{FieldError, Findings};
use crate::spec::check_name;
use crate::structural;
use crate::{BrainyCluster, Error};

/// Checks a cluster as the API server does when it is created.
///
/// As there, the rules are looked at only once the structure is right.
///
/// # Errors
/// Everything that is wrong, each with its field, its limit and its remedy.
pub fn validate(cluster: &BrainyCluster) -> Result<(), Vec<FieldError>> {
    let mut findings = check_structure(cluster);
    if !findings.is_empty() {
        return findings.into_result();
    }
    check_rules(cluster, &mut findings);
    findings.into_result()
}

/// Checks a cluster as the API server does when it replaces `old`: all of [`validate`], and what may not change.
///
/// # Errors
/// As [`validate`].
pub fn validate_update(
    cluster: &BrainyCluster,
    old: &BrainyCluster,
) -> Result<(), Vec<FieldError>> {
    let mut findings = check_structure(cluster);
    if !findings.is_empty() {
        return findings.into_result();
    }
    check_rules(cluster, &mut findings);
    cluster.spec.check_update(&old.spec, "spec", &mut findings);
    findings.into_result()
}

fn check_rules(cluster: &BrainyCluster, findings: &mut Findings) {
    check_name(
        cluster.metadata.name.as_deref().unwrap_or_default(),
        findings,
    );
    cluster.spec.check("spec", findings);
}

fn check_structure(cluster: &BrainyCluster) -> Findings {
    let mut findings = Findings::default();
    match serde_json::to_value(&cluster.spec).map_err(Error::Definition) {
        Ok(spec) => check_spec(&spec, &mut findings),
        Err(error) => findings.push(unchecked(&error)),
    }
    findings
}

/// Checks the structure of a spec that was not read into types yet.
pub(crate) fn check_spec(spec: &Value, findings: &mut Findings) {
    match crd::schema() {
        Ok(schema) => structural::check(&schema["properties"]["spec"], spec, "spec", findings),
        Err(error) => findings.push(unchecked(&error)),
    }
}

/// What could not be checked is not let through.
fn unchecked(error: &Error) -> FieldError {
    FieldError {
        field: String::new(),
        problem: format!("could not be checked: {error}"),
        remedy: "this is a defect of Brainy, please report it".to_owned(),
    }
}
