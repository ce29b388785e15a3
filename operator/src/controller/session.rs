//! What the operator remembers of one cluster between two looks at it, and how it goes from one to the next.
//!
//! Everything here can be lost at any moment: what matters is in the API server and in S3, and a new operator begins with an
//! empty session.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::config::SharedConfig;
use brainy_coordination::document::{DocumentError, Versioned};
use brainy_coordination::rebalance;
use brainy_crds::BrainyCluster;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::apply;
use super::context::Context;
use super::dereference::Secrets;
use super::events::reference;
use super::finalize::{Progress, Swept};
use super::index::{Key, Stored};
use super::observe::Clocks;
use super::prepare::Prepared;
use super::rebalance::{AFTER_FAILURE, AT_REST, Bucket, Done, Job, ended, hint, pause};
use super::retry::{Retry, jittered};
use super::status::{self, Trouble};
use crate::damage::Damage;
use crate::hint::Messenger;
use crate::keeper::{Outcome, Published};
use crate::reconcile::changes;
use crate::reconcile::conditions::Storage;
use crate::storage::classify_document;

/// The memory of one cluster.
pub(super) struct Session {
    pub(super) key: Key,
    /// Of the BrainyCluster that it belongs to: one of the same name that comes later begins anew.
    pub(super) uid: Option<String>,
    /// The last spec that could be followed.
    pub(super) good: Option<Arc<BrainyCluster>>,
    pub(super) secrets: Secrets,
    pub(super) prepared: Prepared,
    pub(super) bucket: Option<Bucket>,
    pub(super) storage: Storage,
    pub(super) job: Option<Job>,
    /// When the bucket is looked at again.
    pub(super) next_look: Instant,
    /// Pause between two looks.
    pace: Duration,
    /// For hints to members with TLS, and the authority that it trusts.
    messenger: Option<(Option<Vec<u8>>, Messenger)>,
    pub(super) damage: Damage,
    pub(super) table: Option<Arc<Versioned<AssignmentTable>>>,
    /// Settings that were published last, so that only others are published again.
    pub(super) published: Option<SharedConfig>,
    /// Settings that the round under way publishes.
    pub(super) publishing: Option<SharedConfig>,
    pub(super) config_version: Option<u64>,
    pub(super) invalid_config: Option<String>,
    pub(super) clocks: Clocks,
    pub(super) applied: apply::Memory,
    pub(super) status: status::Memory,
    /// Pods that were deleted, by uid, until they are gone.
    pub(super) deleted: BTreeSet<String>,
    pub(super) retry: Retry,
    /// Whether the API server refuses an object of the spec: pods are not replaced by what cannot be there.
    pub(super) refused: bool,
    /// What failed last, until it is tried again.
    pub(super) failing: Option<Trouble>,
    pub(super) end: Progress,
    /// What was said of a resource that cannot be read.
    pub(super) told_unreadable: Option<String>,
}

