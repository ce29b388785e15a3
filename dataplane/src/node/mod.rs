//! A running node: what is assigned to it, hosted; what is asked of it, answered or passed on.
//!
//! The way of a write: [`crate::api`], then `router` (`route_write`), then, possibly on another node by way of [`rpc`], `host`,
//! then [`brainy_coordination::owner`] and the log; then `machine` applies it, and `maintain` makes segments of it.
//! The way of a query: [`crate::api`], `router` (`route_read`), possibly [`rpc`], `read`, [`crate::engine`].

mod admin;
mod cache;
mod config;
mod configuration;
mod context;
mod exchange;
mod host;
mod hot;
mod janitor;
mod lane;
mod listen;
mod machine;
mod maintain;
mod membership;
mod merge;
mod metrics;
mod mode;
mod parts;
mod presence;
mod pushed;
mod quiet;
mod read;
mod readiness;
mod router;
pub mod rpc;
mod self_coordination;
mod service;
mod shares;
mod snapshots;
#[cfg(test)]
mod tests_support;
mod view;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brainy_conflict::Writer;
use brainy_coordination::assignment::{AssignmentTable, Member, ReaderState, Role};
use brainy_coordination::config::{ConfigWatcher, EffectiveConfig};
use brainy_coordination::document::{self, DocumentError, Update, Versioned};
use brainy_coordination::events::Event;
use brainy_coordination::handoff::{self, Local};
use brainy_coordination::keys;
use brainy_coordination::lease::Identity;
use brainy_coordination::rebalance;
use brainy_coordination::snapshot::PinReader;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{InstanceId, PartitionId};
use brainy_http_server::tls::TlsError;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use cache::CacheError;
pub use config::{Coordination, NodeConfig};
pub use exchange::{ExchangeConfig, PeerConfig};
pub use host::HostStatus;
pub use membership::Membership;
pub use mode::{CacheStrategy, OperationalMode, Promotion};
pub use self_coordination::SelfCoordination;
pub(crate) use snapshots::civil;
pub(crate) use view::View;

use crate::admission::{AdmissionMetrics, ByteBudget, Gate};
use crate::engine::PartitionState;
use crate::engine::payload_index::PayloadSchema;
use crate::error::ServiceError;
use crate::events::websocket::{Inbound, WebSocket};
use crate::events::{Backend, Bus, EventMetrics};
use cache::SegmentCache;
use configuration::Configuration;
use context::Context;
use exchange::Exchange;
use host::Host;
use hot::{CacheMetrics, Disk, Memory, Objects};
use machine::{PartitionMachine, WriteBudget};
use metrics::NodeMetrics;
use presence::Presence;
use quiet::Quiet;
use rpc::{Request, Response, RpcClient};
use self_coordination::{Asked, Planning};
use shares::Shares;
use view::ClusterView;

/// How often the sum of unflushed writes is taken.
const BUDGET_EVERY: Duration = Duration::from_millis(100);
/// Time to live of a heartbeat that is written once: where an orchestrator plans, nobody waits for it.
const LONE_TTL: Duration = Duration::from_secs(20);
/// Partitions that become readable within this time are announced together.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(20);

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local disk.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The bucket.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The authorities of the NATS server.
    #[error("{0}, with --nats-tls-ca, --tls-ca")]
    Nats(#[from] TlsError),
}

/// Handle of a running node; clones are the same node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    cache: Arc<SegmentCache>,
    hosts: RwLock<BTreeMap<PartitionId, Arc<Host>>>,
    registry: Mutex<Registry>,
    configuration: Configuration,
    tasks: TaskTracker,
    /// Set once all that the table gave this process at its start is served.
    started: AtomicBool,
}

