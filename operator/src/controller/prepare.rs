//! Step 3: what the cluster becomes, computed anew only when something that it depends on changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use brainy_coordination::types::InstanceId;
use brainy_crds::{BrainyCluster, Role};
use kube::ResourceExt;

use super::dereference::References;
use super::error::StepError;
use super::observe::ip_address;
use crate::reconcile::desired::{Desired, desired};
use crate::resources::labels::headless_name;
use crate::resources::{BuildContext, Built, PORT, build, revision};

/// What the objects and the instances depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Input {
    generation: Option<i64>,
    annotations: BTreeMap<String, String>,
    image: String,
    secrets_hash: Option<String>,
    private_ca: bool,
}

/// How many pods each StatefulSet keeps.
type Replicas = BTreeMap<Role, i32>;

/// What was prepared last.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    desired: Option<(Input, Arc<Desired>)>,
    built: Option<(Input, Replicas, Arc<Vec<Built>>)>,
}

/// A spec with everything that it refers to.
#[derive(Clone, Copy)]
pub(super) struct Resolved<'a> {
    pub(super) cluster: &'a BrainyCluster,
    pub(super) references: &'a References,
    pub(super) image: &'a str,
}

impl Resolved<'_> {
    fn input(&self) -> Input {
        Input {
            generation: self.cluster.metadata.generation,
            annotations: self.cluster.annotations().clone(),
            image: self.image.to_owned(),
            secrets_hash: self.references.hash.clone(),
            private_ca: self.references.ca.is_some(),
        }
    }

    fn context<'a>(&'a self, replicas: &'a Replicas) -> BuildContext<'a> {
        BuildContext {
            image: self.image,
            replicas,
            secrets_hash: self.references.hash.as_deref(),
            private_ca: self.references.ca.is_some(),
        }
    }
}

impl Prepared {
    /// The instances that the spec asks for.
    ///
    /// # Errors
    /// If a revision cannot be computed or an instance cannot be named.
    pub(super) fn desired(&mut self, resolved: &Resolved<'_>) -> Result<Arc<Desired>, StepError> {
        let input = resolved.input();
        if let Some((_, desired)) = self.desired.as_ref().filter(|(known, _)| *known == input) {
            return Ok(Arc::clone(desired));
        }
        let none = BTreeMap::new();
        let context = resolved.context(&none);
        let mut revisions = BTreeMap::new();
        for role in Role::ALL {
            revisions.insert(role, revision(resolved.cluster, role, &context)?);
        }
        let desired = Arc::new(of(resolved.cluster, &revisions)?);
        self.desired = Some((input, Arc::clone(&desired)));
        Ok(desired)
    }

    /// The objects, with so many pods.
    ///
    /// # Errors
    /// If they cannot be built.
    pub(super) fn built(
        &mut self,
        resolved: &Resolved<'_>,
        replicas: Replicas,
    ) -> Result<Arc<Vec<Built>>, StepError> {
        let input = resolved.input();
        let known = self.built.as_ref();
        if let Some((_, _, built)) = known.filter(|(i, r, _)| (i, r) == (&input, &replicas)) {
            return Ok(Arc::clone(built));
        }
        let built = Arc::new(build(resolved.cluster, &resolved.context(&replicas))?);
        self.built = Some((input, replicas, Arc::clone(&built)));
        Ok(built)
    }
}

/// The instances that a spec asks for, with what their pods are told by role.
///
/// # Errors
/// If an instance cannot be named.
pub(super) fn of(
    cluster: &BrainyCluster,
    revisions: &BTreeMap<Role, String>,
) -> Result<Desired, StepError> {
    let name = |role, ordinal| cluster.instance_name(role, ordinal);
    let revision = |role: Role| revisions.get(&role).cloned().unwrap_or_default();
    Ok(desired(cluster, name, revision)?)
}

/// The role and the ordinal of a pod of `cluster`; `None` for a pod that only has its labels.
pub(super) fn place_of(cluster: &BrainyCluster, pod: &str) -> Option<(Role, u32)> {
    let (statefulset, ordinal) = pod.rsplit_once('-')?;
    let ordinal: u32 = ordinal.parse().ok()?;
    let role = Role::ALL
        .into_iter()
        .find(|role| cluster.role_name(*role) == statefulset)?;
    (cluster.instance_name(role, ordinal) == pod).then_some((role, ordinal))
}

/// Where an instance is reached whose pod has this IP: with TLS by the name that certificates carry.
pub(super) fn address(cluster: &BrainyCluster, id: &InstanceId, ip: &str) -> String {
    match place_of(cluster, id.as_str()).filter(|_| cluster.spec.tls.is_some()) {
        Some((role, _)) => format!(
            "{id}.{}.{}.svc:{PORT}",
            headless_name(cluster, role),
            cluster.namespace().unwrap_or_default()
        ),
        None => ip_address(ip),
    }
}

#[cfg(test)]
mod tests {
    use brainy_crds::BrainyClusterSpec;
    use serde_json::json;

    use super::*;

    fn cluster(tls: bool) -> BrainyCluster {
        let mut spec = json!({"storage": {"bucket": "vectors"}});
        if tls {
            spec["tls"] = json!({"secretRef": {"name": "cert"}});
        }
        let spec: BrainyClusterSpec = serde_json::from_value(spec).unwrap();
        let mut cluster = BrainyCluster::new("my-search", spec);
        cluster.metadata.namespace = Some("team".to_owned());
        cluster
    }

    #[test]
    fn only_pods_of_the_statefulsets_are_instances() {
        let place = |pod| place_of(&cluster(false), pod);
        assert_eq!(place("my-search-writer-0"), Some((Role::Writer, 0)));
        assert_eq!(place("my-search-reader-12"), Some((Role::Reader, 12)));
        for stranger in [
            "my-search-writer-0-debug",
            "my-search-writer",
            "search-writer-0",
            "my-search-writer-00",
        ] {
            assert_eq!(place(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn certificates_name_hosts() {
        let id = InstanceId::new("my-search-writer-0").unwrap();
        assert_eq!(address(&cluster(false), &id, "10.0.0.7"), "10.0.0.7:6333");
        assert_eq!(
            address(&cluster(true), &id, "10.0.0.7"),
            "my-search-writer-0.my-search-writer-headless.team.svc:6333"
        );
    }
}
