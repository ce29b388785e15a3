//! Persistent volumes as directories of this machine, and what Kubernetes' volume controllers would do for them: the
//! control plane of the tests has none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Shared;

/// Pause before something is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// The directory of a volume.
pub(super) fn directory(volumes: &Path, name: &str) -> PathBuf {
    volumes.join(name)
}

/// Binds every claim that is there, and lets go what is deleted and used by no pod.
pub(super) async fn run(shared: Arc<Shared>) {
    let claims: Api<PersistentVolumeClaim> = Api::all(shared.client.clone());
    let mut events = watcher(claims, watcher::Config::default()).boxed();
    let mut open: BTreeMap<String, PersistentVolumeClaim> = BTreeMap::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Apply(claim) | Event::InitApply(claim))) => {
                    open.insert(claim.uid().unwrap_or_default(), claim);
                }
                Some(Ok(Event::Delete(claim))) => {
                    open.remove(&claim.uid().unwrap_or_default());
                }
                Some(Ok(Event::Init | Event::InitDone)) => continue,
                Some(Err(_)) => tokio::time::sleep(RETRY).await,
                None => return,
            },
            () = tokio::time::sleep(RETRY), if !open.is_empty() => {}
        }
        let mut left = BTreeMap::new();
        for (uid, claim) in open {
            match handle(&shared, &claim, &uid).await {
                Ok(true) => {}
                Ok(false) => drop(left.insert(uid, claim)),
                Err(error) => {
                    let name = format!(
                        "{}/{}",
                        claim.namespace().unwrap_or_default(),
                        claim.name_any()
                    );
                    shared.problem(name, uid.clone(), error.to_string());
                    left.insert(uid, claim);
                }
            }
        }
        open = left;
    }
}

/// Whether the claim is as it should be.
async fn handle(
    shared: &Shared,
    claim: &PersistentVolumeClaim,
    uid: &str,
) -> Result<bool, kube::Error> {
    let volume = format!("pvc-{uid}");
    if claim.metadata.deletion_timestamp.is_some() {
        return release(shared, claim, &volume).await;
    }
    let spec = claim.spec.clone().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    if spec.volume_name.is_some() && phase == Some("Bound") {
        return Ok(true);
    }
    let namespace = claim.namespace().unwrap_or_default();
    let room = spec.resources.and_then(|r| r.requests).unwrap_or_default();
    let made: Result<PersistentVolume, _> = serde_json::from_value(json!({
        "metadata": {"name": volume},
        "spec": {
            "capacity": room,
            "accessModes": spec.access_modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.storage_class_name,
            "hostPath": {"path": directory(&shared.dir.join("volumes"), &volume)},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace,
                "name": claim.name_any(), "uid": uid},
        },
    }));
    let made = made.map_err(kube::Error::SerdeError)?;
    let volumes: Api<PersistentVolume> = Api::all(shared.client.clone());
    match volumes.create(&PostParams::default(), &made).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
    }
    let parameters = PatchParams::default();
    let bound = Patch::Merge(json!({"status": {"phase": "Bound"}}));
    volumes.patch_status(&volume, &parameters, &bound).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), &namespace);
    let patch = json!({
        "metadata": {"uid": uid, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": volume},
    });
    claims
        .patch(&claim.name_any(), &parameters, &Patch::Merge(patch))
        .await?;
    let patch = json!({"metadata": {"uid": uid},
        "status": {"phase": "Bound", "accessModes": spec.access_modes, "capacity": room}});
    let patch = Patch::Merge(patch);
    claims
        .patch_status(&claim.name_any(), &parameters, &patch)
        .await?;
    Ok(true)
}

/// Lets a deleted claim go with its volume, unless a pod uses it.
async fn release(
    shared: &Shared,
    claim: &PersistentVolumeClaim,
    volume: &str,
) -> Result<bool, kube::Error> {
    let namespace = claim.namespace().unwrap_or_default();
    let name = claim.name_any();
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let uses = |pod: &Pod| {
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        let mut claims = volumes.filter_map(|v| v.persistent_volume_claim.as_ref());
        claims.any(|used| used.claim_name == name)
    };
    if pods.list(&ListParams::default()).await?.iter().any(uses) {
        return Ok(false);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), &namespace);
    let volumes: Api<PersistentVolume> = Api::all(shared.client.clone());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let parameters = PatchParams::default();
    unless_gone(volumes.patch(volume, &parameters, &free).await)?;
    unless_gone(volumes.delete(volume, &DeleteParams::default()).await)?;
    let patch = json!({"metadata": {"uid": claim.metadata.uid, "finalizers": null}});
    unless_gone(claims.patch(&name, &parameters, &Patch::Merge(patch)).await)?;
    // The directory is not there if no pod ever used it.
    let _ = std::fs::remove_dir_all(directory(&shared.dir.join("volumes"), volume));
    Ok(true)
}

fn unless_gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        result => result.map(drop),
    }
}
