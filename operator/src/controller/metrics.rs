//! What Prometheus reads of the operator.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::rebalance::RebalanceStatus;
use brainy_crds::{BrainyClusterStatus, ConditionType};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::index::Key;
use crate::reconcile::changes::state_name;

/// Labels of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    namespace: String,
    cluster: String,
}

/// Labels of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    namespace: String,
    cluster: String,
    condition: &'static str,
}

/// Labels of members in a state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    namespace: String,
    cluster: String,
    state: &'static str,
}

/// Labels of a failed step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    step: &'static str,
}

/// Labels of requests to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    verb: &'static str,
}

const STATES: [MemberState; 4] = [
    MemberState::Active,
    MemberState::Unready,
    MemberState::Draining,
    MemberState::Gone,
];

/// All metrics.
pub(super) struct Metrics {
    registry: Registry,
    reconcile_duration: Histogram,
    errors: Family<OfStep, Counter>,
    watch_errors: Counter,
    requests: Family<OfRequest, Counter>,
    rounds: Counter,
    unreadable: Gauge,
    clusters: Gauge,
    leader: Gauge,
    condition: Family<OfCondition, Gauge>,
    members: Family<OfState, Gauge>,
    partitions: Family<OfCluster, Gauge>,
    moving: Family<OfCluster, Gauge>,
    unassigned: Family<OfCluster, Gauge>,
    balance: Family<OfCluster, Gauge<f64, AtomicU64>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    pub(super) fn new() -> Self {
        // From a look at what is known, which takes microseconds, to an API server that takes its time.
        let buckets = [
            0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ];
        let mut metrics = Self {
            registry: Registry::with_prefix("brainy_operator"),
            reconcile_duration: Histogram::new(buckets),
            errors: Family::default(),
            watch_errors: Counter::default(),
            requests: Family::default(),
            rounds: Counter::default(),
            unreadable: Gauge::default(),
            clusters: Gauge::default(),
            leader: Gauge::default(),
            condition: Family::default(),
            members: Family::default(),
            partitions: Family::default(),
            moving: Family::default(),
            unassigned: Family::default(),
            balance: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Version of the operator", Info::new(version));
        registry.register_with_unit(
            "reconcile_duration",
            "Time that one look at a BrainyCluster took, requests to the API server included",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Steps of a reconcile that failed and are tried again",
            self.errors.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke and were resumed",
            self.watch_errors.clone(),
        );
        registry.register(
            "api_requests",
            "Requests sent to the API server",
            self.requests.clone(),
        );
        registry.register(
            "storage_rounds",
            "Looks at the assignments of a cluster in its bucket",
            self.rounds.clone(),
        );
        registry.register(
            "unreadable_clusters",
            "Stored BrainyClusters that do not fit their definition",
            self.unreadable.clone(),
        );
        registry.register("clusters", "BrainyClusters", self.clusters.clone());
        registry.register(
            "leader",
            "Whether this process is the one that works (1) or stands by (0)",
            self.leader.clone(),
        );
        registry.register(
            "cluster_condition",
            "Condition of a BrainyCluster: 1 True, 0 False, -1 Unknown",
            self.condition.clone(),
        );
        registry.register(
            "cluster_members",
            "Members of a cluster by their state in the assignment table",
            self.members.clone(),
        );
        registry.register(
            "cluster_partitions",
            "Partitions of all collections of a cluster",
            self.partitions.clone(),
        );
        registry.register(
            "cluster_partitions_moving",
            "Partitions on their way to another instance",
            self.moving.clone(),
        );
        registry.register(
            "cluster_partitions_unassigned",
            "Partitions without an owner",
            self.unassigned.clone(),
        );
        registry.register_with_unit(
            "cluster_balance",
            "Partitions of the fullest owner over the mean, 1 is even",
            Unit::Ratios,
            self.balance.clone(),
        );
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// What the encoder said.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(super) fn reconciled(&self, took: Duration) {
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    pub(super) fn failed(&self, step: &'static str) {
        self.errors.get_or_create(&OfStep { step }).inc();
    }

    pub(super) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    /// Counts a request by its HTTP method; reading is what needs no more than GET.
    pub(super) fn requested(&self, method: &http::Method) {
        let verb = match *method {
            http::Method::GET => "get",
            http::Method::POST => "create",
            http::Method::PATCH => "patch",
            http::Method::PUT => "update",
            http::Method::DELETE => "delete",
            _ => "other",
        };
        self.requests.get_or_create(&OfRequest { verb }).inc();
    }

    /// Counts a look at a bucket that was answered.
    pub(super) fn looked(&self) {
        self.rounds.inc();
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How many clusters there are, and how many of them cannot be read.
    pub(super) fn count(&self, clusters: usize, unreadable: usize) {
        self.clusters
            .set(i64::try_from(clusters).unwrap_or(i64::MAX));
        self.unreadable
            .set(i64::try_from(unreadable).unwrap_or(i64::MAX));
    }

    /// What the status of a cluster says.
    pub(super) fn tell(&self, key: &Key, status: &BrainyClusterStatus) {
        for type_ in ConditionType::ALL {
            let labels = OfCondition {
                namespace: key.namespace.clone(),
                cluster: key.name.clone(),
                condition: type_.as_str(),
            };
            let value = match status.condition(type_).map(|c| c.status.as_str()) {
                Some("True") => 1,
                Some("False") => 0,
                _ => -1,
            };
            self.condition.get_or_create(&labels).set(value);
        }
    }

    /// What the assignment table of a cluster says.
    pub(super) fn tell_table(&self, key: &Key, table: &AssignmentTable, moves: &RebalanceStatus) {
        for state in STATES {
            let count = table.members.values().filter(|m| m.state == state).count();
            let gauge = self.members.get_or_create(&of_state(key, state));
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let labels = of_cluster(key);
        let set = |family: &Family<OfCluster, Gauge>, n: usize| {
            let gauge = family.get_or_create(&labels);
            gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        };
        set(&self.partitions, moves.partitions);
        set(&self.moving, moves.moving);
        set(&self.unassigned, moves.unassigned);
        self.balance.get_or_create(&labels).set(moves.max_over_mean);
    }

    /// A cluster is not there any more.
    pub(super) fn forget(&self, key: &Key) {
        for type_ in ConditionType::ALL {
            self.condition.remove(&OfCondition {
                namespace: key.namespace.clone(),
                cluster: key.name.clone(),
                condition: type_.as_str(),
            });
        }
        for state in STATES {
            self.members.remove(&of_state(key, state));
        }
        let labels = of_cluster(key);
        for family in [&self.partitions, &self.moving, &self.unassigned] {
            family.remove(&labels);
        }
        self.balance.remove(&labels);
    }
}

fn of_cluster(key: &Key) -> OfCluster {
    OfCluster {
        namespace: key.namespace.clone(),
        cluster: key.name.clone(),
    }
}

fn of_state(key: &Key, state: MemberState) -> OfState {
    OfState {
        namespace: key.namespace.clone(),
        cluster: key.name.clone(),
        state: state_name(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new();
        let key = Key {
            namespace: "team".to_owned(),
            name: "search".to_owned(),
        };
        let table = AssignmentTable::default();
        metrics.tell(&key, &BrainyClusterStatus::default());
        metrics.tell_table(
            &key,
            &table,
            &brainy_coordination::rebalance::status(&table),
        );
        metrics.reconciled(Duration::from_millis(3));
        metrics.failed("apply");
        let text = metrics.text().unwrap();
        for expected in [
            "brainy_operator_cluster_condition{namespace=\"team\",cluster=\"search\",condition=\"Ready\"} -1",
            "brainy_operator_reconcile_duration_seconds_bucket",
            "brainy_operator_reconcile_errors_total{step=\"apply\"} 1",
            "brainy_operator_cluster_balance_ratios",
            "brainy_operator_build_info{version=",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        metrics.forget(&key);
        assert!(!metrics.text().unwrap().contains("search"));
    }
}
