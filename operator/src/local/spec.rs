//! What of a manifest runs on one machine, what does not, and what an edit may change.

use brainy_coordination::types::NameError;
use brainy_crds::{
    BrainyCluster, BrainyClusterSpec, FieldError, RESTARTED_AT, Role, parse_manifest,
    validate_update,
};

use crate::reconcile::arguments;
use crate::reconcile::desired::{Desired, desired};
use crate::reconcile::unsupported::{ROLE_FIELDS, finding, unsupported};

/// Memory that an instance may fill where the manifest sets neither budget nor limit: 1 GiB. All instances share one machine, so
/// each gets a modest default in place of the data plane's, which is half of the machine.
const DEFAULT_BUDGET: i64 = 1 << 30;

/// What one machine does not offer, each with what to do about it.
pub(crate) fn not_local(cluster: &BrainyCluster) -> Vec<FieldError> {
    let spec = &cluster.spec;
    let mut findings = unsupported(spec);
    if spec.tls.is_some() {
        findings.push(finding(
            "spec.tls",
            "instances on one machine speak plain HTTP over loopback",
            "remove it for local use, or put a proxy that ends TLS in front of the endpoint",
        ));
    }
    let workload = spec
        .storage
        .credentials
        .as_ref()
        .is_some_and(|c| c.workload_identity.is_some());
    if workload {
        findings.push(finding(
            "spec.storage.credentials.workloadIdentity",
            "there is no ServiceAccount outside Kubernetes",
            "remove spec.storage.credentials: the AWS SDK then finds your profile or environment",
        ));
    }
    findings
}

/// Fields that are set and mean nothing on one machine, so that nobody believes in them.
pub(crate) fn without_effect(spec: &BrainyClusterSpec) -> Vec<String> {
    let none = BrainyClusterSpec::default();
    let mut fields = Vec::new();
    let mut look = |set: bool, field: String| {
        if set {
            fields.push(field);
        }
    };
    look(spec.image != none.image, "image".to_owned());
    look(spec.service != none.service, "service".to_owned());
    look(spec.monitoring != none.monitoring, "monitoring".to_owned());
    look(
        spec.deletion_policy != none.deletion_policy,
        "deletionPolicy".to_owned(),
    );
    look(
        spec.coordination.nats_secret_ref.is_some(),
        "coordination.natsSecretRef".to_owned(),
    );
    for (role, name) in ROLE_FIELDS {
        let role = spec.role(role);
        look(role.cache_volume.is_some(), format!("{name}.cacheVolume"));
        look(
            role.scheduling != Default::default(),
            format!("{name}.scheduling"),
        );
        look(
            role.pod_template != Default::default(),
            format!("{name}.podTemplate"),
        );
    }
    fields
}

/// Which of the new spec's fields take effect only when the operator starts again.
pub(crate) fn check_edit(new: &BrainyCluster, old: &BrainyCluster) -> Vec<FieldError> {
    let mut findings = validate_update(new, old).err().unwrap_or_default();
    findings.extend(not_local(new));
    let mut fixed = |same: bool, field: &str, remedy: &str| {
        if !same && !findings.iter().any(|known| known.field.starts_with(field)) {
            findings.push(FieldError {
                field: field.to_owned(),
                problem: "cannot change while the cluster runs".to_owned(),
                remedy: remedy.to_owned(),
            });
        }
    };
    let again = "set it back, or stop with Ctrl-C and start again";
    fixed(
        new.metadata.name == old.metadata.name,
        "metadata.name",
        again,
    );
    let elsewhere = "set it back; another bucket or prefix is another cluster";
    fixed(
        new.spec.storage.bucket == old.spec.storage.bucket,
        "spec.storage.bucket",
        elsewhere,
    );
    fixed(
        new.storage_prefix() == old.storage_prefix(),
        "spec.storage.prefix",
        elsewhere,
    );
    let address = |c: &BrainyCluster| {
        let storage = c.spec.storage.clone();
        (
            storage.endpoint,
            storage.region,
            storage.path_style,
            storage.credentials,
        )
    };
    fixed(address(new) == address(old), "spec.storage", again);
    fixed(
        new.spec.api_keys == old.spec.api_keys,
        "spec.apiKeys",
        again,
    );
    findings
}

/// Reads an edited manifest.
///
/// # Errors
/// Everything that is wrong with it or may not change, on one line.
pub(crate) fn read_edit(text: &str, old: &BrainyCluster) -> Result<BrainyCluster, String> {
    let new = parse_manifest(text).map_err(|error| error.to_string().replace("\n  ", " "))?;
    let findings = check_edit(&new, old);
    if findings.is_empty() {
        return Ok(new);
    }
    let listed: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(listed.join("; "))
}

