//! Emptying a node as `kubectl drain` does.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::HarnessError;
use crate::wait::until;

/// Lets nothing, or again something, be scheduled to a node.
///
/// # Errors
/// There is no such node.
pub async fn cordon(client: &Client, node: &str, cordoned: bool) -> Result<(), HarnessError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
    let sent = nodes.patch(node, &PatchParams::default(), &patch).await;
    sent.map(drop)
        .map_err(HarnessError::kube(format!("cordon node {node}")))
}

/// Cordons a node and evicts its pods until none is left. Evictions that a PodDisruptionBudget forbids are asked for again.
///
/// # Errors
/// [`HarnessError::Late`] with the pods that are left, and why.
pub async fn drain(client: &Client, node: &str, within: Duration) -> Result<(), HarnessError> {
    cordon(client, node, true).await?;
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    until(&format!("node {node} is empty"), within, async || {
        let list = pods.list(&bound).await.map_err(|e| e.to_string())?;
        let mut left = Vec::new();
        for pod in &list {
            let name = pod.name_any();
            let why = if pod.metadata.deletion_timestamp.is_some() {
                "terminating".to_owned()
            } else {
                let namespace = pod.namespace().unwrap_or_default();
                let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                match pods.evict(&name, &EvictParams::default()).await {
                    Ok(_) => "evicted".to_owned(),
                    Err(error) => error.to_string(),
                }
            };
            left.push(format!("{name}: {why}"));
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await
}
