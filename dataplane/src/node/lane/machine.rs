//! The state machine of a lane: it turns writes into what they add to points ([`LaneWriter`]), seeing the partition as this node has it and,
//! over that, its own writes that are not merged yet. Beyond that it has no state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use brainy_conflict::{Policy, Writer};
use brainy_coordination::lane::Merging;
use brainy_coordination::partition::PartitionManifest;
use brainy_coordination::replica::{Machine, MachineError};
use brainy_coordination::types::{InstanceId, LogPosition};
use brainy_coordination::wal::Entry;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::admission::Charge;
use crate::engine::Change;
use crate::engine::change::{decode, encode};
use crate::engine::merging::{LaneWriter, StageError};
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

struct Staged {
    /// Knows what was staged and is not merged.
    writer: LaneWriter,
    /// Number of the last batch that it was given.
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
    /// Drops what the partition contains.
    fn merged(&mut self, up_to: LogPosition) {
        while let Some((at, _)) = self.durable.front()
            && *at <= up_to
        {
            if let Some((_, batch)) = self.durable.pop_front() {
                self.durable_bytes -= batch.bytes;
                self.writer.forget(batch.number, &batch.changes);
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
    /// The lane of `me` in `cluster` for `partition` in a cluster that resolves conflicts by `policy`; it may hold back as much as follows from
    /// `max_unflushed` bytes.
    #[must_use]
    pub(in crate::node) fn new(
        partition: Arc<PartitionMachine>,
        (cluster, me): (&str, InstanceId),
        policy: Policy,
        max_unflushed: u64,
    ) -> Self {
        let staged = Staged {
            writer: LaneWriter::new(policy, Writer::of(cluster, me.as_str())),
            batch: 0,
            tickets: BTreeMap::new(),
            durable: VecDeque::new(),
            durable_bytes: 0,
        };
        Self {
            partition,
            me,
            limit: max_unflushed.saturating_mul(UNMERGED),
            staged: Mutex::new(staged),
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
                    let error = |e: crate::engine::EngineError| MachineError(e.to_string());
                    let changes = decode(&entry.payload).map_err(error)?.changes;
                    staged.batch += 1;
                    let number = staged.batch;
                    staged.writer.found(number, &changes).map_err(error)?;
                    Batch {
                        number,
                        changes,
                        bytes: entry.payload.len() as u64,
                        _charge: None,
                    }
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
        let number = staged.batch + 1;
        let changes = staged.writer.stage(number, &op, state, now_ms());
        let changes = changes.map_err(refused)?;
        staged.batch = number;
        let payload = match encode(state.schema().version, &changes) {
            Ok(payload) => payload,
            Err(error) => {
                staged.writer.forget(number, &changes);
                return Err(ServiceError::Internal(error.to_string()));
            }
        };
        let batch = Batch {
            number,
            changes,
            bytes: payload.len() as u64,
            _charge: Some(charge),
        };
        staged.tickets.insert(ticket, batch);
        Ok(payload)
    }

    fn unstage(&self, ticket: u64) {
        // What is durable has left already; what is left never will be.
        let mut staged = self.staged.lock();
        let later = staged.tickets.split_off(&(ticket + 1));
        for (_, batch) in std::mem::replace(&mut staged.tickets, later) {
            staged.writer.forget(batch.number, &batch.changes);
        }
    }
}

fn refused(error: StageError) -> ServiceError {
    match error {
        // Another instance's clock may do, and this one's later.
        StageError::Clock(drift) => ServiceError::Unavailable(drift.to_string()),
        other => ServiceError::BadRequest(other.to_string()),
    }
}

/// Wall clock, milliseconds since 1970.
pub(in crate::node) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
