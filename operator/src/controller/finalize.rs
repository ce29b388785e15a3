//! The end of a cluster whose data goes with it (`deletionPolicy: Delete`).
//!
//! 1. The StatefulSets are deleted, and all pods are waited for: nobody writes any more.
//! 2. No other BrainyCluster may keep data under the same prefix or below it.
//! 3. Everything under the prefix is deleted, a bounded number of objects at a time.
//! 4. The finalizer goes, and with it the BrainyCluster.
//!
//! Each step can be repeated. A bucket that cannot be reached is said to be the reason, again and again; the annotation
//! `brainy.io/skip-data-deletion: "true"`, or the policy `Retain`, ends the wait and leaves the data.

use std::time::{Duration, Instant};

use brainy_coordination::claim;
use brainy_coordination::document::DocumentError;
use brainy_coordination::keys;
use brainy_coordination::store::StoreError;
use brainy_coordination::store::retry::Store;
use brainy_crds::{BrainyCluster, DATA_FINALIZER, DeletionPolicy, SKIP_DATA_DELETION};
use futures::{StreamExt, stream};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::apply;
use super::context::Context;
use super::dereference::s3_config;
use super::error::{StepError, is_conflict, is_not_found};
use super::events::reference;
use super::index::Key;
use super::rebalance::{Job, Way};
use super::session::Session;
use super::status;
use super::validate::sharing;
use crate::reconcile::conditions::Storage;

/// Objects that are deleted before the next look at what else happens.
const BATCH: usize = 1000;
/// Requests at the same time.
const AT_ONCE: usize = 32;
/// Pause while pods end.
const WAITING: Duration = Duration::from_secs(2);
/// Pause while others hold the BrainyCluster.
const IDLE: Duration = Duration::from_secs(60);

/// What is to be done with a cluster that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing of ours holds it.
    Nothing,
    /// The finalizer goes, for this reason.
    Release(&'static str),
    /// The pods end.
    EndPods,
    /// The data is deleted.
    Sweep,
    /// Something must change first; in words.
    Blocked(String),
}

/// Decides. Pure.
fn step(
    cluster: &BrainyCluster,
    all: &[std::sync::Arc<BrainyCluster>],
    pods: usize,
    has_statefulsets: bool,
) -> Step {
    if !cluster.finalizers().iter().any(|f| f == DATA_FINALIZER) {
        return Step::Nothing;
    }
    if cluster.spec.deletion_policy == DeletionPolicy::Retain {
        return Step::Release("deletionPolicy is Retain, the data stays");
    }
    if cluster.has_annotation(SKIP_DATA_DELETION) {
        return Step::Release("the annotation says so, the data stays");
    }
    if cluster.spec.storage.bucket.is_none() {
        return Step::Release("there is no bucket and no data");
    }
    if pods > 0 || has_statefulsets {
        return Step::EndPods;
    }
    // Two that go with their data may go in any order.
    let stays = |other: &&std::sync::Arc<BrainyCluster>| {
        other.metadata.deletion_timestamp.is_none()
            || other.spec.deletion_policy == DeletionPolicy::Retain
    };
    if let Some(other) = sharing(cluster, all).find(stays) {
        return Step::Blocked(format!(
            "BrainyCluster {}/{} names the same prefix, so nothing is deleted while it is there. Or {}",
            other.namespace().unwrap_or_default(),
            other.name_any(),
            how_to_skip(cluster)
        ));
    }
    Step::Sweep
}

