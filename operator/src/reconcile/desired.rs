//! Step 1: what the spec asks for, in the terms of the planner.

use std::collections::BTreeMap;
use std::time::Duration;

use brainy_coordination::assignment;
use brainy_coordination::types::{InstanceId, NameError};
use brainy_crds::{ALLOW_UNSAFE_SCALE_DOWN, BrainyCluster, Role, UpdateType};

/// What the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Desired {
    /// The instances, none while stopped.
    pub(crate) instances: BTreeMap<InstanceId, InstanceSpec>,
    /// Everything stays as it is.
    pub(crate) paused: bool,
    /// No instance is to run.
    pub(crate) stopped: bool,
    /// Instances may go although they hold partitions.
    pub(crate) unsafe_scale_down: bool,
    /// How long an instance may be away before its partitions move.
    pub(crate) unready_grace: Duration,
    /// How long a drain may take before it is called stuck.
    pub(crate) drain_timeout: Duration,
    /// Instances of a role that may be away for a restart with new settings; `None` if somebody else restarts them.
    pub(crate) max_unavailable: Option<usize>,
    /// How the table spreads and moves partitions.
    pub(crate) policy: assignment::Policy,
    /// The ring.
    pub(crate) ring: assignment::RingParams,
}

/// One desired instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceSpec {
    /// What it is for.
    pub(crate) role: Role,
    /// Its number among those of its role.
    pub(crate) ordinal: u32,
    /// Everything that a process is told at its start: one that was told something else is restarted.
    pub(crate) revision: String,
}

/// The role in the words of the assignment table.
pub(crate) fn table_role(role: Role) -> assignment::Role {
    match role {
        Role::Writer => assignment::Role::Writer,
        Role::Reader => assignment::Role::Reader,
        Role::Hybrid => assignment::Role::Hybrid,
    }
}

/// The role in the words of the spec.
pub(crate) fn spec_role(role: assignment::Role) -> Role {
    match role {
        assignment::Role::Writer => Role::Writer,
        assignment::Role::Reader => Role::Reader,
        assignment::Role::Hybrid => Role::Hybrid,
    }
}

/// What `cluster` asks for. `name` names an instance, `revision` says what its process is told.
///
/// # Errors
/// [`NameError`] if a name cannot be an instance's.
pub(crate) fn desired(
    cluster: &BrainyCluster,
    name: impl Fn(Role, u32) -> String,
    revision: impl Fn(Role) -> String,
) -> Result<Desired, NameError> {
    let spec = &cluster.spec;
    let mut instances = BTreeMap::new();
    for role in Role::ALL {
        for ordinal in 0..count(spec.role(role).replicas) {
            let id = InstanceId::new(name(role, ordinal))?;
            let revision = revision(role);
            instances.insert(
                id,
                InstanceSpec {
                    role,
                    ordinal,
                    revision,
                },
            );
        }
    }
    if spec.stopped {
        instances.clear();
    }
    let rolls = spec.update_strategy.type_ == UpdateType::RollingUpdate;
    Ok(Desired {
        instances,
        paused: spec.paused,
        stopped: spec.stopped,
        unsafe_scale_down: cluster.has_annotation(ALLOW_UNSAFE_SCALE_DOWN),
        unready_grace: spec.rebalance.unready_grace_period.get(),
        drain_timeout: spec.rebalance.drain_timeout.get(),
        max_unavailable: rolls.then(|| count(spec.update_strategy.max_unavailable).max(1) as usize),
        policy: assignment::Policy {
            read_replicas: count(spec.partitioning.read_replicas),
            // None is announced while paused, by whichever process runs a step.
            max_concurrent_moves: if spec.paused {
                0
            } else {
                count(spec.rebalance.max_concurrent_moves)
            },
        },
        ring: assignment::RingParams {
            virtual_nodes: count(spec.partitioning.virtual_nodes),
        },
    })
}

/// Counts in the spec are validated to be positive.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

impl Desired {
    /// How many instances of a role are asked for.
    pub(crate) fn replicas(&self, role: Role) -> usize {
        self.instances
            .values()
            .filter(|spec| spec.role == role)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use brainy_crds::BrainyClusterSpec;

    use super::*;

    fn names(cluster: &BrainyCluster) -> Vec<String> {
        let desired = desired(cluster, |role, n| format!("{role}-{n}"), |_| String::new()).unwrap();
        desired.instances.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn instances_follow_the_replicas_and_none_is_left_when_stopped() {
        let mut cluster = BrainyCluster::new("search", BrainyClusterSpec::default());
        cluster.spec.writers.replicas = 2;
        assert_eq!(names(&cluster), ["reader-0", "writer-0", "writer-1"]);
        cluster.spec.stopped = true;
        assert!(names(&cluster).is_empty());
    }

    #[test]
    fn a_paused_cluster_announces_no_moves() {
        let mut cluster = BrainyCluster::new("search", BrainyClusterSpec::default());
        cluster.spec.paused = true;
        let desired =
            desired(&cluster, |role, n| format!("{role}-{n}"), |_| String::new()).unwrap();
        assert_eq!(desired.policy.max_concurrent_moves, 0);
    }
}