impl Session {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            uid: None,
            good: None,
            secrets: Secrets::default(),
            prepared: Prepared::default(),
            bucket: None,
            storage: Storage::NotChecked,
            job: None,
            next_look: Instant::now(),
            pace: AT_REST,
            messenger: None,
            damage: Damage::default(),
            table: None,
            published: None,
            publishing: None,
            config_version: None,
            invalid_config: None,
            clocks: Clocks::default(),
            applied: apply::Memory::default(),
            status: status::Memory::default(),
            deleted: BTreeSet::new(),
            retry: Retry::default(),
            refused: false,
            failing: None,
            end: Progress::default(),
            told_unreadable: None,
        }
    }

    /// Looks at the cluster whenever something of it changed, something beside it ended, or it is time; until `stop`.
    pub(super) async fn run(
        mut self,
        context: Arc<Context>,
        wake: Arc<Notify>,
        stop: CancellationToken,
    ) {
        loop {
            let started = Instant::now();
            let next = self.pass(&context).await;
            context.metrics.reconciled(started.elapsed());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = wake.notified() => {}
                done = ended(&mut self.job) => self.take_up(&context, done),
                () = sleep_until(next.into()) => {}
            }
        }
        if let Some(job) = &self.job {
            job.abort();
        }
    }

    fn take_up(&mut self, context: &Context, done: Done) {
        let now = Instant::now();
        match done {
            Done::Contact(Ok(bucket)) => {
                self.set_storage(Storage::Verified);
                self.bucket = Some(bucket);
                self.next_look = now;
            }
            Done::Contact(Err(storage)) => {
                self.set_storage(storage);
                self.next_look = now + jittered(AFTER_FAILURE);
            }
            Done::Round(Ok(outcome)) => self.end_round(context, outcome, now),
            Done::Round(Err(error)) => self.round_failed(context, &error, now),
            Done::Sweep(Ok(Swept {
                deleted,
                empty,
                holder,
            })) => {
                self.end.deleted += deleted;
                self.end.empty = empty;
                self.end.holder = holder;
                self.end.error = None;
                self.end.next = Some(now);
            }
            Done::Sweep(Err(error)) => {
                self.end.error = Some(error.to_string());
                self.end.next = Some(now + AFTER_FAILURE);
            }
            Done::Failed => self.next_look = now + AFTER_FAILURE,
        }
    }

    fn set_storage(&mut self, storage: Storage) {
        // What a server that does not answer says differs from time to time; the status is not to follow that.
        let silent = |storage: &Storage| matches!(storage, Storage::Unreachable(_));
        if storage == self.storage || (silent(&storage) && silent(&self.storage)) {
            return;
        }
        let cluster = &self.key;
        match &storage {
            Storage::Verified => tracing::info!(%cluster, "the bucket answers"),
            other => tracing::warn!(%cluster, "the bucket cannot be used: {other:?}"),
        }
        self.storage = storage;
    }

    fn end_round(&mut self, context: &Context, outcome: Outcome, now: Instant) {
        self.set_storage(Storage::Verified);
        context.metrics.looked();
        self.next_look = now + self.pace;
        self.look_for_damage(context, now);
        if let Some(published) = outcome.config {
            self.note_config(published);
        }
        let known = self.table.as_ref();
        let news = |table: &Arc<_>| !known.is_some_and(|known| Arc::ptr_eq(known, table));
        let Some(table) = outcome.table.filter(news) else {
            return;
        };
        let Some(cluster) = self.good.clone() else {
            return;
        };
        let moves = rebalance::status(&table);
        self.pace = pause(&table, &moves);
        self.next_look = now + self.pace;
        if outcome.changed {
            self.hint(context, &cluster, &table);
        }
        let lines = match &self.table {
            Some(before) if before.etag != table.etag => changes::describe(before, &table),
            _ => Vec::new(),
        };
        for line in &lines {
            tracing::info!(cluster = %self.key, "{line}");
        }
        if !lines.is_empty() {
            let on = reference(&cluster.metadata);
            context
                .events
                .normal(&on, "AssignmentsChanged", "Rebalance", lines.join("; "));
        }
        context.metrics.tell_table(&self.key, &table, &moves);
        self.table = Some(table);
    }

    fn hint(&mut self, context: &Context, cluster: &BrainyCluster, table: &AssignmentTable) {
        let hint = hint(table, self.admin_key());
        if let Some(messenger) = self.messenger(context, cluster) {
            tokio::spawn(messenger.send(hint));
        }
    }

    fn admin_key(&self) -> Option<String> {
        self.secrets.good().and_then(|r| r.admin_key.clone())
    }

    /// Who talks to the members; `None` if their authority cannot be read.
    fn messenger(&mut self, context: &Context, cluster: &BrainyCluster) -> Option<Messenger> {
        if cluster.spec.tls.is_none() {
            return Some(context.messenger.clone());
        }
        let ca = self.secrets.good().and_then(|r| r.ca.clone());
        if self
            .messenger
            .as_ref()
            .is_none_or(|(known, _)| *known != ca)
        {
            match Messenger::tls(ca.as_deref()) {
                Ok(messenger) => self.messenger = Some((ca, messenger)),
                Err(error) => {
                    tracing::warn!(cluster = %self.key, "members cannot be asked or told anything: {error}");
                    return None;
                }
            }
        }
        self.messenger
            .as_ref()
            .map(|(_, messenger)| messenger.clone())
    }

    /// Asks members for partitions that wait for a person.
    fn look_for_damage(&mut self, context: &Context, now: Instant) {
        let (Some(table), Some(cluster)) = (self.table.clone(), self.good.clone()) else {
            return;
        };
        if let Some(messenger) = self.messenger(context, &cluster) {
            self.damage.look(&messenger, &table, self.admin_key(), now);
        }
    }

    fn round_failed(&mut self, context: &Context, error: &DocumentError, now: Instant) {
        context.metrics.failed("rebalance");
        let storage = classify_document(error);
        self.next_look = match storage {
            Storage::Verified => now,
            _ => now + jittered(AFTER_FAILURE),
        };
        self.set_storage(storage);
    }

    fn note_config(&mut self, published: Result<Published, String>) {
        match published {
            Ok(Published { version, changed }) => {
                if changed {
                    tracing::info!(cluster = %self.key, "shared configuration {version} is published");
                }
                self.config_version = Some(version);
                self.invalid_config = None;
            }
            Err(error) => {
                tracing::error!(cluster = %self.key, "spec.sharedConfig is not published: {error}");
                self.invalid_config = Some(format!("spec.sharedConfig: {error}"));
            }
        }
        // What is refused is not sent again before it is edited.
        self.published = self.publishing.take();
    }

    /// One look: everything is compared with what it should be, and what differs is put right.
    async fn pass(&mut self, context: &Context) -> Instant {
        let now = Instant::now();
        let Some(stored) = context.index.cluster(&self.key) else {
            return now + AT_REST;
        };
        let uid = match &stored {
            Stored::Valid(cluster) => cluster.metadata.uid.clone(),
            Stored::Invalid(unreadable) => unreadable.metadata.uid.clone(),
        };
        if self.uid != uid {
            if let Some(job) = &self.job {
                job.abort();
            }
            *self = Self::new(self.key.clone());
            self.uid = uid;
        }
        match stored {
            Stored::Invalid(unreadable) => self.unreadable(context, &unreadable).await,
            Stored::Valid(cluster) if cluster.metadata.deletion_timestamp.is_some() => {
                self.delete(context, &cluster, now).await
            }
            Stored::Valid(cluster) => self.reconcile(context, &cluster, now).await,
        }
    }
}
