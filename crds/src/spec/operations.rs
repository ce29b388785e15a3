//! How the cluster is watched, updated and removed.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationString;
use crate::rules::{Constraint, Findings};

const SCRAPE_INTERVAL: Constraint = Constraint::between(
    "1s",
    "1h",
    "monitoring.serviceMonitor.interval must be between 1s and 1h",
    "30s is what most Prometheus installations use",
);
const STUCK_POD_TIMEOUT: Constraint = Constraint::between(
    "30s",
    "24h",
    "updateStrategy.stuckPodTimeout must be between 30s and 24h",
    "5m suits most clusters",
);

/// Objects for the Prometheus operator. Metrics themselves are always served at `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// ServiceMonitor that has Prometheus scrape the pods.
    #[serde(default)]
    pub service_monitor: ServiceMonitorSpec,

    /// PrometheusRule with the project's alerts.
    #[serde(default)]
    pub prometheus_rule: ToggledObject,

    /// ConfigMap with the project's Grafana dashboard, for a dashboard sidecar.
    #[serde(default)]
    pub dashboard: ToggledObject,
}

/// A ServiceMonitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    /// Whether it exists; needs the Prometheus operator's CRDs. Default: false.
    #[serde(default)]
    pub enabled: bool,

    /// How often Prometheus scrapes, 1s to 1h. Default: 30s.
    #[serde(default = "default_scrape_interval")]
    #[x_kube(validation = SCRAPE_INTERVAL)]
    pub interval: DurationString,

    /// Labels by which Prometheus selects it. Default: none.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn default_scrape_interval() -> DurationString {
    DurationString::of_millis(30_000)
}

impl Default for ServiceMonitorSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: default_scrape_interval(),
            labels: BTreeMap::new(),
        }
    }
}

/// An object that exists or does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToggledObject {
    /// Whether it exists. Default: false.
    #[serde(default)]
    pub enabled: bool,

    /// Labels by which it is selected. Default: none.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl MonitoringSpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            service_monitor,
            prometheus_rule: _,
            dashboard: _,
        } = self;
        findings.duration(
            &SCRAPE_INTERVAL,
            &format!("{path}.serviceMonitor.interval"),
            &service_monitor.interval,
        );
    }
}

/// How pods are replaced when the image or a setting that needs a restart changes. Every pod is drained before it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategySpec {
    /// Who begins. Default: RollingUpdate.
    #[serde(default, rename = "type")]
    pub type_: UpdateType,

    /// Pods of one role that may be away at the same time, 1 to 64. Default: 1.
    #[serde(default = "default_max_unavailable")]
    #[schemars(range(min = 1, max = 64))]
    pub max_unavailable: i32,

    /// How long a pod of a new revision may fail to start before it is deleted once the spec has changed again, 30s to 24h; a
    /// bad image then cannot block its own rollback. Default: 5m.
    #[serde(default = "default_stuck_pod_timeout")]
    #[x_kube(validation = STUCK_POD_TIMEOUT)]
    pub stuck_pod_timeout: DurationString,
}

/// Who begins the replacement of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// The operator, pod by pod.
    #[default]
    RollingUpdate,
    /// You, by deleting a pod.
    OnDelete,
}

fn default_max_unavailable() -> i32 {
    1
}

fn default_stuck_pod_timeout() -> DurationString {
    DurationString::of_millis(300_000)
}

impl Default for UpdateStrategySpec {
    fn default() -> Self {
        Self {
            type_: UpdateType::default(),
            max_unavailable: default_max_unavailable(),
            stuck_pod_timeout: default_stuck_pod_timeout(),
        }
    }
}

impl UpdateStrategySpec {
    pub(crate) fn check(&self, path: &str, findings: &mut Findings) {
        let Self {
            type_: _,
            max_unavailable: _,
            stuck_pod_timeout,
        } = self;
        findings.duration(
            &STUCK_POD_TIMEOUT,
            &format!("{path}.stuckPodTimeout"),
            stuck_pod_timeout,
        );
    }
}

/// What happens to the data in S3 when the BrainyCluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays; a new BrainyCluster with the same bucket and prefix finds it.
    #[default]
    Retain,
    /// Everything under the prefix is deleted.
    Delete,
}
