//! All processes of the cluster: starts, stops and observes them as the planner says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::types::InstanceId;
use brainy_crds::{BrainyClusterSpec, Role};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::AbortOnDropHandle;

use super::data_dir::{DataDir, Ports};
use super::http;
use super::process::{Launch, Process};
use super::spec::fixed_arguments;
use super::supervise::{Life, Probe};
use crate::reconcile::desired::InstanceSpec;
use crate::reconcile::plan::{KillReason, Observation, StopReason};

/// Pause between two looks at a process that is not ready.
const LOOK_WAITING: Duration = Duration::from_millis(200);
/// Pause between two looks at one that is.
const LOOK_READY: Duration = Duration::from_secs(1);

/// What happens to processes.
#[derive(Debug)]
pub(crate) enum FleetEvent {
    /// A process ended; the text says how.
    Ended(InstanceId, u64, String),
    /// A look at a process brought something new.
    Probed(InstanceId, u64, Probe),
}

/// What every process is told, besides what its role is told.
#[derive(Debug)]
pub(crate) struct Common {
    /// The program.
    pub(crate) brainyd: PathBuf,
    /// Flags that name the bucket, and the form of log lines.
    pub(crate) arguments: Vec<String>,
    /// Variables.
    pub(crate) environment: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    /// Tells this process from others of the same instance.
    life: u64,
    _prober: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Instance {
    life: Life,
    running: Option<Running>,
    address: Option<String>,
    revision: Option<String>,
}

/// The processes.
pub(crate) struct Fleet {
    common: Common,
    data: std::sync::Arc<DataDir>,
    ports: Ports,
    client: reqwest::Client,
    events: UnboundedSender<FleetEvent>,
    instances: BTreeMap<InstanceId, Instance>,
    lives: u64,
}

impl Fleet {
    /// No processes yet; news of those to come go to `events`.
    ///
    /// # Errors
    /// If the ports of last time cannot be read.
    pub(crate) fn new(
        common: Common,
        data: std::sync::Arc<DataDir>,
        client: reqwest::Client,
        events: UnboundedSender<FleetEvent>,
    ) -> Result<Self, crate::error::OperatorError> {
        let ports = data.ports()?;
        Ok(Self {
            common,
            data,
            ports,
            client,
            events,
            instances: BTreeMap::new(),
            lives: 0,
        })
    }

    /// Starts the process of an instance. A failure is remembered like that of a process that ended at once.
    pub(crate) fn start(
        &mut self,
        id: &InstanceId,
        wanted: &InstanceSpec,
        spec: &BrainyClusterSpec,
        now: Instant,
    ) {
        let instance = self
            .instances
            .entry(id.clone())
            .or_insert_with(|| Instance {
                life: Life::new(now),
                running: None,
                address: None,
                revision: None,
            });
        if instance.running.is_some() {
            return;
        }
        self.lives += 1;
        let life = self.lives;
        let started = self
            .ports
            .take(id.as_str())
            .map_err(|error| error.to_string())
            .and_then(|port| {
                let address = format!("127.0.0.1:{port}");
                let launch = launch(&self.common, &self.data, id, wanted.role, spec, &address);
                let (events, ended) = (self.events.clone(), id.clone());
                let process = launch
                    .start(move |why| {
                        // The receiver is gone only when the operator itself ends.
                        let _ending = events.send(FleetEvent::Ended(ended, life, why));
                    })
                    .map_err(|error| {
                        format!("cannot start {}: {error}", launch.program.display())
                    })?;
                Ok((process, address))
            });
        match started {
            Ok((process, address)) => {
                tracing::info!(instance = %id, pid = process.pid, %address, "started");
                let prober = tokio::spawn(look(
                    self.client.clone(),
                    address.clone(),
                    id.clone(),
                    life,
                    self.events.clone(),
                ));
                instance.running = Some(Running {
                    process,
                    life,
                    _prober: AbortOnDropHandle::new(prober),
                });
                instance.address = Some(address);
                instance.revision = Some(wanted.revision.clone());
                instance.life.started(now);
            }
            Err(why) => {
                tracing::error!(instance = %id, "{why}");
                instance.life.start_failed(now, why);
            }
        }
    }

    /// Asks the process of an instance to stop.
    pub(crate) fn stop(&mut self, id: &InstanceId, reason: StopReason, now: Instant) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        let Some(running) = &instance.running else {
            return;
        };
        let why = match reason {
            StopReason::Drained => "drained, ending",
            StopReason::UnsafeScaleDown => "leaves with what it holds, as the annotation allows",
            StopReason::ClusterStopped => "the cluster stops: flushing and releasing",
            StopReason::NewSettings => "restarts with new settings",
        };
        tracing::info!(instance = %id, "{why}");
        running.process.terminate();
        instance.life.stopping(now, why);
    }

