//! What the spec can say and this version does not run, wherever it is to run.

use brainy_crds::{BrainyClusterSpec, FieldError, Role};

use super::arguments::memory_budget;

/// The data plane does not start with less than 64 MiB.
const SMALLEST_BUDGET: i64 = 64 << 20;

/// The roles and their fields in the spec.
pub(crate) const ROLE_FIELDS: [(Role, &str); 3] = [
    (Role::Writer, "writers"),
    (Role::Reader, "readers"),
    (Role::Hybrid, "hybrids"),
];

/// Fields that this version does not run, each with what to do about it.
pub(crate) fn unsupported(spec: &BrainyClusterSpec) -> Vec<FieldError> {
    let mut findings = Vec::new();
    for (role, name) in ROLE_FIELDS {
        let small = memory_budget(spec, role).is_some_and(|budget| budget < SMALLEST_BUDGET);
        if spec.role(role).replicas > 0 && small {
            findings.push(finding(
                &format!("spec.{name}.memoryBudget"),
                "is below 64Mi, or below it as 80% of resources.limits.memory",
                "give each instance 64Mi or more",
            ));
        }
    }
    findings
}

/// A field, what is wrong with it, and what to do about it.
pub(crate) fn finding(field: &str, problem: &str, remedy: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use brainy_crds::parse_manifest;

    use super::*;

    #[test]
    fn what_this_version_does_not_run_is_refused_by_name() {
        for (spec, field) in [
            (
                "  writers:\n    memoryBudget: 1Mi\n",
                "spec.writers.memoryBudget",
            ),
            (
                "  readers:\n    resources:\n      limits: { memory: 79Mi }\n",
                "spec.readers.memoryBudget",
            ),
        ] {
            let manifest = format!(
                "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n{spec}"
            );
            let cluster = parse_manifest(&manifest).unwrap();
            let found: Vec<String> = unsupported(&cluster.spec)
                .into_iter()
                .map(|f| f.field)
                .collect();
            assert_eq!(found, [field], "{spec}");
        }
    }

    #[test]
    fn every_way_of_coordination_is_run() {
        for coordination in [
            "method: websocket",
            "method: pubsub\n    natsUrl: nats://a:4222",
            "method: none\n  readers:\n    replicas: 0",
        ] {
            let manifest = format!(
                "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n  coordination:\n    {coordination}\n"
            );
            let cluster = parse_manifest(&manifest).unwrap();
            assert_eq!(unsupported(&cluster.spec), [], "{coordination}");
        }
    }

    #[test]
    fn the_defaults_and_roles_that_nobody_plays_are_fine() {
        let mut spec = BrainyClusterSpec::default();
        assert_eq!(unsupported(&spec), []);
        spec.hybrids.memory_budget = brainy_crds::ByteQuantity::parse("1Mi").ok();
        assert_eq!(unsupported(&spec), [], "hybrids.replicas is 0");
    }
}
