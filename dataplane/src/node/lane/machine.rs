//! The state machine of a lane: it turns writes into what they change, seeing the partition as this node has it and, over that, its own
//! writes that are not merged yet. Beyond that it has no state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use brainy_coordination::lane::Merging;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::types::{InstanceId, LogPosition};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::admission::Charge;
use crate::engine::change::{decode, encode};
use crate::engine::{Change, EngineError, Overlay, check, resolve};
use crate::error::ServiceError;
use crate::node::machine::{Admitted, PartitionMachine};

/// Bytes of acknowledged writes that may wait to be merged, as a multiple of what a partition's write buffers may hold.
const UNMERGED: u64 = 4;

/// See the [module](self).
pub(in crate::node) struct LaneMachine {
    partition: Arc<PartitionMachine>,
    me: InstanceId,
    /// Bytes of acknowledged writes that may wait to be merged.
    limit: u64,
    staged: Mutex<Staged>,
}

#[derive(Default)]
struct Staged {
    overlay: Overlay,
    /// Version of the collection's vectors that what is pending has.
    schema: u64,
    /// Number of the last batch in the overlay.
    batch: u64,
    /// Logged, not durable yet.
    tickets: BTreeMap<u64, Batch>,
    /// Durable, and not merged as far as is known here; in the order of the log.
    durable: VecDeque<(LogPosition, Batch)>,
    durable_bytes: u64,
}

struct Batch {
    number: u64,
    changes: Vec<Change>,
    bytes: u64,
    _charge: Option<Charge>,
}

impl Staged {
    fn add(&mut self, changes: Vec<Change>, bytes: u64, charge: Option<Charge>) -> Batch {
        self.batch += 1;
        self.overlay.add(self.batch, &changes);
        Batch {
            number: self.batch,
            changes,
            bytes,
            _charge: charge,
        }
    }

    /// Drops what the partition contains.
    fn merged(&mut self, up_to: LogPosition) {
        while let Some((at, _)) = self.durable.front()
            && *at <= up_to
        {
            if let Some((_, batch)) = self.durable.pop_front() {
                self.durable_bytes -= batch.bytes;
                self.overlay.applied(batch.number, &batch.changes);
            }
        }
    }

    fn keep(&mut self, at: LogPosition, mut batch: Batch) {
        batch._charge = None;
        self.durable_bytes += batch.bytes;
        self.durable.push_back((at, batch));
    }
}

impl LaneMachine {
    /// The lane of `me` for `partition`, which may hold back as much as follows from `max_unflushed` bytes.
    #[must_use]
    pub(in crate::node) fn new(
        partition: Arc<PartitionMachine>,
        me: InstanceId,
        max_unflushed: u64,
    ) -> Self {
        Self {
            partition,
            me,
            limit: max_unflushed.saturating_mul(UNMERGED),
            staged: Mutex::default(),
        }
    }

    fn check_backlog(&self, staged: &Staged) -> Result<(), ServiceError> {
        if staged.durable_bytes < self.limit {
            return Ok(());
        }
        Err(ServiceError::Overloaded {
            reason: format!(
                "{} bytes of writes of this instance wait to be merged by the partition's owner, the limit is {} ({UNMERGED} times \
                 maxUnflushedBytes)",
                staged.durable_bytes, self.limit
            ),
            retry_after_ms: 1000,
        })
    }
}

#[async_trait]
impl Machine for LaneMachine {
    type Request = Admitted;
    type Rejection = ServiceError;

    async fn load(&self, _manifest: &PartitionManifest) -> Result<(), MachineError> {
        Ok(())
    }

    fn apply(&self, position: LogPosition, entries: &[Entry]) -> Result<(), MachineError> {
        let mut staged = self.staged.lock();
        for entry in entries {
            // What this owner logged comes back in order; what an earlier one had logged was never staged here.
            let batch = match staged.tickets.pop_first() {
                Some((_, batch)) => batch,
                None => {
                    let decoded = decode(&entry.payload);
                    let changes = decoded.map_err(|e| MachineError(e.to_string()))?.changes;
                    staged.add(changes, entry.payload.len() as u64, None)
                }
            };
            staged.keep(position, batch);
        }
        Ok(())
    }

    fn advance(&self, _position: LogPosition) {}

    fn stage(&self, ticket: u64, write: Admitted) -> Result<Bytes, ServiceError> {
        let (op, charge) = write.into_parts();
        let state = self.partition.state();
        let mut staged = self.staged.lock();
        if let Some(merged) = self.partition.merged().get(&self.me) {
            staged.merged(merged);
        }
        self.check_backlog(&staged)?;
        let schema = state.schema();
        if staged.schema != schema.version {
            let before = std::mem::replace(&mut staged.schema, schema.version);
            staged.overlay.forget_dropped(&schema, before);
        }
        let refused = |e: EngineError| ServiceError::BadRequest(e.to_string());
        let changes = resolve(&op, &staged.overlay.over(state)).map_err(refused)?;
        for change in &changes {
            if let Change::Put(point) = change {
                check(&schema, &point.vectors).map_err(refused)?;
            }
        }
        let payload =
            encode(schema.version, &changes).map_err(|e| ServiceError::Internal(e.to_string()))?;
        let batch = staged.add(changes, payload.len() as u64, Some(charge));
        staged.tickets.insert(ticket, batch);
        Ok(payload)
    }

    fn unstage(&self, ticket: u64) {
        // What is durable has left already; what is left never will be.
        let mut staged = self.staged.lock();
        let later = staged.tickets.split_off(&(ticket + 1));
        for (_, batch) in std::mem::replace(&mut staged.tickets, later) {
            staged.overlay.applied(batch.number, &batch.changes);
        }
    }
}
