//! Startup, liveness and readiness of a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::action::Action;
use super::launch::Launch;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

/// The outcome of one attempt.
pub(super) type Outcome = (Kind, Result<(), String>);

/// Counts outcomes: a result stands until enough others in a row contradict it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
}

impl Counter {
    fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.unwrap_or(default).max(1)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// What the probe says from now on, if this outcome decides.
    fn count(&mut self, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.run += 1;
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let threshold = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        (self.run >= threshold).then_some(success)
    }
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Same,
    /// The container has started: the other probes begin.
    Started,
    /// Readiness is this now.
    Ready(bool),
    /// The container has to be restarted.
    Unhealthy(String),
}

/// The results of a container's probes; without a probe it has started, lives and is ready.
#[derive(Clone, Debug)]
pub(super) struct Health {
    startup: Option<Counter>,
    liveness: Option<Counter>,
    readiness: Option<Counter>,
    pub(super) started: bool,
    pub(super) ready: bool,
}

impl Health {
    pub(super) fn new(container: &Container) -> Self {
        let counter = |probe: &Option<Probe>| probe.as_ref().map(Counter::new);
        let started = container.startup_probe.is_none();
        Self {
            startup: counter(&container.startup_probe),
            liveness: counter(&container.liveness_probe),
            readiness: counter(&container.readiness_probe),
            started,
            ready: started && container.readiness_probe.is_none(),
        }
    }

    pub(super) fn apply(&mut self, (kind, outcome): Outcome) -> Verdict {
        let counter = match kind {
            Kind::Startup => &mut self.startup,
            Kind::Liveness => &mut self.liveness,
            Kind::Readiness => &mut self.readiness,
        };
        let Some(counter) = counter else {
            return Verdict::Same;
        };
        let Some(success) = counter.count(outcome.is_ok()) else {
            return Verdict::Same;
        };
        match (kind, success) {
            (Kind::Startup, true) if !self.started => {
                self.started = true;
                self.ready = self.readiness.is_none();
                Verdict::Started
            }
            (Kind::Readiness, ready) if self.ready != ready => {
                self.ready = ready;
                Verdict::Ready(ready)
            }
            (Kind::Startup | Kind::Liveness, false) if !(kind == Kind::Startup && self.started) => {
                let why = outcome.err().unwrap_or_default();
                Verdict::Unhealthy(format!("{kind:?} probe failed: {why}"))
            }
            _ => Verdict::Same,
        }
    }
}

/// Running probes; they end when this is dropped.
pub(super) struct Probes {
    running: Vec<(Kind, AbortOnDropHandle<()>)>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    since: Instant,
}

impl Probes {
    pub(super) fn new(outcomes: mpsc::UnboundedSender<Outcome>) -> Self {
        Self {
            running: Vec::new(),
            outcomes,
            since: Instant::now(),
        }
    }

    /// Starts those that are due: the startup probe, or once that has succeeded the others in its place.
    pub(super) fn start(&mut self, container: &Container, launch: &Launch, started: bool) {
        self.running.clear();
        let due = if started {
            vec![
                (Kind::Liveness, &container.liveness_probe),
                (Kind::Readiness, &container.readiness_probe),
            ]
        } else {
            vec![(Kind::Startup, &container.startup_probe)]
        };
        for (kind, probe) in due {
            let Some(probe) = probe else { continue };
            let action = Action::of_probe(probe, container, launch);
            let task = repeat(
                kind,
                probe.clone(),
                action,
                self.since,
                self.outcomes.clone(),
            );
            let task = AbortOnDropHandle::new(tokio::spawn(task));
            self.running.push((kind, task));
        }
    }

    /// From now on nothing but readiness is looked at: the container is to end.
    pub(super) fn only_readiness(&mut self) {
        self.running.retain(|(kind, _)| *kind == Kind::Readiness);
    }
}

async fn repeat(
    kind: Kind,
    probe: Probe,
    action: Result<Action, String>,
    since: Instant,
    outcomes: mpsc::UnboundedSender<Outcome>,
) {
    let seconds = |value: Option<i32>, default: u64, least: u64| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(value.unwrap_or(default).max(least))
    };
    let timeout = seconds(probe.timeout_seconds, 1, 1);
    let first = since + seconds(probe.initial_delay_seconds, 0, 0);
    let period = seconds(probe.period_seconds, 10, 1);
    let mut ticks = tokio::time::interval_at(first.max(Instant::now()), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = match &action {
            Ok(action) => action.run(timeout).await,
            Err(why) => Err(why.clone()),
        };
        if outcomes.send((kind, outcome)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn health(container: serde_json::Value) -> Health {
        Health::new(&serde_json::from_value(container).unwrap())
    }

    fn failed() -> Result<(), String> {
        Err("no".to_owned())
    }

    #[test]
    fn without_probes_a_container_is_ready_at_once() {
        let health = health(json!({"name": "c"}));
        assert!(health.started && health.ready);
    }

    #[test]
    fn startup_gates_the_others_and_gives_up_after_its_threshold() {
        let probe = json!({"failureThreshold": 3, "tcpSocket": {"port": 1}});
        let mut health = health(json!({"name": "c", "startupProbe": probe}));
        assert!(!health.started && !health.ready);
        assert_eq!(health.apply((Kind::Startup, failed())), Verdict::Same);
        assert_eq!(health.apply((Kind::Startup, failed())), Verdict::Same);
        let mut late = health.clone();
        let verdict = late.apply((Kind::Startup, failed()));
        assert_eq!(
            verdict,
            Verdict::Unhealthy("Startup probe failed: no".to_owned())
        );
        assert_eq!(health.apply((Kind::Startup, Ok(()))), Verdict::Started);
        assert!(
            health.started && health.ready,
            "there is no readiness probe"
        );
    }

    #[test]
    fn readiness_changes_after_its_thresholds_only() {
        let probe = json!({"failureThreshold": 2, "successThreshold": 2, "tcpSocket": {"port": 1}});
        let mut health = health(json!({"name": "c", "readinessProbe": probe}));
        let mut verdicts = Vec::new();
        for success in [
            true, false, true, true, true, false, true, false, false, false,
        ] {
            let outcome = if success { Ok(()) } else { failed() };
            verdicts.push(health.apply((Kind::Readiness, outcome)));
        }
        let changes: Vec<(usize, &Verdict)> = verdicts
            .iter()
            .enumerate()
            .filter(|(_, verdict)| **verdict != Verdict::Same)
            .collect();
        let (up, down) = (Verdict::Ready(true), Verdict::Ready(false));
        assert_eq!(changes, [(3, &up), (8, &down)]);
    }

    #[test]
    fn liveness_forgives_failures_that_are_not_in_a_row() {
        let probe = json!({"failureThreshold": 2, "tcpSocket": {"port": 1}});
        let mut health = health(json!({"name": "c", "livenessProbe": probe}));
        assert_eq!(health.apply((Kind::Liveness, failed())), Verdict::Same);
        assert_eq!(health.apply((Kind::Liveness, Ok(()))), Verdict::Same);
        assert_eq!(health.apply((Kind::Liveness, failed())), Verdict::Same);
        let verdict = health.apply((Kind::Liveness, failed()));
        assert!(matches!(verdict, Verdict::Unhealthy(_)));
    }
}
