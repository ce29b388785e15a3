//! Objects for the Prometheus operator and for Grafana's dashboard sidecar.
//!
//! Alerts and dashboard are files beside this one, written for all clusters of a Prometheus; here they are bound to one cluster by the
//! labels `namespace` and `brainy_cluster`, which the ServiceMonitor gives to every series.

use std::collections::BTreeMap;

use brainy_crds::{BrainyCluster, ROLE_LABEL};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::pod_template::PORT_NAME;
use super::{BuildContext, BuildError, Built, built, digest, labels, services};

/// Alert rules. `__selector__` stands for the matchers of one cluster, or for nothing.
const ALERTS: &str = include_str!("monitoring/alerts.yaml");
/// The dashboard, with variables for namespace and cluster.
const DASHBOARD: &str = include_str!("monitoring/dashboard.json");
/// What the matchers of one cluster replace.
const SELECTOR: &str = "__selector__";

/// The objects that the spec asks for.
pub(super) fn objects(
    cluster: &BrainyCluster,
    context: &BuildContext<'_>,
) -> Result<Vec<Built>, BuildError> {
    let spec = &cluster.spec.monitoring;
    let mut all = Vec::new();
    if spec.service_monitor.enabled {
        all.push(service_monitor(cluster, context)?);
    }
    if spec.prometheus_rule.enabled {
        all.push(prometheus_rule(cluster)?);
    }
    if spec.dashboard.enabled {
        all.push(built(&dashboard(cluster)?)?);
    }
    Ok(all)
}

/// Scrapes each pod through the headless Services: once, ready or not, and with the role as a label.
fn service_monitor(
    cluster: &BrainyCluster,
    context: &BuildContext<'_>,
) -> Result<Built, BuildError> {
    let spec = &cluster.spec.monitoring.service_monitor;
    let mut endpoint = json!({
        "port": PORT_NAME,
        "path": "/metrics",
        "interval": prometheus_duration(spec.interval.get().as_millis()),
        "relabelings": [
            copied("__meta_kubernetes_service_label_brainy_io_cluster", "brainy_cluster"),
            copied("__meta_kubernetes_service_label_brainy_io_role", "role"),
        ],
    });
    if let Some(keys) = &cluster.spec.api_keys {
        // The least of the keys that may look at metrics; the admin's is not handed to Prometheus.
        endpoint["authorization"] = json!({
            "type": "Bearer",
            "credentials": {"name": keys.secret_ref.name, "key": keys.secret_ref.keys.read_only},
        });
    }
    if let Some(tls) = &cluster.spec.tls {
        endpoint["scheme"] = json!("https");
        // Pods are scraped by address; their certificate names the Service.
        endpoint["tlsConfig"] = json!({"serverName": services::host(cluster)?});
        if context.private_ca {
            let authority = json!({"name": tls.secret_ref.name, "key": "ca.crt"});
            endpoint["tlsConfig"]["ca"] = json!({"secret": authority});
        }
    }
    let selector = json!({
        "matchLabels": labels::match_cluster(cluster),
        "matchExpressions": [{"key": ROLE_LABEL, "operator": "Exists"}],
    });
    let spec = json!({
        "jobLabel": "app.kubernetes.io/name",
        "selector": selector,
        "endpoints": [endpoint],
    });
    let labels = &cluster.spec.monitoring.service_monitor.labels;
    custom(cluster, "ServiceMonitor", labels, spec)
}

fn prometheus_rule(cluster: &BrainyCluster) -> Result<Built, BuildError> {
    let matchers = format!(
        "namespace=\"{}\",brainy_cluster=\"{}\"",
        labels::namespace(cluster)?,
        cluster.name_any()
    );
    let spec: Value = serde_yaml::from_str(&ALERTS.replace(SELECTOR, &matchers)).map_err(|e| {
        BuildError::BuiltIn {
            file: "alerts.yaml",
            message: e.to_string(),
        }
    })?;
    let labels = &cluster.spec.monitoring.prometheus_rule.labels;
    custom(cluster, "PrometheusRule", labels, spec)
}

/// A dashboard of this cluster, with a title and an identity of its own beside those of others.
fn dashboard(cluster: &BrainyCluster) -> Result<ConfigMap, BuildError> {
    let broken = |message: &str| BuildError::BuiltIn {
        file: "dashboard.json",
        message: message.to_owned(),
    };
    let (namespace, name) = (labels::namespace(cluster)?, cluster.name_any());
    let mut board: Value = serde_json::from_str(DASHBOARD)?;
    board["title"] = json!(format!("Brainy / {namespace} / {name}"));
    // Grafana allows 40 characters.
    board["uid"] = json!(format!(
        "brainy-{}",
        digest(format!("{namespace}/{name}").as_bytes())
    ));
    let variables = board["templating"]["list"]
        .as_array_mut()
        .ok_or_else(|| broken("it has no variables"))?;
    for (variable, value) in [("namespace", &namespace), ("cluster", &name)] {
        let found = variables.iter_mut().find(|v| v["name"] == variable);
        found.ok_or_else(|| broken("a variable is missing"))?["current"] =
            json!({"text": value, "value": value});
    }
    let labels = labels::overlay(
        &cluster.spec.monitoring.dashboard.labels,
        labels::of_cluster(cluster),
    );
    let text = serde_json::to_string_pretty(&board)?;
    Ok(ConfigMap {
        metadata: labels::metadata(cluster, name.clone(), labels)?,
        // The sidecar writes all dashboards into one folder.
        data: Some([(format!("brainy-{namespace}-{name}.json"), text)].into()),
        ..ConfigMap::default()
    })
}

/// An object of the Prometheus operator.
fn custom(
    cluster: &BrainyCluster,
    kind: &str,
    selected_by: &BTreeMap<String, String>,
    spec: Value,
) -> Result<Built, BuildError> {
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
    let resource = ApiResource::from_gvk(&kind);
    let labels = labels::overlay(selected_by, labels::of_cluster(cluster));
    let metadata = labels::metadata(cluster, cluster.name_any(), labels)?;
    Ok(Built {
        name: cluster.name_any(),
        body: json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            "spec": spec,
        }),
        resource,
    })
}

fn copied(from: &str, to: &str) -> Value {
    json!({"sourceLabels": [from], "targetLabel": to})
}

/// Prometheus wants units in falling order, each at most once.
fn prometheus_duration(millis: u128) -> String {
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}
