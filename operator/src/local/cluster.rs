//! The loop of local mode: observe, plan, act, tell. It decides nothing itself; see [`reconcile`](crate::reconcile).

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::document::{DocumentError, Versioned};
use brainy_coordination::rebalance;
use brainy_crds::{BrainyCluster, BrainyClusterStatus};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use super::fleet::{Fleet, FleetEvent};
use super::follow::ManifestFile;
use super::screen::Screen;
use super::spec::{desired_locally, read_edit};
use crate::damage::Damage;
use crate::error::OperatorError;
use crate::hint::{Hint, Messenger};
use crate::keeper::{Keeper, Outcome, Published, Task};
use crate::proxy::Proxy;
use crate::reconcile::changes;
use crate::reconcile::conditions::Storage;
use crate::reconcile::desired::Desired;
use crate::reconcile::plan::{KillReason, Plan, ProcessAction, STOP_TIMEOUT, StopReason, plan};
use crate::reconcile::shared_config::shared_config;
use crate::reconcile::status::complete;
use crate::storage::classify_document;

mod tell;

/// Rules that depend on time are looked at this often, and so is the manifest file.
const TICK: Duration = Duration::from_millis(500);
/// Pause between two looks at the bucket while something moves.
const ROUND_MOVING: Duration = Duration::from_millis(500);
/// Pause while nothing does.
const ROUND_AT_REST: Duration = Duration::from_secs(2);

/// What the loop works with.
pub(crate) struct Parts {
    /// The cluster's name.
    pub(crate) name: String,
    /// The endpoint.
    pub(crate) url: String,
    /// The endpoint for gRPC, `host:port`.
    pub(crate) grpc: String,
    /// Where the data is, in words.
    pub(crate) storage: String,
    /// Gets the endpoint once all is ready.
    pub(crate) ready_file: Option<PathBuf>,
    /// Files.
    pub(crate) data: Arc<DataDir>,
    /// The manifest.
    pub(crate) manifest: ManifestFile,
    /// The endpoint's server.
    pub(crate) proxy: Proxy,
    /// For hints.
    pub(crate) messenger: Messenger,
    /// For hints.
    pub(crate) admin_key: Option<String>,
    /// The processes.
    pub(crate) fleet: Fleet,
    /// News of them.
    pub(crate) news: UnboundedReceiver<FleetEvent>,
    /// The bucket.
    pub(crate) keeper: Arc<Keeper>,
    /// For people.
    pub(crate) screen: Screen,
}

type Round = JoinHandle<Result<Outcome, DocumentError>>;

/// A cluster that runs.
pub(crate) struct Cluster {
    parts: Parts,
    spec: BrainyCluster,
    desired: Desired,
    generation: i64,
    invalid_spec: Option<String>,
    damage: Damage,
    invalid_config: Option<String>,
    table: Option<Arc<Versioned<AssignmentTable>>>,
    storage: Storage,
    round: Option<Round>,
    next_round: Instant,
    to_publish: bool,
    config_version: Option<u64>,
    status: BrainyClusterStatus,
    told_ready: bool,
}

