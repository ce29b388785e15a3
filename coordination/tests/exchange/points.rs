//! The state machine of the simulation: points whose states are merged, stored in segments that each hold what changed since the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use brainy_conflict::{Clock, PointState, Policy, Value, Writer};
use brainy_coordination::keys;
use brainy_coordination::partition::{PartitionManifest, SegmentMeta};
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{LogPosition, PartitionId, SegmentId};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

const FILE: &str = "points.json";
/// Where stamps begin, milliseconds since 1970.
pub(crate) const EPOCH_MS: u64 = 1_000_000_000;

/// States of points, as logs and segments hold them.
#[derive(Serialize, Deserialize)]
pub(crate) struct States(Vec<(u64, LogPosition, Vec<u8>)>);

impl States {
    pub(crate) fn of_log(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).expect("an entry of this simulation")
    }

    pub(crate) fn later_than(mut self, after: LogPosition) -> BTreeMap<u64, PointState> {
        self.0.retain(|(_, version, _)| *version > after);
        self.joined()
    }

    pub(crate) fn joined(self) -> BTreeMap<u64, PointState> {
        let mut states: BTreeMap<u64, PointState> = BTreeMap::new();
        for (id, _, bytes) in self.0 {
            let mut state = PointState::decode(&bytes).expect("a state");
            if let Some(before) = states.remove(&id) {
                state = before.merge(state).expect("one policy");
            }
            states.insert(id, state);
        }
        states
    }

    pub(crate) fn encode(states: &BTreeMap<u64, PointState>, version: LogPosition) -> Bytes {
        let encoded = |(id, state): (&u64, &PointState)| (*id, version, state.encode().unwrap());
        let all = Self(states.iter().map(encoded).collect());
        serde_json::to_vec(&all).expect("plain data").into()
    }
}

/// What a client or a peer brings.
pub(crate) enum Request {
    /// The point gets this value, is edited so that a field has it, or is deleted.
    Write {
        id: u64,
        kind: u8,
        value: u64,
        now_ms: u64,
    },
    /// What a peer told.
    Incoming(BTreeMap<u64, PointState>),
}

#[derive(Default)]
struct Held {
    position: LogPosition,
    applied: LogPosition,
    /// State and the position that changed it last.
    points: BTreeMap<u64, (PointState, LogPosition)>,
    /// With writes that are not durable.
    staged: BTreeMap<u64, PointState>,
}

pub(crate) struct Points {
    store: Store,
    partition: PartitionId,
    policy: Policy,
    clock: Mutex<Clock>,
    held: Mutex<Held>,
    /// Stamps of this process's own writes, by ticket.
    pub(crate) stamps: Mutex<Vec<(u64, brainy_conflict::Stamp)>>,
}

impl Points {
    pub(crate) fn new(
        store: Store,
        partition: PartitionId,
        policy: Policy,
        writer: &str,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            partition,
            policy,
            clock: Mutex::new(Clock::new(Writer::named(writer), Clock::MAX_DRIFT_MS)),
            held: Mutex::default(),
            stamps: Mutex::default(),
        })
    }

    pub(crate) fn states(&self) -> BTreeMap<u64, PointState> {
        let held = self.held.lock();
        let all = held.points.iter();
        all.map(|(id, (state, _))| (*id, state.clone())).collect()
    }

    pub(crate) fn position(&self) -> LogPosition {
        self.held.lock().position
    }

    /// Those of `states` that change something here.
    pub(crate) fn news(&self, states: BTreeMap<u64, PointState>) -> BTreeMap<u64, PointState> {
        let held = self.held.lock();
        let is_news = |(id, state): &(u64, PointState)| match held.points.get(id) {
            Some((ours, _)) => ours.clone().merge(state.clone()).unwrap() != *ours,
            None => true,
        };
        states.into_iter().filter(is_news).collect()
    }

    /// Uploads what changed since the last segment, or all of it.
    pub(crate) async fn upload(
        &self,
        id: SegmentId,
        all: bool,
    ) -> Option<(SegmentMeta, LogPosition)> {
        let (states, position) = {
            let held = self.held.lock();
            let changed = held
                .points
                .iter()
                .filter(|(_, p)| all || p.1 > held.applied);
            let changed = changed.map(|(id, (s, at))| (*id, *at, s.encode().unwrap()));
            (States(changed.collect()), held.position)
        };
        let meta = SegmentMeta {
            id: id.clone(),
            rows: states.0.len() as u64,
            tombstones: 0,
            newest: states.0.iter().map(|s| s.1).max()?,
            files: Vec::new(),
        };
        let key = keys::segment_file(&self.partition, &id, FILE);
        let body = serde_json::to_vec(&states).expect("plain data");
        self.store.put(&key, body.into()).await.ok()?;
        Some((meta, position))
    }

    pub(crate) fn published(&self, applied: LogPosition) {
        let mut held = self.held.lock();
        held.applied = held.applied.max(applied);
    }
}

