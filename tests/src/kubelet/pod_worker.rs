//! One pod, from the moment it is bound to the node to its removal.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::container::{ContainerTask, PodPlace, Stop};
use super::node::NodeContext;
use super::reporter::Reporter;
use super::sandbox::Mount;
use super::status::{Place, first_statuses, pod_status};
use super::volumes::Volumes;

/// The pod as the API server has it; `None` once it is gone.
pub(super) type PodReceiver = watch::Receiver<Option<Arc<Pod>>>;

/// Sees one pod through. Dropping the future kills its processes.
pub(super) async fn run(node: Arc<NodeContext>, pod: PodReceiver) {
    let Some(first) = pod.borrow().clone() else {
        return;
    };
    let worker = Worker {
        reporter: Reporter::start(node.clone(), &first),
        containers: first_statuses(&first),
        status: first.status.clone().unwrap_or_default(),
        pod_ip: None,
        node,
        first,
        pod,
    };
    worker.run().await;
}

struct Worker {
    node: Arc<NodeContext>,
    first: Arc<Pod>,
    pod: PodReceiver,
    reporter: Reporter,
    containers: Vec<ContainerStatus>,
    /// As it was last reported.
    status: PodStatus,
    pod_ip: Option<Ipv4Addr>,
}

impl Worker {
    async fn run(mut self) {
        let over = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if over {
            return self.finish().await;
        }
        let problem = unsupported(&self.first);
        let lease = self.node.shared.addresses.lease();
        let (Some(lease), None) = (lease, &problem) else {
            let message = problem.unwrap_or_else(|| "no loopback address is free".to_owned());
            return self.reject(message).await;
        };
        self.pod_ip = Some(lease.address());
        let uid = self.first.uid().unwrap_or_default();
        let place = Arc::new(PodPlace {
            node: self.node.clone(),
            pod: self.first.clone(),
            addresses: (lease.address(), self.node.ip()),
            dir: self.node.shared.dir.join("pods").join(uid),
        });
        self.report(false);
        self.live(&place).await;
        // The address is free only now: nobody connects to what was there before.
        drop(lease);
        let removed = std::fs::remove_dir_all(&place.dir);
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.problem(error.to_string());
        }
        self.finish().await;
    }

    /// Runs the containers until all of them have ended for good.
    async fn live(&mut self, place: &Arc<PodPlace>) {
        let (stop, stopped) = watch::channel(Stop::No);
        let (report, mut reports) = mpsc::unbounded_channel();
        let shared = self.node.shared.clone();
        let volumes = Volumes::new(place.dir.clone(), shared.dir.join("volumes"));
        let mut mounting = Box::pin(mount(place.clone(), self.pod.clone(), volumes));
        let mut mounted: Option<AbortOnDropHandle<()>> = None;
        let mut running = FuturesUnordered::new();
        let mut pod = self.pod.clone();
        pod.mark_changed();
        loop {
            tokio::select! {
                biased;
                // An error means that the node is switched off, and this future with it.
                Ok(()) = pod.changed() => {
                    let seen = pod.borrow_and_update().clone();
                    stop.send_if_modified(|stop| update_stop(stop, seen.as_deref()));
                    if let Some(seen) = seen {
                        self.reporter.seen(seen);
                    }
                }
                Some((index, status)) = reports.recv() => {
                    if let Some(known) = self.containers.get_mut(index) {
                        *known = status;
                    }
                    self.report(false);
                }
                (volumes, mounts) = &mut mounting, if mounted.is_none() => {
                    for (index, mounts) in mounts.into_iter().enumerate() {
                        let Some(status) = self.containers.get(index).cloned() else {
                            continue;
                        };
                        let task = ContainerTask {
                            index,
                            place: place.clone(),
                            pod: self.pod.clone(),
                            mounts,
                            stop: stopped.clone(),
                            report: report.clone(),
                            status,
                        };
                        running.push(task.run());
                    }
                    let refresh = refresh(place.clone(), self.pod.clone(), volumes);
                    mounted = Some(AbortOnDropHandle::new(tokio::spawn(refresh)));
                }
                Some(()) = running.next() => {}
                else => break,
            }
            let ended = running.is_empty() && reports.is_empty();
            if ended && (mounted.is_some() || *stop.borrow() != Stop::No) {
                break;
            }
        }
    }

    /// Reports how it ended, and once it is to be deleted removes its object.
    async fn finish(mut self) {
        self.report(true);
        let mut pod = self.pod.clone();
        pod.mark_changed();
        while pod.changed().await.is_ok() {
            let seen = pod.borrow_and_update().clone();
            match seen {
                Some(seen) if seen.metadata.deletion_timestamp.is_none() => {
                    self.reporter.seen(seen)
                }
                Some(_) => return self.reporter.remove().await,
                None => return,
            }
        }
    }

    /// Says that the pod cannot run here.
    async fn reject(mut self, message: String) {
        self.status.phase = Some("Failed".to_owned());
        self.status.reason = Some("UnsupportedByTestKubelet".to_owned());
        self.status.message = Some(message);
        self.finish().await;
    }

    fn report(&mut self, ended: bool) {
        let given = (self.status.reason.take(), self.status.message.take());
        let place = Place {
            pod_ip: self.pod_ip,
            host_ip: self.node.ip(),
            ended,
        };
        self.status = pod_status(&self.first, &self.containers, place, &self.status);
        (self.status.reason, self.status.message) = given;
        self.reporter.status(self.status.clone());
    }

    fn problem(&self, text: String) {
        let uid = self.first.uid().unwrap_or_default();
        let pod = super::pod_key(&self.first);
        self.node.shared.problem(pod, uid, text);
    }
}

