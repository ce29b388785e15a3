//! The judgement at the end of a run: the bucket's whole history against what clients were told.
//!
//! The log is rebuilt from everything that was ever written to it, also what was collected since: slot after slot, epoch
//! after epoch, ending each at its fence. Against it are held the acknowledgements and refusals, the strong reads, the
//! final state of a replica that starts from the last manifest, and every removal and publication on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brainy_coordination::assignment::{AssignmentTable, HandoffReason};
use brainy_coordination::document::{self, Document};
use brainy_coordination::keys;
use brainy_coordination::lease::Lease;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::replica::{Machine, Replica};
use brainy_coordination::store::sim::{Effect, EffectKind};
use brainy_coordination::store::{ETag, Object};
use brainy_coordination::types::{LogPosition, Nonce, PartitionId};
use brainy_coordination::wal::{Entry, LogObject};

use crate::audit::Story;
use crate::coordinators::MAX_MOVES;
use crate::machine::{Append, ListMachine, Record, segment_key};
use crate::world::{GRACE, World};

/// How violations begin that the checker of histories found.
pub(crate) const HISTORY: &str = "history of ";

/// What the history says about one partition.
struct Log<'a> {
    partition: &'a PartitionId,
    /// Every slot ever written, as it was first written, and when.
    slots: BTreeMap<LogPosition, (Duration, LogObject)>,
    damaged: BTreeSet<LogPosition>,
    violations: Vec<String>,
}

/// Judges a run that has come to rest.
pub(crate) async fn judge(world: &World) {
    let history = world.bucket.history();
    for complaint in judge_table(&history) {
        world.violation(complaint);
    }
    // What lies beyond an accepted loss need not be there.
    if !world.lossy {
        let checked = world.audit.lock().histories().check();
        if let Err(violation) = checked {
            world.violation(format_args!("{HISTORY}{violation}"));
        }
    }
    for partition in &world.partitions {
        let story = world.audit.lock().story(partition).clone();
        let mut log = Log {
            partition,
            slots: BTreeMap::new(),
            damaged: story.damaged.clone(),
            violations: Vec::new(),
        };
        log.read(&history);
        let entries = log.walk();
        log.judge_story(&story, &entries);
        log.judge_state(world, &entries).await;
        for complaint in log.violations {
            world.violation(format_args!("{partition}: {complaint}"));
        }
    }
}

fn decode<T: Document>(effect: &Effect) -> Option<T> {
    let object = Object {
        body: effect.body.clone()?,
        etag: effect.etag.clone().unwrap_or(ETag(String::new())),
    };
    let document = document::decode::<T>(&effect.key, &object);
    document.ok().map(|d| d.body)
}

/// The assignment table: its epoch never falls, and planned moves keep to their limit.
fn judge_table(history: &[Effect]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut epoch = 0;
    for effect in history.iter().filter(|e| e.key == keys::ASSIGNMENTS) {
        let Some(table) = decode::<AssignmentTable>(effect) else {
            complaints.push("the assignment table was removed or is unreadable".to_owned());
            continue;
        };
        if table.epoch < epoch {
            complaints.push(format!("the table's epoch fell to {}", table.epoch));
        }
        epoch = table.epoch;
        let moves = table.partitions.values().filter_map(|p| p.handoff.as_ref());
        let planned = moves.filter(|h| h.reason == HandoffReason::Planned).count();
        if planned > MAX_MOVES as usize {
            complaints.push(format!("{planned} planned moves at once"));
        }
    }
    complaints
}

