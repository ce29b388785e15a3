//! What others get to know: status file, routes of the endpoint, ready file, the table on the terminal.

use std::collections::BTreeMap;
use std::time::Instant;

use brainy_coordination::assignment::MemberState;
use brainy_coordination::config::EffectiveConfig;
use brainy_coordination::rebalance;
use brainy_coordination::types::InstanceId;
use brainy_crds::{BrainyCluster, BrainyClusterStatus, ConditionType, InstanceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Cluster, Parts};
use crate::local::data_dir::write_whole;
use crate::local::screen::{Row, View};
use crate::proxy::Routes;
use crate::reconcile::conditions::{Facts, Storage};
use crate::reconcile::plan::Observation;
use crate::reconcile::status::{Context, complete, status};

impl Cluster {
    /// Status file, routes, ready file, table on the terminal.
    pub(super) fn tell(&mut self, now: Instant) {
        let mut observed = self.parts.fleet.observe(now);
        let table = self.table.as_deref().map(|t| &t.body);
        complete(&mut observed, table);
        // While the bucket does not answer, everything that is asked of it is in trouble.
        let damaged = match self.storage {
            Storage::Verified => self.damage.found(),
            _ => Vec::new(),
        };
        let facts = Facts {
            desired: &self.desired,
            observed: &observed,
            table,
            storage: &self.storage,
            invalid_spec: self
                .invalid_spec
                .as_deref()
                .or(self.invalid_config.as_deref()),
            damaged: &damaged,
        };
        let context = Context {
            generation: self.generation,
            url: &self.parts.url,
            table: self.table.as_deref(),
            config_version: self.config_version,
            now: &Time(Timestamp::now()),
        };
        let next = status(&self.status, &facts, &context);
        self.parts.proxy.route(routes(&facts, &next, &self.spec));
        if next != self.status {
            self.report(&next);
            self.status = next;
        }
        if self.is(ConditionType::Ready) {
            self.write_ready_file();
        }
        if self.parts.screen.is_table() {
            let rows = self.rows(&observed);
            let Parts {
                name,
                storage,
                screen,
                ..
            } = &mut self.parts;
            screen.draw(
                &View {
                    name,
                    storage,
                    status: &self.status,
                    rows,
                },
                now,
            );
        }
    }

    fn is(&self, condition: ConditionType) -> bool {
        self.status
            .condition(condition)
            .is_some_and(|c| c.status == "True")
    }

    /// Writes the status file and says which conditions turned.
    fn report(&self, next: &BrainyClusterStatus) {
        for condition in &next.conditions {
            let before = self
                .status
                .conditions
                .iter()
                .find(|c| c.type_ == condition.type_);
            if before.is_none_or(|b| b.status != condition.status || b.reason != condition.reason) {
                let (type_, status, reason) =
                    (&condition.type_, &condition.status, &condition.reason);
                tracing::info!("{type_} is {status}, {reason}: {}", condition.message);
            }
        }
        let written = serde_json::to_vec_pretty(next)
            .map_err(std::io::Error::other)
            .and_then(|text| write_whole(&self.parts.data.join("status.json"), &text));
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write status.json");
        }
    }

    fn write_ready_file(&mut self) {
        let Some(path) = self.parts.ready_file.as_ref().filter(|_| !self.told_ready) else {
            return;
        };
        let lines = format!("{}\n{}\n", self.parts.url, self.parts.grpc);
        match write_whole(path, lines.as_bytes()) {
            Ok(()) => self.told_ready = true,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot write the ready file")
            }
        }
    }

    /// A file from an earlier run would name an endpoint that is not there.
    pub(super) fn forget_ready_file(&self) {
        let Some(path) = &self.parts.ready_file else {
            return;
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "cannot remove the ready file");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn rows(&self, observed: &BTreeMap<InstanceId, Observation>) -> Vec<Row> {
        let instances = self.status.instances.iter();
        let row = |instance: &InstanceStatus| {
            let id = InstanceId::new(instance.instance.clone()).ok();
            let seen = id.as_ref().and_then(|id| observed.get(id));
            let held = id
                .as_ref()
                .zip(self.table.as_ref())
                .map(|(id, t)| rebalance::held_by(t, id))
                .unwrap_or_default();
            let process = self.parts.fleet.process_of(&instance.instance);
            Row {
                instance: instance.instance.clone(),
                phase: format!("{:?}", instance.phase),
                address: seen.and_then(|s| s.address.clone()).unwrap_or_default(),
                pid: process.map(|(pid, _)| pid),
                memory: process.and_then(|(_, memory)| memory),
                restarts: seen.map_or(0, |s| s.restarts),
                owned: held.owned,
                reading: held.read,
                incoming: held.incoming,
                detail: instance.message.clone(),
            }
        };
        instances.map(row).collect()
    }
}

/// Where requests go: to ready members that stay; to those that leave only while there is no other.
fn routes(facts: &Facts<'_>, status: &BrainyClusterStatus, spec: &BrainyCluster) -> Routes {
    let serving = || {
        facts.observed.iter().filter_map(|(id, seen)| {
            let member = facts.table?.members.get(id)?;
            let address = seen.address.clone().filter(|_| seen.serves())?;
            Some((member.state, (id.clone(), address)))
        })
    };
    let only = |state| {
        serving()
            .filter(move |(s, _)| *s == state)
            .map(|(_, route)| route)
            .collect::<Vec<_>>()
    };
    let mut ready = only(MemberState::Active);
    if ready.is_empty() {
        ready = only(MemberState::Draining);
    }
    let missing = status
        .condition(ConditionType::Ready)
        .map(|c| c.message.clone())
        .unwrap_or_default();
    let shared = spec.spec.shared_config.max_request_bytes;
    let max_body = shared
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(EffectiveConfig::default().max_request_bytes);
    Routes {
        ready,
        missing,
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
    }
}
