//! A namespace with an operator, a bucket and nodes, here or elsewhere.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use brainy_crds::CLUSTER_LABEL;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::bucket::{ACCESS_KEY, BUCKET, Bucket, SECRET_KEY};
use super::chart::grant;
use super::cluster::{KubeCluster, SETTLED_WITHIN};
use super::operator::{OperatorOptions, OperatorProcess};
use super::service::Reach;
use crate::HarnessError;
use crate::kube::{ControlPlane, FIELD_MANAGER, client};
use crate::kubelet::{Images, Kubelet, Options};
use crate::manifest::Manifest;
use crate::process::program;
use crate::wait::{holds, until};

/// Secret with the keys of the bucket.
const SECRET: &str = "bucket-keys";
/// Repository of the image, which a test kubelet knows under any tag but those that a test refuses.
const REPOSITORY: &str = "brainy.test/brainyd";
/// Tag of clusters that name one, and of the operator's default.
const TAG: &str = "test";
/// An eviction that a disruption budget forbids is asked for again this long.
const EVICTED_WITHIN: Duration = Duration::from_secs(120);

/// Which Kubernetes.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The control plane that the tests of this program share.
    Shared,
    /// One of its own, which may be broken.
    Own,
}

/// A namespace with everything that a user needs.
pub struct World {
    client: Client,
    namespace: String,
    site: Site,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({}, {:?})", self.namespace, self.site)
    }
}

#[derive(Debug)]
enum Site {
    Here(Box<Here>),
    Elsewhere(Elsewhere),
}

/// On this machine. Fields are dropped in this order: whoever uses something goes before it.
#[derive(Debug)]
struct Here {
    operator: Mutex<Option<OperatorProcess>>,
    kubelet: Kubelet,
    bucket: Bucket,
    dir: TempDir,
    control_plane: PlaneRef,
}

#[derive(Debug)]
enum PlaneRef {
    Shared(&'static ControlPlane),
    Own(Box<ControlPlane>),
}

impl std::ops::Deref for PlaneRef {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(shared) => shared,
            Self::Own(own) => own,
        }
    }
}

/// In a Kubernetes that was there before, told by the environment.
#[derive(Debug)]
struct Elsewhere {
    endpoint: String,
    operator_namespace: String,
    image: (String, String),
    reach: Reach,
    /// Ends the names of this world's clusters: what earlier ones left in the bucket is not theirs.
    suffix: String,
}

impl World {
    /// A namespace of its own on this machine, with an operator that looks after it alone.
    ///
    /// # Errors
    /// Something of it cannot be started; the message says what to build or install.
    pub async fn here(place: Place) -> Result<Self, HarnessError> {
        let control_plane = match place {
            Place::Shared => PlaneRef::Shared(ControlPlane::shared().await?),
            Place::Own => PlaneRef::Own(Box::new(ControlPlane::start().await?)),
        };
        let dir = tempfile::Builder::new()
            .prefix("brainy-world-")
            .tempdir()
            .map_err(HarnessError::io("make", "a temporary directory"))?;
        let bucket = Bucket::start(dir.path().join("s3")).await?;
        let namespace = control_plane.namespace("world").await?;
        // Some pods of a rolling update are on the way while others drain.
        let images = Images::new().with(&format!("{REPOSITORY}:{TAG}*"), program("brainyd")?);
        let mut options = Options::new(2, images);
        options.prefix.clone_from(&namespace);
        let kubelet = Kubelet::start(&control_plane.kubelet_kubeconfig(), options).await?;
        let client = control_plane.client().await?;
        let made = Self {
            client,
            namespace,
            site: Site::Here(Box::new(Here {
                operator: Mutex::default(),
                kubelet,
                bucket,
                dir,
                control_plane,
            })),
        };
        made.create_secret().await?;
        made.start_operator("operator", true).await?;
        Ok(made)
    }

