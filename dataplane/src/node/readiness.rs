//! Whether a node is to get requests, and what it has not loaded yet.
//!
//! A node becomes ready when it is a member and serves all that the table gives it, and stays ready until it stops. From then on it
//! answers every request, by itself or through others, also while partitions come and go: were it called unready meanwhile,
//! every rebalance would take nodes away from the clients of a load balancer.

use std::sync::atomic::Ordering;

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::handoff::Local;
use brainy_coordination::types::PartitionId;

use super::{Membership, Node};

impl Node {
    /// Whether this node is to get requests; the text says what is missing.
    pub(super) fn is_ready(&self) -> Result<(), String> {
        if self.context().stop.is_cancelled() {
            return Err("this node is stopping".to_owned());
        }
        if !self.0.started.load(Ordering::Relaxed) {
            self.serves_all()?;
            self.0.started.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// This node's place in the cluster.
    pub(super) fn membership(&self, table: &AssignmentTable) -> Option<Membership> {
        let hosts = self.hosts().into_iter();
        let holds = hosts.filter(|(_, host)| host.status().epoch.is_some());
        let holds = holds.map(|(partition, _)| partition).collect();
        Membership::of(table, &self.me().instance, &holds)
    }

    /// Whether this node is a member that serves all that the table gives it; the text says what is missing.
    pub(super) fn serves_all(&self) -> Result<(), String> {
        let view = self.view().get();
        let Some(table) = &view.table else {
            return Err("nobody has written an assignment table yet".to_owned());
        };
        let me = &self.me().instance;
        if !table.members.contains_key(me) {
            return Err(format!("{me} is not a member yet"));
        }
        let waiting = self.waiting_for(table);
        match waiting.len() {
            0 => Ok(()),
            n => Err(format!(
                "{n} partitions are not served yet: {}",
                waiting.join(", ")
            )),
        }
    }

    /// Partitions that the table says this node serves and it does not, yet. One that cannot go on until a person helps is
    /// not waited for: `/health` and metrics report it, and the others are to be served meanwhile.
    fn waiting_for(&self, table: &AssignmentTable) -> Vec<String> {
        let me = &self.me().instance;
        let troubled = |p: &PartitionId| self.host(p).is_some_and(|h| h.status().trouble.is_some());
        let owning = |p: &PartitionId| {
            self.host(p)
                .is_some_and(|h| matches!(h.status().local, Local::Owning | Local::Sealing))
        };
        let mut waiting: Vec<String> = table
            .owned_by(me)
            .filter(|p| !owning(p) && !troubled(p))
            .map(ToString::to_string)
            .collect();
        waiting.extend(
            table
                .read_by(me)
                .filter(|(p, state)| !self.serves_reads(p, *state) && !troubled(p))
                .map(|(p, _)| p.to_string()),
        );
        waiting.sort();
        waiting.dedup();
        waiting
    }
}
