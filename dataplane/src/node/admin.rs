//! Changes of collections and reports about the cluster, as the API asks for them.

use std::collections::BTreeMap;

use brainy_coordination::events::{EventLog, Recorded};
use brainy_coordination::manifest::{self, AliasChange};
use brainy_coordination::rebalance;

use super::Node;
use super::service::{from_document, from_manifest};
use crate::error::ServiceError;
use crate::model::CollectionChange;
use crate::service::{ClusterState, Placement, Placements};

impl Node {
    pub(super) async fn list_aliases(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        let view = self.view().refresh().await.map_err(from_document)?;
        let manifest = view.manifest.as_ref();
        Ok(manifest.map(|m| m.aliases.clone()).unwrap_or_default())
    }

    /// Returns when every node that can be reached knows.
    pub(super) async fn set_aliases(&self, changes: &[AliasChange]) -> Result<(), ServiceError> {
        manifest::change_aliases(self.store(), changes)
            .await
            .map_err(from_manifest)?;
        self.view().refresh().await.map_err(from_document)?;
        self.context().sync_members().await;
        Ok(())
    }

    /// Returns when every node that can be reached knows.
    pub(super) async fn change(
        &self,
        name: &str,
        change: &CollectionChange,
    ) -> Result<(), ServiceError> {
        // What a drop met first: found gone, or another vector of that name, an attempt without an answer did it.
        let mut met = None;
        manifest::change_collection(self.store(), name, |collection| {
            if let CollectionChange::DropVector { name } = change {
                let now = collection.spec.schema.since(name);
                match met {
                    None => met = now,
                    Some(_) if now != met => return Ok(()),
                    Some(_) => {}
                }
            }
            change.apply(collection).map_err(Change::Refused)
        })
        .await
        .map_err(|e| match e {
            Change::Refused(error) => error.into(),
            Change::Manifest(error) => from_manifest(error),
        })?;
        self.view().refresh().await.map_err(from_document)?;
        self.context().sync_members().await;
        Ok(())
    }

    /// Events after number `after`, or without it the newest.
    pub(super) async fn list_events(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, ServiceError> {
        let log = EventLog::new(self.store().clone(), self.me().instance.clone());
        let after = match after {
            Some(after) => after,
            None => {
                let end = log.end().await.map_err(from_document)?;
                end.saturating_sub(limit as u64)
            }
        };
        log.read_after(after, limit).await.map_err(from_document)
    }

    pub(super) async fn cluster_state(&self) -> Result<ClusterState, ServiceError> {
        let view = self.view().refresh().await.map_err(from_document)?;
        let mut state = ClusterState {
            me: self.me().instance.clone(),
            members: BTreeMap::new(),
            version: 0,
            ring_epoch: 0,
            moving: 0,
        };
        if let Some(table) = &view.table {
            let status = rebalance::status(table);
            state.version = table.version;
            state.ring_epoch = table.epoch;
            state.moving = status.moving + status.waiting;
            if self.config().role.is_some() {
                let members = table.members.iter();
                state.members = members
                    .map(|(i, m)| (i.clone(), m.address.clone()))
                    .collect();
            }
        }
        Ok(state)
    }

    pub(super) async fn places(&self, name: &str) -> Result<Placements, ServiceError> {
        let collection = self.view().collection(name).await?;
        let view = self.view().get();
        let me = self.me().instance.clone();
        let mut all = Placements {
            me: me.clone(),
            partitions: collection.spec.partitions,
            placements: Vec::new(),
            moves: Vec::new(),
        };
        for partition in collection.partitions() {
            let Some(assignment) = view.assignment(&partition) else {
                continue;
            };
            let here = self.host(&partition);
            let points = here.map(|host| host.machine().state().stats().points as u64);
            let owner = assignment.owner.iter().map(|owner| (owner, true));
            let slots = assignment.readers.iter();
            let readers = slots.map(|slot| (&slot.instance, slot.state.serves()));
            let readers = readers.filter(|(reader, _)| assignment.owner.as_ref() != Some(*reader));
            all.placements
                .extend(owner.chain(readers).map(|(member, serving)| Placement {
                    partition: partition.index,
                    member: member.clone(),
                    serving,
                    points: points.filter(|_| *member == me),
                }));
            if let Some(handoff) = &assignment.handoff {
                let from = assignment.owner.clone();
                all.moves.push((partition.index, from, handoff.to.clone()));
            }
        }
        Ok(all)
    }
}

/// Why a collection was not changed.
enum Change {
    Refused(crate::model::ChangeError),
    Manifest(manifest::ManifestError),
}

impl From<manifest::ManifestError> for Change {
    fn from(error: manifest::ManifestError) -> Self {
        Self::Manifest(error)
    }
}