/// The command that gives up the deletion of data.
fn how_to_skip(cluster: &BrainyCluster) -> String {
    format!(
        "keep the data with: kubectl -n {} annotate brainycluster {} {SKIP_DATA_DELETION}=true",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}

/// Whether the finalizer is to be set (`Some(true)`), removed (`Some(false)`) or left.
pub(super) fn wanted(cluster: &BrainyCluster) -> Option<bool> {
    let has = cluster.finalizers().iter().any(|f| f == DATA_FINALIZER);
    let wants = cluster.spec.deletion_policy == DeletionPolicy::Delete;
    (has != wants).then_some(wants)
}

/// Sets or removes the finalizer; nothing if the cluster is not what it was any more.
///
/// # Errors
/// What the API server said.
pub(super) async fn set(
    context: &Context,
    cluster: &BrainyCluster,
    wants: bool,
) -> Result<(), StepError> {
    let key = Key::of(&cluster.metadata);
    let mut finalizers = cluster.finalizers().to_vec();
    finalizers.retain(|f| f != DATA_FINALIZER);
    if wants {
        finalizers.push(DATA_FINALIZER.to_owned());
    }
    let api: Api<BrainyCluster> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch = Patch::Merge(json!({
        "metadata": {
            "finalizers": finalizers,
            "resourceVersion": cluster.metadata.resource_version,
        },
    }));
    match api.patch(&key.name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(()),
        Err(error) => Err(StepError::request(
            "set the finalizer of",
            &key.to_string(),
            error,
        )),
    }
}

/// Deletes the StatefulSets, so that no pod comes back.
///
/// # Errors
/// What the API server said.
async fn end_pods(context: &Context, cluster: &BrainyCluster) -> Result<(), StepError> {
    let key = Key::of(&cluster.metadata);
    for ((kind, name), owned) in context.index.owned(&key) {
        if kind == "StatefulSet" && owned.controller == cluster.uid() && !owned.deleting {
            apply::delete(context, &key, &name, &owned).await?;
        }
    }
    Ok(())
}

/// What one batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    /// Objects that were deleted.
    pub(super) deleted: usize,
    /// Whether nothing of the cluster's is left.
    pub(super) empty: bool,
    /// Whose data is there instead.
    pub(super) holder: Option<String>,
}

