//! What a BrainyCluster becomes in Kubernetes: every object, built without I/O and ready for server-side apply.
//!
//! | object | name | when |
//! |---|---|---|
//! | ServiceAccount | `<name>` | unless the spec names an existing one |
//! | NetworkPolicy | `<name>` | always |
//! | Service, headless | `<name>-<role>-headless` | with the StatefulSet |
//! | Service, for clients | `<name>` | always |
//! | PodDisruptionBudget | `<name>-<role>` | two pods or more |
//! | StatefulSet | `<name>-<role>` | the spec asks for pods or some are kept |
//! | ServiceMonitor, PrometheusRule, ConfigMap | `<name>` | if asked for |
//!
//! Who owns what: the operator owns every field that is written here and no other. Pods are replaced by the operator alone, which
//! drains them first: a pod is out of date if its [`REVISION`](labels::REVISION) is not [`revision()`]'s, and nothing else restarts it.
//! Golden files beside the tests pin the objects; pinned revisions catch a change that would restart the pods of every
//! cluster when the operator is upgraded.

mod disruption;
mod error;
pub(crate) mod image;
pub(crate) mod labels;
mod monitoring;
mod network_policy;
mod pod_env;
mod pod_template;
mod revision;
mod service_account;
pub(crate) mod services;
mod statefulset;

#[cfg(test)]
mod api_rules_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod pod_security_tests;
#[cfg(test)]
mod revision_tests;

use std::collections::BTreeMap;

use brainy_crds::{BrainyCluster, FieldError, Role};
use kube::core::{ApiResource, Resource};
use serde::Serialize;
use serde_json::Value;

pub(crate) use error::BuildError;
pub(crate) use pod_template::{CONTAINER, PORT};
pub(crate) use revision::{digest, revision};

use crate::reconcile::unsupported::unsupported as unsupported_fields;

/// What the objects depend on beside the BrainyCluster itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildContext<'a> {
    /// The image that pods run, see [`image::image`].
    pub(crate) image: &'a str,
    /// Pods that each StatefulSet keeps, those that are being drained included. A role that the spec asks for must be here.
    pub(crate) replicas: &'a BTreeMap<Role, i32>,
    /// Digest of the data of all Secrets that the spec names; `None` if it names none.
    pub(crate) secrets_hash: Option<&'a str>,
    /// Whether the TLS Secret has a `ca.crt`, so that Prometheus is told to trust it.
    pub(crate) private_ca: bool,
}

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Built {
    /// Group, version, kind and plural.
    pub(crate) resource: ApiResource,
    /// Its name, in the cluster's namespace.
    pub(crate) name: String,
    /// The whole object, with apiVersion, kind, labels and owner reference.
    pub(crate) body: Value,
}

/// Every object of `cluster`, in the order in which they are best applied: pods come after what they refer to.
///
/// # Errors
/// [`BuildError`], for a cluster that was not stored, has no bucket, or whose replicas were not decided.
pub(crate) fn build(
    cluster: &BrainyCluster,
    context: &BuildContext<'_>,
) -> Result<Vec<Built>, BuildError> {
    let mut objects = Vec::new();
    if let Some(account) = service_account::service_account(cluster)? {
        objects.push(built(&account)?);
    }
    objects.push(built(&network_policy::network_policy(cluster)?)?);
    objects.push(built(&services::client(cluster)?)?);
    for role in Role::ALL {
        let Some(replicas) = statefulset::replicas(cluster, role, context)? else {
            continue;
        };
        objects.push(built(&services::headless(cluster, role)?)?);
        if let Some(budget) = disruption::budget(cluster, role, replicas)? {
            objects.push(built(&budget)?);
        }
        objects.push(built(&statefulset::statefulset(
            cluster, role, replicas, context,
        )?)?);
    }
    objects.extend(monitoring::objects(cluster, context)?);
    Ok(objects)
}

/// What this version does not run in Kubernetes, each with what to do about it. Without a memory limit and a budget the data plane
/// decides, so only what is written down can be too little.
pub(crate) fn unsupported(cluster: &BrainyCluster) -> Vec<FieldError> {
    unsupported_fields(&cluster.spec)
}

/// An object of a kind that Kubernetes itself has.
fn built<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Result<Built, BuildError> {
    Ok(Built {
        resource: ApiResource::erase::<K>(&()),
        name: object.meta().name.clone().unwrap_or_default(),
        body: serde_json::to_value(object)?,
    })
}
