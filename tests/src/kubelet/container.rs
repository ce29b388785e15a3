//! One container of a pod, from its image to its end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Pod, PodSpec,
};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::backoff::Backoff;
use super::env::{self, Facts};
use super::journal::Happening;
use super::launch::{Launch, exit_code};
use super::node::NodeContext;
use super::probes::{Health, Probes, Verdict};
use super::references::References;
use super::running::Running;
use super::sandbox::{Mount, Sandbox};
use super::status::{now, restarts, running, terminated, waiting};
use super::stopping::{Act, Stopping};

/// Whether a container may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It may.
    No,
    /// It has to end in order, at the latest then.
    By(Instant),
    /// It is killed.
    Now,
}

/// What a container has to know of its pod.
#[derive(Debug)]
pub(super) struct PodPlace {
    pub(super) node: Arc<NodeContext>,
    /// As it was first seen; names and addresses do not change.
    pub(super) pod: Arc<Pod>,
    /// Addresses of the pod and of its node.
    pub(super) addresses: (Ipv4Addr, Ipv4Addr),
    pub(super) dir: PathBuf,
}

impl PodPlace {
    pub(super) fn facts<'a>(&self, pod: &'a Pod) -> Facts<'a> {
        let (pod_ip, host_ip) = self.addresses;
        Facts {
            pod,
            pod_ip,
            host_ip,
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.node.shared
    }
}

/// Runs one container until it has ended for good, telling `report` of each change.
pub(super) struct ContainerTask {
    pub(super) index: usize,
    pub(super) place: Arc<PodPlace>,
    /// The pod as it is now; `None` once it is gone.
    pub(super) pod: watch::Receiver<Option<Arc<Pod>>>,
    pub(super) mounts: Vec<Mount>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) report: mpsc::UnboundedSender<(usize, ContainerStatus)>,
    pub(super) status: ContainerStatus,
}

/// The container is to end, or its pod is gone.
struct Stopped;

impl ContainerTask {
    pub(super) async fn run(mut self) {
        // The inner error only says that there is nothing more to do.
        let _ = self.run_until_stopped().await;
    }

    async fn run_until_stopped(&mut self) -> Result<(), Stopped> {
        let timing = &self.place.shared().timing;
        let mut backoff = Backoff::new(timing.restart_backoff);
        loop {
            let launch = self.prepared().await?;
            let since = Instant::now();
            let ended = self.once(&launch).await;
            let code = ended.exit_code;
            let ended = terminated(ended);
            self.status.state = Some(ended.clone());
            self.status.started = Some(false);
            self.status.ready = false;
            self.tell();
            let spec = self.place.pod.spec.as_ref();
            let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
            if self.stopped() || !restarts(policy, code) {
                return Ok(());
            }
            let delay = backoff.after_run(since.elapsed());
            if !delay.is_zero() {
                self.status.last_state = Some(ended.clone());
                let name = &self.status.name;
                let message = format!("back-off {delay:?} restarting failed container={name}");
                self.wait("CrashLoopBackOff", message, delay).await?;
            }
            self.status.last_state = Some(ended);
            self.status.restart_count += 1;
        }
    }

    fn tell(&self) {
        // Nobody listens only when the pod's worker is gone.
        let _ = self.report.send((self.index, self.status.clone()));
    }

    fn note(&self, what: Happening) {
        let shared = self.place.shared();
        shared.note(&self.place.pod, &self.status.name, what);
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow() != Stop::No
    }

    /// Waits while saying why.
    async fn wait(&mut self, reason: &str, message: String, time: Duration) -> Result<(), Stopped> {
        self.status.state = Some(waiting(reason, Some(message)));
        self.tell();
        self.unless_stopped(tokio::time::sleep(time)).await
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut stop = self.stop.clone();
        tokio::select! {
            done = work => Ok(done),
            _ = stop.wait_for(|stop| *stop != Stop::No) => Err(Stopped),
        }
    }

    /// The container's part of the pod's specification, which may get another image.
    fn specification(&self) -> Result<Container, Stopped> {
        let pod = self.pod.borrow();
        let spec: Option<&PodSpec> = pod.as_ref().and_then(|pod| pod.spec.as_ref());
        let container = spec.and_then(|spec| spec.containers.get(self.index));
        container.cloned().ok_or(Stopped)
    }

    /// Pulls the image and resolves the configuration, as often as it takes.
    async fn prepared(&mut self) -> Result<Launch, Stopped> {
        let shared = self.place.node.shared.clone();
        let mut pulls = Backoff::new(shared.timing.pull_backoff);
        loop {
            if self.stopped() {
                return Err(Stopped);
            }
            let container = self.specification()?;
            let image = container.image.clone().unwrap_or_default();
            self.status.image.clone_from(&image);
            let program = match shared.images.pull(&image) {
                Ok(program) => program,
                Err(message) => {
                    self.status.state = Some(waiting("ErrImagePull", Some(message.clone())));
                    self.tell();
                    let message = format!("Back-off pulling image \"{image}\": {message}");
                    let delay = pulls.after_failure();
                    self.wait("ImagePullBackOff", message, delay).await?;
                    continue;
                }
            };
            self.status.image_id = format!("{image}@program:{}", program.display());
            let env = match self.environment(&container).await? {
                Ok(env) => env,
                Err(message) => {
                    let delay = shared.timing.retry;
                    self.wait("CreateContainerConfigError", message, delay)
                        .await?;
                    continue;
                }
            };
            let (address, _) = self.place.addresses;
            let sandbox = Sandbox::new(address, self.mounts.clone());
            let dir = self.place.dir.join("root").join(&container.name);
            let name = self.place.pod.metadata.name.as_deref().unwrap_or_default();
            match Launch::new(&container, program, env, sandbox, dir, address, name) {
                Ok(launch) => return Ok(launch),
                Err(message) => {
                    let delay = shared.timing.retry;
                    self.wait("RunContainerError", message, delay).await?;
                }
            }
        }
    }

