//! Pods in every state that kubelets and controllers report, and what becomes of them.

use std::sync::Arc;

use brainy_coordination::assignment::{Member, Role};
use serde_json::{Value, json};

use super::*;

fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "search-writer-0", "uid": "pod-1", "resourceVersion": "7",
            "annotations": {REVISION: "abc"},
        },
        "status": status,
    }))
    .unwrap()
}

fn status(phase: &str, ready: bool, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!(CONTAINER);
    container["image"] = json!("brainyd:1");
    container["imageID"] = json!("");
    json!({
        "phase": phase, "podIP": "10.0.0.7",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": if ready { "True" } else { "False" }},
        ],
        "containerStatuses": [container],
    })
}

fn running(ready: bool, started: bool) -> Value {
    json!({"ready": ready, "started": started, "restartCount": 0, "state": {"running": {"startedAt": null}}})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"ready": false, "started": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}})
}

fn crashing() -> Value {
    let ended = json!({"exitCode": 69, "reason": "Error", "message": "one\nthe bucket refuses\n"});
    json!({
        "ready": false, "started": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": ended},
    })
}

/// How one pod looks after `age`, to an operator that has just seen it for the first time before that.
fn look(pod: &Pod, age: Duration) -> Observation {
    let (mut clocks, start) = (Clocks::default(), Instant::now());
    let pods = [(id("search-writer-0"), Arc::new(PodSeen::new(pod)))].into();
    let mut seen = || observe(&mut clocks, &pods, None, |_, ip| ip_address(ip), start);
    seen();
    let pods = pods.clone();
    observe(
        &mut clocks,
        &pods,
        None,
        |_, ip| ip_address(ip),
        start + age,
    )
    .remove(&id("search-writer-0"))
    .unwrap()
}

const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(600);

#[test]
fn a_pod_that_serves() {
    let seen = look(&pod(status("Running", true, running(true, true))), SOON);
    assert!(seen.serves());
    assert_eq!(seen.run, Run::Running(SOON));
    assert_eq!(seen.down_for, None);
    assert_eq!(seen.address.as_deref(), Some("10.0.0.7:6333"));
    assert_eq!(seen.revision.as_deref(), Some("abc"));
    assert_eq!((seen.failures, seen.detail.as_str()), (0, ""));
}

#[test]
fn a_pod_that_starts_is_not_live_before_its_probe_passed() {
    let seen = look(&pod(status("Running", false, running(false, false))), SOON);
    assert!(!seen.live && !seen.ready && seen.has_process());
    assert_eq!(seen.down_for, Some(SOON));
    let seen = look(&pod(status("Running", false, running(false, true))), SOON);
    assert!(seen.live && !seen.ready);
}

#[test]
fn a_lost_node_is_silence_though_its_container_is_said_to_be_ready() {
    let seen = look(&pod(status("Running", false, running(true, true))), SOON);
    assert!(!seen.live);
    assert_eq!(seen.down_for, Some(SOON));
    assert_eq!(seen.detail, "its node is not heard from");
}

#[test]
fn a_pod_that_is_deleted_lives_on() {
    let mut pod = pod(status("Running", true, running(true, true)));
    pod.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let seen = look(&pod, SOON);
    assert_eq!(
        seen.run,
        Run::Stopping {
            since: SOON,
            killed: false
        }
    );
    assert!(seen.live && !seen.serves());
}

#[test]
fn pods_that_cannot_start_say_why_and_fail() {
    for reason in [
        "ImagePullBackOff",
        "ErrImagePull",
        "CreateContainerConfigError",
        "InvalidImageName",
    ] {
        let seen = look(
            &pod(status("Pending", false, waiting(reason, "no such thing"))),
            SOON,
        );
        assert_eq!(seen.detail, format!("{reason}: no such thing"));
        assert_eq!(seen.failures, FAILING_AFTER, "{reason}");
        assert!(matches!(seen.run, Run::Running(_)) && !seen.live);
    }
    let creating = waiting("ContainerCreating", "");
    let seen = look(&pod(status("Pending", false, creating)), LATE);
    assert_eq!((seen.failures, seen.detail.as_str()), (0, ""));
}

