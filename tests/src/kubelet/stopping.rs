//! The way of a container to its end: hook, SIGTERM, SIGKILL.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::action::Action;
use super::launch::Launch;

/// However long the hook took, a process has this much time after SIGTERM.
const LEAST: Duration = Duration::from_secs(2);

/// What is to be done, or noted, now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The hook has begun.
    PreStop,
    /// It is over: SIGTERM is next.
    PreStopEnded(Result<(), String>),
    /// Send SIGTERM.
    Terminate,
    /// Send SIGKILL.
    Kill,
}

#[derive(Debug)]
enum Step {
    /// Nobody wants it to end.
    Serving,
    /// The hook runs.
    PreStop(AbortOnDropHandle<Result<(), String>>),
    /// The hook is over.
    PreStopOver,
    /// SIGTERM was sent.
    Terminating,
    /// SIGKILL was sent.
    Killing,
}

/// Where a container is on its way.
pub(super) struct Stopping {
    step: Step,
    deadline: Instant,
    hook: Option<(LifecycleHandler, Container, Launch)>,
}

impl Stopping {
    pub(super) fn new(container: &Container, launch: &Launch) -> Self {
        let lifecycle = container.lifecycle.as_ref();
        let hook = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.clone());
        Self {
            step: Step::Serving,
            deadline: Instant::now(),
            hook: hook.map(|hook| (hook, container.clone(), launch.clone())),
        }
    }

    pub(super) fn began(&self) -> bool {
        !matches!(self.step, Step::Serving)
    }

    /// It has to end by `deadline`; a later deadline than one that was given changes nothing.
    pub(super) fn begin(&mut self, deadline: Instant) -> Option<Act> {
        if self.began() {
            self.deadline = self.deadline.min(deadline);
            return None;
        }
        self.deadline = deadline;
        let Some((hook, container, launch)) = self.hook.take() else {
            return Some(self.terminate());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let run = async move {
            let action = Action::of_hook(&hook, &container, &launch)?;
            action.run(left).await
        };
        self.step = Step::PreStop(AbortOnDropHandle::new(tokio::spawn(run)));
        Some(Act::PreStop)
    }

    /// It has to end at once.
    pub(super) fn kill(&mut self) -> Option<Act> {
        if matches!(self.step, Step::Killing) {
            return None;
        }
        self.step = Step::Killing;
        Some(Act::Kill)
    }

    fn terminate(&mut self) -> Act {
        self.step = Step::Terminating;
        self.deadline = self.deadline.max(Instant::now() + LEAST);
        Act::Terminate
    }

    /// Waits for the next act. It never comes while the container may serve, nor after the last.
    pub(super) async fn next(&mut self) -> Option<Act> {
        match &mut self.step {
            Step::Serving | Step::Killing => std::future::pending().await,
            Step::PreStop(hook) => {
                let outcome = tokio::select! {
                    outcome = hook => outcome.unwrap_or_else(|e| Err(e.to_string())),
                    () = tokio::time::sleep_until(self.deadline) => {
                        Err("the grace period was over".to_owned())
                    }
                };
                self.step = Step::PreStopOver;
                Some(Act::PreStopEnded(outcome))
            }
            Step::PreStopOver => Some(self.terminate()),
            Step::Terminating => {
                tokio::time::sleep_until(self.deadline).await;
                self.kill()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::super::sandbox::Sandbox;
    use super::*;

    fn stopping(lifecycle: serde_json::Value) -> Stopping {
        let container = json!({"name": "c", "lifecycle": lifecycle});
        let container: Container = serde_json::from_value(container).unwrap();
        let address = Ipv4Addr::LOCALHOST;
        let sandbox = Sandbox::new(address, Vec::new());
        let (program, dir) = ("/bin/sh".into(), "/".into());
        let launch = Launch::new(
            &container,
            program,
            BTreeMap::new(),
            sandbox,
            dir,
            address,
            "p",
        )
        .unwrap();
        Stopping::new(&container, &launch)
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_comes_first_then_the_signals() {
        let mut stopping = stopping(json!({"preStop": {"sleep": {"seconds": 5}}}));
        let began = Instant::now();
        assert_eq!(stopping.begin(after(30)), Some(Act::PreStop));
        assert_eq!(stopping.begin(after(40)), None, "asked for again");
        assert_eq!(stopping.next().await, Some(Act::PreStopEnded(Ok(()))));
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(stopping.next().await, Some(Act::Terminate));
        assert_eq!(stopping.next().await, Some(Act::Kill));
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(stopping.kill(), None, "once is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_hangs_leaves_the_process_two_seconds() {
        let mut stopping = stopping(json!({"preStop": {"sleep": {"seconds": 100}}}));
        let began = Instant::now();
        stopping.begin(after(10)).unwrap();
        assert!(matches!(
            stopping.next().await,
            Some(Act::PreStopEnded(Err(_)))
        ));
        assert_eq!(stopping.next().await, Some(Act::Terminate));
        assert_eq!(stopping.next().await, Some(Act::Kill));
        assert_eq!(began.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_hook_the_signal_is_sent_at_once_and_a_shorter_grace_period_counts() {
        let mut stopping = stopping(json!({}));
        let began = Instant::now();
        assert_eq!(stopping.begin(after(30)), Some(Act::Terminate));
        assert_eq!(stopping.begin(after(3)), None);
        assert_eq!(stopping.next().await, Some(Act::Kill));
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}
