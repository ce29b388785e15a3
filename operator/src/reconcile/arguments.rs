//! What `brainyd` is told at its start and cannot take up later, the same on one machine and in a pod.

use brainy_crds::{BrainyClusterSpec, ByteQuantity, ConflictResolution, CoordinationSpec, Role};

/// Share of a memory limit that an instance may fill, in percent, where no memoryBudget says otherwise.
const BUDGET_PERCENT: i64 = 80;

/// The flags of `brainyd` that a running process cannot take up. `default_budget` is the memory budget in bytes where the spec sets
/// neither budget nor limit; with `None` the data plane decides.
pub(crate) fn fixed_arguments(
    spec: &BrainyClusterSpec,
    role: Role,
    default_budget: Option<i64>,
) -> Vec<String> {
    let mut arguments = vec![
        "--coordination".to_owned(),
        spec.coordination.method.as_str().to_owned(),
        "--poll-interval-ms".to_owned(),
        spec.coordination
            .poll_interval
            .get()
            .as_millis()
            .to_string(),
        "--partitions".to_owned(),
        spec.partitioning.partitions_per_collection.to_string(),
    ];
    if let Some(url) = &spec.coordination.nats_url {
        arguments.extend(["--nats-url".to_owned(), url.clone()]);
    }
    let (coordination, usual) = (&spec.coordination, CoordinationSpec::default());
    for (flag, time, usual) in [
        (
            "--heartbeat-interval-ms",
            &coordination.heartbeat_interval,
            &usual.heartbeat_interval,
        ),
        ("--lease-ttl-ms", &coordination.lease_ttl, &usual.lease_ttl),
    ] {
        // Pods that run with the defaults stay as they are.
        if time != usual {
            arguments.extend([flag.to_owned(), time.get().as_millis().to_string()]);
        }
    }
    if spec.multi_writer {
        arguments.push("--multi-writer".to_owned());
    }
    if spec.conflict_resolution != ConflictResolution::default() {
        let policy = spec.conflict_resolution.as_str();
        arguments.extend(["--conflict-resolution".to_owned(), policy.to_owned()]);
    }
    if let Some(budget) = memory_budget(spec, role).or(default_budget) {
        arguments.extend(["--memory-budget-bytes".to_owned(), budget.to_string()]);
    }
    arguments
}

/// Memory that an instance may fill, in bytes: memoryBudget, or 80% of the memory limit; `None` without both.
pub(crate) fn memory_budget(spec: &BrainyClusterSpec, role: Role) -> Option<i64> {
    let role = spec.role(role);
    if let Some(budget) = &role.memory_budget {
        return Some(budget.bytes());
    }
    let limit = role.resources.limits.as_ref()?.get("memory")?;
    let limit = ByteQuantity::parse(&limit.0).ok()?;
    Some(limit.bytes() / 100 * BUDGET_PERCENT)
}

#[cfg(test)]
mod tests {
    use brainy_crds::parse_manifest;

    use super::*;

    fn spec(writers: &str) -> BrainyClusterSpec {
        let manifest = format!(
            "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n  writers:\n    replicas: 1\n{writers}"
        );
        parse_manifest(&manifest).unwrap().spec
    }

    #[test]
    fn the_budget_is_four_fifths_of_the_limit_unless_it_is_set() {
        let budget = |writers: &str| memory_budget(&spec(writers), Role::Writer);
        assert_eq!(budget(""), None);
        assert_eq!(
            budget("    resources:\n      limits: { memory: 1000M }\n"),
            Some(800_000_000)
        );
        let both = "    memoryBudget: 100M\n    resources:\n      limits: { memory: 1000M }\n";
        assert_eq!(budget(both), Some(100_000_000));
    }

    #[test]
    fn the_method_is_told_and_the_server_where_there_is_one() {
        let told = |coordination: &str| {
            let spec = spec(&format!("  coordination:\n{coordination}"));
            fixed_arguments(&spec, Role::Writer, None).join(" ")
        };
        let rest = "--poll-interval-ms 500 --partitions 12";
        assert_eq!(
            told("    method: websocket\n"),
            format!("--coordination websocket {rest}")
        );
        assert_eq!(
            told("    method: pubsub\n    natsUrl: tls://nats:4222\n"),
            format!("--coordination pubsub {rest} --nats-url tls://nats:4222")
        );
        assert_eq!(
            told("    pollInterval: 500ms\n"),
            format!("--coordination s3-polling {rest}")
        );
    }

    #[test]
    fn times_of_coordination_are_told_where_they_are_not_the_defaults() {
        let told = |spec: &BrainyClusterSpec| -> Vec<String> {
            let arguments = fixed_arguments(spec, Role::Writer, None);
            let from = |a: &String| a.starts_with("--heartbeat") || a.starts_with("--lease");
            let at = arguments.iter().position(from);
            at.map(|at| arguments[at..].to_vec()).unwrap_or_default()
        };
        assert!(told(&spec("")).is_empty());
        let both = "  coordination: {heartbeatInterval: 2s, leaseTtl: 7s}\n";
        assert_eq!(
            told(&spec(both)),
            ["--heartbeat-interval-ms", "2000", "--lease-ttl-ms", "7000"]
        );
    }

    #[test]
    fn several_writers_and_their_policy_are_told_where_they_are_asked_for() {
        let told = |fields: &str| {
            let manifest = format!(
                "apiVersion: brainy.io/v1alpha1\nkind: BrainyCluster\nmetadata:\n  name: test\nspec:\n  writers: {{replicas: 0}}\n  readers: {{replicas: 0}}\n  hybrids: {{replicas: 3}}\n{fields}"
            );
            let spec = parse_manifest(&manifest).unwrap().spec;
            fixed_arguments(&spec, Role::Hybrid, None)[6..].join(" ")
        };
        assert_eq!(told(""), "");
        assert_eq!(told("  multiWriter: true\n"), "--multi-writer");
        assert_eq!(
            told("  multiWriter: true\n  conflictResolution: vector-clock\n"),
            "--multi-writer --conflict-resolution vector-clock"
        );
    }

    #[test]
    fn no_budget_is_told_where_nobody_decided_one() {
        let told = |spec: &BrainyClusterSpec, default| {
            let arguments = fixed_arguments(spec, Role::Writer, default);
            let flag = arguments.iter().position(|a| a == "--memory-budget-bytes");
            flag.map(|at| arguments[at + 1].clone())
        };
        let (free, set) = (spec(""), spec("    memoryBudget: 1Gi\n"));
        assert_eq!(told(&free, None), None);
        assert_eq!(told(&free, Some(7)).as_deref(), Some("7"));
        assert_eq!(told(&set, Some(7)).as_deref(), Some("1073741824"));
    }
}