    /// A namespace of the Kubernetes that KUBECONFIG names. BRAINY_E2E_S3_ENDPOINT is an S3 server that pods reach, with the
    /// bucket and keys of these tests; BRAINY_E2E_IMAGE is the data plane's image with its tag; BRAINY_E2E_REACH is
    /// `direct` if pods are reached from here at their addresses.
    ///
    /// # Errors
    /// A variable is missing, or the API server refuses.
    pub async fn elsewhere() -> Result<Self, HarnessError> {
        let variable = |name: &'static str| {
            std::env::var(name).map_err(|_| HarnessError::Content {
                path: name.into(),
                message: "is not set; `make e2e` and docs/kind.md say what it is".to_owned(),
            })
        };
        let client = client(&PathBuf::from(variable("KUBECONFIG")?)).await?;
        let image = variable("BRAINY_E2E_IMAGE")?;
        let (repository, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let direct = std::env::var("BRAINY_E2E_REACH").is_ok_and(|r| r == "direct");
        let made = Self {
            client,
            namespace: variable("BRAINY_E2E_NAMESPACE")?,
            site: Site::Elsewhere(Elsewhere {
                endpoint: variable("BRAINY_E2E_S3_ENDPOINT")?,
                operator_namespace: variable("BRAINY_E2E_OPERATOR_NAMESPACE")?,
                image: (repository.to_owned(), tag.to_owned()),
                reach: if direct {
                    Reach::Direct
                } else {
                    Reach::PortForward
                },
                suffix: format!("{:06x}", rand::random::<u32>() & 0xff_ffff),
            }),
        };
        made.create_secret().await?;
        Ok(made)
    }