/// Deletes a batch of what lies below the store's prefix, if that is the data of `uid`. The claim goes last, so that a sweep that
/// was interrupted goes on.
///
/// # Errors
/// What the store said; what was deleted stays deleted, and one object that cannot be deleted keeps no other.
pub(super) async fn sweep(store: &Store, uid: &str) -> Result<Swept, DocumentError> {
    let holder = claim::holder(store).await?;
    if holder.as_ref().is_none_or(|holder| holder.uid != uid) {
        return Ok(Swept {
            deleted: 0,
            empty: true,
            holder: holder.map(|holder| holder.name),
        });
    }
    let page = store.list("", None, BATCH).await?;
    // Some tools make an object of the prefix itself; it is not one that can be named below it.
    let keys = page.objects.into_iter().map(|object| object.key);
    let mut keys: Vec<String> = keys
        .filter(|key| !key.is_empty() && key != keys::CLAIM)
        .collect();
    if keys.is_empty() {
        keys.push(keys::CLAIM.to_owned());
    }
    let deleted: Vec<Result<(), StoreError>> = stream::iter(keys)
        .map(|key| async move { store.delete(&key).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let count = deleted.len();
    deleted.into_iter().collect::<Result<(), _>>()?;
    Ok(Swept {
        deleted: count,
        empty: false,
        holder: None,
    })
}

/// How far the deletion of data is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) deleted: usize,
    /// When the next batch may begin.
    pub(super) next: Option<Instant>,
    /// Whether the last batch found nothing.
    pub(super) empty: bool,
    /// Whose data is there instead.
    pub(super) holder: Option<String>,
    /// Why the last batch failed.
    pub(super) error: Option<String>,
}

impl Session {
    /// Works towards the end of a cluster that is being deleted.
    pub(super) async fn delete(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        now: Instant,
    ) -> Instant {
        self.failing = None;
        // What a round began may end; no other begins.
        let pods = context.index.pods(&self.key).len();
        let mut owned = context.index.owned(&self.key).into_iter();
        let has_statefulsets = owned.any(|((kind, _), _)| kind == "StatefulSet");
        let step = step(cluster, &context.index.clusters(), pods, has_statefulsets);
        let (message, trouble) = match step {
            Step::Nothing => return now + IDLE,
            Step::Release(why) => {
                self.release(context, cluster, why, now).await;
                return now + WAITING;
            }
            Step::EndPods => {
                // What they may still write is to be looked for again.
                self.end = Progress::default();
                if let Err(error) = end_pods(context, cluster).await {
                    self.failed(context, "finalize", cluster, &error, now);
                }
                (format!("{pods} pods end"), None)
            }
            Step::Blocked(why) => {
                self.end = Progress::default();
                (String::new(), Some(why))
            }
            Step::Sweep if self.end.empty => {
                let why = match &self.end.holder {
                    Some(other) => format!("the data is of BrainyCluster {other} and stays"),
                    None => format!("{} objects were deleted", self.end.deleted),
                };
                self.release(context, cluster, &why, now).await;
                return now + WAITING;
            }
            Step::Sweep => {
                let trouble = self.begin_sweep(context, cluster, now).await;
                let words = format!("{} objects of the data are deleted", self.end.deleted);
                (words, trouble)
            }
        };
        let previous = self.status.current(cluster);
        let generation = cluster.metadata.generation.unwrap_or_default();
        let next = status::deleting(&previous, generation, &message, trouble.as_deref());
        self.write(context, cluster, next).await;
        match (&self.job, self.end.next) {
            (None, Some(next)) if next > now => next.min(now + WAITING),
            _ => now + WAITING,
        }
    }

    async fn release(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        why: &str,
        now: Instant,
    ) {
        match set(context, cluster, false).await {
            Ok(()) => {
                tracing::info!(cluster = %self.key, "the BrainyCluster may go: {why}");
                let on = reference(&cluster.metadata);
                context
                    .events
                    .normal(&on, "DataDeletion", "Finalize", why.to_owned());
            }
            Err(error) => self.failed(context, "finalize", cluster, &error, now),
        }
    }

    /// Begins the next batch if it may. Tells what keeps it from that.
    async fn begin_sweep(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        now: Instant,
    ) -> Option<String> {
        let skip = how_to_skip(cluster);
        let missing = match self.secrets.refresh(&context.client, cluster, now).await {
            Ok(missing) => missing.storage,
            Err(error) => vec![error.to_string()],
        };
        let Some(references) = self.secrets.good().cloned() else {
            return Some(format!("{}; or {skip}", missing.join("; ")));
        };
        let config = s3_config(cluster, &references, &context.connector)?;
        let way = Way::of(&config);
        let due = self.job.is_none() && self.end.next.is_none_or(|next| now >= next);
        match self.bucket.as_ref().filter(|bucket| bucket.way == way) {
            Some(bucket) if due => {
                let uid = cluster.uid().unwrap_or_default();
                self.job = Some(Job::sweep(bucket, uid));
            }
            Some(_) => {}
            None if self.job.is_none() && now >= self.next_look => {
                self.job = Some(Job::contact(context, config, None));
            }
            None => {}
        }
        let bucket = match &self.storage {
            Storage::Verified | Storage::NotChecked => None,
            other => Some(other.message()),
        };
        let error = self.end.error.clone().or(bucket)?;
        Some(format!("the data cannot be deleted: {error}; or {skip}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brainy_coordination::claim::Claim;
    use brainy_coordination::store::dir::DirStore;
    use brainy_coordination::store::retry::RetryPolicy;
    use brainy_crds::BrainyClusterSpec;
    use bytes::Bytes;

    use super::*;

    fn cluster(name: &str, policy: &str) -> BrainyCluster {
        let spec: BrainyClusterSpec = serde_json::from_value(json!({
            "storage": {"bucket": "vectors", "prefix": "a"}, "deletionPolicy": policy,
        }))
        .unwrap();
        let mut cluster = BrainyCluster::new(name, spec);
        cluster.metadata.namespace = Some("team".to_owned());
        cluster.metadata.uid = Some(name.to_owned());
        cluster.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        cluster.metadata.finalizers = Some(vec![DATA_FINALIZER.to_owned()]);
        cluster
    }

    #[test]
    fn data_goes_only_after_the_pods_and_with_nobody_else_there() {
        let goes = cluster("goes", "Delete");
        assert_eq!(step(&goes, &[], 1, false), Step::EndPods);
        assert_eq!(step(&goes, &[], 0, true), Step::EndPods);
        assert_eq!(step(&goes, &[], 0, false), Step::Sweep);

        let mut other = cluster("other", "Retain");
        other.metadata.deletion_timestamp = None;
        let Step::Blocked(why) = step(&goes, &[Arc::new(other.clone())], 0, false) else {
            panic!("another cluster's data would go");
        };
        assert!(
            why.contains("team/other") && why.contains(SKIP_DATA_DELETION),
            "{why}"
        );
        other.spec.storage.prefix = Some("ab".to_owned());
        assert_eq!(step(&goes, &[Arc::new(other)], 0, false), Step::Sweep);
        let also = cluster("also", "Delete");
        assert_eq!(step(&goes, &[Arc::new(also)], 0, false), Step::Sweep);
    }

    #[test]
    fn the_wait_ends_when_somebody_says_so() {
        let mut goes = cluster("goes", "Delete");
        goes.annotations_mut()
            .insert(SKIP_DATA_DELETION.to_owned(), "true".to_owned());
        assert!(matches!(step(&goes, &[], 3, true), Step::Release(_)));
        assert!(matches!(
            step(&cluster("goes", "Retain"), &[], 3, true),
            Step::Release(_)
        ));
        let mut free = cluster("goes", "Delete");
        free.metadata.finalizers = Some(vec!["foregroundDeletion".to_owned()]);
        assert_eq!(step(&free, &[], 0, false), Step::Nothing);
    }

    #[test]
    fn the_finalizer_follows_the_policy() {
        let mut one = cluster("one", "Delete");
        assert_eq!(wanted(&one), None);
        one.metadata.finalizers = None;
        assert_eq!(wanted(&one), Some(true));
        assert_eq!(wanted(&cluster("one", "Retain")), Some(false));
    }

    #[tokio::test]
    async fn a_sweep_deletes_all_batch_by_batch() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(DirStore::open(dir.path()).unwrap(), RetryPolicy::default());
        for n in 0..BATCH + 5 {
            let key = format!("wal/{n:05}");
            store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        }
        let mine = Claim {
            uid: "mine".to_owned(),
            name: "team/search".to_owned(),
        };
        claim::claim(&store, &mine, false).await.unwrap().unwrap();
        let mut batches = Vec::new();
        loop {
            let swept = sweep(&store, "mine").await.unwrap();
            batches.push(swept.deleted);
            if swept.empty {
                break;
            }
        }
        assert_eq!(batches.iter().sum::<usize>(), BATCH + 5 + 1);
        assert!(batches.iter().all(|n| *n <= BATCH), "{batches:?}");
        assert!(store.list("", None, 1).await.unwrap().objects.is_empty());
    }

    #[tokio::test]
    async fn the_data_of_another_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(DirStore::open(dir.path()).unwrap(), RetryPolicy::default());
        let body = Bytes::from_static(b"x");
        store.put("segments/1", body.clone()).await.unwrap();
        let unclaimed = sweep(&store, "mine").await.unwrap();
        assert_eq!((unclaimed.deleted, unclaimed.empty), (0, true));
        let theirs = Claim {
            uid: "theirs".to_owned(),
            name: "team/other".to_owned(),
        };
        claim::claim(&store, &theirs, false).await.unwrap().unwrap();
        let swept = sweep(&store, "mine").await.unwrap();
        assert_eq!((swept.deleted, swept.empty), (0, true));
        assert_eq!(swept.holder.as_deref(), Some("team/other"));
        assert_eq!(store.get("segments/1").await.unwrap().unwrap().body, body);
    }
}
