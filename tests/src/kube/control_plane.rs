//! A control plane: start, share, break, ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OnceCell, oneshot};

use super::assets::Assets;
use super::audit::{self, ApiRequest, AuditMark};
use super::components::{ADMIN, Components, KUBELET};
use super::keeper::Keeper;
use crate::HarnessError;
use crate::process::{Process, tail};
use crate::wait::{holds, until};

/// A control plane is ready within this time, on a slow machine too.
pub const READY_WITHIN: Duration = Duration::from_secs(120);
/// A namespace is usable, or gone, within this time.
const NAMESPACE_WITHIN: Duration = Duration::from_secs(60);
/// What the harness calls itself in server-side apply.
pub const FIELD_MANAGER: &str = "brainy-tests";

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// As it is shipped.
const DEFINITION: &str = include_str!("../../../crds/brainycluster.yaml");

/// etcd, API server, controller manager and scheduler with a data directory of their own, all at loopback addresses.
/// Dropping it, or the end of this program, kills them and removes the directory.
#[derive(Debug)]
pub struct ControlPlane {
    components: Components,
    assets: Assets,
    /// Where the processes are waited for; the tests' own runtimes end with each test.
    runtime: Handle,
    processes: Mutex<BTreeMap<&'static str, Process>>,
    started_in: Duration,
    /// The last field: it removes what the others use.
    keeper: Keeper,
}

