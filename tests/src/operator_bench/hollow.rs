//! A node without processes: pods that are bound to it are said to run and to be ready, and go when they are deleted.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::HarnessError;

/// Label of the node, for the nodeSelector of its pods.
pub(super) const LABEL: &str = "brainy.test/hollow";
const NAME: &str = "hollow";
const MANAGER: &str = "kubelet";
/// A node that is not heard of for 16 s is not ready.
const RENEWAL: Duration = Duration::from_secs(4);
/// Pods that are spoken for at the same time.
const AT_ONCE: usize = 16;

/// The node, until it is dropped.
#[derive(Debug)]
pub(super) struct HollowNode {
    _beat: AbortOnDropHandle<()>,
    _pods: AbortOnDropHandle<()>,
}

impl HollowNode {
    /// Registers the node.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn start(client: Client) -> Result<Self, HarnessError> {
        register(&client)
            .await
            .map_err(HarnessError::kube(format!("register node {NAME}")))?;
        Ok(Self {
            _beat: AbortOnDropHandle::new(tokio::spawn(beat(client.clone()))),
            _pods: AbortOnDropHandle::new(tokio::spawn(speak_for_pods(client))),
        })
    }
}

async fn register(client: &Client) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": NAME, "labels": {LABEL: "true", "kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"},
    }});
    let apply = PatchParams::apply(MANAGER).force();
    nodes.patch(NAME, &apply, &Patch::Apply(node)).await?;
    let room =
        json!({"cpu": "10000", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "10000"});
    let now = Timestamp::now().to_string();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [ready]}});
    nodes
        .patch_status(NAME, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    renew(client).await
}

async fn renew(client: &Client) -> Result<(), kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME},
        "spec": {"holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": renewed.to_string()},
    });
    let apply = PatchParams::apply(MANAGER).force();
    let renewed = leases.patch(NAME, &apply, &Patch::Apply(lease)).await;
    renewed.map(drop)
}

async fn beat(client: Client) {
    let mut ticks = tokio::time::interval(RENEWAL);
    loop {
        ticks.tick().await;
        // What fails now is repeated at the next tick.
        if let Err(error) = renew(&client).await {
            super::say(&format!("  the node's lease: {error}"));
        }
    }
}

async fn speak_for_pods(client: Client) {
    let bound = watcher::Config::default().fields(&format!("spec.nodeName={NAME}"));
    let pods = watcher::watcher(Api::<Pod>::all(client.clone()), bound);
    let addresses = AtomicU32::new(u32::from(Ipv4Addr::new(127, 32, 0, 1)));
    pods.default_backoff()
        .applied_objects()
        .for_each_concurrent(AT_ONCE, |pod| {
            let (client, addresses) = (&client, &addresses);
            async move {
                // A watch that broke begins anew by itself.
                let Ok(pod) = pod else { return };
                if let Err(error) = speak_for(client, &pod, addresses).await {
                    super::say(&format!("  pod {}: {error}", pod.name_any()));
                }
            }
        })
        .await;
}

async fn speak_for(client: &Client, pod: &Pod, addresses: &AtomicU32) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams::default().grace_period(0);
        return match api.delete(&name, &now).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            deleted => deleted.map(drop),
        };
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if phase != Some("Pending") {
        return Ok(());
    }
    // Nobody listens there; whoever tries is refused at once.
    let address = Ipv4Addr::from(addresses.fetch_add(1, Ordering::Relaxed));
    let status = Patch::Strategic(json!({"status": running(pod, address)}));
    match api
        .patch_status(&name, &PatchParams::default(), &status)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(drop),
    }
}

/// The status of a pod whose containers run and are ready.
fn running(pod: &Pod, address: Ipv4Addr) -> Value {
    let now = Timestamp::now().to_string();
    let condition =
        |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now});
    let spec = pod.spec.clone().unwrap_or_default();
    let containers: Vec<Value> = spec
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "none", "containerID": "hollow://1",
                "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
            })
        })
        .collect();
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
    ]
    .map(condition);
    json!({
        "phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": containers,
    })
}
