//! The state machine of the simulation: lists that requests append to.
//!
//! Appending is read-modify-write: what is logged names the length that the list has afterwards. An entry that is applied
//! twice, left out or out of order therefore does not fit, and the machine says so. Its segments are slices of the log,
//! as JSON, so that loading them tells whether they join without gap or overlap.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::keys;
use brainy_coordination::partition::{PartitionManifest, SegmentMeta};
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{LogPosition, Nonce, PartitionId, SegmentId};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Longest list; a request that would make it longer is rejected.
pub(crate) const LONGEST: u32 = 60;
const FILE: &str = "log.json";

/// What is logged for a request: the list and its length afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) list: u8,
    pub(crate) length: u32,
}

impl Append {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (list, length) = payload.split_first()?;
        Some(Self {
            list: *list,
            length: u32::from_le_bytes(length.try_into().ok()?),
        })
    }

    fn encode(self) -> Bytes {
        let mut out = vec![self.list];
        out.extend_from_slice(&self.length.to_le_bytes());
        out.into()
    }
}

/// One applied request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) at: LogPosition,
    pub(crate) request: Nonce,
    pub(crate) append: Append,
}

/// Why a request was not logged: the list is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Clone, Debug, Default)]
struct State {
    position: LogPosition,
    log: Vec<Record>,
    lengths: BTreeMap<u8, u32>,
    staged: VecDeque<(u64, u8)>,
}

impl State {
    fn push(&mut self, record: Record, strict: bool) -> Result<(), MachineError> {
        let Append { list, length } = record.append;
        let before = self.lengths.entry(list).or_default();
        if strict && *before + 1 != length {
            return Err(MachineError(format!(
                "list {list} has {before} items, but {} makes it {length} long",
                record.request
            )));
        }
        *before = length;
        self.log.push(record);
        Ok(())
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ListMachine {
    store: Store,
    partition: PartitionId,
    /// Off where log objects are damaged on purpose: what lies beyond an accepted loss need not fit.
    strict: bool,
    state: Mutex<State>,
}

impl ListMachine {
    pub(crate) fn new(store: Store, partition: PartitionId, strict: bool) -> Arc<Self> {
        Arc::new(Self {
            store,
            partition,
            strict,
            state: Mutex::default(),
        })
    }

    /// Everything applied, in log order.
    pub(crate) fn log(&self) -> Vec<Record> {
        self.state.lock().log.clone()
    }

    /// Up to where the log is applied.
    pub(crate) fn position(&self) -> LogPosition {
        self.state.lock().position
    }

    /// Uploads the log after `from` as a segment. Returns its description and how far it reaches.
    pub(crate) async fn upload(
        &self,
        id: SegmentId,
        from: LogPosition,
        to: Option<LogPosition>,
    ) -> Result<(SegmentMeta, LogPosition), brainy_coordination::store::StoreError> {
        let (records, applied) = {
            let state = self.state.lock();
            let to = to.unwrap_or(state.position);
            let slice = state.log.iter().filter(|r| r.at > from && r.at <= to);
            (slice.cloned().collect::<Vec<_>>(), to)
        };
        let meta = SegmentMeta {
            id: id.clone(),
            rows: records.len() as u64,
            tombstones: 0,
            newest: applied,
            files: Vec::new(),
        };
        let body = serde_json::to_vec(&records).expect("records are plain data");
        let key = keys::segment_file(&self.partition, &id, FILE);
        self.store.put(&key, body.into()).await?;
        Ok((meta, applied))
    }

    async fn segment(&self, id: &SegmentId) -> Result<Vec<Record>, MachineError> {
        let key = keys::segment_file(&self.partition, id, FILE);
        let object = self.store.get(&key).await;
        let object = object.map_err(|e| MachineError(format!("store: {e}")))?;
        let object = object.ok_or_else(|| MachineError(format!("segment {key} is gone")))?;
        serde_json::from_slice(&object.body).map_err(|e| MachineError(e.to_string()))
    }
}

/// Key of the file of a segment.
pub(crate) fn segment_key(partition: &PartitionId, id: &SegmentId) -> String {
    keys::segment_file(partition, id, FILE)
}

#[async_trait]
impl Machine for ListMachine {
    type Request = u8;
    type Rejection = Full;

    async fn load(&self, manifest: &PartitionManifest) -> Result<(), MachineError> {
        if manifest.applied <= self.state.lock().position {
            return Ok(());
        }
        let mut loaded = State {
            position: manifest.applied,
            ..State::default()
        };
        for segment in &manifest.segments {
            for record in self.segment(&segment.id).await? {
                loaded.push(record, self.strict)?;
            }
        }
        let mut state = self.state.lock();
        if self.strict && !loaded.log.starts_with(&state.log) {
            return Err(MachineError("the segments contradict the log".to_owned()));
        }
        loaded.staged = std::mem::take(&mut state.staged);
        *state = loaded;
        Ok(())
    }

    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        let mut state = self.state.lock();
        if position <= state.position {
            return Ok(());
        }
        state.position = position;
        for entry in entries {
            let append = Append::decode(&entry.payload)
                .ok_or_else(|| MachineError("not an append".to_owned()))?;
            let record = Record {
                at: position,
                request: entry.request,
                append,
            };
            state.push(record, self.strict)?;
        }
        Ok(())
    }

    fn advance(&self, position: LogPosition) {
        let mut state = self.state.lock();
        state.position = state.position.max(position);
    }

    fn stage(&self, ticket: u64, list: u8) -> Result<Bytes, Full> {
        let mut state = self.state.lock();
        let staged = state.staged.iter().filter(|(_, l)| *l == list).count() as u32;
        let length = state.lengths.get(&list).copied().unwrap_or(0) + staged + 1;
        if length > LONGEST {
            return Err(Full);
        }
        state.staged.push_back((ticket, list));
        Ok(Append { list, length }.encode())
    }

    fn unstage(&self, ticket: u64) {
        let mut state = self.state.lock();
        while state.staged.front().is_some_and(|(t, _)| *t <= ticket) {
            state.staged.pop_front();
        }
    }
}
