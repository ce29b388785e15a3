//! Clusters that tests build.

use std::collections::BTreeMap;

use brainy_crds::{BrainyCluster, Role, parse_manifest};
use serde_json::Value;

use super::{BuildContext, Built, build};

pub(super) const IMAGE: &str = "registry.example.com/brainy/brainyd:0.1.0";

const QUICKSTART: &str = include_str!("../../../examples/quickstart.yaml");
const PRODUCTION: &str = include_str!("../../../examples/production.yaml");
const HYBRID: &str = include_str!("golden/hybrid.in.yaml");

/// A manifest as the API server would hand it out.
pub(super) fn stored(manifest: &str) -> BrainyCluster {
    let mut cluster = parse_manifest(manifest).unwrap();
    cluster
        .metadata
        .namespace
        .get_or_insert("default".to_owned());
    cluster.metadata.uid = Some("3f8e6d0c-0000-4000-8000-000000000001".to_owned());
    cluster
}

/// The quick start with a bucket, as it is written for Kubernetes.
pub(super) fn quickstart() -> BrainyCluster {
    let mut cluster = stored(QUICKSTART);
    cluster.spec.storage.bucket = Some("quickstart".to_owned());
    cluster
}

/// Everything that the examples show.
pub(super) fn production() -> BrainyCluster {
    stored(PRODUCTION)
}

/// What the examples do not show.
pub(super) fn hybrid() -> BrainyCluster {
    stored(HYBRID)
}

/// All of them, by the name of their golden file.
pub(super) fn clusters() -> [(&'static str, BrainyCluster); 3] {
    [
        ("quickstart", quickstart()),
        ("production", production()),
        ("hybrid", hybrid()),
    ]
}

/// As many pods as the spec says.
pub(super) fn replicas(cluster: &BrainyCluster) -> BTreeMap<Role, i32> {
    Role::ALL
        .map(|role| (role, cluster.spec.role(role).replicas))
        .into()
}

/// The context of a cluster at rest whose Secrets exist.
pub(super) fn context(replicas: &BTreeMap<Role, i32>) -> BuildContext<'_> {
    BuildContext {
        image: IMAGE,
        replicas,
        secrets_hash: Some("5ec4e75"),
        private_ca: true,
    }
}

/// All objects of a cluster at rest.
pub(super) fn objects(cluster: &BrainyCluster) -> Vec<Built> {
    build(cluster, &context(&replicas(cluster))).unwrap()
}

/// The objects of one kind.
pub(super) fn of_kind<'a>(objects: &'a [Built], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|built| built.resource.kind == kind)
        .map(|built| &built.body)
        .collect()
}
