//! The lanes of a hosted partition: this node's own, which takes its writes; all of them, which the partition's owner merges; and reads
//! that have to see what any of them acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::gc::Collector;
use brainy_coordination::handoff::Local;
use brainy_coordination::lane::{self, MergeError, Merger, Merging};
use brainy_coordination::lease;
use brainy_coordination::owner::Owner;
use brainy_coordination::replica::{Replica, ReplicaError};
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::AppenderConfig;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::lane::{LaneMachine, Lanes};
use super::super::rpc::Request;
use super::{HANDOFF_WAIT, Host, Machine, WRITE_QUEUE};
use crate::error::ServiceError;
use crate::model::{Consistency, Token, WriteOp};

/// Pause before a failed step is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a node lets go of what of its lane was merged.
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// How often the leases of lanes are listed when nothing suggests that there is a new one.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);
/// How often a read that waits for a merge looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often a read that waits for a merge tells the partition's owner: the first hint may have gone to one that was leaving,
/// and the next owner would find a lane that is new to it only at its next listing.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// How long the partition's owner may take to hear a hint.
const HINT_TIMEOUT: Duration = Duration::from_secs(2);

impl Host {
    /// Whether the partition is held and followed, or owned.
    pub(in crate::node) fn is_loaded(&self) -> bool {
        !matches!(*self.local.borrow(), Local::Nothing | Local::Warming)
    }

    /// Writes into this node's lane.
    pub(super) async fn write_to_lane(
        &self,
        lanes: &Lanes,
        request: Nonce,
        op: WriteOp,
    ) -> Result<LogPosition, ServiceError> {
        if !self.is_loaded() {
            let mut local = self.local.subscribe();
            let loaded = local.wait_for(|l| !matches!(l, Local::Nothing | Local::Warming));
            if !matches!(tokio::time::timeout(HANDOFF_WAIT, loaded).await, Ok(Ok(_))) {
                return Err(self.wrong_node("it is not loaded yet"));
            }
        }
        let mut mine = lanes.mine.subscribe();
        let taken = mine.wait_for(Option::is_some);
        let owner = match tokio::time::timeout(HANDOFF_WAIT, taken).await {
            Ok(Ok(owner)) => owner.clone(),
            _ => None,
        };
        let Some(owner) = owner else {
            return Err(self.wrong_node("this instance does not have its lane yet"));
        };
        let write = self.context.budget.admit(op)?;
        let done = owner.write(request, write).await;
        lanes.tell.notify_one();
        done.map_err(|e| self.refused(e))
    }

    /// The partition's owner here should look at these lanes now.
    pub(in crate::node) fn merge_soon(&self, named: BTreeSet<InstanceId>) {
        if let Some(lanes) = &self.lanes {
            lanes.named.lock().extend(named);
            lanes.merge.notify_one();
        }
    }

    /// Keeps the lane of this node as long as it is a member: takes it over, and lets go of what was merged.
    pub(super) async fn keep_lane(self: Arc<Self>) {
        let Some(lanes) = &self.lanes else { return };
        let id = self.partition.lane_of(&self.context.me.instance);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.finished.cancelled() => return,
                kept = self.own_lane(lanes, &id) => {
                    if let Err(error) = kept {
                        tracing::warn!(lane = %id, %error, "cannot have the lane of this instance");
                    }
                }
            }
            lanes.mine.send_replace(None);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.finished.cancelled() => return,
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn own_lane(&self, lanes: &Lanes, id: &PartitionId) -> Result<(), TakeoverError> {
        let me = &self.context.me;
        let view = self.context.view.get();
        if view.table.is_none() || view.is_gone(&me.instance) {
            return Ok(());
        }
        let mut local = self.local.subscribe();
        let loaded = local.wait_for(|l| !matches!(l, Local::Nothing | Local::Warming));
        if loaded.await.is_err() {
            return Ok(());
        }
        let (store, grace) = (&self.context.store, self.context.config.gc_grace);
        let max = self.context.settings().max_unflushed_bytes;
        let Some(cluster) = view.manifest.as_ref().map(|m| m.cluster.to_string()) else {
            return Ok(());
        };
        let machine = LaneMachine::new(
            self.machine.clone(),
            (&cluster, me.instance.clone()),
            self.context.config.conflict_resolution,
            max,
        );
        let machine = Arc::new(machine);
        let mut replica = Replica::open(store.clone(), id.clone(), machine, grace).await?;
        let lease = lease::load(store, id).await.map_err(ReplicaError::from)?;
        // Whoever holds it: a lane belongs to its instance, and the epoch fences anybody else.
        let ownership = replica.take_over(me, lease.as_ref()).await?;
        let epoch = ownership.epoch();
        let (owner, mut task) =
            Owner::start(replica, ownership, AppenderConfig::default(), WRITE_QUEUE);
        tracing::info!(lane = %id, epoch, "this instance writes to its lane");
        lanes.mine.send_replace(Some(owner.clone()));
        // What an earlier run acknowledged may wait to be merged.
        lanes.tell.notify_one();
        let mut collector = Collector::new(store.clone(), id.clone(), epoch, grace);
        loop {
            tokio::select! {
                finished = &mut task => {
                    if let Ok(finished) = finished {
                        tracing::info!(lane = %id, why = ?finished.why, "lost the lane");
                    }
                    return Ok(());
                }
                () = sleep(TRIM_EVERY) => {}
            }
            if let Err(error) = self.trim_lane(&owner, &mut collector).await {
                tracing::warn!(lane = %id, error, "cannot let go of what was merged; trying again");
            }
        }
    }

