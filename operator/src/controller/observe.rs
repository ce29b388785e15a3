//! What is seen of the pods, in the terms of the planner.
//!
//! | the pod | the instance |
//! |---|---|
//! | is not there | absent, or ended if it was there before |
//! | is being deleted | stopping; it lives on until it ends |
//! | failed or succeeded | ended |
//! | is there | running; live once its start-up probe passed, ready as its readiness says |
//! | its container is ready, the pod is not | its node is lost: nobody hears from it, so it counts as silent |
//!
//! Times are this process's own: a clock starts when something is first seen, so a new operator waits once more rather than
//! too little.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::types::InstanceId;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition};

use crate::reconcile::conditions::FAILING_AFTER;
use crate::reconcile::plan::{Observation, Run};
use crate::resources::labels::REVISION;
use crate::resources::{CONTAINER, PORT};

/// A pod for which no node is found for this long counts as failing: a cluster that adds nodes is faster.
const UNSCHEDULABLE_FOR: Duration = Duration::from_secs(120);
/// How much of a message by others is kept, in characters.
const LONGEST_TEXT: usize = 200;

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not placed, or pulling its image.
    Pending,
    /// Its container was started.
    Running,
    /// Its containers ended for good.
    Ended,
}

/// What decisions need of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSeen {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) revision: Option<String>,
    pub(super) deleting: bool,
    pub(super) phase: Phase,
    pub(super) ip: Option<String>,
    /// The pod's condition Ready.
    pub(super) ready: bool,
    /// The container runs and its start-up probe passed.
    pub(super) started: bool,
    /// Whether it has ever run: a pod that never did holds nothing.
    pub(super) ever_ran: bool,
    /// The container is ready although the pod is not: only the node's controller says so, and only of a lost node.
    pub(super) node_lost: bool,
    pub(super) unschedulable: bool,
    pub(super) restarts: u32,
    /// The container cannot be started, so it is tried again and again.
    pub(super) stuck: bool,
    /// What it waits for, or why it ended last.
    pub(super) detail: String,
}

impl PodSeen {
    /// What decisions need of `pod`.
    pub(super) fn new(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let status = pod.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let container = containers.iter().find(|c| c.name == CONTAINER);
        let ready = condition(&conditions, "Ready").is_some_and(|c| c.status == "True");
        let state = container.and_then(|c| c.state.clone()).unwrap_or_default();
        let runs = state.running.is_some();
        let restarts = container.map_or(0, |c| c.restart_count);
        let unscheduled = condition(&conditions, "PodScheduled")
            .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
        let phase = match status.phase.as_deref() {
            Some("Running") => Phase::Running,
            Some("Succeeded" | "Failed") => Phase::Ended,
            _ => Phase::Pending,
        };
        let why = || match (&status.reason, &status.message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (Some(text), None) | (None, Some(text)) => Some(text.clone()),
            (None, None) => None,
        };
        let detail = unscheduled
            .map(|c| told("Unschedulable", c.message.as_deref()))
            .or_else(|| container.and_then(waiting_for))
            .or_else(why)
            .or_else(|| container.filter(|_| !ready).and_then(ended_with))
            .unwrap_or_default();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            revision: meta
                .annotations
                .as_ref()
                .and_then(|a| a.get(REVISION))
                .cloned(),
            deleting: meta.deletion_timestamp.is_some(),
            phase,
            ip: status.pod_ip.filter(|ip| !ip.is_empty()),
            ready,
            started: runs && container.is_some_and(|c| c.started == Some(true)),
            ever_ran: runs || restarts > 0 || state.terminated.is_some(),
            node_lost: !ready && runs && container.is_some_and(|c| c.ready),
            unschedulable: unscheduled.is_some(),
            restarts: u32::try_from(restarts).unwrap_or(0),
            stuck: is_stuck(&state),
            detail: detail.chars().take(LONGEST_TEXT).collect(),
        }
    }

    /// Whether nothing differs that a decision depends on.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.resource_version.clone_from(&self.resource_version);
        *self == other
    }

    /// Whether it answers, as far as anybody knows.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Running && self.started && !self.node_lost
    }
}

fn condition<'a>(conditions: &'a [PodCondition], type_: &str) -> Option<&'a PodCondition> {
    conditions.iter().find(|c| c.type_ == type_)
}