/// What `cluster` asks for, with the names that instances have on one machine.
///
/// # Errors
/// [`NameError`], which names that are made of a role and a number do not bring.
pub(crate) fn desired_locally(cluster: &BrainyCluster) -> Result<Desired, NameError> {
    desired(
        cluster,
        |role, ordinal| format!("{role}-{ordinal}"),
        |role| revision(cluster, role),
    )
}

/// The flags of `brainyd` that a running process cannot take up.
pub(crate) fn fixed_arguments(spec: &BrainyClusterSpec, role: Role) -> Vec<String> {
    arguments::fixed_arguments(spec, role, Some(DEFAULT_BUDGET))
}

/// What makes a running process out of date: its fixed flags, and the wish for a restart.
fn revision(cluster: &BrainyCluster, role: Role) -> String {
    let restarted_at = cluster
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(RESTARTED_AT));
    let mut parts = fixed_arguments(&cluster.spec, role);
    parts.extend(restarted_at.cloned());
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(spec: &str) -> String {
        format!(
            "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n{spec}"
        )
    }

    fn cluster(spec: &str) -> BrainyCluster {
        parse_manifest(&manifest(spec)).unwrap()
    }

    const PLAIN: &str = "  writers:\n    replicas: 2\n";

    #[test]
    fn what_is_not_local_is_refused_by_name() {
        assert_eq!(not_local(&cluster(PLAIN)), []);
        for (spec, field) in [
            (
                "  storage:\n    bucket: mine\n    credentials:\n      workloadIdentity: {}\n",
                "spec.storage.credentials.workloadIdentity",
            ),
            ("  tls:\n    secretRef:\n      name: a\n", "spec.tls"),
        ] {
            let found: Vec<String> = not_local(&cluster(spec))
                .into_iter()
                .map(|f| f.field)
                .collect();
            assert_eq!(found, [field], "{spec}");
        }
    }

    #[test]
    fn what_has_no_effect_is_named() {
        assert!(without_effect(&cluster(PLAIN).spec).is_empty());
        let spec =
            cluster("  image:\n    tag: v2\n  readers:\n    cacheVolume:\n      size: 1Gi\n").spec;
        assert_eq!(without_effect(&spec), ["image", "readers.cacheVolume"]);
    }

    #[test]
    fn an_edit_may_scale_and_tune() {
        let old = cluster(PLAIN);
        for spec in [
            "  writers:\n    replicas: 4\n",
            "  writers:\n    replicas: 2\n  sharedConfig:\n    logLevel: debug\n",
            "  writers:\n    replicas: 2\n  paused: true\n",
            "  stopped: true\n",
        ] {
            read_edit(&manifest(spec), &old).unwrap();
        }
    }

    #[test]
    fn an_edit_may_not_move_the_data() {
        let old = cluster(PLAIN);
        let error = read_edit(&manifest("  storage:\n    bucket: other\n"), &old).unwrap_err();
        assert!(
            error.contains("spec.storage.bucket: cannot change"),
            "{error}"
        );
        let error = read_edit(&manifest("  storage:\n    prefix: other\n"), &old).unwrap_err();
        assert!(
            error.contains("spec.storage.prefix: cannot change"),
            "{error}"
        );
        let error =
            read_edit(&manifest(PLAIN).replace("name: test", "name: toast"), &old).unwrap_err();
        assert!(error.contains("metadata.name: cannot change"), "{error}");

        let external = cluster("  storage:\n    bucket: mine\n");
        let error = read_edit(&manifest("  storage:\n    bucket: other\n"), &external).unwrap_err();
        assert_eq!(
            error.matches("spec.storage.bucket").count(),
            1,
            "said once: {error}"
        );
    }

    #[test]
    fn an_edit_that_breaks_a_rule_names_the_field() {
        let error = read_edit(
            &manifest("  writers:\n    replicas: 999\n"),
            &cluster(PLAIN),
        )
        .unwrap_err();
        assert!(error.contains("spec.writers.replicas"), "{error}");
        assert!(read_edit("kind: [", &cluster(PLAIN)).is_err());
    }

    #[test]
    fn processes_are_restarted_only_for_what_they_cannot_take_up() {
        let revisions = |spec: &str| {
            let desired = desired_locally(&cluster(spec)).unwrap();
            let mut of_writers: Vec<String> = desired
                .instances
                .into_values()
                .filter(|i| i.role == Role::Writer)
                .map(|i| i.revision)
                .collect();
            of_writers.dedup();
            of_writers
        };
        let plain = revisions(PLAIN);
        assert_eq!(
            revisions(
                "  sharedConfig:\n    logLevel: debug\n  partitioning:\n    readReplicas: 1\n"
            ),
            plain
        );
        assert_ne!(revisions("  writers:\n    memoryBudget: 2Gi\n"), plain);
        assert_ne!(revisions("  coordination:\n    pollInterval: 1s\n"), plain);
    }
}