impl Log<'_> {
    fn complain(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Goes through the history: collects the slots, and checks every removal, publication and lease on the way.
    fn read(&mut self, history: &[Effect]) {
        let partition = self.partition;
        let wal = keys::wal_partition(partition);
        let segments = keys::segments(partition);
        let manifest_key = keys::partition_manifest(partition);
        let lock = keys::lock(partition);
        let mut manifest = PartitionManifest::default();
        let mut uploaded = BTreeSet::new();
        let mut lease_epoch = 0;
        for effect in history {
            let removed = effect.kind == EffectKind::Delete;
            if effect.key.starts_with(&wal) {
                self.log_effect(effect, manifest.applied);
            } else if effect.key.starts_with(&segments) && !removed {
                uploaded.insert(effect.key.clone());
            } else if effect.key.starts_with(&segments) {
                uploaded.remove(&effect.key);
                let mut named = manifest.segments.iter();
                if named.any(|s| segment_key(partition, &s.id) == effect.key) {
                    self.complain(format!("{} was removed while in use", effect.key));
                }
            } else if effect.key == manifest_key {
                manifest = self.publication(effect, &manifest, &uploaded);
            } else if effect.key == lock {
                let epoch = decode::<Lease>(effect).map_or(0, |l| l.epoch);
                if epoch < lease_epoch {
                    self.complain(format!("the lease's epoch fell to {epoch}"));
                }
                lease_epoch = epoch;
            }
        }
    }

    fn log_effect(&mut self, effect: &Effect, applied: LogPosition) {
        let Some(at) = keys::parse_wal_slot(&effect.key) else {
            return self.complain(format!("foreign object {}", effect.key));
        };
        let content = effect.body.as_ref().map(|b| LogObject::decode(b, at));
        match (effect.kind, content) {
            (EffectKind::Create, Some(Ok(content))) => match self.slots.get(&at) {
                None => {
                    self.slots.insert(at, (effect.at, content));
                }
                // Its first writer may write a collected slot once more, and a paused successor may fence it: nobody
                // reads either, because the manifest is past the slot.
                Some((_, before)) => {
                    let again = *before == content || matches!(content, LogObject::Fence { .. });
                    if !again || at > applied {
                        self.complain(format!("slot {at} was written twice"));
                    }
                }
            },
            (EffectKind::Delete, _) => {
                let fence = matches!(self.slots.get(&at), Some((_, LogObject::Fence { .. })));
                if at > applied || fence {
                    self.complain(format!("slot {at} was removed, applied is {applied}"));
                }
            }
            _ => self.complain(format!("slot {at} was overwritten")),
        }
    }

    fn publication(
        &mut self,
        effect: &Effect,
        before: &PartitionManifest,
        uploaded: &BTreeSet<String>,
    ) -> PartitionManifest {
        let Some(manifest) = decode::<PartitionManifest>(effect) else {
            self.complain("the manifest was removed or is unreadable");
            return before.clone();
        };
        if manifest.epoch < before.epoch || manifest.applied < before.applied {
            self.complain(format!(
                "the manifest fell from epoch {}, applied {} to epoch {}, applied {}",
                before.epoch, before.applied, manifest.epoch, manifest.applied
            ));
        }
        for segment in &manifest.segments {
            if !uploaded.contains(&segment_key(self.partition, &segment.id)) {
                self.complain(format!("{} is published and not there", segment.id));
            }
        }
        manifest
    }

    /// The log from its beginning, up to the fence in every epoch. Damaged slots are left out; what lies beyond a damaged
    /// fence counts as damaged too, because who accepted the loss of the fence may have read on.
    fn walk(&mut self) -> Vec<(LogPosition, Vec<Entry>)> {
        let mut entries = Vec::new();
        let mut position = PartitionManifest::default().applied;
        loop {
            let at = position.next();
            let damaged = self.damaged.contains(&at);
            position = match self.slots.get(&at) {
                Some((_, LogObject::Data(_))) if damaged => at,
                Some((_, LogObject::Data(group))) => {
                    entries.push((at, group.clone()));
                    at
                }
                Some((_, LogObject::Fence { .. })) => {
                    if damaged {
                        let beyond = self.slots.range(at..at.next_epoch());
                        self.damaged.extend(beyond.map(|(at, _)| *at));
                    }
                    at.next_epoch()
                }
                None => {
                    if self.slots.range(at.next_epoch()..).next().is_some() {
                        self.complain(format!("the log goes on beyond {at}, which is absent"));
                    }
                    return entries;
                }
            };
        }
    }

    /// What clients were told, and what strong reads returned, against the log.
    fn judge_story(&mut self, story: &Story, log: &[(LogPosition, Vec<Entry>)]) {
        let mut found: BTreeMap<Nonce, LogPosition> = BTreeMap::new();
        for (at, group) in log {
            for entry in group {
                if let Some(before) = found.insert(entry.request, *at) {
                    self.complain(format!("{} is logged at {before} and {at}", entry.request));
                }
            }
        }
        for (id, request) in &story.requests {
            match (request.acknowledged, found.get(id)) {
                (Some((_, at)), _) if self.damaged.contains(&at) => {}
                (Some((_, at)), Some(logged)) if at == *logged => {}
                (Some((_, at)), logged) => {
                    self.complain(format!(
                        "{id} was acknowledged at {at}, it is at {logged:?}"
                    ));
                }
                (None, Some(at)) if !request.uncertain && self.damaged.is_empty() => {
                    self.complain(format!("{id} was refused, it is at {at}"));
                }
                _ => {}
            }
        }
        if self.damaged.is_empty() {
            self.judge_order(story, &found);
            self.judge_epochs(story);
            let records = records(log);
            if !records.starts_with(&story.read) {
                self.complain("a strong read returned what is not in the log");
            }
        }
    }

    /// A request that was submitted after another was acknowledged comes later in the log.
    fn judge_order(&mut self, story: &Story, found: &BTreeMap<Nonce, LogPosition>) {
        let mut submitted: Vec<(Duration, LogPosition)> = Vec::new();
        for (id, request) in &story.requests {
            submitted.extend(found.get(id).map(|at| (request.submitted, *at)));
        }
        submitted.sort_unstable();
        let mut acknowledged = story
            .order
            .iter()
            .filter_map(|id| story.requests[id].acknowledged)
            .peekable();
        let mut newest = LogPosition::default();
        for (when, at) in submitted {
            while let Some((_, position)) = acknowledged.next_if(|(moment, _)| *moment < when) {
                newest = newest.max(position);
            }
            if at <= newest {
                self.complain(format!(
                    "the request at {at} was submitted after {newest} was acknowledged"
                ));
            }
        }
    }

    /// Before an epoch acknowledges anything, every older one has a fence.
    fn judge_epochs(&mut self, story: &Story) {
        let mut fences: BTreeMap<u64, Duration> = BTreeMap::new();
        for (at, (when, content)) in &self.slots {
            if matches!(content, LogObject::Fence { .. }) {
                fences.entry(at.epoch).or_insert(*when);
            }
        }
        for (epoch, first) in &story.epochs {
            for older in 1..*epoch {
                if fences.get(&older).is_none_or(|fenced| fenced > first) {
                    self.complain(format!(
                        "epoch {epoch} acknowledged before epoch {older} was fenced"
                    ));
                }
            }
        }
    }

    /// A replica that starts from the last manifest reaches the end, with the state that the whole log gives; applying
    /// the log to it once more changes nothing.
    async fn judge_state(&mut self, world: &World, log: &[(LogPosition, Vec<Entry>)]) {
        let store = world.honest_store("judge");
        let strict = self.damaged.is_empty();
        let machine = ListMachine::new(store.clone(), self.partition.clone(), strict);
        let opened = Replica::open(store, self.partition.clone(), machine.clone(), GRACE).await;
        let done = match opened {
            Ok(mut replica) => replica.catch_up().await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            return self.complain(format!("the last manifest cannot be followed: {error}"));
        }
        let state = machine.log();
        let kept = |r: &&Record| !self.damaged.contains(&r.at);
        let state_kept: Vec<Record> = state.iter().filter(kept).cloned().collect();
        if state_kept != records(log) {
            self.complain(format!(
                "the state has {} records, the log {}",
                state_kept.len(),
                records(log).len()
            ));
        }
        for (at, group) in log {
            if machine.apply(*at, group).is_err() {
                self.complain(format!("slot {at} cannot be applied twice"));
            }
        }
        if machine.log() != state {
            self.complain("applying the log twice changes the state");
        }
    }
}

fn records(log: &[(LogPosition, Vec<Entry>)]) -> Vec<Record> {
    let slot = |(at, group): &(LogPosition, Vec<Entry>)| {
        let at = *at;
        let one = move |entry: &Entry| {
            Some(Record {
                at,
                request: entry.request,
                append: Append::decode(&entry.payload)?,
            })
        };
        group.iter().filter_map(one).collect::<Vec<_>>()
    };
    log.iter().flat_map(slot).collect()
}