fn told(reason: &str, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

/// Reasons that say nothing: every pod passes through them.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

fn waiting_for(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if ON_ITS_WAY.contains(&reason) {
        return None;
    }
    let text = told(reason, waiting.message.as_deref());
    Some(match ended_with(container) {
        // How it ended says more than how long the next start is put off.
        Some(ended) if reason == "CrashLoopBackOff" => format!("{reason}: {ended}"),
        _ => text,
    })
}

fn ended_with(container: &ContainerStatus) -> Option<String> {
    let of = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let ended = of(&container.state).or_else(|| of(&container.last_state))?;
    let reason = ended.reason.unwrap_or_default();
    let last_line = ended.message.unwrap_or_default();
    let last_line = logged(last_line.trim().lines().last().unwrap_or_default());
    let code = match (reason.as_str(), ended.exit_code) {
        ("" | "Error" | "Completed", code) => format!("ended with exit code {code}"),
        (reason, code) => format!("ended with exit code {code} ({reason})"),
    };
    Some(match last_line.as_str() {
        "" => code,
        line => format!("{code}: {line}"),
    })
}

/// What a line of the log says: pods write JSON.
fn logged(line: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed
        .as_ref()
        .and_then(|line| line.get("message")?.as_str());
    message.unwrap_or(line).to_owned()
}

fn is_stuck(state: &ContainerState) -> bool {
    let reason = state.waiting.as_ref().and_then(|w| w.reason.as_deref());
    matches!(
        reason,
        Some(
            "CrashLoopBackOff"
                | "ImagePullBackOff"
                | "ErrImagePull"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError"
        )
    )
}

/// What this process remembers of an instance.
#[derive(Clone, Debug)]
struct Clock {
    /// The pod that was seen last.
    uid: String,
    /// When it was first seen.
    since: Instant,
    deleting_since: Option<Instant>,
    /// Since when the instance, in whichever pod, does not answer.
    down_since: Option<Instant>,
    draining_since: Option<Instant>,
    /// Whether this pod has answered.
    answered: bool,
    /// Its restarts when it was ready last.
    calm_restarts: u32,
    /// Pods before this one.
    replaced: u32,
}

/// The memory of when things began.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks(BTreeMap<InstanceId, Clock>);

/// Takes up what the pods and the table show at `now`, and tells what that means for each instance. `address` gives the address of
/// a pod from its name and IP.
pub(super) fn observe(
    clocks: &mut Clocks,
    pods: &BTreeMap<InstanceId, std::sync::Arc<PodSeen>>,
    table: Option<&AssignmentTable>,
    address: impl Fn(&InstanceId, &str) -> String,
    now: Instant,
) -> BTreeMap<InstanceId, Observation> {
    clocks.follow(pods, table, now);
    let mut observed = BTreeMap::new();
    for (id, clock) in &clocks.0 {
        let mut seen = match pods.get(id) {
            Some(pod) => clock.observation(pod, now),
            None => Observation {
                run: if clock.uid.is_empty() {
                    Run::Absent
                } else {
                    Run::Ended
                },
                ..Observation::default()
            },
        };
        seen.down_for = clock.down_since.map(|since| now - since);
        seen.draining_for = clock.draining_since.map(|since| now - since);
        seen.address = pods
            .get(id)
            .and_then(|pod| pod.ip.as_deref())
            .map(|ip| address(id, ip));
        observed.insert(id.clone(), seen);
    }
    observed
}

impl Clocks {
    /// When the pod of an instance was first seen.
    pub(super) fn pod_age(&self, id: &InstanceId, now: Instant) -> Duration {
        self.0
            .get(id)
            .map_or(Duration::ZERO, |clock| now - clock.since)
    }

    fn follow(
        &mut self,
        pods: &BTreeMap<InstanceId, std::sync::Arc<PodSeen>>,
        table: Option<&AssignmentTable>,
        now: Instant,
    ) {
        let members = |id: &InstanceId| table.and_then(|t| t.members.get(id));
        self.0
            .retain(|id, _| pods.contains_key(id) || members(id).is_some() || table.is_none());
        let known = table.into_iter().flat_map(|t| t.members.keys());
        for id in known.chain(pods.keys()) {
            let clock = self.0.entry(id.clone()).or_insert_with(|| Clock::new(now));
            match pods.get(id) {
                Some(pod) => clock.look(pod, now),
                None => {
                    clock.down_since.get_or_insert(now);
                }
            }
            let draining = members(id).is_some_and(|m| m.state == MemberState::Draining);
            clock.draining_since = draining.then(|| clock.draining_since.unwrap_or(now));
        }
    }
}

impl Clock {
    fn new(now: Instant) -> Self {
        Self {
            uid: String::new(),
            since: now,
            deleting_since: None,
            down_since: Some(now),
            draining_since: None,
            answered: false,
            calm_restarts: 0,
            replaced: 0,
        }
    }

    fn look(&mut self, pod: &PodSeen, now: Instant) {
        if self.uid != pod.uid {
            self.replaced += u32::from(!self.uid.is_empty());
            self.uid.clone_from(&pod.uid);
            (self.since, self.deleting_since) = (now, None);
            (self.answered, self.calm_restarts) = (false, 0);
        }
        if pod.deleting {
            self.deleting_since.get_or_insert(now);
        }
        if pod.is_live() {
            self.answered = true;
            self.down_since = None;
        } else {
            self.down_since.get_or_insert(now);
        }
        if pod.ready {
            self.calm_restarts = pod.restarts;
        }
    }

    fn observation(&self, pod: &PodSeen, now: Instant) -> Observation {
        let age = now - self.since;
        let run = match (pod.phase, self.deleting_since) {
            (Phase::Ended, _) => Run::Ended,
            (_, Some(since)) => Run::Stopping {
                since: now - since,
                killed: false,
            },
            (Phase::Pending | Phase::Running, None) => Run::Running(age),
        };
        let hopeless = pod.unschedulable && age >= UNSCHEDULABLE_FOR;
        let image_fails = pod.stuck && !pod.ever_ran;
        let failures = match hopeless || image_fails {
            true => FAILING_AFTER,
            false => pod.restarts.saturating_sub(self.calm_restarts),
        };
        let detail = match (&pod.detail, pod.node_lost) {
            (_, true) => "its node is not heard from".to_owned(),
            (detail, false) => detail.clone(),
        };
        Observation {
            run,
            live: pod.is_live(),
            ready: pod.ready,
            detail,
            answered: self.answered,
            revision: pod.revision.clone(),
            failures,
            restarts: pod.restarts + self.replaced,
            ..Observation::default()
        }
    }
}

/// The address at which a pod without TLS is reached.
pub(super) fn ip_address(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{PORT}")
    } else {
        format!("{ip}:{PORT}")
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
