//! The status of a pod that follows from the states of its containers.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::addresses::as_ipv6;

/// Now, in whole seconds, as Kubernetes stores it.
pub(super) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

pub(super) fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}

pub(super) fn running(since: Time) -> ContainerState {
    ContainerState {
        running: Some(ContainerStateRunning {
            started_at: Some(since),
        }),
        ..ContainerState::default()
    }
}

pub(super) fn terminated(state: ContainerStateTerminated) -> ContainerState {
    ContainerState {
        terminated: Some(state),
        ..ContainerState::default()
    }
}

/// How a container ended, if it has.
pub(super) fn exit_code(state: Option<&ContainerState>) -> Option<i32> {
    let ended = state.and_then(|state| state.terminated.as_ref());
    ended.map(|ended| ended.exit_code)
}

/// Whether a container that ended with this code runs again.
pub(super) fn restarts(policy: Option<&str>, code: i32) -> bool {
    match policy {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

/// Containers of a pod that the kubelet sees for the first time. What another kubelet, or this one before the machine was
/// switched off, has reported of them is remembered.
pub(super) fn first_statuses(pod: &Pod) -> Vec<ContainerStatus> {
    let status = pod.status.as_ref();
    let before = status.and_then(|s| s.container_statuses.as_deref());
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let first = containers.map(|container| {
        let before = before.unwrap_or_default();
        let before = before.iter().find(|c| c.name == container.name);
        let started = before.filter(|c| c.container_id.is_some());
        let again = i32::from(started.is_some());
        let last = started.map(|c| match &c.state {
            Some(state) if state.terminated.is_some() => state.clone(),
            _ => terminated(ContainerStateTerminated {
                exit_code: 255,
                reason: Some("Unknown".to_owned()),
                container_id: c.container_id.clone(),
                finished_at: Some(now()),
                ..ContainerStateTerminated::default()
            }),
        });
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            restart_count: before.map_or(0, |c| c.restart_count + again),
            // Present even if empty, as the API server gives it back.
            last_state: Some(last.unwrap_or_default()),
            started: Some(false),
            state: Some(waiting("ContainerCreating", None)),
            ..ContainerStatus::default()
        }
    });
    first.collect()
}

/// What is known of a pod beside its containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// `None` until the pod has an address.
    pub(super) pod_ip: Option<Ipv4Addr>,
    pub(super) host_ip: Ipv4Addr,
    /// No container runs or will run again.
    pub(super) ended: bool,
}

/// The whole status, except for what others write. A condition keeps its time while it stays as it was in `before`.
pub(super) fn pod_status(
    pod: &Pod,
    containers: &[ContainerStatus],
    place: Place,
    before: &PodStatus,
) -> PodStatus {
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    let phase = phase(containers, policy, place.ended);
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let unready: Vec<&str> = containers
        .iter()
        .filter(|c| !c.ready)
        .map(|c| c.name.as_str())
        .collect();
    let ready = over.is_none() && unready.is_empty();
    let (reason, message) = match over {
        _ if ready => (None, None),
        Some(reason) => (Some(reason), None),
        None => {
            let names = unready.join(" ");
            let message = format!("containers with unready status: [{names}]");
            (Some("ContainersNotReady"), Some(message))
        }
    };
    let has_place = place.pod_ip.is_some() && over.is_none();
    let wanted = [
        ("PodReadyToStartContainers", has_place, None, None),
        (
            "Initialized",
            true,
            over.filter(|_| phase == "Succeeded"),
            None,
        ),
        ("Ready", ready, reason, message.clone()),
        ("ContainersReady", ready, reason, message),
    ];
    let conditions = wanted.map(|(type_, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let known = before.conditions.iter().flatten();
        let mut known = known.filter(|c| c.type_ == type_ && c.status == status);
        let since = known.next().and_then(|c| c.last_transition_time.clone());
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: Some(since.unwrap_or_else(now)),
            ..PodCondition::default()
        }
    });
    let host = place.host_ip.to_string();
    let address = place.pod_ip.map(|ip| ip.to_string());
    let addresses = place.pod_ip.map(|ip| {
        let both = [ip.to_string(), as_ipv6(ip).to_string()];
        both.map(|ip| PodIP { ip }).to_vec()
    });
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions.to_vec()),
        container_statuses: Some(containers.to_vec()),
        host_ip: Some(host.clone()),
        host_ips: Some(vec![HostIP { ip: host }]),
        pod_ip: address,
        pod_ips: addresses,
        start_time: before.start_time.clone().or_else(|| Some(now())),
        ..PodStatus::default()
    }
}

