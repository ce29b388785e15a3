//! What the owner of a partition does beside writing: segments out of the log, fewer and larger segments out of many,
//! and the removal of what nobody needs any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use brainy_coordination::events::Event;
use brainy_coordination::gc::Collector;
use brainy_coordination::lane::Merging;
use brainy_coordination::owner::Owner;
use brainy_coordination::partition::{PublishError, SegmentMeta};
use brainy_coordination::replica::Machine;
use brainy_coordination::types::{LogPosition, PartitionId, SegmentId};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::SegmentCache;
use super::context::Context;
use super::host::Host;
use super::machine::PartitionMachine;
use super::mode::OperationalMode;
use super::shares::Shares;
use crate::engine::{EngineError, compaction};

/// How often the owner looks whether something is due.
const TICK: Duration = Duration::from_millis(200);
/// A successor reads the log from where segments end: more slots than this are not left to it, however small they are.
const MAX_REPLAY: u64 = 512;
/// A partition that nobody has written to for so long has its segment made before it is due, so that what was loaded in bulk
/// is indexed soon. It takes a part of a full buffer ([`IDLE_PART`]): a trickle must not become a segment per write.
const IDLE: Duration = Duration::from_secs(3);
/// One in so many of `flush_bytes`.
const IDLE_PART: u64 = 64;
/// How long deletions of points that several instances write are remembered.
const DELETIONS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a merge waits for others' files to leave the disk. Others that build wait for it meanwhile.
const LEAVING: Duration = Duration::from_secs(2);
/// How long no merge is tried after there was no room for one.
const CROWDED: Duration = Duration::from_secs(15);
/// How often the collector runs, as a part of the grace period.
const COLLECT_EVERY: u32 = 4;
/// How often it runs where nothing was published since it found nothing left, as a multiple of the grace period: for what a process
/// uploads that was paused for long and replaced.
const COLLECT_RARELY: u32 = 6;

