//! What all parts of a node share.

use std::sync::Arc;

use brainy_coordination::assignment::{AssignmentTable, MemberState};
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::document::Versioned;
use brainy_coordination::events::Event;
use brainy_coordination::lease::{self, Identity, OwnerEvidence};
use brainy_coordination::snapshot::PinReader;
use brainy_coordination::store::retry::Store;
use brainy_coordination::types::{InstanceId, PartitionId};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::config::{Coordination, NodeConfig};
use super::exchange::Exchange;
use super::hot::{CacheMetrics, Memory};
use super::machine::WriteBudget;
use super::metrics::NodeMetrics;
use super::presence::Presence;
use super::quiet::Quiet;
use super::rpc::RpcClient;
use super::self_coordination::Planning;
use super::view::{ClusterView, View};
use crate::admission::{AdmissionMetrics, ByteBudget, Gate};
use crate::error::ServiceError;
use crate::events::Bus;
use crate::events::websocket::Inbound;

/// Shared by everything that runs in a node.
pub(crate) struct Context {
    /// Settings of the process.
    pub config: NodeConfig,
    /// Who this is.
    pub me: Identity,
    /// The bucket.
    pub store: Store,
    /// What snapshots pin.
    pub pins: PinReader,
    /// What is known of the cluster.
    pub view: ClusterView,
    /// Requests to other nodes.
    pub rpc: RpcClient,
    /// What happens, told to the parts of this node and to other nodes.
    pub events: Arc<Bus>,
    /// Takes what other nodes say over their connections.
    pub inbound: Inbound,
    /// Hot settings.
    pub settings: watch::Receiver<EffectiveConfig>,
    /// Figures.
    pub metrics: NodeMetrics,
    /// Memory of segments.
    pub(super) memory: Arc<Memory>,
    /// Figures of what is held.
    pub(super) cache_metrics: CacheMetrics,
    /// Writes not in segments yet.
    pub budget: Arc<WriteBudget>,
    /// Memory of requests under way: bodies and what is made of them.
    pub requests: ByteBudget,
    /// Memory of requests of other nodes.
    pub calls: ByteBudget,
    /// Cores for reads.
    pub gate: Gate,
    /// Figures of the two, and of what they refuse.
    pub admission: AdmissionMetrics,
    /// Graphs are built one at a time: they take all the cores they are given.
    pub builds: Arc<Semaphore>,
    /// Snapshots are made and recovered from a few at a time.
    pub snapshots: Semaphore,
    /// Whether all other members tell this node what they do ([`super::pushed`]).
    pub pushed: watch::Sender<bool>,
    /// Whether anything happens.
    pub quiet: Arc<Quiet>,
    /// Some partition became readable and the table does not say so yet.
    pub announce_reading: Notify,
    /// A host has ended.
    pub hosts_changed: Notify,
    /// This process's heartbeat; `None` standalone.
    pub presence: Option<Presence>,
    /// Other clusters that this one follows.
    pub exchange: Exchange,
    /// Planning among the nodes; `None` where an orchestrator plans.
    pub planning: Option<Planning>,
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

    /// Releases a lease that names this instance although it does not own the partition.
    ///
    /// # Errors
    /// `Unavailable` when the store does not let it.
    pub(super) async fn give_up_lease(
        &self,
        partition: &PartitionId,
        to: Option<InstanceId>,
    ) -> Result<(), ServiceError> {
        lease::give_up(&self.store, partition, &self.me.instance, to)
            .await
            .map(drop)
            .map_err(|e| ServiceError::Unavailable(e.to_string()))
    }

    /// Tells all other members to look at the table; does not wait.
    pub(crate) fn hint_members(self: &Arc<Self>) {
        let Some(table) = self.view.get().table.clone() else {
            return;
        };
        self.events
            .publish(Event::AssignmentChanged { epoch: table.epoch });
        if self.asks_directly() {
            self.ask_members_to_look(&table);
        }
    }

    /// Whether members ask each other to look: nobody knows whether it hears otherwise.
    fn asks_directly(&self) -> bool {
        matches!(
            self.config.coordination,
            Coordination::S3Polling | Coordination::PubSub(_)
        )
    }

    /// Addresses of the other members that may answer.
    fn others(&self, table: &AssignmentTable) -> Vec<String> {
        let others = table.members.iter().filter(|(instance, member)| {
            **instance != self.me.instance && member.state != MemberState::Gone
        });
        others.map(|(_, member)| member.address.clone()).collect()
    }

    /// Asks all other members to look at this table, each until it answers or there is a newer one; does not wait.
    pub(super) fn ask_members_to_look(self: &Arc<Self>, table: &Versioned<AssignmentTable>) {
        let version = table.version;
        for address in self.others(table) {
            let newest = move |context: &Self| {
                let table = &context.view.get().table;
                table.as_ref().is_some_and(|table| table.version == version)
            };
            self.insist(newest, move |context| {
                let address = address.clone();
                async move { context.rpc.hint(&address).await }
            });
        }
    }

    /// Tells all other members that the shared configuration has this version; does not wait.
    pub(super) fn hint_configuration(self: &Arc<Self>, version: u64) {
        self.events.publish(Event::ConfigurationUpdated { version });
        let Some(table) = self.view.get().table.clone() else {
            return;
        };
        if !self.asks_directly() {
            return;
        }
        for address in self.others(&table) {
            self.insist(
                |_| true,
                move |context| {
                    let address = address.clone();
                    async move { context.rpc.hint_configuration(&address, version).await }
                },
            );
        }
    }

    /// As [`Context::hint_members`], and waits, within reason, until they have looked: what a caller was told about a
    /// collection then holds at every node that can be reached.
    pub(super) async fn sync_members(self: &Arc<Self>) {
        let Some(table) = self.view.get().table.clone() else {
            return;
        };
        let others = self.others(&table);
        let asked = others.iter().map(|address| self.rpc.hint(address));
        futures::future::join_all(asked).await;
    }
}