    /// Ends the process of an instance at once.
    pub(crate) fn kill(&mut self, id: &InstanceId, reason: KillReason, now: Instant) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        let Some(running) = &instance.running else {
            return;
        };
        let why = match reason {
            KillReason::DoesNotStop => "did not stop in time",
            KillReason::DoesNotAnswer => "has not answered for too long",
        };
        tracing::warn!(instance = %id, "killed: {why}");
        running.process.kill();
        instance.life.killed(now);
    }

    /// Takes in what happened.
    pub(crate) fn note(&mut self, event: FleetEvent, now: Instant) {
        let (FleetEvent::Ended(id, life, _) | FleetEvent::Probed(id, life, _)) = &event;
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        if instance
            .running
            .as_ref()
            .is_none_or(|running| running.life != *life)
        {
            return;
        }
        match event {
            FleetEvent::Probed(_, _, probe) => instance.life.probed(now, probe),
            FleetEvent::Ended(id, _, why) => {
                instance.running = None;
                if instance.life.ended(now, why.clone()) {
                    tracing::warn!(instance = %id, "{why}");
                } else {
                    tracing::info!(instance = %id, "{why}");
                }
            }
        }
    }

    /// Tells the processes' records what the table says of their members, and forgets those that neither spec nor table know.
    pub(crate) fn follow(
        &mut self,
        table: &AssignmentTable,
        is_desired: impl Fn(&InstanceId) -> bool,
        now: Instant,
    ) {
        self.instances.retain(|id, instance| {
            instance.running.is_some() || is_desired(id) || table.members.contains_key(id)
        });
        for (id, instance) in &mut self.instances {
            let draining = table
                .members
                .get(id)
                .is_some_and(|m| m.state == MemberState::Draining);
            instance.life.set_draining(now, draining);
        }
    }

    /// What the planner gets to see.
    pub(crate) fn observe(&self, now: Instant) -> BTreeMap<InstanceId, Observation> {
        self.instances
            .iter()
            .map(|(id, i)| {
                (
                    id.clone(),
                    i.life.observe(now, i.revision.clone(), i.address.clone()),
                )
            })
            .collect()
    }

    /// Process id and resident memory of an instance.
    pub(crate) fn process_of(&self, id: &str) -> Option<(u32, Option<u64>)> {
        let running = self
            .instances
            .iter()
            .find(|(known, _)| known.as_str() == id)?
            .1
            .running
            .as_ref()?;
        Some((running.process.pid, running.process.resident_bytes()))
    }

    /// Instances with a process.
    pub(crate) fn running(&self) -> Vec<InstanceId> {
        let running = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.running.is_some());
        running.map(|(id, _)| id.clone()).collect()
    }
}

fn launch(
    common: &Common,
    data: &DataDir,
    id: &InstanceId,
    role: Role,
    spec: &BrainyClusterSpec,
    address: &str,
) -> Launch {
    let text = |text: &str| text.to_owned();
    let mut arguments = vec![
        text("--role"),
        text(role.as_str()),
        text("--instance"),
        id.to_string(),
        text("--listen"),
        text(address),
        text("--advertise"),
        text(address),
        // Ports are given out one by one: the next one may be another node's.
        text("--grpc-listen"),
        text("off"),
        text("--data-dir"),
        data.join(id.as_str()).display().to_string(),
        text("--exit-with-parent"),
        // The first node may look at the bucket before anybody has planned.
        text("--planner"),
        text("operator"),
    ];
    arguments.extend(fixed_arguments(spec, role));
    arguments.extend(common.arguments.iter().cloned());
    Launch {
        program: common.brainyd.clone(),
        arguments,
        environment: common.environment.clone(),
        log: data.log(id.as_str()),
    }
}

/// Looks at a process again and again and tells what is new.
async fn look(
    client: reqwest::Client,
    address: String,
    id: InstanceId,
    life: u64,
    events: UnboundedSender<FleetEvent>,
) {
    let mut last = None;
    loop {
        let probe = http::probe(&client, &address).await;
        let pause = if probe == Probe::Ready {
            LOOK_READY
        } else {
            LOOK_WAITING
        };
        if last.as_ref() != Some(&probe) {
            last = Some(probe.clone());
            if events
                .send(FleetEvent::Probed(id.clone(), life, probe))
                .is_err()
            {
                return;
            }
        }
        tokio::time::sleep(pause).await;
    }
}