impl Node {
    /// Starts a node. `registry` may already hold figures of others.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: NodeConfig,
        watcher: ConfigWatcher,
        mut registry: Registry,
    ) -> Result<Self, StartError> {
        let mode = OperationalMode::of(config.role);
        let shares = Shares::of(mode, config.memory_budget);
        let cache_metrics = CacheMetrics::register(&mut registry);
        let memory = Memory::new(shares.cache);
        let cache_in = |dir: PathBuf, store: &Store, disk: Option<u64>| {
            let objects = Objects::new(
                store.clone(),
                config.memory_budget / 32,
                Arc::clone(&memory),
                cache_metrics.remote_reads.clone(),
            );
            let (memory, disk) = (Arc::clone(&memory), Disk::new(disk));
            SegmentCache::open(dir, store.clone(), memory, disk, objects)
        };
        // Segments of other clusters are here while they are read: an eighth of the disk is for them.
        let peers = config.exchange.peers.len() as u64;
        let theirs = config.disk_budget.filter(|_| peers > 0).map(|all| all / 8);
        let own = config.disk_budget.map(|all| all - theirs.unwrap_or(0));
        let cache = cache_in(config.data_dir.join("segments"), &config.store, own)?;
        snapshots::clear_scratch(&config.data_dir)?;
        let metrics = NodeMetrics::register(&mut registry);
        let exchange = Exchange::open(
            &config.exchange,
            &config.data_dir,
            &mut registry,
            |dir, store| cache_in(dir, store, theirs.map(|all| all / peers.max(1))),
        )?;
        let stop = CancellationToken::new();
        let settings = watcher.subscribe();
        let configuration = Configuration::new(watcher.clone(), &mut registry);
        let admission = AdmissionMetrics::register(&mut registry);
        let Shares {
            cache: _,
            buffers,
            building: _,
            queued_writes,
            requests,
            calls,
        } = shares;
        let budget = Arc::new(WriteBudget {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(buffers),
            pressed: AtomicU64::new(0),
            queued: ByteBudget::new("queued writes", queued_writes, admission.clone()),
            settings: settings.clone(),
            metrics: admission.clone(),
        });
        let view = ClusterView::new(config.store.clone());
        let event_metrics = EventMetrics::register(&mut registry);
        let me = config.identity.instance.clone();
        let websocket = (config.coordination == Coordination::WebSocket).then(|| {
            let (key, tls) = (config.cluster_key.clone(), config.tls.clone());
            WebSocket::new(
                me.clone(),
                key,
                tls,
                view.subscribe(),
                event_metrics.clone(),
            )
        });
        let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
        if let Some(websocket) = &websocket {
            backends.push(websocket.clone());
        }
        let quiet = Arc::new(Quiet::new(&config, settings.clone()));
        backends.extend(ways::besides_websocket(&config, &quiet, &event_metrics)?);
        let events = Arc::new(Bus::new(me, backends, event_metrics));
        let (planning, asked) = config.self_coordination.map(Planning::new).unzip();
        let presence = match config.role {
            Some(role) => {
                let (store, me) = (config.store.clone(), config.identity.clone());
                let address = config.advertise.clone();
                let ttl = config.self_coordination.map_or(LONE_TTL, |s| s.lease_ttl);
                Some(Presence::register(store, me, role, address, ttl).await?)
            }
            None => None,
        };
        let context = Arc::new(Context {
            inbound: Inbound::new(events.clone(), websocket, stop.clone()),
            events,
            presence,
            exchange,
            planning,
            me: config.identity.clone(),
            store: config.store.clone(),
            pins: PinReader::new(config.store.clone()),
            view,
            rpc: RpcClient::new(config.cluster_key.clone(), config.tls.clone()),
            settings,
            metrics,
            memory,
            cache_metrics,
            budget,
            requests: ByteBudget::new("requests", requests, admission.clone()),
            calls: ByteBudget::new("requests of other nodes", calls, admission.clone()),
            gate: Gate::new(config.read_threads, admission.clone()),
            admission,
            builds: Arc::new(Semaphore::new(1)),
            snapshots: Semaphore::new(2),
            pushed: watch::Sender::new(false),
            quiet,
            announce_reading: Notify::new(),
            hosts_changed: Notify::new(),
            stop,
            config,
        });
        let node = Self(Arc::new(Inner {
            context,
            cache: Arc::new(cache),
            hosts: RwLock::default(),
            registry: Mutex::new(registry),
            configuration,
            tasks: TaskTracker::new(),
            started: AtomicBool::new(false),
        }));
        if node.config().role.is_none() {
            node.assign_everything_to_myself().await?;
        }
        node.view().refresh().await?;
        node.spawn_tasks(watcher, asked);
        Ok(node)
    }

    /// Standalone: the only member, owner and reader of everything.
    async fn assign_everything_to_myself(&self) -> Result<(), DocumentError> {
        let me = Member::new(Role::Hybrid, self.config().advertise.clone());
        let instance = self.me().instance.clone();
        rebalance::step(self.store(), |edit| {
            edit.members.clear();
            edit.members.insert(instance.clone(), me.clone());
        })
        .await?;
        Ok(())
    }

    fn spawn_tasks(&self, watcher: ConfigWatcher, asked: Option<Asked>) {
        let stop = self.0.context.stop.clone();
        self.spawn_coordination(asked, &stop);
        let tasks = &self.0.tasks;
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move {
            let context = node.context();
            let (woken, shorter) = (context.pushed.subscribe(), context.quiet.shorter());
            let found = |view: &View| context.table_found(view);
            let pace = || context.view_pace();
            let looking = node.view().run(pace, woken, shorter, found, token);
            looking.await;
        });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.keep_hosts(token).await });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.announce_reading(token).await });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.keep_budget(token).await });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(hot::run(node, token));
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { janitor::run(node, token).await });
        self.listen(&stop);
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.watch_pushes(token).await });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.watch_views(token).await });
        let (node, token) = (self.clone(), stop.clone());
        tasks.spawn(async move { node.spread_configuration(token).await });
        let context = self.0.context.clone();
        for peer in &context.exchange.peers {
            tasks.spawn(Arc::clone(peer).watch(context.clone(), stop.clone()));
        }
        let shorter = context.quiet.shorter();
        let pause = move || context.config_pause();
        tasks.spawn(watcher.run(pause, shorter, stop));
        tasks.close();
    }

    /// Hosts what the table assigns to this node, and forgets what ended.
    async fn keep_hosts(&self, stop: CancellationToken) {
        let mut views = self.view().subscribe();
        loop {
            let view = views.borrow_and_update().clone();
            self.0.hosts.write().retain(|_, host| !host.is_finished());
            if let (Some(table), Some(manifest)) = (&view.table, &view.manifest) {
                let origin = Writer::named(&manifest.cluster.to_string());
                for partition in self.assigned(table) {
                    let Some(collection) = view.by_uid(&partition.collection) else {
                        continue;
                    };
                    let indexes = PayloadSchema::from_manifest(&collection.payload_indexes);
                    let hosted = self.0.hosts.read().get(&partition).cloned();
                    if let Some(host) = hosted {
                        self.index_payloads(host.machine(), &partition, indexes);
                        continue;
                    }
                    let schema = collection.spec.schema.clone();
                    let state = PartitionState::with_payload_schema(schema, indexes);
                    let state = state.of_cluster(origin);
                    let machine = PartitionMachine::new(
                        partition.clone(),
                        state,
                        self.0.cache.clone(),
                        self.config().can_read(),
                        self.0.context.budget.clone(),
                    );
                    let host = Host::start(self.0.context.clone(), partition.clone(), machine);
                    self.0.hosts.write().insert(partition, host);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = views.changed() => if changed.is_err() { return },
                () = self.0.context.hosts_changed.notified() => {}
            }
        }
    }

    /// Makes the payload indexes of a partition those of its collection, in the background.
    fn index_payloads(
        &self,
        machine: &Arc<PartitionMachine>,
        partition: &PartitionId,
        schema: PayloadSchema,
    ) {
        if *machine.state().payload_schema() == schema {
            return;
        }
        // Set at once: segments that are opened or built from now on have them, and no later look begins this again.
        machine.state().set_payload_schema(schema);
        let (machine, partition) = (Arc::clone(machine), partition.clone());
        let builds = self.0.context.builds.clone();
        self.0.tasks.spawn(async move {
            let permit = builds.acquire_owned().await;
            let built = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                machine.state().index_payloads()
            });
            match built.await {
                Ok(Ok(())) => tracing::debug!(%partition, "payload indexes are built"),
                Ok(Err(error)) => {
                    tracing::warn!(%partition, %error, "cannot build a payload index; filters read payloads instead");
                }
                Err(error) => tracing::warn!(%partition, %error, "building payload indexes was cut short"),
            }
        });
    }

    /// Partitions that the table gives this node something to do with.
    fn assigned(&self, table: &AssignmentTable) -> BTreeSet<PartitionId> {
        let me = &self.me().instance;
        if self.config().multi_writer {
            return self.every_partition();
        }
        let mut all: BTreeSet<PartitionId> = table.owned_by(me).cloned().collect();
        all.extend(table.pending_for(me).map(|(p, _)| p.clone()));
        all.extend(table.read_by(me).map(|(p, _)| p.clone()));
        all
    }

    /// Writes into the table which partitions this node serves reads of; one write for all that became warm together.
    async fn announce_reading(&self, stop: CancellationToken) {
        let me = self.me().instance.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.context.announce_reading.notified() => {}
            }
            tokio::time::sleep(ANNOUNCE_DELAY).await;
            let loaded: Vec<PartitionId> = self
                .hosts()
                .into_iter()
                .filter(|(_, host)| matches!(host.status().local, Local::Warm | Local::Owning))
                .map(|(partition, _)| partition)
                .collect();
            let updated = document::update(
                self.store(),
                keys::ASSIGNMENTS,
                |current: Option<&Versioned<AssignmentTable>>| {
                    let Some(current) = current else {
                        return Ok::<_, DocumentError>(Update::Keep(()));
                    };
                    let mut table = current.body.clone();
                    Ok(if table.reader_serving(&loaded, &me) {
                        Update::Write(table, ())
                    } else {
                        Update::Keep(())
                    })
                },
            )
            .await;
            match updated {
                Ok(updated) => {
                    let _view = self.view().refresh().await;
                    if updated.wrote {
                        self.0.context.hint_members();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot announce loaded partitions; trying again");
                    self.0.context.announce_reading.notify_one();
                }
            }
        }
    }

    async fn keep_budget(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(BUDGET_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let used: u64 = self
                .hosts()
                .iter()
                .map(|(_, h)| h.machine().state().stats().unflushed_bytes as u64)
                .sum();
            self.0.context.budget.used.store(used, Ordering::Relaxed);
        }
    }

    /// Answers another node.
    pub(crate) async fn answer(&self, request: Request) -> Result<Response, ServiceError> {
        match request {
            Request::Write {
                partition,
                request,
                op,
            } => {
                let host = self.hosted(&partition)?;
                host.write(request, op).await.map(Response::Written)
            }
            Request::Read {
                partitions,
                options,
                query,
            } => {
                let seen = options.seen.clone();
                let answer = self.read_here(partitions, options, query).await?;
                Ok(match seen {
                    Some(seen) => Response::Seen {
                        answer,
                        seen: seen.token(),
                    },
                    None => Response::Read(answer),
                })
            }
            Request::Release {
                partition,
                to,
                tell,
            } => {
                let handover = match self.host(&partition) {
                    Some(host) => host.release(&to).await?,
                    None => {
                        self.release_unhosted(&partition, &to).await?;
                        None
                    }
                };
                let told = handover.filter(|_| tell).map(Response::HandedOver);
                Ok(told.unwrap_or(Response::Released))
            }
            Request::Plan => {
                let planned = self.plan_here().await?;
                Ok(Response::Planned(planned.to_string()))
            }
            Request::MergeLanes { partition, lanes } => {
                self.hosted(&partition)?.merge_soon(lanes);
                Ok(Response::Noted)
            }
            Request::Flush { partition } => {
                self.hosted(&partition)?.flush().await?;
                Ok(Response::Flushed)
            }
        }
    }

    /// An earlier run of this instance holds the lease of a partition that this run has nothing to do with.
    async fn release_unhosted(
        &self,
        partition: &PartitionId,
        to: &InstanceId,
    ) -> Result<(), ServiceError> {
        let view = self
            .view()
            .refresh()
            .await
            .map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        if !handoff::may_release(view.assignment(partition), &self.me().instance, to) {
            return Err(ServiceError::Conflict(format!(
                "the assignment table does not give {partition} to {to}"
            )));
        }
        self.context()
            .give_up_lease(partition, Some(to.clone()))
            .await
    }

    fn hosted(&self, partition: &PartitionId) -> Result<Arc<Host>, ServiceError> {
        self.host(partition).ok_or_else(|| {
            let role = self
                .config()
                .role
                .map_or("standalone".to_owned(), |r| format!("{r:?}").to_lowercase());
            let view = self.view().get();
            let ask = view
                .assignment(partition)
                .and_then(|a| a.target_owner())
                .cloned();
            ServiceError::WrongNode {
                partition: partition.clone(),
                reason: format!(
                    "this instance, {} (role {role}), does not have it{}",
                    self.me().instance,
                    ask.as_ref().map_or(String::new(), |a| format!("; ask {a}"))
                ),
                ask,
            }
        })
    }

    /// Stops: releases what is owned, so that others can take over at once, then ends all tasks.
    pub async fn shutdown(&self) {
        let member = self.me().instance.clone();
        self.0.context.events.publish(Event::Draining { member });
        self.0.context.stop.cancel();
        let hosts = self.hosts();
        for (_, host) in &hosts {
            host.finished().await;
        }
        self.0.tasks.wait().await;
        self.sign_off().await;
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    pub(crate) fn config(&self) -> &NodeConfig {
        &self.0.context.config
    }

    pub(crate) fn me(&self) -> &Identity {
        &self.0.context.me
    }

    pub(crate) fn view(&self) -> &ClusterView {
        &self.0.context.view
    }

    fn store(&self) -> &Store {
        &self.0.context.store
    }

    fn rpc(&self) -> &RpcClient {
        &self.0.context.rpc
    }

    fn metrics(&self) -> &NodeMetrics {
        &self.0.context.metrics
    }

    fn configuration(&self) -> &Configuration {
        &self.0.configuration
    }

    fn settings(&self) -> EffectiveConfig {
        self.0.context.settings()
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(self.settings().request_timeout_ms)
    }

    /// Who may use a core for a read.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.0.context.gate
    }

    /// Memory of requests under way. Those that hold a body take their share of it.
    #[must_use]
    pub fn requests(&self) -> &ByteBudget {
        &self.0.context.requests
    }

    fn host(&self, partition: &PartitionId) -> Option<Arc<Host>> {
        self.0.hosts.read().get(partition).cloned()
    }

    fn hosts(&self) -> Vec<(PartitionId, Arc<Host>)> {
        let hosts = self.0.hosts.read();
        hosts.iter().map(|(p, h)| (p.clone(), h.clone())).collect()
    }

    /// Whether a reader slot of the table is served here.
    fn serves_reads(&self, partition: &PartitionId, state: ReaderState) -> bool {
        state.serves()
            && self
                .host(partition)
                .is_some_and(|h| matches!(h.status().local, Local::Warm | Local::Owning))
    }
}