    /// Moves the lane's manifest to what the partition's log contains, as far as it was applied here, and removes what lies before.
    async fn trim_lane(
        &self,
        owner: &Owner<LaneMachine>,
        collector: &mut Collector,
    ) -> Result<(), String> {
        let merged = self.machine.merged().get(&self.context.me.instance);
        let manifest = owner.publisher().manifest().await;
        let Some(merged) = merged.filter(|at| manifest.is_none_or(|m| m.applied < *at)) else {
            return Ok(());
        };
        let publisher = owner.publisher();
        let published = publisher.publish(|m| m.applied = m.applied.max(merged));
        published.await.map_err(|e| e.to_string())?;
        let collected = collector.collect(&BTreeSet::new()).await;
        let collected = collected.map_err(|e| e.to_string())?;
        let removed = collected.slots as u64;
        self.context.metrics.collected_objects.inc_by(removed);
        Ok(())
    }

    /// Tells the partition's owner when this node's lane has something new; one hint at a time, for all that came meanwhile.
    pub(super) async fn tell_of_lane(self: Arc<Self>) {
        let Some(lanes) = &self.lanes else { return };
        let named = BTreeSet::from([self.context.me.instance.clone()]);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.finished.cancelled() => return,
                () = lanes.tell.notified() => {}
            }
            self.tell_owner(&named).await;
        }
    }

    /// Hints the partition's owner at lanes that hold something new.
    async fn tell_owner(&self, named: &BTreeSet<InstanceId>) {
        if self.state.lock().owner.is_some() {
            return self.merge_soon(named.clone());
        }
        let view = self.context.view.get();
        let owner = view
            .assignment(&self.partition)
            .and_then(|a| a.owner.as_ref());
        let Some(member) = owner.and_then(|owner| view.member(owner)) else {
            return;
        };
        let hint = Request::MergeLanes {
            partition: self.partition.clone(),
            lanes: named.clone(),
        };
        let call = self.context.rpc.call(&member.address, &hint, HINT_TIMEOUT);
        if let Err(error) = call.await {
            tracing::debug!(partition = %self.partition, %error, "the owner did not hear of new writes; it finds them by itself");
        }
    }

    /// Merges all lanes into the partition's log, while this node owns it.
    pub(super) async fn merge_lanes(
        self: Arc<Self>,
        owner: Owner<Machine>,
        stop: CancellationToken,
    ) {
        let Some(lanes) = &self.lanes else { return };
        let mut job = MergeJob {
            host: &self,
            lanes,
            merger: Merger::new(
                self.context.store.clone(),
                self.partition.clone(),
                self.machine.clone(),
                owner,
                self.context.config.gc_grace,
            ),
            known: BTreeSet::new(),
            discovered: None,
            table: 0,
        };
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = job.round() => round,
            };
            let pause = match round {
                Round::More => continue,
                Round::Done => Duration::from_millis(self.context.settings().tail_poll_interval_ms),
                Round::Failed => RETRY,
                Round::Deposed => {
                    self.suspect();
                    return;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = lanes.merge.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Makes the engine contain what any lane had acknowledged when the read began, or so long before as the consistency allows, and the
    /// lanes' positions of a token.
    ///
    /// # Errors
    /// `Unavailable` when the lanes cannot be read, or are not merged in time.
    pub(in crate::node) async fn freshen_lanes(
        &self,
        consistency: Consistency,
        asked: Instant,
        token: Option<&Token>,
    ) -> Result<(), ServiceError> {
        let Some(lanes) = &self.lanes else {
            return Ok(());
        };
        let of_token = token.map(|t| self.lanes_of(t)).unwrap_or_default();
        if !self.machine.merged().contains(&of_token) {
            self.await_merge(&of_token).await?;
        }
        let oldest = match consistency {
            Consistency::Eventual => return Ok(()),
            Consistency::Strong => asked,
            Consistency::Bounded(ms) => asked
                .checked_sub(Duration::from_millis(ms))
                .unwrap_or(asked),
        };
        // Reads that wait for the same look share it.
        let mut seen = lanes.seen.lock().await;
        if seen.is_some_and(|at| at >= oldest) {
            return Ok(());
        }
        let began = Instant::now();
        let unavailable = |e: String| ServiceError::Unavailable(e);
        self.follow_now().await?;
        let merged = self.machine.merged().positions();
        let known = merged.keys().cloned().collect();
        let (store, partition) = (&self.context.store, &self.partition);
        let all = lane::discover(store, partition, &known).await;
        let all = all.map_err(|e| unavailable(e.to_string()))?;
        let ends = lane::ends(store, partition, &all, &merged).await;
        let ends = ends.map_err(|e| unavailable(e.to_string()))?;
        if began.elapsed() * 2 > self.context.config.gc_grace {
            return Err(unavailable(
                "the lanes could not be read within half of the collector's grace".to_owned(),
            ));
        }
        self.await_merge(&ends).await?;
        *seen = Some(began);
        Ok(())
    }

    /// Positions of a token in lanes of this partition.
    fn lanes_of(&self, token: &Token) -> BTreeMap<InstanceId, LogPosition> {
        let mine = token.0.iter().filter_map(|(partition, at)| {
            let same = partition.index == self.partition.index
                && partition.collection == self.partition.collection;
            same.then(|| Some((partition.lane.clone()?, *at)))?
        });
        mine.collect()
    }

    /// Applies the partition's log to its end, unless this node writes it.
    async fn follow_now(&self) -> Result<(), ServiceError> {
        if self.state.lock().owner.is_some() {
            return Ok(());
        }
        let mut guard = self.replica.lock().await;
        let Some(replica) = guard.as_mut() else {
            return match self.state.lock().owner {
                Some(_) => Ok(()),
                None => Err(self.wrong_node("it is not loaded yet")),
            };
        };
        let done = replica.catch_up().await;
        self.note(done.as_ref().err());
        done.map_err(|e| ServiceError::Unavailable(e.to_string()))
    }

    /// Waits until the lanes are merged up to `ends` and that is applied here.
    async fn await_merge(
        &self,
        ends: &BTreeMap<InstanceId, LogPosition>,
    ) -> Result<(), ServiceError> {
        let merged = self.machine.merged();
        if merged.contains(ends) {
            return Ok(());
        }
        let patience = Duration::from_millis(self.context.settings().request_timeout_ms) / 2;
        let deadline = Instant::now() + patience;
        let mut changes = merged.subscribe();
        let named: BTreeSet<InstanceId> = ends.keys().cloned().collect();
        let mut told: Option<Instant> = None;
        while !merged.contains(ends) {
            if told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
                self.tell_owner(&named).await;
                told = Some(Instant::now());
            }
            if Instant::now() >= deadline {
                return Err(ServiceError::Unavailable(format!(
                    "writes to {} that were acknowledged are not merged yet: its owner may be changing; an eventual read answers without them",
                    self.partition
                )));
            }
            changes.borrow_and_update();
            self.follow_now().await?;
            if merged.contains(ends) {
                break;
            }
            let _changed = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
        Ok(())
    }
}

/// The merging of one ownership.
struct MergeJob<'a> {
    host: &'a Host,
    lanes: &'a Lanes,
    merger: Merger<Machine>,
    known: BTreeSet<InstanceId>,
    discovered: Option<Instant>,
    /// Version of the table when lanes were listed last.
    table: u64,
}

