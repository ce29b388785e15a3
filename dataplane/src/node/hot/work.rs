//! The task that moves parts of segments between memory, disk and bucket.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use brainy_coordination::types::{PartitionId, SegmentId};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::plan::{Candidate, plan, room};
use crate::engine::{Part, PartUse, Placement, Segment};
use crate::node::Node;
use crate::node::machine::PartitionMachine;
use crate::node::mode::{Border, OperationalMode, Pressure, Promotion};
use crate::node::shares::Shares;

/// How often the task looks.
const LOOK: Duration = Duration::from_millis(200);
/// What reads count for at the next look: half after seven seconds.
const COOLING: f64 = 0.98;
/// The border between cache and write buffers, and what partitions left behind, are looked at every so many looks.
const BORDER_EVERY: u32 = 10;
/// A segment that could not be moved stays where it is for so long.
const REST: Duration = Duration::from_secs(10);
/// Files of a partition that this node has nothing to do with any more are kept for so long: it may come back.
const KEPT: Duration = Duration::from_secs(600);

/// Runs until `stop`.
pub(in crate::node) async fn run(node: Node, stop: CancellationToken) {
    let mode = OperationalMode::of(node.config().role);
    let mut work = Work {
        mode,
        border: Border::at(mode.cache().percent),
        looks: 0,
        lacking: false,
        pressed: 0,
        parts: HashMap::new(),
        misses: HashMap::new(),
        leaving: Vec::new(),
        failed: HashMap::new(),
        away: HashMap::new(),
        node,
    };
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = work.look() => {}
        }
    }
}

/// An open segment.
struct Open {
    partition: PartitionId,
    machine: Arc<PartitionMachine>,
    segment: Arc<Segment>,
    uses: Vec<PartUse>,
}

/// How much something was read.
#[derive(Default)]
struct Seen {
    reads: u64,
    heat: f64,
}

struct Work {
    node: Node,
    mode: OperationalMode,
    border: Border,
    looks: u32,
    /// Whether something that is read had no room since the border was looked at.
    lacking: bool,
    /// [`crate::node::machine::WriteBudget::pressed`] at that time.
    pressed: u64,
    parts: HashMap<(SegmentId, Part), Seen>,
    /// Reads of each segment that memory did not answer.
    misses: HashMap<SegmentId, f64>,
    /// Segments that were replaced by ones that hold less, and how much less: reads that run keep it.
    leaving: Vec<(Weak<Segment>, u64)>,
    /// Segments that could not be moved, and when.
    failed: HashMap<SegmentId, Instant>,
    /// Partitions with files here that this node does not host, and since when.
    away: HashMap<PartitionId, Instant>,
}

impl Work {
    async fn look(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        let open = self.open();
        self.count(&open);
        self.set_limits(&open);
        self.place_in_memory(&open).await;
        if self.node.0.cache.disk().limit().is_some() {
            self.place_on_disk().await;
        }
        if self.looks.is_multiple_of(BORDER_EVERY) {
            self.forget_partitions();
        }
        let context = self.node.context();
        let metrics = &context.cache_metrics;
        metrics.bytes.set(context.memory.held().cast_signed());
        metrics.limit.set(context.memory.limit().cast_signed());
        let used = self.node.0.cache.disk().used();
        metrics.disk_bytes.set(used.cast_signed());
    }

    fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for (partition, host) in self.node.hosts() {
            for segment in host.machine().state().segments() {
                open.push(Open {
                    partition: partition.clone(),
                    machine: Arc::clone(host.machine()),
                    uses: segment.part_uses(),
                    segment,
                });
            }
        }
        open
    }

    /// Notes what was read since the last look.
    fn count(&mut self, open: &[Open]) {
        let metrics = &self.node.context().cache_metrics;
        let here: HashSet<&SegmentId> = open.iter().map(|o| o.segment.id()).collect();
        self.parts.retain(|(id, _), _| here.contains(id));
        self.misses.retain(|id, _| here.contains(id));
        self.failed.retain(|_, at| at.elapsed() < REST);
        self.leaving
            .retain(|(segment, _)| segment.strong_count() > 0);
        for open in open {
            let id = open.segment.id();
            let misses = self.misses.entry(id.clone()).or_default();
            *misses *= COOLING;
            for used in &open.uses {
                let seen = self.parts.entry((id.clone(), used.part)).or_default();
                let reads = used.reads.saturating_sub(seen.reads);
                seen.reads = used.reads;
                seen.heat = seen.heat * COOLING + reads as f64;
                if used.held {
                    metrics.hits.inc_by(reads);
                } else {
                    metrics.misses.inc_by(reads);
                    *misses += reads as f64;
                }
            }
        }
    }

    fn set_limits(&mut self, open: &[Open]) {
        let context = self.node.context();
        let (budget, writes) = (context.config.memory_budget, &context.budget);
        let shares = Shares::of(self.mode, budget);
        let (mut cache, mut buffers) = (shares.cache, shares.buffers);
        if self.mode.cache().adapts {
            if self.looks.is_multiple_of(BORDER_EVERY) {
                let pressed = writes.pressed.load(Ordering::Relaxed);
                let before = self.border.cache;
                self.border = self.border.after(Pressure {
                    cache: std::mem::take(&mut self.lacking),
                    buffers: pressed > std::mem::replace(&mut self.pressed, pressed),
                });
                if before != self.border.cache {
                    let percent = self.border.cache;
                    tracing::debug!(percent, "the share of the cache follows the load");
                }
            }
            (cache, buffers) = Shares::divided(budget, self.border.cache);
        }
        writes.limit.store(buffers, Ordering::Relaxed);
        // A follower cannot refuse what the owner wrote: its tails of the log may outgrow their share.
        let tails: usize = self
            .node
            .hosts()
            .iter()
            .map(|(_, host)| host.machine().state().stats().unflushed_bytes)
            .sum();
        let beyond = (tails as u64).saturating_sub(buffers);
        let grown: usize = open.iter().map(|o| o.segment.grown_bytes()).sum();
        let limit = cache.saturating_sub(beyond).saturating_sub(grown as u64);
        context.memory.set_limit(limit);
    }

    async fn place_in_memory(&mut self, open: &[Open]) {
        let promotion = self.mode.cache().promotion;
        let memory = Arc::clone(&self.node.context().memory);
        let candidates: Vec<Candidate> = open
            .iter()
            .flat_map(|open| open.uses.iter().map(|used| (open.segment.id(), used)))
            .map(|(id, used)| Candidate {
                bytes: used.bytes,
                held: used.held,
                heat: self
                    .parts
                    .get(&(id.clone(), used.part))
                    .map_or(0.0, |seen| seen.heat),
                per_search: used.per_search,
            })
            .collect();
        let parts: u64 = candidates.iter().filter(|c| c.held).map(|c| c.bytes).sum();
        let leaving: u64 = self.leaving.iter().map(|(_, bytes)| bytes).sum();
        let room = room(memory.limit(), memory.held(), parts, leaving);
        let wanted = plan(&candidates, room, promotion);
        self.lacking |= candidates
            .iter()
            .zip(&wanted)
            .any(|(c, wanted)| !wanted && c.heat >= 1.0);
        let mut wanted = wanted.into_iter();
        let mut promoted = Vec::new();
        // What leaves goes first: its memory is what the others get.
        for open in open {
            if self.rests(open.segment.id()) {
                wanted.by_ref().take(open.uses.len()).for_each(drop);
                continue;
            }
            let now = open.segment.placement();
            let (mut less, mut wish) = (now, now);
            for (used, wanted) in open.uses.iter().zip(wanted.by_ref()) {
                wish = wish.with(used.part, wanted);
                less = less.with(used.part, used.held && wanted);
            }
            let mut segment = Arc::clone(&open.segment);
            let leaving = open.uses.iter().filter(|u| u.held && !less.holds(u.part));
            let leaving = leaving.count() as u64;
            if leaving > 0
                && let Some(placed) = self.place(open, &segment, less, false).await
            {
                self.node.context().cache_metrics.evictions.inc_by(leaving);
                segment = placed;
            }
            if open.uses.iter().any(|u| !u.held && wish.holds(u.part)) {
                promoted.push((open, segment, wish));
            }
        }
        for (open, segment, wish) in promoted {
            let coming = || open.uses.iter().filter(|u| !u.held && wish.holds(u.part));
            let bytes: u64 = coming().map(|u| u.bytes).sum();
            // Reads that go on with what has left still hold it: the next look tries again.
            if memory.free() < bytes {
                continue;
            }
            if self.place(open, &segment, wish, false).await.is_some() {
                let prefetches = &self.node.context().cache_metrics.prefetches;
                prefetches.inc_by(coming().count() as u64);
            }
        }
    }

    /// Whether a segment could not be moved a short while ago.
    fn rests(&self, segment: &SegmentId) -> bool {
        self.failed.contains_key(segment)
    }

    /// Puts the parts of a segment where `wish` says; the segment as it is installed then.
    async fn place(
        &mut self,
        open: &Open,
        segment: &Arc<Segment>,
        wish: Placement,
        anew: bool,
    ) -> Option<Arc<Segment>> {
        let cache = &self.node.0.cache;
        let files = cache.files(&open.partition, segment.meta(), true);
        let (machine, before) = (Arc::clone(&open.machine), Arc::clone(segment));
        let placed = tokio::task::spawn_blocking(move || {
            let placed = Arc::new(before.placed(&files, wish, anew)?);
            let installed = machine.state().replace_segment(&placed)?;
            Ok::<_, crate::engine::EngineError>(installed.then_some(placed))
        });
        match placed.await {
            Ok(Ok(placed)) => {
                let now = placed.as_ref()?.part_uses();
                let moved = segment.part_uses().into_iter().zip(now);
                let less = moved.filter(|(before, now)| before.held && !now.held);
                let less = less.map(|(before, _)| before.bytes).sum();
                if less > 0 {
                    self.leaving.push((Arc::downgrade(segment), less));
                }
                placed
            }
            Ok(Err(error)) => {
                let partition = &open.partition;
                tracing::warn!(%partition, segment = %segment.id(), %error, "cannot move a part of a segment; it stays where it is");
                self.failed.insert(segment.id().clone(), Instant::now());
                None
            }
            // Shutting down.
            Err(_) => None,
        }
    }

    /// Keeps the files on the disk that are read most, within its limit.
    async fn place_on_disk(&mut self) {
        let cache = Arc::clone(&self.node.0.cache);
        let disk = cache.disk();
        let open = self.open();
        let candidates: Vec<Candidate> = open
            .iter()
            .map(|open| Candidate {
                bytes: open.segment.meta().bytes(),
                held: disk.has(&open.partition, open.segment.id()),
                heat: self
                    .misses
                    .get(open.segment.id())
                    .copied()
                    .unwrap_or_default(),
                per_search: 1,
            })
            .collect();
        let local: u64 = candidates.iter().filter(|c| c.held).map(|c| c.bytes).sum();
        let others = disk.used().saturating_sub(local);
        let limit = disk.limit().unwrap_or(u64::MAX);
        let room = limit.saturating_sub(others + disk.reserved());
        let wanted = plan(&candidates, room, Promotion::AfterSearches(1));
        let pairs = || open.iter().zip(candidates.iter().zip(&wanted));
        for (open, (c, _)) in pairs().filter(|(_, (c, wanted))| c.held && !**wanted) {
            if self.rests(open.segment.id()) {
                continue;
            }
            // What is mapped would keep its file.
            let wish = open.segment.placement().with(Part::Vectors, false);
            disk.remove(&open.partition, open.segment.id());
            if self.place(open, &open.segment, wish, true).await.is_some() {
                cache.remove(&open.partition, open.segment.id());
                self.node.context().cache_metrics.disk_evictions.inc();
            } else {
                // Its files are there until its manifest drops it.
                disk.add(&open.partition, open.segment.id(), c.bytes);
            }
        }
        for (open, _) in pairs().filter(|(_, (c, wanted))| !c.held && **wanted) {
            let meta = open.segment.meta();
            if self.rests(&meta.id) || !disk.try_add(&open.partition, &meta.id, meta.bytes()) {
                continue;
            }
            if let Err(error) = cache.fetch_all(&open.partition, meta).await {
                tracing::warn!(partition = %open.partition, %error, "cannot fetch a segment; it is read from the bucket");
                self.failed.insert(meta.id.clone(), Instant::now());
                cache.remove(&open.partition, &meta.id);
                continue;
            }
            let wish = open.segment.placement();
            if self.place(open, &open.segment, wish, true).await.is_none() {
                // Nobody reads them: the segment was replaced meanwhile, or goes on in the bucket.
                cache.remove(&open.partition, &meta.id);
            }
        }
    }

    /// Removes the files of partitions that went to other nodes, or were dropped, some time ago.
    fn forget_partitions(&mut self) {
        // Without a table nobody knows what is this node's.
        if self.node.view().get().table.is_none() {
            return;
        }
        let cache = &self.node.0.cache;
        let mut left = cache.disk().partitions();
        for (partition, _) in self.node.hosts() {
            left.remove(&partition);
        }
        self.away.retain(|partition, _| left.contains(partition));
        for partition in left {
            let since = self.away.entry(partition.clone());
            if since.or_insert_with(Instant::now).elapsed() >= KEPT {
                tracing::debug!(%partition, "removing local files of a partition that is not here any more");
                cache.remove_partition(&partition);
            }
        }
    }
}
