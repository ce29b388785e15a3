//! A node: its objects, its signs of life, the pods that are bound to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease as NodeLease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::addresses::{Lease, as_ipv6};
use super::status::now;
use super::{Shared, pod_worker};
use crate::HarnessError;

/// What a node says it has; nothing is held to it but the scheduler.
pub(super) const CAPACITY: [(&str, &str); 4] = [
    ("cpu", "64"),
    ("memory", "256Gi"),
    ("ephemeral-storage", "1Ti"),
    ("pods", "110"),
];
/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// What a kubelet calls itself as an owner of fields.
const MANAGER: &str = "kubelet";
/// Pause after the API server gave no answer.
const RETRY: Duration = Duration::from_millis(200);
/// A node's status is sent this often even if nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What the workers of a node's pods share.
#[derive(Debug)]
pub(super) struct NodeContext {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    address: Lease,
    /// Whether the API server can be reached.
    online: watch::Sender<bool>,
}

impl NodeContext {
    pub(super) fn ip(&self) -> Ipv4Addr {
        self.address.address()
    }

    /// The way to the API server, as soon as there is one.
    pub(super) async fn client(&self) -> Client {
        let mut online = self.online.subscribe();
        // The sender is here: it cannot be gone.
        let _ = online.wait_for(|online| *online).await;
        self.shared.client.clone()
    }
}

/// A node of the kubelet.
#[derive(Debug)]
pub(super) struct NodeHandle {
    context: Arc<NodeContext>,
    zone: String,
    power_off: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl NodeHandle {
    /// Registers the node and runs it on the present runtime.
    pub(super) async fn start(
        shared: Arc<Shared>,
        name: String,
        zone: String,
    ) -> Result<Self, HarnessError> {
        let address = shared.addresses.lease().ok_or_else(|| {
            let source = std::io::Error::other("all are in use");
            HarnessError::io("find", "a free loopback address")(source)
        })?;
        let (power_off, commands) = mpsc::unbounded_channel();
        let node = Self {
            context: Arc::new(NodeContext {
                name,
                shared,
                address,
                online: watch::Sender::new(true),
            }),
            zone,
            power_off,
        };
        let what = format!("register node {}", node.name());
        node.register().await.map_err(HarnessError::kube(what))?;
        tokio::spawn(beat(node.context.clone(), node.object(), node.status()));
        tokio::spawn(run_pods(node.context.clone(), commands));
        Ok(node)
    }

    pub(super) fn name(&self) -> &str {
        &self.context.name
    }

    async fn register(&self) -> Result<(), kube::Error> {
        register(&self.context, &self.object(), &self.status(), &now()).await?;
        renew(&self.context).await
    }

    fn object(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": self.name(),
            "labels": {
                "kubernetes.io/hostname": self.name(),
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
                "topology.kubernetes.io/zone": self.zone,
                "topology.kubernetes.io/region": "here",
            },
        }})
    }

    fn status(&self) -> Value {
        let ip = self.context.ip();
        let room: BTreeMap<&str, &str> = CAPACITY.into();
        json!({
            "capacity": room,
            "allocatable": room,
            "addresses": [
                {"type": "Hostname", "address": self.name()},
                {"type": "InternalIP", "address": ip.to_string()},
                {"type": "InternalIP", "address": as_ipv6(ip).to_string()},
            ],
            "nodeInfo": {
                "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
                "bootID": self.name(), "machineID": self.name(), "systemUUID": self.name(),
                "containerRuntimeVersion": "process://1", "kernelVersion": "none", "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.4", "operatingSystem": "linux", "osImage": "brainy-tests",
            },
        })
    }

    /// Cuts the way to the API server, or opens it again.
    pub(super) fn set_online(&self, online: bool) {
        self.context.online.send_replace(online);
    }

    /// Kills everything that runs here. Nothing starts again before the node is online.
    pub(super) async fn power_off(&self) {
        let (done, ended) = oneshot::channel();
        if self.power_off.send(done).is_ok() {
            // Gone with the kubelet: then it is off as well.
            let _ = ended.await;
        }
    }

    /// Removes the node's objects, so that nothing is scheduled to it any more.
    pub(super) async fn unregister(&self) {
        let client = self.context.shared.client.clone();
        let nodes: Api<Node> = Api::all(client.clone());
        let leases: Api<NodeLease> = Api::namespaced(client, LEASES);
        let parameters = DeleteParams::default();
        // The control plane may be gone before its nodes, and nobody misses them then.
        let _ = nodes.delete(self.name(), &parameters).await;
        let _ = leases.delete(self.name(), &parameters).await;
    }
}

