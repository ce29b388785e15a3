//! What all parts of a node share.

use std::sync::Arc;

use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::lease::{Identity, OwnerEvidence};
use brainy_coordination::store::retry::Store;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::config::NodeConfig;
use super::machine::WriteBudget;
use super::metrics::NodeMetrics;
use super::rpc::RpcClient;
use super::view::{ClusterView, View};

/// Shared by everything that runs in a node.
pub(crate) struct Context {
    /// Settings of the process.
    pub config: NodeConfig,
    /// Who this is.
    pub me: Identity,
    /// The bucket.
    pub store: Store,
    /// What is known of the cluster.
    pub view: ClusterView,
    /// Requests to other nodes.
    pub rpc: RpcClient,
    /// Hot settings.
    pub settings: watch::Receiver<EffectiveConfig>,
    /// Figures.
    pub metrics: NodeMetrics,
    /// Writes not in segments yet.
    pub budget: Arc<WriteBudget>,
    /// Graphs are built one at a time: they take all the cores they are given.
    pub builds: Arc<Semaphore>,
    /// Some partition became readable and the table does not say so yet.
    pub announce_reading: Notify,
    /// A host has ended.
    pub hosts_changed: Notify,
    /// The node is stopping.
    pub stop: CancellationToken,
}

impl Context {
    /// Hot settings as they are now.
    #[must_use]
    pub(crate) fn settings(&self) -> EffectiveConfig {
        self.settings.borrow().clone()
    }

    /// What is known of the process that holds a lease: the orchestrator keeps the members' states in the table.
    #[must_use]
    pub(crate) fn evidence(&self, view: &View, owner: &Identity) -> OwnerEvidence {
        if view.is_gone(&owner.instance) {
            OwnerEvidence::Gone
        } else {
            OwnerEvidence::Presumed
        }
    }

    /// Tells all other members to look at the table; does not wait.
    pub(crate) fn hint_members(self: &Arc<Self>) {
        let Some(table) = self.view.get().table.clone() else {
            return;
        };
        for (instance, member) in &table.members {
            if *instance == self.me.instance {
                continue;
            }
            let context = self.clone();
            let address = member.address.clone();
            tokio::spawn(async move { context.rpc.hint(&address).await });
        }
    }
}