    async fn environment(
        &mut self,
        container: &Container,
    ) -> Result<Result<BTreeMap<String, String>, String>, Stopped> {
        let place = self.place.clone();
        let pod = self.pod.borrow().clone().ok_or(Stopped)?;
        let names = env::names(container);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let fetch = async {
            let client = place.node.client().await;
            References::fetch(&client, &namespace, &names).await
        };
        let references = self.unless_stopped(fetch).await?;
        Ok(match references {
            Ok(references) => env::resolve(container, place.facts(&pod), &references),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Starts the process and sees it through to its end.
    async fn once(&mut self, launch: &Launch) -> ContainerStateTerminated {
        let started_at = now();
        let log = self
            .place
            .shared()
            .log_file(&self.place.pod, &self.status.name);
        let started = log.and_then(|log| launch.spawn(&log));
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                return ContainerStateTerminated {
                    exit_code: 128,
                    reason: Some("StartError".to_owned()),
                    message: Some(error.to_string()),
                    finished_at: Some(now()),
                    ..ContainerStateTerminated::default()
                };
            }
        };
        let pid = child.id().unwrap_or_default();
        let registered = Running::register(&self.place, &self.status.name, pid);
        self.note(Happening::Started { pid });
        let id = format!("process://{pid}-{:016x}", rand::random::<u64>());
        self.status.container_id = Some(id.clone());
        self.status.state = Some(running(started_at.clone()));
        let exit_code = self.serve(&mut child, launch, &registered).await;
        drop(registered);
        self.note(Happening::Exited(exit_code));
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        ContainerStateTerminated {
            container_id: Some(id),
            exit_code,
            reason: Some(reason.to_owned()),
            signal: (exit_code > 128).then_some(exit_code - 128),
            started_at: Some(started_at),
            finished_at: Some(now()),
            ..ContainerStateTerminated::default()
        }
    }

    /// Watches over a running process: probes, the way to its end, its exit code.
    async fn serve(&mut self, child: &mut Child, launch: &Launch, running: &Running) -> i32 {
        let spec = self.place.pod.spec.clone().unwrap_or_default();
        let Some(container) = spec.containers.get(self.index) else {
            return 255;
        };
        let mut health = Health::new(container);
        let (sender, mut outcomes) = mpsc::unbounded_channel();
        let mut probes = Probes::new(sender);
        let mut stopping = Stopping::new(container, launch);
        let mut stop = self.stop.clone();
        self.status.started = Some(health.started);
        self.status.ready = health.ready;
        self.tell();
        probes.start(container, launch, health.started);
        loop {
            let mut act = match *stop.borrow_and_update() {
                Stop::No => None,
                Stop::By(deadline) => stopping.begin(deadline),
                Stop::Now => stopping.kill(),
            };
            if stopping.began() {
                probes.only_readiness();
            }
            if act.is_none() {
                act = tokio::select! {
                    biased;
                    status = child.wait() => return status.map_or(255, exit_code),
                    next = stopping.next() => next,
                    // An error means that the pod's worker is gone, and this task with it.
                    _ = stop.changed() => None,
                    Some(outcome) = outcomes.recv() => match health.apply(outcome) {
                        Verdict::Same => None,
                        Verdict::Started => {
                            if !stopping.began() {
                                probes.start(container, launch, true);
                            }
                            self.healthy(&health)
                        }
                        Verdict::Ready(_) => self.healthy(&health),
                        Verdict::Unhealthy(_) if stopping.began() => None,
                        Verdict::Unhealthy(why) => {
                            self.note(Happening::Unhealthy(why));
                            stopping.begin(Instant::now() + grace(&spec, container, &health))
                        }
                    },
                };
            }
            let Some(act) = act else { continue };
            match act {
                Act::PreStop => self.note(Happening::PreStopBegan),
                Act::PreStopEnded(outcome) => self.note(Happening::PreStopEnded(outcome)),
                Act::Terminate => {
                    running.signal(rustix::process::Signal::TERM);
                    self.note(Happening::Terminated);
                }
                Act::Kill => {
                    running.signal(rustix::process::Signal::KILL);
                    self.note(Happening::Killed);
                }
            }
        }
    }

    fn healthy(&mut self, health: &Health) -> Option<Act> {
        self.status.started = Some(health.started);
        self.status.ready = health.ready;
        self.tell();
        None
    }
}

/// How long an unhealthy container has for its end.
fn grace(spec: &PodSpec, container: &Container, health: &Health) -> Duration {
    let probe = if health.started {
        &container.liveness_probe
    } else {
        &container.startup_probe
    };
    let own = probe.as_ref();
    let own = own.and_then(|probe| probe.termination_grace_period_seconds);
    let seconds = own.or(spec.termination_grace_period_seconds).unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
