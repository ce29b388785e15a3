//! Names, labels and annotations that operator, charts and tests agree on.

use kube::ResourceExt;

use crate::BrainyCluster;
use crate::spec::Role;

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident = $key:literal,)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $key;)+

        /// Each of them with its documentation.
        pub(crate) const DOCUMENTED: &[(&str, &str)] = &[$(($name, concat!($($doc),+)),)+];
    };
}

keys! {
    /// Label with the name of the BrainyCluster, on every object that belongs to it.
    CLUSTER_LABEL = "brainy.io/cluster",
    /// Label with the role, on pods and what belongs to one role.
    ROLE_LABEL = "brainy.io/role",
    /// Annotation on the BrainyCluster: `"true"` lets pods go although their partitions were not handed over. What was acknowledged
    /// stays in S3; partitions are unavailable until their leases expire. Remove it when the scale-down is done.
    ALLOW_UNSAFE_SCALE_DOWN = "brainy.io/allow-unsafe-scale-down",
    /// Annotation on the BrainyCluster: a new value, such as the time, restarts all pods through drains.
    RESTARTED_AT = "brainy.io/restarted-at",
    /// Annotation on the BrainyCluster: `"true"` gives up deleting its data, so that the resource itself can go.
    SKIP_DATA_DELETION = "brainy.io/skip-data-deletion",
    /// Annotation on the BrainyCluster: `"true"` takes over a prefix that another cluster has claimed, such as the copy that is restored.
    ADOPT_DATA = "brainy.io/adopt-data",
    /// Finalizer on the BrainyCluster, set only with `deletionPolicy: Delete`.
    DATA_FINALIZER = "brainy.io/data",
}

impl BrainyCluster {
    /// Name of the StatefulSet of a role: `<name>-<role>`.
    pub fn role_name(&self, role: Role) -> String {
        format!("{}-{role}", self.name_any())
    }

    /// Name of an instance and of its pod: `<name>-<role>-<ordinal>`.
    pub fn instance_name(&self, role: Role, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.role_name(role))
    }

    /// Names of the instances that the spec asks for, by ordinal; none while the cluster is stopped.
    ///
    /// Ring members come from here and never from a list of pods that happen to be ready.
    pub fn desired_instances(&self, role: Role) -> Vec<String> {
        let replicas = if self.spec.stopped {
            0
        } else {
            self.spec.role(role).replicas
        };
        (0..u32::try_from(replicas).unwrap_or(0))
            .map(|ordinal| self.instance_name(role, ordinal))
            .collect()
    }

    /// Prefix of all keys in the bucket: `spec.storage.prefix`, or `<namespace>/<name>`.
    pub fn storage_prefix(&self) -> String {
        match &self.spec.storage.prefix {
            Some(prefix) => prefix.clone(),
            None => format!(
                "{}/{}",
                self.namespace().as_deref().unwrap_or("default"),
                self.name_any()
            ),
        }
    }

    /// Whether an annotation of the BrainyCluster is `"true"`.
    pub fn has_annotation(&self, name: &str) -> bool {
        self.annotations()
            .get(name)
            .is_some_and(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrainyClusterSpec;

    fn cluster() -> BrainyCluster {
        let mut cluster = BrainyCluster::new("search", BrainyClusterSpec::default());
        cluster.spec.writers.replicas = 2;
        cluster
    }

    #[test]
    fn instances_follow_the_spec() {
        let mut cluster = cluster();
        assert_eq!(
            cluster.desired_instances(Role::Writer),
            ["search-writer-0", "search-writer-1"]
        );
        assert_eq!(cluster.desired_instances(Role::Reader), ["search-reader-0"]);
        assert!(cluster.desired_instances(Role::Hybrid).is_empty());
        cluster.spec.stopped = true;
        assert!(cluster.desired_instances(Role::Writer).is_empty());
    }

    #[test]
    fn clusters_without_a_prefix_do_not_share_one() {
        let mut cluster = cluster();
        assert_eq!(cluster.storage_prefix(), "default/search");
        cluster.metadata.namespace = Some("team-a".to_owned());
        assert_eq!(cluster.storage_prefix(), "team-a/search");
        cluster.spec.storage.prefix = Some("shared/search".to_owned());
        assert_eq!(cluster.storage_prefix(), "shared/search");
    }

    #[test]
    fn an_override_must_say_true() {
        let mut cluster = cluster();
        assert!(!cluster.has_annotation(ALLOW_UNSAFE_SCALE_DOWN));
        for (value, expected) in [("false", false), ("", false), ("true", true)] {
            cluster
                .annotations_mut()
                .insert(ALLOW_UNSAFE_SCALE_DOWN.to_owned(), value.to_owned());
            assert_eq!(
                cluster.has_annotation(ALLOW_UNSAFE_SCALE_DOWN),
                expected,
                "{value}"
            );
        }
    }
}
