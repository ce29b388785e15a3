//! Names, labels and selectors that objects find each other by.

use std::collections::BTreeMap;

use brainy_crds::{BrainyCluster, CLUSTER_LABEL, ROLE_LABEL, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};

use super::BuildError;

/// Annotation on pods: the [revision](super::revision()) that they were made from.
pub(crate) const REVISION: &str = "brainy.io/revision";

/// Value of `app.kubernetes.io/managed-by`.
pub(crate) const MANAGED_BY: &str = "brainy-operator";

/// Labels of everything that belongs to `cluster`. None of them changes with a version: pods would be restarted for it.
pub(crate) fn of_cluster(cluster: &BrainyCluster) -> BTreeMap<String, String> {
    let name = cluster.name_any();
    labels([
        ("app.kubernetes.io/name", "brainy"),
        ("app.kubernetes.io/instance", &name),
        ("app.kubernetes.io/managed-by", MANAGED_BY),
        (CLUSTER_LABEL, &name),
    ])
}

/// Labels of everything that belongs to one role of `cluster`.
pub(crate) fn of_role(cluster: &BrainyCluster, role: Role) -> BTreeMap<String, String> {
    let mut all = of_cluster(cluster);
    all.extend(labels([
        ("app.kubernetes.io/component", role.as_str()),
        (ROLE_LABEL, role.as_str()),
    ]));
    all
}

/// What selects the pods of a role. A StatefulSet's selector cannot change, so neither may this.
pub(crate) fn match_role(cluster: &BrainyCluster, role: Role) -> BTreeMap<String, String> {
    let mut labels = match_cluster(cluster);
    labels.insert(ROLE_LABEL.to_owned(), role.as_str().to_owned());
    labels
}

/// What selects the pods of all roles.
pub(crate) fn match_cluster(cluster: &BrainyCluster) -> BTreeMap<String, String> {
    labels([(CLUSTER_LABEL, &cluster.name_any())])
}

/// A selector by labels alone.
pub(crate) fn selecting(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// The selector of a role's pods as text, for the scale subresource.
pub(crate) fn selector(cluster: &BrainyCluster, role: Role) -> String {
    let pairs: Vec<String> = match_role(cluster, role)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Name of the headless Service of a role: `<name>-<role>-headless`.
pub(crate) fn headless_name(cluster: &BrainyCluster, role: Role) -> String {
    format!("{}-headless", cluster.role_name(role))
}

/// The namespace of `cluster` and of everything that belongs to it.
///
/// # Errors
/// [`BuildError::NotStored`].
pub(crate) fn namespace(cluster: &BrainyCluster) -> Result<String, BuildError> {
    cluster
        .namespace()
        .ok_or(BuildError::NotStored("namespace"))
}

/// Metadata of an object that belongs to `cluster`: it goes when the cluster goes.
///
/// # Errors
/// [`BuildError::NotStored`].
pub(crate) fn metadata(
    cluster: &BrainyCluster,
    name: String,
    labels: BTreeMap<String, String>,
) -> Result<ObjectMeta, BuildError> {
    let owner = cluster
        .controller_owner_ref(&())
        .ok_or(BuildError::NotStored("name and uid"))?;
    Ok(ObjectMeta {
        name: Some(name),
        namespace: Some(namespace(cluster)?),
        labels: Some(labels),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    })
}

/// `theirs`, except where `ours` has the same key.
pub(crate) fn overlay(
    theirs: &BTreeMap<String, String>,
    ours: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = theirs.clone();
    all.extend(ours);
    all
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