/// The signals that end a cluster.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, OperatorError> {
        let listen = |kind| {
            signal(kind).map_err(|source| OperatorError::System {
                what: "cannot listen for signals",
                source,
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Cluster {
    /// A cluster that has not started.
    ///
    /// # Errors
    /// If instances cannot be named after the spec, or a file of the last run cannot be read.
    pub(crate) fn new(parts: Parts, spec: BrainyCluster) -> Result<Self, OperatorError> {
        let desired = desired_locally(&spec)?;
        // Transition times go on from the last run; a file that cannot be read has none.
        let before = std::fs::read(parts.data.join("status.json")).unwrap_or_default();
        Ok(Self {
            desired,
            spec,
            generation: 1,
            invalid_spec: None,
            damage: Damage::default(),
            invalid_config: None,
            table: None,
            storage: Storage::Verified,
            round: None,
            next_round: Instant::now(),
            to_publish: true,
            config_version: None,
            status: serde_json::from_slice(&before).unwrap_or_default(),
            told_ready: false,
            parts,
        })
    }

    /// Runs until a signal, then stops everything in order.
    ///
    /// # Errors
    /// [`OperatorError::Interrupted`] at a second signal; what the system said if signals cannot be received.
    pub(crate) async fn run(
        mut self,
        listener: TcpListener,
        grpc: TcpListener,
    ) -> Result<(), OperatorError> {
        let mut signals = Signals::new()?;
        self.forget_ready_file();
        let stop = CancellationToken::new();
        let proxy = self.parts.proxy.clone();
        let streams = tokio::spawn(proxy.clone().serve_streams(grpc, stop.clone()));
        let endpoint = tokio::spawn(proxy.serve(listener, stop.clone()));
        tracing::info!(
            "{} at {}, gRPC at {}, {}",
            self.parts.name,
            self.parts.url,
            self.parts.grpc,
            self.parts.storage
        );
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signals.next() => break,
                Some(event) = self.parts.news.recv() => self.parts.fleet.note(event, Instant::now()),
                done = finished(&mut self.round) => self.end_round(done),
                _ = tick.tick() => self.look_at_manifest(),
            }
            while let Ok(event) = self.parts.news.try_recv() {
                self.parts.fleet.note(event, Instant::now());
            }
            self.reconcile();
        }
        let ended = self
            .shut_down(&mut signals, stop, [endpoint, streams])
            .await;
        self.forget_ready_file();
        ended
    }

    /// One pass through the steps of [`reconcile`](crate::reconcile).
    fn reconcile(&mut self) {
        let now = Instant::now();
        let plan = self.plan(now);
        self.act(&plan, now);
        self.begin_round(plan, now);
        self.tell(now);
    }

    fn plan(&self, now: Instant) -> Plan {
        let mut observed = self.parts.fleet.observe(now);
        let table = self.table.as_deref().map(|t| &t.body);
        complete(&mut observed, table);
        plan(&self.desired, &observed, table)
    }

    fn act(&mut self, plan: &Plan, now: Instant) {
        for action in &plan.processes {
            match action {
                ProcessAction::Start(id) => {
                    if let Some(wanted) = self.desired.instances.get(id) {
                        self.parts.fleet.start(id, wanted, &self.spec.spec, now);
                    }
                }
                ProcessAction::Stop(id, reason) => self.parts.fleet.stop(id, *reason, now),
                ProcessAction::Kill(id, reason) => self.parts.fleet.kill(id, *reason, now),
            }
        }
    }

    /// Reads and writes the bucket if there is a reason to and nothing of that is under way.
    fn begin_round(&mut self, plan: Plan, now: Instant) {
        let healthy = self.storage == Storage::Verified;
        let due =
            now >= self.next_round || (healthy && (self.to_publish || !plan.members.is_empty()));
        if self.round.is_some() || !due {
            return;
        }
        let publish = self.to_publish.then(|| shared_config(&self.spec.spec));
        let task = Task {
            desired: self.desired.clone(),
            members: plan.members,
            known: self.table.clone(),
            publish,
        };
        // An edit of the spec while this is under way asks again.
        self.to_publish = false;
        let keeper = Arc::clone(&self.parts.keeper);
        self.round = Some(tokio::spawn(async move { keeper.round(task).await }));
    }

    fn end_round(&mut self, done: Result<Result<Outcome, DocumentError>, JoinError>) {
        let now = Instant::now();
        self.next_round = now + ROUND_AT_REST;
        let outcome = match done {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return self.round_failed(&error),
            Err(error) => {
                self.to_publish = true;
                tracing::error!(%error, "a look at the bucket ended badly");
                return;
            }
        };
        if self.storage != Storage::Verified {
            tracing::info!("the bucket answers again");
            self.storage = Storage::Verified;
        }
        if let Some(published) = outcome.config {
            self.note_config(published);
        }
        let Some(table) = outcome.table else { return };
        let (messenger, key) = (&self.parts.messenger, self.parts.admin_key.clone());
        self.damage.look(messenger, &table, key, now);
        if outcome.changed {
            self.hint(&table);
        }
        if let Some(before) = &self.table {
            for line in changes::describe(before, &table) {
                tracing::info!("{line}");
            }
        }
        let moves = rebalance::status(&table);
        if !moves.is_settled()
            || table
                .members
                .values()
                .any(|m| m.state == MemberState::Draining)
        {
            self.next_round = now + ROUND_MOVING;
        }
        let desired = &self.desired.instances;
        self.parts
            .fleet
            .follow(&table, |id| desired.contains_key(id), now);
        self.table = Some(table);
    }

    fn round_failed(&mut self, error: &DocumentError) {
        self.to_publish = true;
        let storage = classify_document(error);
        if storage != self.storage {
            tracing::error!("{error}");
        }
        self.storage = storage;
    }

    fn note_config(&mut self, published: Result<Published, String>) {
        match published {
            Ok(Published { version, changed }) => {
                if changed {
                    tracing::info!("shared configuration {version} is published");
                }
                self.config_version = Some(version);
                self.invalid_config = None;
            }
            Err(error) => {
                tracing::error!("spec.sharedConfig is not published: {error}");
                self.invalid_config = Some(format!("spec.sharedConfig: {error}"));
            }
        }
    }

    /// Tells members that the table changed; they would find out by themselves, only later.
    fn hint(&self, table: &AssignmentTable) {
        let gone = |state| state == MemberState::Gone;
        let addresses = table
            .members
            .values()
            .filter(|m| !gone(m.state))
            .map(|m| m.address.clone())
            .collect();
        let hint = Hint {
            addresses,
            admin_key: self.parts.admin_key.clone(),
        };
        tokio::spawn(self.parts.messenger.clone().send(hint));
    }

    fn look_at_manifest(&mut self) {
        let Some(content) = self.parts.manifest.changed() else {
            return;
        };
        let edited = content.and_then(|text| read_edit(&text, &self.spec));
        let edited =
            edited.and_then(|spec| Ok((desired_locally(&spec).map_err(|e| e.to_string())?, spec)));
        match edited {
            Ok((desired, spec)) => {
                self.invalid_spec = None;
                if spec.spec == self.spec.spec && desired == self.desired {
                    return;
                }
                self.generation += 1;
                tracing::info!("the manifest changed, following edit {}", self.generation);
                self.to_publish |= shared_config(&spec.spec) != shared_config(&self.spec.spec);
                (self.spec, self.desired) = (spec, desired);
                self.next_round = Instant::now();
            }
            Err(error) => {
                tracing::error!(
                    "the edited manifest is not followed, the last good one stays: {error}"
                );
                self.invalid_spec = Some(error);
            }
        }
    }

    /// Closes the endpoints, then asks all processes to flush and release, and waits for them.
    async fn shut_down(
        &mut self,
        signals: &mut Signals,
        stop: CancellationToken,
        endpoints: [JoinHandle<()>; 2],
    ) -> Result<(), OperatorError> {
        tracing::info!(
            "stopping; the data stays in {}. Once more to stop at once",
            self.parts.storage
        );
        if let Some(round) = self.round.take() {
            round.abort();
        }
        stop.cancel();
        let orderly = async {
            // Only a panic makes it fail, and that was logged.
            let _closed = futures::future::join_all(endpoints).await;
            self.stop_processes().await;
        };
        tokio::select! {
            () = orderly => {
                tracing::info!("stopped");
                Ok(())
            }
            () = signals.next() => {
                // Processes are killed as the fleet is dropped.
                Err(OperatorError::Interrupted)
            }
        }
    }

    async fn stop_processes(&mut self) {
        for id in self.parts.fleet.running() {
            self.parts
                .fleet
                .stop(&id, StopReason::ClusterStopped, Instant::now());
        }
        let deadline = tokio::time::sleep(STOP_TIMEOUT);
        tokio::pin!(deadline);
        let mut killed = false;
        while !self.parts.fleet.running().is_empty() {
            tokio::select! {
                Some(event) = self.parts.news.recv() => self.parts.fleet.note(event, Instant::now()),
                () = &mut deadline, if !killed => {
                    killed = true;
                    for id in self.parts.fleet.running() {
                        self.parts.fleet.kill(&id, KillReason::DoesNotStop, Instant::now());
                    }
                }
            }
            self.tell(Instant::now());
        }
    }
}

/// The result of the round under way; never, if there is none.
async fn finished(round: &mut Option<Round>) -> Result<Result<Outcome, DocumentError>, JoinError> {
    match round {
        Some(handle) => {
            let done = handle.await;
            *round = None;
            done
        }
        None => pending().await,
    }
}