/// Sends the node's objects; `since` is when it became ready.
async fn register(
    node: &NodeContext,
    object: &Value,
    status: &Value,
    since: &Time,
) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(node.client().await);
    let apply = PatchParams::apply(MANAGER).force();
    nodes
        .patch(&node.name, &apply, &Patch::Apply(object))
        .await?;
    let condition = |type_: &str, holds: bool, reason: &str| {
        json!({
            "type": type_, "status": if holds { "True" } else { "False" }, "reason": reason,
            "message": "", "lastHeartbeatTime": now(), "lastTransitionTime": since,
        })
    };
    let mut status = status.clone();
    status["conditions"] = json!([
        condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
        condition("PIDPressure", false, "KubeletHasSufficientPID"),
        condition("Ready", true, "KubeletReady"),
    ]);
    let patch = Patch::Strategic(json!({ "status": status }));
    nodes
        .patch_status(&node.name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

async fn renew(node: &NodeContext) -> Result<(), kube::Error> {
    let leases: Api<NodeLease> = Api::namespaced(node.client().await, LEASES);
    let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node.name},
        "spec": {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": renewed.to_string()},
    });
    let apply = PatchParams::apply(MANAGER).force();
    leases
        .patch(&node.name, &apply, &Patch::Apply(&lease))
        .await
        .map(drop)
}

/// Renews the lease, and now and then the status.
async fn beat(node: Arc<NodeContext>, object: Value, status: Value) {
    let mut ticks = tokio::time::interval(node.shared.timing.lease_renewal);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut online = node.online.subscribe();
    let mut last = tokio::time::Instant::now();
    let mut since = now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Who comes back says so at once.
            Ok(()) = online.changed() => {
                last -= HEARTBEAT;
                since = now();
            }
        }
        if !*online.borrow_and_update() {
            continue;
        }
        // What fails now is repeated at the next tick.
        let renewed = renew(&node).await;
        if renewed.is_ok()
            && last.elapsed() >= HEARTBEAT
            && register(&node, &object, &status, &since).await.is_ok()
        {
            last = tokio::time::Instant::now();
        }
    }
}

type Pods = BoxStream<'static, watcher::Result<Event<Pod>>>;

/// Runs a worker for each pod that is bound to the node.
async fn run_pods(
    node: Arc<NodeContext>,
    mut power_off: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    let mut workers = Workers {
        node: node.clone(),
        pods: BTreeMap::new(),
        listed: None,
        tasks: JoinSet::new(),
    };
    let mut online = node.online.subscribe();
    let mut stream: Option<Pods> = None;
    loop {
        if !*online.borrow_and_update() {
            stream = None;
        } else if stream.is_none() {
            let bound = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
            stream = Some(watcher(Api::all(node.shared.client.clone()), bound).boxed());
        }
        let event = async {
            match &mut stream {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = event => match event {
                Some(Ok(event)) => workers.apply(event),
                // The watch goes on where it was as soon as it can.
                Some(Err(_)) => tokio::time::sleep(RETRY).await,
                None => stream = None,
            },
            Ok(()) = online.changed() => {}
            Some(ended) = workers.tasks.join_next() => {
                if let Ok(uid) = ended {
                    workers.pods.remove(&uid);
                }
            }
            Some(done) = power_off.recv() => {
                workers.tasks.shutdown().await;
                workers.pods.clear();
                // Who asked may have given up waiting.
                let _ = done.send(());
            }
        }
    }
}

/// Workers by uid of their pods.
struct Workers {
    node: Arc<NodeContext>,
    pods: BTreeMap<String, watch::Sender<Option<Arc<Pod>>>>,
    /// Uids of a list that is under way.
    listed: Option<Vec<String>>,
    tasks: JoinSet<String>,
}

impl Workers {
    fn apply(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed = Some(Vec::new()),
            Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.push(pod.uid().unwrap_or_default());
                }
                self.see(pod);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                for (uid, pod) in &self.pods {
                    if !listed.contains(uid) {
                        pod.send_replace(None);
                    }
                }
            }
            Event::Apply(pod) => self.see(pod),
            Event::Delete(pod) => {
                if let Some(known) = self.pods.get(&pod.uid().unwrap_or_default()) {
                    known.send_replace(None);
                }
            }
        }
    }

    fn see(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let pod = Some(Arc::new(pod));
        if let Some(known) = self.pods.get(&uid) {
            known.send_replace(pod);
            return;
        }
        let (sender, receiver) = watch::channel(pod);
        self.pods.insert(uid.clone(), sender);
        let work = pod_worker::run(self.node.clone(), receiver);
        self.tasks.spawn(async move {
            work.await;
            uid
        });
    }
}