/// Runs until `stop`, or until a successor is met.
pub(super) async fn run(
    host: Arc<Host>,
    context: Arc<Context>,
    partition: PartitionId,
    machine: Arc<PartitionMachine>,
    owner: Owner<PartitionMachine>,
    stop: CancellationToken,
) {
    // What an earlier owner of this process left unpublished never will be: its epoch is over.
    machine.building.lock().clear();
    let epoch = owner.epoch();
    let grace = context.config.gc_grace;
    let mut job = Maintenance {
        collector: Collector::new(context.store.clone(), partition.clone(), epoch, grace)
            .with_pins(context.pins.clone()),
        context,
        partition,
        machine,
        owner,
        epoch,
        flushed: Instant::now(),
        written: (LogPosition::default(), Instant::now()),
        collected: Instant::now(),
        settled: None,
        crowded: Instant::now(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = job.machine.flush_asked() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = job.round() => round,
        };
        match round {
            Ok(()) => {}
            Err(Stop::Deposed) => {
                host.suspect();
                return;
            }
            Err(Stop::Failed(error)) => {
                job.context.metrics.maintenance_errors.inc();
                tracing::warn!(partition = %job.partition, error, "a background job failed; it will be tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Waits until the disk has room for what is reserved, but not for long; whether it has.
async fn leaves_room(cache: &SegmentCache) -> bool {
    let until = Instant::now() + LEAVING;
    while !cache.disk().has_room() && Instant::now() < until {
        tokio::time::sleep(LEAVING / 40).await;
    }
    cache.disk().has_room()
}

enum Stop {
    Deposed,
    Failed(String),
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Deposed { .. } => Stop::Deposed,
            PublishError::Document(e) => Stop::Failed(e.to_string()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Stop {
    Stop::Failed(error.to_string())
}

struct Maintenance {
    context: Arc<Context>,
    partition: PartitionId,
    machine: Arc<PartitionMachine>,
    owner: Owner<PartitionMachine>,
    epoch: u64,
    collector: Collector,
    flushed: Instant,
    /// How far the log was at some look, and when it was first found there.
    written: (LogPosition, Instant),
    collected: Instant,
    /// Version of the manifest under which the collector found that nothing is left.
    settled: Option<u64>,
    /// Until then no merge is tried: there was no room for one.
    crowded: Instant,
}

impl Maintenance {
    /// Whether nobody wrote for a while.
    fn is_idle(&mut self) -> bool {
        let position = self.machine.state().position();
        if self.written.0 != position {
            self.written = (position, Instant::now());
        }
        self.written.1.elapsed() >= IDLE
    }

    async fn round(&mut self) -> Result<(), Stop> {
        let settings = self.context.settings();
        let unflushed = self.machine.state().stats().unflushed_bytes;
        let old = self.flushed.elapsed() >= Duration::from_millis(settings.flush_interval_ms);
        let budget = Arc::clone(&self.context.budget);
        let over_budget =
            budget.used.load(Ordering::Relaxed) * 2 > budget.limit.load(Ordering::Relaxed);
        let unflushed = unflushed as u64;
        let long = self.replay_length() >= MAX_REPLAY;
        let asked = self.machine.must_flush();
        let idle = self.is_idle() && unflushed >= settings.flush_bytes / IDLE_PART;
        if unflushed >= settings.flush_bytes
            || (unflushed > 0 && (old || over_budget || long || asked || idle))
        {
            if over_budget && unflushed < settings.flush_bytes {
                budget.pressed.fetch_add(1, Ordering::Relaxed);
            }
            self.flush().await?;
            self.flushed = Instant::now();
        } else if long || asked {
            self.pass_over_nothing().await?;
        }
        self.compact(settings.segment_merge_threshold as usize)
            .await?;
        if self.collected.elapsed() * COLLECT_EVERY >= self.context.config.gc_grace {
            self.collect().await?;
        }
        Ok(())
    }

    /// Removes what nobody needs any more, unless there can be nothing: a listing costs as much as a write.
    async fn collect(&mut self) -> Result<(), Stop> {
        let manifest = self.owner.publisher().manifest().await;
        let version = manifest.map_or(0, |m| m.version);
        let rarely = self.context.config.gc_grace * COLLECT_RARELY;
        if self.settled == Some(version) && self.collected.elapsed() < rarely {
            return Ok(());
        }
        let building = self.machine.building.lock().clone();
        let collected = self.collector.collect(&building).await.map_err(failed)?;
        let removed = collected.slots + collected.segment_objects;
        let metrics = &self.context.metrics;
        metrics.collected_objects.inc_by(removed as u64);
        self.collected = Instant::now();
        self.settled = self.collector.is_settled().then_some(version);
        Ok(())
    }

    /// Moves `applied` on over slots that changed nothing (deletions of what was not there): no segment, less to replay.
    async fn pass_over_nothing(&self) -> Result<(), Stop> {
        // Read before looking at the buffers: if they are empty then, everything up to here is in segments.
        let position = self.machine.state().position();
        if self.machine.state().stats().unflushed_bytes > 0 {
            return Ok(());
        }
        self.publish(None, &BTreeSet::new(), Some(position)).await
    }

    /// Slots of the log that are not contained in segments, of this epoch at least.
    fn replay_length(&self) -> u64 {
        let state = self.machine.state();
        let (position, applied) = (state.position(), state.applied());
        if position.epoch == applied.epoch {
            position.seq.saturating_sub(applied.seq)
        } else {
            position.seq
        }
    }

    /// Turns write buffers into segments, oldest first.
    async fn flush(&mut self) -> Result<(), Stop> {
        if let Some(frozen) = self.machine.state().freeze() {
            self.machine.flushing.lock().push_back(frozen);
        }
        loop {
            let Some(frozen) = self.machine.flushing.lock().front().cloned() else {
                return Ok(());
            };
            let applied = frozen.position();
            let options = self.context.config.build;
            let permit = self.context.builds.clone().acquire_owned().await;
            let built = self
                .build(permit, move |id, dir| {
                    frozen.build(id, &dir, options).map(Some)
                })
                .await?;
            // Publishing drops it from the list, as any load of a manifest does with what that manifest contains.
            self.publish(built, &BTreeSet::new(), Some(applied)).await?;
            self.context.metrics.flushes.inc();
        }
    }

    fn building_share(&self) -> u64 {
        let config = &self.context.config;
        Shares::of(OperationalMode::of(config.role), config.memory_budget).building
    }

    /// Bytes of segments that may be merged at a time: about what building takes in memory. Of the disk it may be a half.
    fn room_for_merges(&self) -> u64 {
        let memory = self.building_share() + self.context.memory.free();
        let disk = self.machine.cache().disk().limit();
        memory.min(disk.map_or(u64::MAX, |limit| limit / 2))
    }

    /// Merges segments of similar size into one.
    async fn compact(&mut self, threshold: usize) -> Result<(), Stop> {
        let Some(manifest) = self.owner.publisher().manifest().await else {
            return Ok(());
        };
        let is_due = compaction::pick_merge(&manifest.segments, threshold).is_some();
        if !is_due || Instant::now() < self.crowded {
            return Ok(());
        }
        // One at a time: what is free now must be so when it is taken.
        let permit = self.context.builds.clone().acquire_owned().await;
        let room = self.room_for_merges();
        let chosen = compaction::pick_merge_within(&manifest.segments, threshold, room);
        let Some(chosen) = chosen else {
            self.crowded = Instant::now() + CROWDED;
            return Ok(());
        };
        let chosen: BTreeSet<SegmentId> = chosen.into_iter().collect();
        let inputs: Vec<SegmentId> = chosen.iter().cloned().collect();
        let merged = manifest.segments.iter();
        let merged = merged.filter(|s| chosen.contains(&s.id));
        // Meanwhile nothing else gets it: neither parts of segments nor files.
        let bytes: u64 = merged.map(SegmentMeta::bytes).sum();
        let beyond = bytes.saturating_sub(self.building_share());
        let cache = Arc::clone(self.machine.cache());
        let reserved = cache.disk().reserve(bytes);
        let held = self.context.memory.try_hold(beyond);
        let (Some(_held), true) = (held, leaves_room(&cache).await) else {
            self.crowded = Instant::now() + CROWDED;
            return Ok(());
        };
        let machine = self.machine.clone();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let long_ago = now.unwrap_or_default().saturating_sub(DELETIONS_KEPT);
        machine
            .state()
            .forget_deletions_before(long_ago.as_millis() as u64);
        let options = self.context.config.build;
        let built = self
            .build(permit, move |id, dir| {
                machine.state().merge(&inputs, id, &dir, options)
            })
            .await?;
        drop(reserved);
        self.publish(built, &chosen, None).await?;
        self.context.metrics.compactions.inc();
        Ok(())
    }

    /// Builds a segment in the cache, off the runtime's threads. `permit` is one of the node's `builds`, if there are any more.
    async fn build<F>(
        &self,
        permit: Result<OwnedSemaphorePermit, AcquireError>,
        build: F,
    ) -> Result<Option<SegmentMeta>, Stop>
    where
        F: FnOnce(SegmentId, PathBuf) -> Result<Option<SegmentMeta>, EngineError> + Send + 'static,
    {
        let id = SegmentId::generate(self.epoch);
        let cache = self.machine.cache();
        let dir = cache.building_dir(&self.partition, &id).map_err(failed)?;
        self.machine.building.lock().insert(id.clone());
        let began = Instant::now();
        let for_build = id.clone();
        let built = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            build(for_build, dir)
        })
        .await
        .map_err(failed)?;
        let took = began.elapsed().as_secs_f64();
        self.context.metrics.build_seconds.observe(took);
        if !matches!(built, Ok(Some(_))) {
            self.machine.building.lock().remove(&id);
            cache.remove(&self.partition, &id);
        }
        if let Ok(Some(built)) = &built {
            cache.built(&self.partition, built);
        }
        built.map_err(failed)
    }

    /// Uploads a built segment, if anything was left to build, and makes the manifest name it in place of `replaced`.
    async fn publish(
        &self,
        built: Option<SegmentMeta>,
        replaced: &BTreeSet<SegmentId>,
        applied: Option<LogPosition>,
    ) -> Result<(), Stop> {
        let cache = self.machine.cache();
        if let Some(built) = &built
            && let Err(error) = cache.upload(&self.partition, built).await
        {
            // Nothing names it and nothing will: the next try builds another.
            self.machine.building.lock().remove(&built.id);
            cache.remove(&self.partition, &built.id);
            return Err(failed(error));
        }
        let written = self
            .owner
            .publisher()
            .publish(|m| {
                // An earlier attempt without an answer may have landed: then this one has nothing to add.
                let done = applied.is_some_and(|applied| applied <= m.applied);
                let present = |id: &SegmentId| m.segments.iter().any(|s| s.id == *id);
                if done || !replaced.iter().all(present) {
                    return;
                }
                m.segments.retain(|s| !replaced.contains(&s.id));
                if let Some(built) = &built
                    && !m.segments.iter().any(|s| s.id == built.id)
                {
                    m.segments.push(built.clone());
                }
                if let Some(applied) = applied {
                    m.applied = m.applied.max(applied);
                    m.lanes = self.machine.merged().up_to(m.applied);
                }
            })
            .await?;
        if let Some(built) = &built {
            self.context.events.publish(Event::SegmentPublished {
                partition: self.partition.clone(),
                segment: built.id.clone(),
            });
        }
        let loaded = self.machine.load(&written).await;
        // Earlier builds whose publication had no clear answer are decided now: the manifest names them or nobody will.
        self.machine.building.lock().clear();
        loaded.map_err(failed)
    }
}