fn phase(containers: &[ContainerStatus], policy: Option<&str>, ended: bool) -> &'static str {
    let code = |c: &ContainerStatus| exit_code(c.state.as_ref());
    if ended {
        let succeeded = containers.iter().all(|c| code(c) == Some(0));
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    let never_ran = |c: &ContainerStatus| {
        let waits = c.state.as_ref().is_some_and(|s| s.waiting.is_some());
        waits && exit_code(c.last_state.as_ref()).is_none()
    };
    if containers.iter().any(never_ran) {
        return "Pending";
    }
    let over = |c: &ContainerStatus| code(c).is_some_and(|code| !restarts(policy, code));
    if !containers.iter().all(over) {
        "Running"
    } else if containers.iter().all(|c| code(c) == Some(0)) {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// Whether what the API server has is what was reported. What others may write too, and what the server adds, does not
/// count.
pub(super) fn same(reported: &PodStatus, stored: &PodStatus) -> bool {
    let condition = |wanted: &PodCondition| {
        let stored = stored.conditions.iter().flatten();
        let mut stored = stored.filter(|c| c.type_ == wanted.type_);
        stored
            .next()
            .is_some_and(|c| c.status == wanted.status && c.reason == wanted.reason)
    };
    reported.phase == stored.phase
        && reported.pod_ip == stored.pod_ip
        && reported.container_statuses == stored.container_statuses
        && reported.conditions.iter().flatten().all(condition)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn pod(policy: &str) -> Pod {
        let containers = json!([{"name": "a"}, {"name": "b"}]);
        serde_json::from_value(json!({"spec": {"restartPolicy": policy, "containers": containers}}))
            .unwrap()
    }

    fn ended(code: i32) -> ContainerState {
        terminated(ContainerStateTerminated {
            exit_code: code,
            ..ContainerStateTerminated::default()
        })
    }

    fn container(name: &str, state: ContainerState, ready: bool) -> ContainerStatus {
        ContainerStatus {
            name: name.to_owned(),
            ready,
            state: Some(state),
            ..ContainerStatus::default()
        }
    }

    fn place(ended: bool) -> Place {
        Place {
            pod_ip: Some(Ipv4Addr::new(127, 1, 1, 2)),
            host_ip: Ipv4Addr::new(127, 1, 1, 1),
            ended,
        }
    }

    fn condition<'a>(status: &'a PodStatus, type_: &str) -> &'a PodCondition {
        let conditions = status.conditions.as_ref().unwrap();
        conditions.iter().find(|c| c.type_ == type_).unwrap()
    }

    #[test]
    fn a_pod_is_pending_until_every_container_ran_and_ready_when_all_are() {
        let pod = pod("Always");
        let mut containers = vec![
            container("a", running(now()), true),
            container("b", waiting("ErrImagePull", None), false),
        ];
        let status = pod_status(&pod, &containers, place(false), &PodStatus::default());
        assert_eq!(status.phase.as_deref(), Some("Pending"));
        let ready = condition(&status, "Ready");
        assert_eq!(
            ready.message.as_deref(),
            Some("containers with unready status: [b]")
        );
        containers[1].last_state = Some(ended(1));
        let status = pod_status(&pod, &containers, place(false), &status);
        assert_eq!(status.phase.as_deref(), Some("Running"), "a crash loop");
        containers[1] = container("b", running(now()), true);
        let status = pod_status(&pod, &containers, place(false), &status);
        assert_eq!(condition(&status, "Ready").status, "True");
        assert_eq!(condition(&status, "Ready").reason, None);
    }

    #[test]
    fn conditions_keep_their_time_while_they_stay() {
        let pod = pod("Always");
        let containers = [container("a", running(now()), true)];
        let mut before = pod_status(&pod, &containers, place(false), &PodStatus::default());
        let old = Time(Timestamp::from_second(1).unwrap());
        for condition in before.conditions.as_mut().unwrap() {
            condition.last_transition_time = Some(old.clone());
        }
        let same = pod_status(&pod, &containers, place(false), &before);
        assert_eq!(same, before);
        let unready = [container("a", running(now()), false)];
        let after = pod_status(&pod, &unready, place(false), &before);
        assert_ne!(
            condition(&after, "Ready").last_transition_time,
            Some(old.clone())
        );
        assert_eq!(
            condition(&after, "Initialized").last_transition_time,
            Some(old)
        );
    }

    #[test]
    fn pods_that_are_over_say_how_they_ended() {
        for (policy, codes, over, expected) in [
            ("Always", [0, 0], false, "Running"),
            ("Always", [0, 0], true, "Succeeded"),
            ("Always", [0, 143], true, "Failed"),
            ("Never", [0, 0], false, "Succeeded"),
            ("Never", [0, 1], false, "Failed"),
            ("OnFailure", [0, 1], false, "Running"),
        ] {
            let [a, b] = codes;
            let containers = [
                container("a", ended(a), false),
                container("b", ended(b), false),
            ];
            let status = pod_status(
                &pod(policy),
                &containers,
                place(over),
                &PodStatus::default(),
            );
            assert_eq!(
                status.phase.as_deref(),
                Some(expected),
                "{policy} {codes:?}"
            );
            assert_eq!(condition(&status, "Ready").status, "False");
        }
    }

    #[test]
    fn a_kubelet_that_comes_later_counts_on() {
        let mut pod = pod("Always");
        let mut a = container("a", running(now()), true);
        a.restart_count = 2;
        a.container_id = Some("x".to_owned());
        pod.status = Some(PodStatus {
            container_statuses: Some(vec![a]),
            ..PodStatus::default()
        });
        let first = first_statuses(&pod);
        assert_eq!(first[0].restart_count, 3);
        assert_eq!(exit_code(first[0].last_state.as_ref()), Some(255));
        assert_eq!(first[1].restart_count, 0);
        assert_eq!(first[1].last_state, Some(ContainerState::default()));
    }

    #[test]
    fn what_others_wrote_over_is_noticed() {
        let containers = [container("a", running(now()), true)];
        let reported = pod_status(
            &pod("Always"),
            &containers,
            place(false),
            &PodStatus::default(),
        );
        let mut stored = reported.clone();
        stored.qos_class = Some("BestEffort".to_owned());
        assert!(same(&reported, &stored));
        let conditions = stored.conditions.as_mut().unwrap();
        conditions
            .iter_mut()
            .for_each(|c| c.status = "False".to_owned());
        assert!(!same(&reported, &stored));
    }
}