impl ControlPlane {
    /// The one that the tests of this program share, started by the first that asks. Use a namespace of your own, and
    /// leave the API server alone.
    ///
    /// # Errors
    /// As [`ControlPlane::start`]; the next who asks tries again.
    pub async fn shared() -> Result<&'static Self, HarnessError> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        let start = async || {
            let (sender, receiver) = oneshot::channel();
            // A runtime that outlives the test that came first.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(HarnessError::io("start", "a runtime"));
                match runtime {
                    Ok(runtime) => runtime.block_on(async {
                        let started = ControlPlane::start().await;
                        let lives = started.is_ok();
                        if sender.send(started).is_ok() && lives {
                            std::future::pending::<()>().await;
                        }
                    }),
                    Err(error) => drop(sender.send(Err(error))),
                }
            });
            receiver.await.map_err(|_| HarnessError::Interrupted)?
        };
        SHARED.get_or_try_init(start).await
    }

    /// Starts one with the `BrainyCluster` definition installed, and waits until all of it works.
    ///
    /// # Errors
    /// A program is missing, or ends, or is not ready within [`READY_WITHIN`]; the message has the ends of the logs.
    pub async fn start() -> Result<Self, HarnessError> {
        Self::launch(true).await
    }

    /// Starts one that does not know `BrainyCluster`. Whoever installs the definition should know that the garbage
    /// collector takes up to 30 s to notice: until then, what a deleted `BrainyCluster` owned stays.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_bare() -> Result<Self, HarnessError> {
        Self::launch(false).await
    }

    async fn launch(with_definition: bool) -> Result<Self, HarnessError> {
        let since = Instant::now();
        let dir = tempfile::Builder::new()
            .prefix("brainy-control-plane-")
            .tempdir()
            .map_err(HarnessError::io("make", "a temporary directory"))?
            .keep();
        let keeper = Keeper::start(&dir)?;
        let mut made = Self {
            components: Components::prepare(&dir)?,
            assets: Assets::find(),
            runtime: Handle::current(),
            processes: Mutex::default(),
            started_in: Duration::ZERO,
            keeper,
        };
        made.run(ETCD).await?;
        made.start_api_server().await?;
        if with_definition {
            made.install_definition().await?;
        }
        made.run(CONTROLLER_MANAGER).await?;
        made.run(SCHEDULER).await?;
        made.wait_namespace("default", READY_WITHIN).await?;
        made.started_in = since.elapsed();
        Ok(made)
    }

    /// Starts one program without waiting for it.
    async fn run(&self, name: &'static str) -> Result<(), HarnessError> {
        let arguments = match name {
            ETCD => self.components.etcd(),
            API_SERVER => self.components.api_server(),
            CONTROLLER_MANAGER => self.components.controller_manager(),
            _ => self.components.scheduler(),
        };
        let program = self.assets.program(name)?;
        let mut processes = self.processes.lock().await;
        let _entered = self.runtime.enter();
        let process = Process::start(&program, &arguments, &[], self.components.log(name))?;
        self.keeper.add(process.pid())?;
        processes.insert(name, process);
        Ok(())
    }

    /// Waits for something; a program that ends meanwhile is an error at once, and lateness shows the logs.
    async fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl AsyncFnMut() -> Result<T, String>,
    ) -> Result<T, HarnessError> {
        until(what, within, async || {
            for process in self.processes.lock().await.values_mut() {
                if let Err(ended) = process.check() {
                    return Ok(Err(ended));
                }
            }
            match look().await {
                Ok(value) => Ok(Ok(value)),
                Err(seen) => Err(format!("{seen}\n{}", self.logs())),
            }
        })
        .await?
    }

    /// Kills the API server as a crash would. The store, the controllers and the scheduler live on.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill_api_server(&self) -> Result<(), HarnessError> {
        let killed = self.processes.lock().await.remove(API_SERVER);
        let Some(mut process) = killed else {
            let source = std::io::Error::other("it does not run");
            return Err(HarnessError::io("kill", API_SERVER)(source));
        };
        let pid = process.pid();
        process.kill().await?;
        self.keeper.forget(pid)
    }

    /// Starts the API server, at the same address and with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_api_server(&self) -> Result<(), HarnessError> {
        self.run(API_SERVER).await?;
        let client = self.client().await?;
        self.wait("the API server is ready", READY_WITHIN, async || {
            let request = axum::http::Request::get("/readyz").body(Vec::new());
            let request = request.map_err(|e| e.to_string())?;
            let answer = client.request_text(request).await;
            answer.map(drop).map_err(|e| e.to_string())
        })
        .await
    }

    async fn install_definition(&self) -> Result<(), HarnessError> {
        let definition: CustomResourceDefinition =
            serde_yaml::from_str(DEFINITION).map_err(|e| HarnessError::Content {
                path: "crds/brainycluster.yaml".into(),
                message: e.to_string(),
            })?;
        let name = definition.name_any();
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        let apply = PatchParams::apply(FIELD_MANAGER);
        definitions
            .patch(&name, &apply, &Patch::Apply(&definition))
            .await
            .map_err(HarnessError::kube(format!("apply {name}")))?;
        let what = format!("{name} is established");
        self.wait(&what, READY_WITHIN, async || {
            let found = definitions.get(&name).await.map_err(|e| e.to_string())?;
            let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
            let established = conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True");
            holds(established, || format!("{conditions:?}"))
        })
        .await
    }

    /// How long [`ControlPlane::start`] took.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Address of the API server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.components.url
    }

    /// The certificate of the authority that signed the API server's, as a PEM file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.components.credentials.ca()
    }

    /// The kubeconfig of [`ADMIN`], who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.components.credentials.kubeconfig(ADMIN)
    }

    /// The kubeconfig of [`KUBELET`], who may do everything as well.
    #[must_use]
    pub fn kubelet_kubeconfig(&self) -> PathBuf {
        self.components.credentials.kubeconfig(KUBELET)
    }

    /// Writes the kubeconfig of a ServiceAccount, with a token that is valid for an hour.
    ///
    /// # Errors
    /// There is no such ServiceAccount.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf, HarnessError> {
        let token = self.service_account_token(namespace, name).await?;
        let user = service_account_user(namespace, name);
        self.components
            .credentials
            .write_kubeconfig(&user, self.url(), &token)
    }

    /// A token of a ServiceAccount, as a pod gets one; valid for an hour.
    ///
    /// # Errors
    /// There is no such ServiceAccount.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<String, HarnessError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let what = format!("create a token of ServiceAccount {namespace}/{name}");
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(HarnessError::kube(&what))?;
        let token = answer.status.map(|status| status.token);
        token.ok_or_else(|| HarnessError::Unexpected {
            request: what,
            message: "no status".to_owned(),
        })
    }

    /// A client of [`ADMIN`]. It belongs to the caller's runtime: make one in each test.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client, HarnessError> {
        client(&self.kubeconfig()).await
    }

    /// Makes a namespace whose name begins with `prefix` and waits until pods can be created in it. Pods there are held to
    /// the `restricted` pod security standard, as in a well kept cluster.
    ///
    /// # Errors
    /// The API server refuses, or the controllers do not come to it.
    pub async fn namespace(&self, prefix: &str) -> Result<String, HarnessError> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some(format!("{prefix}-"));
        let label = "pod-security.kubernetes.io/enforce".to_owned();
        namespace.metadata.labels = Some(BTreeMap::from([(label, "restricted".to_owned())]));
        let created = namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(HarnessError::kube(format!("create namespace {prefix}")))?;
        let name = created.name_any();
        self.wait_namespace(&name, NAMESPACE_WITHIN).await?;
        Ok(name)
    }

    /// Pods are given the ServiceAccount `default` and the CA's certificate: controllers make both.
    async fn wait_namespace(&self, name: &str, within: Duration) -> Result<(), HarnessError> {
        let client = self.client().await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
        let maps: Api<ConfigMap> = Api::namespaced(client, name);
        self.wait(&format!("namespace {name} is usable"), within, async || {
            accounts.get("default").await.map_err(|e| e.to_string())?;
            let map = maps.get("kube-root-ca.crt").await;
            map.map(drop).map_err(|e| e.to_string())
        })
        .await
    }

    /// Deletes a namespace and waits until nothing of it is left. Pods on a node go only when its kubelet lets them.
    ///
    /// # Errors
    /// [`HarnessError::Late`] with the namespace's conditions, which name what is left.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), HarnessError> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces
            .delete(name, &DeleteParams::default())
            .await
            .map_err(HarnessError::kube(format!("delete namespace {name}")))?;
        let what = format!("namespace {name} is gone");
        self.wait(&what, NAMESPACE_WITHIN, async || {
            let found = namespaces.get_opt(name).await.map_err(|e| e.to_string())?;
            let status = found.as_ref().and_then(|n| n.status.as_ref());
            holds(found.is_none(), || json!(status).to_string())
        })
        .await
    }

    /// The end of the audit log, to count from.
    #[must_use]
    pub fn audit_mark(&self) -> AuditMark {
        audit::mark(&self.components.audit_log())
    }

    /// What `user` ([`ADMIN`], [`KUBELET`], [`service_account_user`]) has asked the API server after `since`, in order.
    /// Whatever was answered is there.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests_by(
        &self,
        user: &str,
        since: AuditMark,
    ) -> Result<Vec<ApiRequest>, HarnessError> {
        audit::requests_by(&self.components.audit_log(), user, since)
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let names = [ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER];
        let shown = names.map(|name| format!("--- {name}\n{}\n", tail(&self.components.log(name))));
        shown.concat()
    }

    /// Directory of logs and data, until the control plane is dropped.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.components.dir
    }
}

/// A client for a kubeconfig, of the caller's runtime.
///
/// # Errors
/// The file cannot be used.
pub async fn client(kubeconfig: &Path) -> Result<Client, HarnessError> {
    let config = config(kubeconfig).await?;
    Client::try_from(config).map_err(|e| unusable(kubeconfig, &e))
}

/// What a kubeconfig says.
///
/// # Errors
/// The file cannot be used.
pub async fn config(kubeconfig: &Path) -> Result<Config, HarnessError> {
    let read = Kubeconfig::read_from(kubeconfig).map_err(|e| unusable(kubeconfig, &e))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    config.map_err(|e| unusable(kubeconfig, &e))
}

fn unusable(kubeconfig: &Path, error: &dyn std::fmt::Display) -> HarnessError {
    HarnessError::Content {
        path: kubeconfig.to_owned(),
        message: error.to_string(),
    }
}

/// What the API server calls a ServiceAccount.
#[must_use]
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
