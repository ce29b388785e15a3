//! The state machines of the simulation: registers of which the newest stamp wins, and how often each request was applied.
//!
//! Counting is not idempotent on purpose: an entry that is copied twice, or lost, does not hide behind a merge.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::keys;
use brainy_coordination::lane::{Copied, Marker, Merged, Merging};
use brainy_coordination::partition::{PartitionManifest, SegmentMeta};
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::store::StoreError;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{LogPosition, Nonce, PartitionId, SegmentId};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const FILE: &str = "state.json";

/// One write: a register gets a value, if no newer one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Set {
    pub(crate) stamp: u64,
    pub(crate) value: u64,
    pub(crate) register: u8,
}

/// What a partition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) position: LogPosition,
    pub(crate) registers: BTreeMap<u8, Set>,
    pub(crate) times: BTreeMap<String, u32>,
}

/// The partition.
#[derive(Debug)]
pub(crate) struct Registers {
    store: Store,
    partition: PartitionId,
    state: Mutex<State>,
    merged: Merged,
}

impl Registers {
    pub(crate) fn new(store: Store, partition: PartitionId) -> Arc<Self> {
        Arc::new(Self {
            store,
            partition,
            state: Mutex::default(),
            merged: Merged::default(),
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Uploads everything as one segment.
    pub(crate) async fn upload(
        &self,
        id: SegmentId,
    ) -> Result<(SegmentMeta, LogPosition), StoreError> {
        let state = self.state();
        let meta = SegmentMeta {
            id: id.clone(),
            rows: state.registers.len() as u64,
            tombstones: 0,
            newest: state.position,
            files: Vec::new(),
        };
        let body = serde_json::to_vec(&state).expect("plain data");
        let key = keys::segment_file(&self.partition, &id, FILE);
        self.store.put(&key, body.into()).await?;
        Ok((meta, state.position))
    }
}

#[async_trait]
impl Machine for Registers {
    type Request = Copied;
    type Rejection = std::convert::Infallible;

    async fn load(&self, manifest: &PartitionManifest) -> Result<(), MachineError> {
        let contained = manifest.applied <= self.state.lock().position;
        let Some(segment) = manifest.segments.last().filter(|_| !contained) else {
            self.merged.load(manifest);
            return Ok(());
        };
        let key = keys::segment_file(&self.partition, &segment.id, FILE);
        let object = self.store.get(&key).await;
        let object = object.map_err(|e| MachineError(format!("store: {e}")))?;
        let object = object.ok_or_else(|| MachineError(format!("segment {key} is gone")))?;
        let loaded: State =
            serde_json::from_slice(&object.body).map_err(|e| MachineError(e.to_string()))?;
        let mut state = self.state.lock();
        if loaded.position > state.position {
            *state = loaded;
        }
        drop(state);
        self.merged.load(manifest);
        Ok(())
    }

    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        let mut state = self.state.lock();
        if position <= state.position {
            return Ok(());
        }
        state.position = position;
        let mut markers = Vec::new();
        for entry in entries {
            if let Some(marker) = Marker::decode(&entry.payload)? {
                markers.push(marker);
                continue;
            }
            let set: Set =
                serde_json::from_slice(&entry.payload).map_err(|e| MachineError(e.to_string()))?;
            let register = state.registers.entry(set.register).or_insert(set);
            *register = set.max(*register);
            *state.times.entry(entry.request.to_string()).or_default() += 1;
        }
        for marker in markers {
            self.merged.note(position, marker);
        }
        Ok(())
    }

    fn advance(&self, position: LogPosition) {
        let mut state = self.state.lock();
        state.position = state.position.max(position);
    }

    fn stage(&self, _ticket: u64, request: Copied) -> Result<Bytes, Self::Rejection> {
        Ok(request.0)
    }

    fn unstage(&self, _ticket: u64) {}
}

impl Merging for Registers {
    fn merged(&self) -> &Merged {
        &self.merged
    }
}

/// A lane: what it logs is applied elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) position: Mutex<LogPosition>,
}

#[async_trait]
impl Machine for Lane {
    type Request = Set;
    type Rejection = std::convert::Infallible;

    async fn load(&self, _manifest: &PartitionManifest) -> Result<(), MachineError> {
        Ok(())
    }

    fn apply(&self, position: LogPosition, _entries: &[Entry]) -> Result<(), MachineError> {
        *self.position.lock() = position;
        Ok(())
    }

    fn advance(&self, position: LogPosition) {
        *self.position.lock() = position;
    }

    fn stage(&self, _ticket: u64, set: Set) -> Result<Bytes, Self::Rejection> {
        Ok(serde_json::to_vec(&set).expect("plain data").into())
    }

    fn unstage(&self, _ticket: u64) {}
}

/// As the machine spells a request.
pub(crate) fn name(request: Nonce) -> String {
    request.to_string()
}