enum Round {
    /// More waits already.
    More,
    Done,
    Failed,
    Deposed,
}

impl MergeJob<'_> {
    async fn round(&mut self) -> Round {
        let context = &self.host.context;
        let view = context.view.get();
        let Some(table) = &view.table else {
            return Round::Failed;
        };
        let named = std::mem::take(&mut *self.lanes.named.lock());
        let unheard_of = !named.is_subset(&self.known);
        self.known.extend(named);
        let old = self
            .discovered
            .is_none_or(|at| at.elapsed() >= DISCOVER_EVERY);
        if old || unheard_of || self.table != table.version {
            let partition = &self.host.partition;
            let copied_from = self.merger.copied_from();
            match lane::discover(&context.store, partition, &copied_from).await {
                Ok(found) => {
                    self.known = found;
                    self.discovered = Some(Instant::now());
                    self.table = table.version;
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "cannot list the lanes; going on with those known");
                }
            }
        }
        let gone: Vec<InstanceId> = self
            .known
            .iter()
            .filter(|lane| view.is_gone(lane))
            .cloned()
            .collect();
        let mut failed = false;
        for lane in gone {
            self.known.remove(&lane);
            if let Err(error) = self.merger.retire(&lane).await {
                if let MergeError::Deposed = error {
                    return Round::Deposed;
                }
                self.report(&lane, &error);
                // Found again by the next listing.
                self.discovered = None;
                failed = true;
            }
        }
        let (more, errors) = self.merger.round(&self.known).await;
        for (lane, error) in &errors {
            if let MergeError::Deposed = error {
                return Round::Deposed;
            }
            self.report(lane, error);
            failed = true;
        }
        if failed {
            // A copy may need vectors that this node has not heard of.
            context.view.hint();
            if let Err(error) = self.host.adopt_schema().await {
                tracing::debug!(%error, "cannot follow the collection's vectors");
            }
            return Round::Failed;
        }
        if more.is_empty() {
            Round::Done
        } else {
            Round::More
        }
    }

    fn report(&self, lane: &InstanceId, error: &MergeError) {
        match error {
            MergeError::Later(_) => {
                tracing::debug!(partition = %self.host.partition, %lane, %error, "a lane waits");
            }
            _ => {
                tracing::warn!(partition = %self.host.partition, %lane, %error, "a lane cannot be merged");
            }
        }
    }
}