#[test]
fn a_crash_loop_tells_how_it_ended() {
    let seen = look(&pod(status("Running", false, crashing())), SOON);
    assert_eq!(
        seen.detail,
        "CrashLoopBackOff: ended with exit code 69: the bucket refuses"
    );
    assert_eq!((seen.failures, seen.restarts, seen.live), (4, 4, false));
}

#[test]
fn failures_begin_anew_after_the_pod_was_ready() {
    let (mut clocks, start) = (Clocks::default(), Instant::now());
    let mut calm = running(true, true);
    calm["restartCount"] = json!(4);
    let mut see = |status: Value| {
        let pods = [(id("search-writer-0"), Arc::new(PodSeen::new(&pod(status))))].into();
        observe(&mut clocks, &pods, None, |_, ip| ip_address(ip), start)
            .remove(&id("search-writer-0"))
            .unwrap()
            .failures
    };
    assert_eq!(see(status("Running", false, crashing())), 4);
    assert_eq!(see(status("Running", true, calm.clone())), 0);
    calm["restartCount"] = json!(5);
    calm["ready"] = json!(false);
    assert_eq!(see(status("Running", false, calm)), 1);
}

#[test]
fn an_unschedulable_pod_fails_only_after_a_while() {
    let status = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}],
    });
    let seen = look(&pod(status.clone()), SOON);
    assert_eq!(
        (seen.failures, seen.detail.as_str()),
        (0, "Unschedulable: 0/3 nodes")
    );
    assert_eq!(look(&pod(status), LATE).failures, FAILING_AFTER);
}

#[test]
fn an_evicted_pod_ended() {
    let status = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    let seen = look(&pod(status), SOON);
    assert_eq!(
        (seen.run, seen.detail.as_str()),
        (Run::Ended, "Evicted: low on memory")
    );
}

#[test]
fn a_member_without_a_pod_is_absent_and_one_whose_pod_went_has_ended() {
    let (mut clocks, start) = (Clocks::default(), Instant::now());
    let mut table = AssignmentTable::default();
    for name in ["search-writer-0", "search-writer-1"] {
        let mut member = Member::new(Role::Writer, "10.0.0.7:6333");
        member.state = MemberState::Draining;
        table.members.insert(id(name), member);
    }
    let serving = pod(status("Running", true, running(true, true)));
    let pods = [(id("search-writer-0"), Arc::new(PodSeen::new(&serving)))].into();
    let address = |_: &InstanceId, ip: &str| ip_address(ip);
    observe(&mut clocks, &pods, Some(&table), address, start);
    let seen = observe(
        &mut clocks,
        &BTreeMap::new(),
        Some(&table),
        address,
        start + SOON,
    );
    assert_eq!(seen[&id("search-writer-0")].run, Run::Ended);
    assert_eq!(seen[&id("search-writer-0")].down_for, Some(Duration::ZERO));
    let absent = &seen[&id("search-writer-1")];
    assert_eq!((absent.run, absent.down_for), (Run::Absent, Some(SOON)));
    assert_eq!(absent.draining_for, Some(SOON));
    table.members.clear();
    let seen = observe(
        &mut clocks,
        &BTreeMap::new(),
        Some(&table),
        address,
        start + SOON,
    );
    assert!(seen.is_empty(), "nobody knows them any more");
}

#[test]
fn only_the_resource_version_does_not_make_a_pod_look_different() {
    let serving = pod(status("Running", true, running(true, true)));
    let mut newer = serving.clone();
    newer.metadata.resource_version = Some("8".to_owned());
    let [serving, newer] = [serving, newer].map(|pod| PodSeen::new(&pod));
    assert!(serving.looks_like(&newer));
    let gone = PodSeen::new(&pod(status("Running", false, running(true, true))));
    assert!(!serving.looks_like(&gone));
}

#[test]
fn addresses_of_both_families() {
    assert_eq!(ip_address("10.0.0.7"), "10.0.0.7:6333");
    assert_eq!(ip_address("fd00::7"), "[fd00::7]:6333");
}
