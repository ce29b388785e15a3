//! Step 5, the pods' half: those that are to be started anew are deleted, and their StatefulSet starts them with the new template.
//!
//! Only what was seen is deleted: uid and resourceVersion are preconditions, so a decision on an old view does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::types::InstanceId;
use brainy_crds::UpdateStrategySpec;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::context::Context;
use super::error::{StepError, is_conflict, is_not_found};
use super::index::Key;
use super::observe::{Clocks, PodSeen};
use crate::reconcile::desired::Desired;
use crate::reconcile::plan::{Plan, ProcessAction, StopReason};

/// The pods of a cluster by the instance that each is.
pub(super) type InstancePods = BTreeMap<InstanceId, Arc<PodSeen>>;

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The planner restarts it with new settings.
    NewSettings,
    /// It never came up, and the spec has other settings by now.
    Stuck,
}

/// Which pods are to be deleted. Pure.
pub(super) fn restarts(
    desired: &Desired,
    plan: &Plan,
    pods: &InstancePods,
    clocks: &Clocks,
    strategy: &UpdateStrategySpec,
    now: Instant,
) -> BTreeMap<InstanceId, Why> {
    if desired.paused {
        return BTreeMap::new();
    }
    let planned = plan.processes.iter().filter_map(|action| match action {
        ProcessAction::Stop(id, StopReason::NewSettings) => Some((id.clone(), Why::NewSettings)),
        // The StatefulSet starts and removes; kubelets kill what hangs.
        ProcessAction::Stop(..) | ProcessAction::Start(_) | ProcessAction::Kill(..) => None,
    });
    let mut restarts: BTreeMap<InstanceId, Why> = planned.collect();
    let patience = strategy.stuck_pod_timeout.get();
    for (id, pod) in pods {
        let outdated = desired
            .instances
            .get(id)
            .is_some_and(|spec| pod.revision.as_ref() != Some(&spec.revision));
        if outdated && is_stuck(pod, clocks.pod_age(id, now), patience) {
            restarts.entry(id.clone()).or_insert(Why::Stuck);
        }
    }
    restarts.retain(|id, _| pods.get(id).is_some_and(|pod| !pod.deleting));
    restarts
}

/// Whether a pod does not come up by itself. One that never ran holds nothing and needs no patience.
fn is_stuck(pod: &PodSeen, age: Duration, patience: Duration) -> bool {
    let cannot = pod.stuck || pod.unschedulable;
    cannot && (!pod.ever_ran || age >= patience)
}

/// Deletes pods, each once.
///
/// # Errors
/// What the API server said of the first that failed.
pub(super) async fn delete(
    context: &Context,
    key: &Key,
    restarts: &BTreeMap<InstanceId, Why>,
    pods: &InstancePods,
    deleted: &mut BTreeSet<String>,
) -> Result<Vec<(InstanceId, Why)>, StepError> {
    deleted.retain(|uid| pods.values().any(|pod| pod.uid == *uid));
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let mut done = Vec::new();
    for (id, why) in restarts {
        let Some(pod) = pods.get(id).filter(|pod| !deleted.contains(&pod.uid)) else {
            continue;
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: Some(pod.resource_version.clone()),
            }),
            ..DeleteParams::default()
        };
        match api.delete(id.as_str(), &params).await {
            Ok(_) => {
                deleted.insert(pod.uid.clone());
                done.push((id.clone(), *why));
            }
            // It changed or went meanwhile: the next look decides anew.
            Err(error) if is_not_found(&error) || is_conflict(&error) => {}
            Err(error) => return Err(StepError::request("delete Pod", id.as_str(), error)),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reconcile::plan::tests::{desired, id};
    use crate::resources::CONTAINER;
    use crate::resources::labels::REVISION;

    fn pod(revision: &str, restarts: i32, reason: &str) -> Arc<PodSeen> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "writer-0", "uid": "1", "annotations": {REVISION: revision}},
            "status": {"phase": "Pending", "containerStatuses": [{
                "name": CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": {"waiting": {"reason": reason}},
            }]},
        }))
        .unwrap();
        Arc::new(PodSeen::new(&pod))
    }

    fn decide(pod: &Arc<PodSeen>, age: u64, paused: bool) -> Option<Why> {
        let mut desired = desired(&["writer-0"]);
        desired.paused = paused;
        let pods: InstancePods = [(id("writer-0"), Arc::clone(pod))].into();
        let (mut clocks, start) = (Clocks::default(), Instant::now());
        super::super::observe::observe(&mut clocks, &pods, None, |_, _| String::new(), start);
        let now = start + Duration::from_secs(age);
        let strategy = UpdateStrategySpec::default();
        restarts(&desired, &Plan::default(), &pods, &clocks, &strategy, now)
            .get(&id("writer-0"))
            .copied()
    }

    #[test]
    fn a_bad_image_does_not_block_its_own_rollback() {
        let pulling = pod("2", 0, "ImagePullBackOff");
        assert_eq!(decide(&pulling, 1, false), Some(Why::Stuck));
        assert_eq!(decide(&pulling, 1, true), None, "paused");
        assert_eq!(
            decide(&pod("1", 0, "ImagePullBackOff"), 999, false),
            None,
            "it has the spec's settings"
        );
        assert_eq!(
            decide(&pod("2", 0, "ContainerCreating"), 999, false),
            None,
            "it is on its way"
        );
    }

    #[test]
    fn a_pod_that_ran_gets_the_time_that_the_spec_gives() {
        let crashing = pod("2", 3, "CrashLoopBackOff");
        assert_eq!(decide(&crashing, 299, false), None);
        assert_eq!(decide(&crashing, 300, false), Some(Why::Stuck));
    }

    #[test]
    fn only_restarts_are_ours_to_delete() {
        let plan = Plan {
            processes: vec![
                ProcessAction::Stop(id("writer-0"), StopReason::NewSettings),
                ProcessAction::Stop(id("writer-1"), StopReason::Drained),
                ProcessAction::Start(id("writer-2")),
                ProcessAction::Stop(id("writer-3"), StopReason::NewSettings),
            ],
            ..Plan::default()
        };
        let mut deleting = PodSeen::clone(&pod("1", 0, ""));
        deleting.deleting = true;
        let pods: InstancePods = [
            (id("writer-0"), pod("1", 0, "")),
            (id("writer-1"), pod("1", 0, "")),
            (id("writer-3"), Arc::new(deleting)),
        ]
        .into();
        let desired = desired(&["writer-0", "writer-2", "writer-3"]);
        let strategy = UpdateStrategySpec::default();
        let restarts = restarts(
            &desired,
            &plan,
            &pods,
            &Clocks::default(),
            &strategy,
            Instant::now(),
        );
        assert_eq!(restarts, [(id("writer-0"), Why::NewSettings)].into());
    }
}
