//! Where the tests run their pods: a namespace with nodes of its own.

use std::time::Duration;

use brainy_tests::kube::ControlPlane;
use brainy_tests::kubelet::{Happening, Images, Kubelet, Options};
use brainy_tests::process::program;
use brainy_tests::wait::{holds, until};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) const WITHIN: Duration = Duration::from_secs(60);
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A namespace and nodes that only its pods use.
pub(crate) struct Place {
    pub(crate) kubelet: Kubelet,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Place {
    pub(crate) async fn new(plane: &ControlPlane, nodes: usize, name: &str) -> Self {
        let namespace = plane.namespace(name).await.unwrap();
        let images = Images::new()
            .with("*/brainyd", program("brainyd").unwrap())
            .with("*/shell", "/bin/sh");
        let mut options = Options::new(nodes, images);
        options.prefix.clone_from(&namespace);
        options.zones = vec![namespace.clone()];
        Self {
            kubelet: Kubelet::start(&plane.kubelet_kubeconfig(), options)
                .await
                .unwrap(),
            client: plane.client().await.unwrap(),
            namespace,
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A StatefulSet within the `restricted` standard, on the nodes of this place.
    pub(crate) async fn run(
        &self,
        name: &str,
        replicas: u32,
        container: Value,
        more: Value,
    ) -> StatefulSet {
        let mut spec = json!({
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 20,
                    "nodeSelector": {ZONE: self.namespace},
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                },
            },
        });
        spec["template"]["spec"]["containers"][0]["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        merge(&mut spec, more);
        let set = typed(json!({"metadata": {"name": name}, "spec": spec}));
        self.sets()
            .create(&PostParams::default(), &set)
            .await
            .unwrap()
    }

    pub(crate) async fn wait_ready(&self, name: &str, replicas: i32) {
        let sets = self.sets();
        until(
            &format!("{replicas} of {name} are ready"),
            WITHIN,
            async || {
                let status = sets.get(name).await.map_err(|e| e.to_string())?.status;
                let ready = status.as_ref().and_then(|s| s.ready_replicas);
                holds(ready.unwrap_or(0) == replicas, || {
                    format!(
                        "{ready:?}, {:?}\n{}",
                        self.kubelet.journal(&self.namespace, &format!("{name}-0")),
                        self.kubelet.log_tails(&self.namespace)
                    )
                })
            },
        )
        .await
        .unwrap();
    }

    /// Waits until the first container of a pod is as it should be.
    pub(crate) async fn wait_pod(
        &self,
        pod: &str,
        what: &str,
        check: impl Fn(&Pod, &ContainerStatus) -> bool,
    ) -> Pod {
        let pods = self.pods();
        until(&format!("{pod} {what}"), WITHIN, async || {
            let pod = pods.get(pod).await.map_err(|e| e.to_string())?;
            let statuses = pod
                .status
                .as_ref()
                .and_then(|s| s.container_statuses.clone());
            let first = statuses.unwrap_or_default().into_iter().next();
            let good = first.is_some_and(|status| check(&pod, &status));
            if good {
                Ok(pod)
            } else {
                Err(format!("{:?}", pod.status))
            }
        })
        .await
        .unwrap()
    }

    pub(crate) fn happened(&self, pod: &str) -> Vec<Happening> {
        let entries = self.kubelet.journal(&self.namespace, pod);
        entries.into_iter().map(|entry| entry.what).collect()
    }
}

pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A database by itself.
pub(crate) fn brainyd() -> Value {
    json!({
        "name": "brainyd",
        "image": "registry.test/brainyd:1",
        "args": ["--listen", "0.0.0.0:6333", "--data-dir", "/data"],
        "ports": [{"name": "http", "containerPort": 6333}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "startupProbe": {"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"exec": {"command": ["/usr/bin/brainyd", "--version"]}}},
    })
}

pub(crate) fn shell(script: &str) -> Value {
    json!({"name": "shell", "image": "registry.test/shell", "args": ["-c", script]})
}

pub(crate) fn waiting(status: &ContainerStatus) -> Option<&str> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.as_deref()
}

pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut ready = conditions.filter(|c| c.type_ == "Ready");
    ready.next().is_some_and(|c| c.status == "True")
}

pub(crate) fn last_exit(status: &ContainerStatus) -> Option<i32> {
    let last = status.last_state.as_ref()?.terminated.as_ref()?;
    Some(last.exit_code)
}
