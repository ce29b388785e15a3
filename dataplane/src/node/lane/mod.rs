//! Lanes on this node: what a host needs beside its partition in a cluster with several writers. The protocol is
//! [`brainy_coordination::lane`]; what drives it is in `host/lane.rs`.

mod machine;

use std::collections::BTreeSet;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::owner::Owner;
use brainy_coordination::types::{InstanceId, LogPosition, Nonce, PartitionId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Node;
use super::router::retryable;
use super::view::View;
use crate::error::ServiceError;
use crate::model::WriteOp;

pub(super) use machine::{LaneMachine, now_ms};

/// What a host has beside its partition.
pub(super) struct Lanes {
    /// The owner of this node's lane, while it has it.
    pub(super) mine: watch::Sender<Option<Owner<LaneMachine>>>,
    /// This node's lane has something new: tell the partition's owner.
    pub(super) tell: Notify,
    /// The partition's owner here should look at the lanes.
    pub(super) merge: Notify,
    /// Lanes that somebody named.
    pub(super) named: Mutex<BTreeSet<InstanceId>>,
    /// When the last look at the ends of all lanes began whose result is applied here.
    pub(super) seen: tokio::sync::Mutex<Option<Instant>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            mine: watch::Sender::new(None),
            tell: Notify::new(),
            merge: Notify::new(),
            named: Mutex::default(),
            seen: tokio::sync::Mutex::default(),
        }
    }
}

impl Node {
    /// Every partition of every collection: what a node hosts when there are several writers.
    pub(super) fn every_partition(&self) -> BTreeSet<PartitionId> {
        let view = self.view().get();
        let Some(manifest) = &view.manifest else {
            return BTreeSet::new();
        };
        let collections = manifest.collections.values();
        collections.flat_map(|c| c.partitions()).collect()
    }

    /// This node, if it holds every partition, this one is loaded, and it did not just fail.
    pub(super) fn reads_everything_here(
        &self,
        partition: &PartitionId,
        avoid: Option<&BTreeSet<InstanceId>>,
    ) -> Option<InstanceId> {
        let me = &self.me().instance;
        let failed = avoid.is_some_and(|avoid| avoid.contains(me));
        let loaded = self.host(partition).is_some_and(|h| h.is_loaded());
        (self.config().multi_writer && loaded && !failed).then(|| me.clone())
    }

    /// Writes into the lane of this node, or of another if this one cannot now. Returns whose lane it was, and where.
    pub(super) async fn write_to_a_lane(
        &self,
        view: &View,
        partition: &PartitionId,
        request: Nonce,
        op: &WriteOp,
        timeout: std::time::Duration,
    ) -> Result<(PartitionId, LogPosition), ServiceError> {
        let me = &self.me().instance;
        let mut last = match self.host(partition) {
            Some(host) => match host.write(request, op.clone()).await {
                Ok(position) => return Ok((partition.lane_of(me), position)),
                Err(error) if retryable(&error) => error,
                Err(error) => return Err(error),
            },
            None => self.not_assigned(view, partition, "it is not loaded here yet"),
        };
        // Only another lane that takes it under the same id makes an uncertain write certain, or a later try in this one.
        if let ServiceError::Unknown(_) = last {
            return Err(last);
        }
        let Some(table) = &view.table else {
            return Err(last);
        };
        for (instance, member) in &table.members {
            if instance == me || member.state != MemberState::Active {
                continue;
            }
            let asked = self.remote_write(view, instance, partition, request, op, timeout);
            match asked.await {
                Ok(position) => return Ok((partition.lane_of(instance), position)),
                Err(error) if retryable(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}
