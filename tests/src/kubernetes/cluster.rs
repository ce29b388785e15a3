//! A `BrainyCluster` in Kubernetes, as its user sees it: edited by its manifest, watched by its status.

use std::fmt;
use std::time::Duration;

use brainy_coordination::assignment::AssignmentTable;
use brainy_crds::{BrainyCluster, CLUSTER_LABEL, ROLE_LABEL};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::service::{Reach, ServiceForward};
use crate::HarnessError;
use crate::client;
use crate::manifest::Manifest;
use crate::wait::{holds, until};

/// A change of the spec has arrived everywhere within this time, on a slow and busy machine too.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(240);
/// The user of the tests, in server-side apply.
const USER: &str = "kubectl";

/// One cluster. Deleting it is the test's own affair; its namespace ends with the control plane.
pub struct KubeCluster {
    name: String,
    namespace: String,
    kubernetes: Client,
    manifest: Manifest,
    service: ServiceForward,
    key: Option<String>,
}

impl fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeCluster({}/{})", self.namespace, self.name)
    }
}

impl KubeCluster {
    /// Applies `manifest` in `namespace` and returns at once.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn apply(
        kubernetes: Client,
        namespace: &str,
        manifest: Manifest,
        reach: Reach,
    ) -> Result<Self, HarnessError> {
        let name = manifest.text("metadata.name");
        let service = ServiceForward::start(kubernetes.clone(), namespace, &name, reach).await?;
        let cluster = Self {
            name,
            namespace: namespace.to_owned(),
            kubernetes,
            manifest,
            service,
            key: None,
        };
        cluster.apply_manifest().await?;
        Ok(cluster)
    }

    /// Sends this API key with requests.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    async fn apply_manifest(&self) -> Result<(), HarnessError> {
        let manifest: Value =
            serde_yaml::from_str(&self.manifest.yaml()).map_err(|e| HarnessError::Unexpected {
                request: "the manifest".to_owned(),
                message: e.to_string(),
            })?;
        let apply = PatchParams::apply(USER).force();
        let applied = self
            .api()
            .patch(&self.name, &apply, &Patch::Apply(manifest))
            .await;
        applied
            .map(drop)
            .map_err(HarnessError::kube(format!("apply {}", self.name)))
    }

    fn api(&self) -> Api<BrainyCluster> {
        Api::namespaced(self.kubernetes.clone(), &self.namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Edits the manifest and applies it, as a user would.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn edit(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<(), HarnessError> {
        change(&mut self.manifest);
        self.apply_manifest().await
    }

    /// Sets or, with `None`, removes an annotation of the resource, as `kubectl annotate` does.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn annotate(&self, name: &str, value: Option<&str>) -> Result<(), HarnessError> {
        let patch = json!({"metadata": {"annotations": {name: value}}});
        let merged = Patch::Merge(patch);
        let patched = self
            .api()
            .patch(&self.name, &PatchParams::default(), &merged)
            .await;
        patched
            .map(drop)
            .map_err(HarnessError::kube(format!("annotate {}", self.name)))
    }

    /// Deletes the resource, as `kubectl delete` does without waiting.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn delete(&self) -> Result<(), HarnessError> {
        let deleted = self
            .api()
            .delete(&self.name, &DeleteParams::default())
            .await;
        deleted
            .map(drop)
            .map_err(HarnessError::kube(format!("delete {}", self.name)))
    }

    /// Waits until neither the resource nor any of its pods is there.
    ///
    /// # Errors
    /// [`HarnessError::Late`].
    pub async fn wait_gone(&self) -> Result<(), HarnessError> {
        until("the cluster is gone", SETTLED_WITHIN, async || {
            let resource = self.api().get_opt(&self.name).await;
            let resource = resource.map_err(|e| e.to_string())?;
            if let Some(resource) = resource {
                let status = resource.status.map(|s| json!(s.conditions));
                return Err(format!("the resource is there: {status:?}"));
            }
            let pods = self.pods().await.map_err(|e| e.to_string())?;
            let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
            holds(names.is_empty(), || format!("pods {names:?}"))
        })
        .await
    }

    /// The resource.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn resource(&self) -> Result<BrainyCluster, HarnessError> {
        let found = self.api().get(&self.name).await;
        found.map_err(HarnessError::kube(format!("get {}", self.name)))
    }

    /// Its pods, by name.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn pods(&self) -> Result<Vec<Pod>, HarnessError> {
        let api: Api<Pod> = Api::namespaced(self.kubernetes.clone(), &self.namespace);
        let of_cluster = ListParams::default().labels(&format!("{CLUSTER_LABEL}={}", self.name));
        let listed = api.list(&of_cluster).await;
        let mut pods = listed
            .map_err(HarnessError::kube("list pods".to_owned()))?
            .items;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// Names and uids of its pods of a role, or of all.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn pod_uids(
        &self,
        role: Option<&str>,
    ) -> Result<Vec<(String, String)>, HarnessError> {
        let pods = self.pods().await?;
        let of_role = pods.into_iter().filter(|pod| {
            role.is_none_or(|role| pod.labels().get(ROLE_LABEL).is_some_and(|r| r == role))
        });
        let named = of_role.map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
        Ok(named.collect())
    }

    /// The local port in front of the client Service.
    #[must_use]
    pub fn service(&self) -> &ServiceForward {
        &self.service
    }

    /// A client of the client Service.
    #[must_use]
    pub fn client(&self) -> client::Client {
        let client = client::Client::new(self.service.url());
        match &self.key {
            Some(key) => client.with_key(key),
            None => client,
        }
    }

    /// The assignments, as any of the nodes reads them.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn table(&self) -> Result<AssignmentTable, HarnessError> {
        Ok(self.client().assignments().await?.table)
    }

    /// Waits until a condition has `status` and, if given, `reason`; returns its message.
    ///
    /// # Errors
    /// [`HarnessError::Late`] with all conditions.
    pub async fn wait_condition(
        &self,
        type_: &str,
        status: &str,
        reason: Option<&str>,
    ) -> Result<String, HarnessError> {
        let what = format!(
            "{type_} is {status}{}",
            reason.map(|r| format!(", {r}")).unwrap_or_default()
        );
        until(&what, SETTLED_WITHIN, async || {
            let resource = self.resource().await.map_err(|e| e.to_string())?;
            let generation = resource.metadata.generation;
            let observed = resource.status.unwrap_or_default();
            let found = observed.conditions.iter().find(|c| c.type_ == type_);
            let current = found.filter(|c| {
                c.observed_generation == generation
                    && c.status == status
                    && reason.is_none_or(|reason| c.reason == reason)
            });
            current
                .map(|c| c.message.clone())
                .ok_or_else(|| describe(&observed.conditions))
        })
        .await
    }

    /// Waits until all that the spec asks for is so: every condition says it, of this generation, no pod is missing, too
    /// many or leaving, and nothing moves.
    ///
    /// # Errors
    /// [`HarnessError::Late`] with what is missing.
    pub async fn wait_settled(&self) -> Result<AssignmentTable, HarnessError> {
        until("the cluster is settled", SETTLED_WITHIN, async || {
            let text = |e: HarnessError| e.to_string();
            let resource = self.resource().await.map_err(text)?;
            let status = resource.status.clone().unwrap_or_default();
            let generation = resource.metadata.generation;
            for (type_, wanted) in [
                ("Ready", "True"),
                ("RingBalanced", "True"),
                ("StorageReady", "True"),
                ("Progressing", "False"),
                ("Degraded", "False"),
            ] {
                let found = status.conditions.iter().find(|c| c.type_ == type_);
                let so = found
                    .is_some_and(|c| c.status == wanted && c.observed_generation == generation);
                holds(so, || {
                    format!(
                        "{type_} is not {wanted}: {}\n{:?}",
                        describe(&status.conditions),
                        status.instances
                    )
                })?;
            }
            let spec = &resource.spec;
            let wanted = spec.writers.replicas + spec.readers.replicas + spec.hybrids.replicas;
            let pods = self.pods().await.map_err(text)?;
            let staying = pods
                .iter()
                .filter(|p| p.metadata.deletion_timestamp.is_none());
            let (staying, wanted) = (staying.count(), usize::try_from(wanted).unwrap_or(0));
            holds(pods.len() == wanted && staying == wanted, || {
                format!(
                    "{} pods, {staying} of them stay, {wanted} are wanted",
                    pods.len()
                )
            })?;
            let table = self.table().await.map_err(text)?;
            holds(table.members.len() == wanted, || {
                format!("members {:?}", table.members.keys())
            })?;
            Ok(table)
        })
        .await
    }
}

/// Conditions on one line each.
fn describe(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    let line = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        format!(
            "{}={} ({}, generation {:?}): {}",
            c.type_, c.status, c.reason, c.observed_generation, c.message
        )
    };
    let lines: Vec<String> = conditions.iter().map(line).collect();
    lines.join("\n")
}