/// What deletion asks for; whether that is news.
fn update_stop(stop: &mut Stop, pod: Option<&Pod>) -> bool {
    let wanted = match pod {
        None => Stop::Now,
        Some(pod) if pod.metadata.deletion_timestamp.is_none() => return false,
        Some(pod) => {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            match u64::try_from(grace) {
                Ok(0) | Err(_) => Stop::Now,
                Ok(seconds) => Stop::By(Instant::now() + std::time::Duration::from_secs(seconds)),
            }
        }
    };
    let sooner = match (&*stop, wanted) {
        (Stop::No, _) | (Stop::By(_), Stop::Now) => true,
        (Stop::By(before), Stop::By(now)) => now < *before,
        _ => false,
    };
    if sooner {
        *stop = wanted;
    }
    sooner
}

/// Mounts all volumes, as often as it takes: those of each container.
async fn mount(
    place: Arc<PodPlace>,
    pod: PodReceiver,
    mut volumes: Volumes,
) -> (Volumes, Vec<Vec<Mount>>) {
    loop {
        let client = place.node.client().await;
        let now = pod.borrow().clone().unwrap_or_else(|| place.pod.clone());
        let mounts = match volumes.sync(&client, place.facts(&now)).await {
            Ok(()) => {
                let containers = now.spec.iter().flat_map(|spec| &spec.containers);
                containers.map(|c| volumes.mounts(c)).collect()
            }
            Err(error) => Err(error),
        };
        match mounts {
            Ok(mounts) => return (volumes, mounts),
            Err(error) => {
                let uid = place.pod.uid().unwrap_or_default();
                let key = super::pod_key(&place.pod);
                place.shared().problem(key, uid, error);
                tokio::time::sleep(place.shared().timing.retry).await;
            }
        }
    }
}

/// Brings changes of Secrets and ConfigMaps into the files of a pod that runs.
async fn refresh(place: Arc<PodPlace>, pod: PodReceiver, mut volumes: Volumes) {
    while volumes.may_change() {
        tokio::time::sleep(place.shared().timing.volume_refresh).await;
        let client = place.node.client().await;
        let Some(now) = pod.borrow().clone() else {
            return;
        };
        if let Err(error) = volumes.sync(&client, place.facts(&now)).await {
            let uid = place.pod.uid().unwrap_or_default();
            let key = super::pod_key(&place.pod);
            place.shared().problem(key, uid, error);
        }
    }
}

/// What a pod asks for that this kubelet cannot do.
fn unsupported(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let with = |what: &str| Some(format!("the test kubelet runs no pods with {what}"));
    if spec.init_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        return with("init containers");
    }
    for container in &spec.containers {
        let lifecycle = container.lifecycle.as_ref();
        if lifecycle.is_some_and(|lifecycle| lifecycle.post_start.is_some()) {
            return with("a postStart hook");
        }
        let probes = [
            &container.startup_probe,
            &container.liveness_probe,
            &container.readiness_probe,
        ];
        if probes.into_iter().flatten().any(|p| p.grpc.is_some()) {
            return with("gRPC probes");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn deleted(grace: i64) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}}))
        .unwrap()
    }

    #[test]
    fn a_grace_period_is_only_ever_shortened() {
        let mut stop = Stop::No;
        assert!(!update_stop(&mut stop, Some(&Pod::default())));
        assert!(update_stop(&mut stop, Some(&deleted(60))));
        let first = stop;
        assert!(!update_stop(&mut stop, Some(&deleted(90))));
        assert_eq!(stop, first);
        assert!(update_stop(&mut stop, Some(&deleted(1))));
        assert_ne!(stop, first);
        assert!(update_stop(&mut stop, None));
        assert_eq!(stop, Stop::Now);
        assert!(!update_stop(&mut stop, Some(&deleted(1))));
    }

    #[test]
    fn what_would_be_done_wrong_is_not_done() {
        let pod = |spec| serde_json::from_value::<Pod>(json!({"spec": spec})).unwrap();
        let plain = json!({"containers": [{"name": "a"}]});
        assert_eq!(unsupported(&pod(plain)), None);
        let init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]});
        assert!(unsupported(&pod(init)).unwrap().contains("init containers"));
        let probe = json!({"grpc": {"port": 1}});
        let grpc = json!({"containers": [{"name": "a", "livenessProbe": probe}]});
        assert!(unsupported(&pod(grpc)).unwrap().contains("gRPC"));
    }
}