    async fn create_secret(&self) -> Result<(), HarnessError> {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET},
            "stringData": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
        });
        super::chart::apply(&self.client, &self.namespace, secret).await
    }

    /// The Kubernetes API, as an administrator.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn here_only(&self) -> Result<&Here, HarnessError> {
        match &self.site {
            Site::Here(here) => Ok(here),
            Site::Elsewhere(_) => Err(HarnessError::Content {
                path: "KUBECONFIG".into(),
                message: "this can be done to a Kubernetes of our own only".to_owned(),
            }),
        }
    }

    /// Its control plane.
    ///
    /// # Errors
    /// It is elsewhere.
    pub fn control_plane(&self) -> Result<&ControlPlane, HarnessError> {
        Ok(&self.here_only()?.control_plane)
    }

    /// Its nodes.
    ///
    /// # Errors
    /// They are elsewhere.
    pub fn kubelet(&self) -> Result<&Kubelet, HarnessError> {
        Ok(&self.here_only()?.kubelet)
    }

    /// Its bucket.
    ///
    /// # Errors
    /// It is elsewhere.
    pub fn bucket(&self) -> Result<&Bucket, HarnessError> {
        Ok(&self.here_only()?.bucket)
    }

    /// Options of an operator that looks after this namespace, with the chart's rights.
    ///
    /// # Errors
    /// The operator is elsewhere, or the chart cannot be rendered.
    pub async fn operator_options(
        &self,
        name: &str,
        elected: bool,
    ) -> Result<OperatorOptions, HarnessError> {
        let here = self.here_only()?;
        let values = [format!("scope.namespaces={{{}}}", self.namespace)];
        let account = grant(&self.client, &self.namespace, &values).await?;
        let kubeconfig = here
            .control_plane
            .service_account_kubeconfig(&self.namespace, &account)
            .await?;
        Ok(OperatorOptions {
            namespaces: vec![self.namespace.clone()],
            lease_namespace: elected.then(|| self.namespace.clone()),
            default_image: format!("{REPOSITORY}:{TAG}"),
            kubeconfig,
            dir: here.dir.path().to_owned(),
            name: name.to_owned(),
        })
    }

    async fn start_operator(&self, name: &str, elected: bool) -> Result<(), HarnessError> {
        let options = self.operator_options(name, elected).await?;
        let started = OperatorProcess::start(options).await?;
        *self.here_only()?.operator.lock().await = Some(started);
        Ok(())
    }

    /// Ends the operator as a crash would; another takes its place.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn kill_operator(&self) -> Result<(), HarnessError> {
        match &self.site {
            Site::Here(here) => {
                let mut operator = here.operator.lock().await;
                if let Some(running) = operator.take() {
                    *operator = Some(running.kill_and_restart().await?);
                }
                Ok(())
            }
            Site::Elsewhere(elsewhere) => {
                let pods: Api<Pod> =
                    Api::namespaced(self.client.clone(), &elsewhere.operator_namespace);
                let named = ListParams::default().labels("app.kubernetes.io/name=brainy-operator");
                let at_once = DeleteParams::default().grace_period(0);
                let deleted = pods.delete_collection(&at_once, &named).await;
                deleted
                    .map(drop)
                    .map_err(HarnessError::kube("delete the operator's pods".to_owned()))
            }
        }
    }

    /// Ends the operator and starts it as `change` says, as an upgrade does.
    ///
    /// # Errors
    /// It does not start.
    pub async fn replace_operator(
        &self,
        change: impl FnOnce(&mut OperatorOptions),
    ) -> Result<(), HarnessError> {
        let mut operator = self.here_only()?.operator.lock().await;
        if let Some(running) = operator.take() {
            let mut options = running.kill().await?;
            change(&mut options);
            *operator = Some(OperatorProcess::start(options).await?);
        }
        Ok(())
    }

    /// A metric of the operator, summed over its labels.
    ///
    /// # Errors
    /// It is elsewhere, or does not answer.
    pub async fn operator_metric(&self, name: &str) -> Result<f64, HarnessError> {
        match self.here_only()?.operator.lock().await.as_ref() {
            Some(operator) => operator.metric(name).await,
            None => Err(HarnessError::Interrupted),
        }
    }

    /// All metrics of the operator, as Prometheus reads them.
    ///
    /// # Errors
    /// It is elsewhere, or does not answer.
    pub async fn operator_metrics(&self) -> Result<String, HarnessError> {
        match self.here_only()?.operator.lock().await.as_ref() {
            Some(operator) => operator.metrics().await,
            None => Err(HarnessError::Interrupted),
        }
    }

    /// Process id of the operator.
    ///
    /// # Errors
    /// It is elsewhere.
    pub async fn operator_pid(&self) -> Result<u32, HarnessError> {
        match self.here_only()?.operator.lock().await.as_ref() {
            Some(operator) => Ok(operator.pid()),
            None => Err(HarnessError::Interrupted),
        }
    }

    /// Applies a manifest here: with this world's bucket, image and nodes filled in.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn deploy(&self, mut manifest: Manifest) -> Result<KubeCluster, HarnessError> {
        let (endpoint, image, reach) = match &self.site {
            Site::Here(here) => (
                here.bucket.endpoint(),
                (REPOSITORY.to_owned(), TAG.to_owned()),
                Reach::Direct,
            ),
            Site::Elsewhere(there) => (there.endpoint.clone(), there.image.clone(), there.reach),
        };
        manifest
            .set("spec.storage.bucket", BUCKET)
            .set("spec.storage.endpoint", endpoint)
            .set("spec.storage.region", "us-east-1")
            .set("spec.storage.pathStyle", true)
            .set("spec.storage.credentials.secretRef.name", SECRET)
            .set("spec.image.repository", image.0)
            .set("spec.image.tag", image.1);
        match &self.site {
            Site::Here(here) => {
                for role in ["writers", "readers"] {
                    // Other worlds have nodes in the same control plane.
                    manifest.set(
                        &format!("spec.{role}.scheduling"),
                        only_on(&[here.kubelet.node(0), here.kubelet.node(1)]),
                    );
                }
            }
            Site::Elsewhere(there) => {
                let name = format!("{}-{}", manifest.text("metadata.name"), there.suffix);
                manifest.set("metadata.name", name);
            }
        }
        KubeCluster::apply(self.client.clone(), &self.namespace, manifest, reach).await
    }

    /// Deletes all clusters of the namespace and waits until their pods are gone: whoever comes next finds room.
    ///
    /// # Errors
    /// What the API server said, or what is left.
    pub async fn tidy(&self) -> Result<(), HarnessError> {
        let clusters: Api<brainy_crds::BrainyCluster> = self.api();
        let all = ListParams::default();
        let how = DeleteParams::default();
        let deleted = clusters.delete_collection(&how, &all).await;
        deleted.map_err(HarnessError::kube("delete the clusters"))?;
        let pods: Api<Pod> = self.api();
        until("no pod is left", SETTLED_WITHIN, async || {
            let left = names(&pods, CLUSTER_LABEL)
                .await
                .map_err(|e| e.to_string())?;
            holds(left.is_empty(), || format!("{left:?}"))
        })
        .await
    }

    /// Tag of the image that works.
    #[must_use]
    pub fn image_tag(&self) -> String {
        match &self.site {
            Site::Here(_) => TAG.to_owned(),
            Site::Elsewhere(there) => there.image.1.clone(),
        }
    }

    /// Ends the process of a pod as a crash would; elsewhere, the pod without grace.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill_pod(&self, cluster: &KubeCluster, pod: &str) -> Result<(), HarnessError> {
        let _ = cluster;
        match &self.site {
            Site::Here(here) => here.kubelet.kill_pod(&self.namespace, pod).map(drop),
            Site::Elsewhere(_) => {
                let at_once = DeleteParams::default().grace_period(0);
                let deleted = self.api::<Pod>().delete(pod, &at_once).await;
                deleted
                    .map(drop)
                    .map_err(HarnessError::kube(format!("delete pod {pod}")))
            }
        }
    }

    /// Evicts a pod as `kubectl drain` does, as soon as its disruption budget allows.
    ///
    /// # Errors
    /// It is not allowed in time.
    pub async fn evict(&self, pod: &str) -> Result<(), HarnessError> {
        let pods = self.api::<Pod>();
        until(&format!("{pod} is evicted"), EVICTED_WITHIN, async || {
            let evicted = pods.evict(pod, &EvictParams::default()).await;
            evicted.map(drop).map_err(|e| e.to_string())
        })
        .await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Sets the readers through the scale subresource, as `kubectl scale` and autoscalers do.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn scale(&self, cluster: &KubeCluster, replicas: i32) -> Result<Scale, HarnessError> {
        let api: Api<brainy_crds::BrainyCluster> = self.api();
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let scaled = api.patch_scale(cluster.name(), &params, &patch).await;
        scaled.map_err(HarnessError::kube(format!("scale {}", cluster.name())))
    }

    /// What the scale subresource says.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn current_scale(&self, cluster: &KubeCluster) -> Result<Scale, HarnessError> {
        let api: Api<brainy_crds::BrainyCluster> = self.api();
        let found = api.get_scale(cluster.name()).await;
        found.map_err(HarnessError::kube(format!("scale of {}", cluster.name())))
    }

    /// Names of the pods that a label selector selects, in order.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn pods_selected(&self, selector: &str) -> Result<Vec<String>, HarnessError> {
        names::<Pod>(&self.api(), selector).await
    }

    /// Everything in the namespace that carries the cluster's label, as `Kind/name`.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn objects_of(&self, cluster: &KubeCluster) -> Result<Vec<String>, HarnessError> {
        let selector = format!("{CLUSTER_LABEL}={}", cluster.name());
        let mut found = Vec::new();
        found.extend(labelled::<StatefulSet>(self, &selector).await?);
        found.extend(labelled::<Service>(self, &selector).await?);
        found.extend(labelled::<ServiceAccount>(self, &selector).await?);
        found.extend(labelled::<PodDisruptionBudget>(self, &selector).await?);
        found.extend(labelled::<NetworkPolicy>(self, &selector).await?);
        found.extend(labelled::<ConfigMap>(self, &selector).await?);
        found.extend(labelled::<Secret>(self, &selector).await?);
        found.extend(labelled::<Pod>(self, &selector).await?);
        Ok(found)
    }

    /// Keys of the cluster's objects in the bucket.
    ///
    /// # Errors
    /// The bucket is elsewhere, or does not answer.
    pub async fn stored(&self, cluster: &KubeCluster) -> Result<Vec<String>, HarnessError> {
        let prefix = format!("{}/{}", self.namespace, cluster.name());
        self.bucket()?.keys(&prefix).await
    }

    /// The ends of all logs that there are, for the message of a failure.
    pub async fn logs(&self) -> String {
        match &self.site {
            Site::Here(here) => {
                let operator = here.operator.lock().await;
                let own = operator.as_ref().map(OperatorProcess::log);
                format!(
                    "--- operator\n{}\n{}",
                    own.unwrap_or_default(),
                    here.kubelet.log_tails(&self.namespace)
                )
            }
            Site::Elsewhere(_) => "the logs are in the cluster: kubectl logs".to_owned(),
        }
    }
}

async fn labelled<K>(world: &World, selector: &str) -> Result<Vec<String>, HarnessError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let found = names::<K>(&world.api(), selector).await?;
    let kind = K::kind(&());
    Ok(found.iter().map(|name| format!("{kind}/{name}")).collect())
}

async fn names<K>(api: &Api<K>, selector: &str) -> Result<Vec<String>, HarnessError>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let listed = api.list(&ListParams::default().labels(selector)).await;
    let listed = listed.map_err(HarnessError::kube(format!("list {selector}")))?;
    let mut names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// Scheduling to these nodes only.
fn only_on(nodes: &[&str]) -> serde_yaml::Value {
    let rule = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes},
        ]}],
    }}}});
    // Any JSON is YAML.
    serde_yaml::to_value(rule).unwrap_or_default()
}
