//! Step 2: is this a spec that can be followed? Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use brainy_crds::{BrainyCluster, FieldError, validate};
use kube::ResourceExt;

use crate::resources;

/// What breaks a rule, or is not in this version; each with its field and its remedy.
///
/// # Errors
/// All findings.
pub(super) fn check(cluster: &BrainyCluster) -> Result<(), Vec<FieldError>> {
    let mut findings = validate(cluster).err().unwrap_or_default();
    if findings.is_empty() {
        findings = resources::unsupported(cluster);
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

/// All findings in one line.
pub(super) fn listed(findings: &[FieldError]) -> String {
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    findings.join("; ")
}

/// Another cluster whose data is in the same place or around it.
pub(super) fn sharing<'a>(
    cluster: &BrainyCluster,
    all: &'a [Arc<BrainyCluster>],
) -> impl Iterator<Item = &'a Arc<BrainyCluster>> {
    let (uid, place) = (cluster.uid(), Place::of(cluster));
    all.iter().filter(move |other| {
        other.uid() != uid
            && place
                .as_ref()
                .zip(Place::of(other).as_ref())
                .is_some_and(|(a, b)| a.overlaps(b))
    })
}

/// Why `cluster` must not touch its bucket: another cluster came first. One that has written there came first in any case.
pub(super) fn prefix_in_use(cluster: &BrainyCluster, all: &[Arc<BrainyCluster>]) -> Option<String> {
    let first = sharing(cluster, all).find(|other| came_first(other, cluster) == Ordering::Less)?;
    Some(format!(
        "BrainyCluster {}/{} keeps its data in bucket {} under {}, which this one's prefix {} would share. Set another storage.prefix in a new BrainyCluster, or delete one of the two",
        first.namespace().unwrap_or_default(),
        first.name_any(),
        first.spec.storage.bucket.as_deref().unwrap_or_default(),
        first.storage_prefix(),
        cluster.storage_prefix(),
    ))
}

/// An order of all clusters: those that have written, then the older ones.
fn came_first(a: &BrainyCluster, b: &BrainyCluster) -> Ordering {
    let rank = |cluster: &BrainyCluster| {
        let status = cluster.status.as_ref();
        let has_written = status.is_some_and(|s| s.assignments_version.is_some());
        (
            !has_written,
            cluster.creation_timestamp(),
            cluster.namespace(),
            cluster.name_any(),
        )
    };
    rank(a).cmp(&rank(b))
}

/// Where a cluster keeps its data.
struct Place {
    endpoint: String,
    bucket: String,
    prefix: String,
}

impl Place {
    fn of(cluster: &BrainyCluster) -> Option<Self> {
        let storage = &cluster.spec.storage;
        let endpoint = storage.endpoint.as_deref().unwrap_or_default();
        Some(Self {
            endpoint: endpoint.trim_end_matches('/').to_ascii_lowercase(),
            bucket: storage.bucket.clone()?,
            prefix: format!("{}/", cluster.storage_prefix()),
        })
    }

    /// Whether one prefix is the other, or lies below it.
    fn overlaps(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.bucket == other.bucket
            && (self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use brainy_crds::{BrainyClusterSpec, BrainyClusterStatus};
    use serde_json::json;

    use super::*;

    fn cluster(name: &str, prefix: &str, age: u32) -> BrainyCluster {
        let spec: BrainyClusterSpec = serde_json::from_value(json!({
            "storage": {"bucket": "vectors", "prefix": prefix, "endpoint": "http://s3:8333"},
        }))
        .unwrap();
        let mut cluster = BrainyCluster::new(name, spec);
        cluster.metadata.uid = Some(name.to_owned());
        cluster.metadata.namespace = Some("team".to_owned());
        let created = json!(format!("2026-01-01T00:{:02}:00Z", 59 - age));
        cluster.metadata.creation_timestamp = Some(serde_json::from_value(created).unwrap());
        cluster
    }

    fn refused(cluster: &BrainyCluster, all: &[&BrainyCluster]) -> bool {
        let all: Vec<Arc<BrainyCluster>> = all.iter().map(|c| Arc::new((*c).clone())).collect();
        prefix_in_use(cluster, &all).is_some()
    }

    #[test]
    fn the_younger_of_two_with_one_prefix_is_refused() {
        let (old, young) = (cluster("old", "a/b", 9), cluster("young", "a/b", 1));
        assert!(!refused(&old, &[&old, &young]));
        assert!(refused(&young, &[&old, &young]));
        for (prefix, shares) in [("a", true), ("a/b/c", true), ("a/bc", false), ("b", false)] {
            let young = cluster("young", prefix, 1);
            assert_eq!(refused(&young, &[&old, &young]), shares, "{prefix}");
        }
    }

    #[test]
    fn another_bucket_or_server_is_another_place() {
        let (old, mut young) = (cluster("old", "a", 9), cluster("young", "a", 1));
        young.spec.storage.endpoint = Some("http://s3:8333/".to_owned());
        assert!(
            refused(&young, &[&old]),
            "a slash at its end makes no difference"
        );
        young.spec.storage.endpoint = Some("http://other:8333".to_owned());
        assert!(!refused(&young, &[&old]));
        let mut young = cluster("young", "a", 1);
        young.spec.storage.bucket = Some("other".to_owned());
        assert!(!refused(&young, &[&old]));
    }

    #[test]
    fn one_that_has_written_came_first() {
        let (old, mut young) = (cluster("old", "a", 9), cluster("young", "a", 1));
        young.status = Some(BrainyClusterStatus {
            assignments_version: Some(1),
            ..BrainyClusterStatus::default()
        });
        assert!(!refused(&young, &[&old]));
        assert!(refused(&old, &[&young]));
    }

    #[test]
    fn findings_name_their_fields() {
        let mut cluster = cluster("search", "a", 1);
        assert!(check(&cluster).is_ok());
        cluster.spec.writers.replicas = 0;
        let findings = check(&cluster).unwrap_err();
        assert!(
            listed(&findings).contains("spec.writers.replicas"),
            "{findings:?}"
        );
    }
}