/// What a segment holds.
pub(crate) async fn read_segment(
    store: &Store,
    partition: &PartitionId,
    id: &SegmentId,
) -> Result<States, String> {
    let key = keys::segment_file(partition, id, FILE);
    let object = store.get(&key).await.map_err(|e| format!("store: {e}"))?;
    let object = object.ok_or_else(|| format!("segment {key} is gone"))?;
    serde_json::from_slice(&object.body).map_err(|e| e.to_string())
}

impl Held {
    fn merge(&mut self, id: u64, state: PointState, version: LogPosition) {
        let (mut all, mut newest) = (state, version);
        if let Some((before, at)) = self.points.remove(&id) {
            all = before.merge(all).expect("one policy");
            newest = newest.max(at);
        }
        self.points.insert(id, (all, newest));
    }
}

#[async_trait]
impl Machine for Points {
    type Request = Request;
    type Rejection = String;

    async fn load(&self, manifest: &PartitionManifest) -> Result<(), MachineError> {
        if manifest.applied <= self.held.lock().position {
            return Ok(());
        }
        for meta in &manifest.segments {
            let states = read_segment(&self.store, &self.partition, &meta.id).await;
            let states = states.map_err(MachineError)?;
            let mut held = self.held.lock();
            for (id, version, bytes) in states.0 {
                let state = PointState::decode(&bytes).map_err(|e| MachineError(e.to_string()))?;
                held.merge(id, state, version);
            }
        }
        self.published(manifest.applied);
        self.advance(manifest.applied);
        Ok(())
    }

    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        let mut held = self.held.lock();
        if position <= held.position {
            return Ok(());
        }
        held.position = position;
        for entry in entries {
            for (id, _, bytes) in States::of_log(&entry.payload).0 {
                let state = PointState::decode(&bytes).map_err(|e| MachineError(e.to_string()))?;
                held.merge(id, state, position);
            }
        }
        Ok(())
    }

    fn advance(&self, position: LogPosition) {
        let mut held = self.held.lock();
        held.position = held.position.max(position);
    }

    fn stage(&self, _ticket: u64, request: Request) -> Result<Bytes, String> {
        let mut held = self.held.lock();
        let states = match request {
            Request::Incoming(states) => states,
            Request::Write {
                id,
                kind,
                value,
                now_ms,
            } => {
                let durable = held.points.get(&id).map(|(state, _)| state.clone());
                let mut state = durable.unwrap_or_else(|| PointState::new(self.policy));
                if let Some(staged) = held.staged.get(&id) {
                    state = state.merge(staged.clone()).expect("one policy");
                }
                let mut clock = self.clock.lock();
                let stamp = clock.tick(now_ms, state.newest());
                let stamp = stamp.map_err(|e| e.to_string())?;
                let mut wanted = state.value().unwrap_or_default();
                wanted
                    .payload
                    .insert(format!("f{}", value % 3), json!(value));
                let delta = match kind {
                    0 => state.delete(stamp, None),
                    1 if state.exists() => state.edit(&wanted, stamp, None),
                    _ => {
                        let mut whole = Value::default();
                        whole.payload.insert("f0".to_owned(), json!(value));
                        state.put(&whole, stamp, None)
                    }
                };
                self.stamps.lock().push((value, stamp));
                held.staged.insert(id, state.merge(delta.clone()).unwrap());
                BTreeMap::from([(id, delta)])
            }
        };
        Ok(States::encode(&states, LogPosition::default()))
    }

    fn unstage(&self, _ticket: u64) {}
}

/// Segments that nothing may remove.
pub(crate) fn nothing_is_built() -> BTreeSet<SegmentId> {
    BTreeSet::new()
}
