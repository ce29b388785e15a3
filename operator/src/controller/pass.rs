//! One look at a cluster: the steps in their order, each in the file of its name.
//!
//! dereference -> validate -> observe, plan -> build -> apply -> rebalance -> act -> status
//!
//! A step that fails is reported and tried again later; those that do not depend on it go on. While paused, only the status is
//! written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brainy_coordination::types::InstanceId;
use brainy_crds::{BrainyCluster, BrainyClusterStatus, Reason, Role};
use kube::ResourceExt;

use super::act::{self, InstancePods, Why};
use super::apply::{self, Failure};
use super::context::Context;
use super::dereference::{Missing, References, s3_config};
use super::error::StepError;
use super::events::reference;
use super::finalize;
use super::index::Unreadable;
use super::observe::observe;
use super::prepare::{self, Resolved, address, place_of};
use super::rebalance::{Claimant, Job, Way};
use super::replicas::{Basis, replicas};
use super::session::Session;
use super::status::{self, Extra, Trouble};
use super::validate;
use crate::keeper::Task;
use crate::reconcile::conditions::{Facts, Storage};
use crate::reconcile::desired::Desired;
use crate::reconcile::plan::{Observation, Plan, plan};
use crate::reconcile::shared_config::shared_config;
use crate::reconcile::status::complete;
use crate::resources::image::image;

/// A cluster that waits for somebody is looked at this often.
const WAITING: Duration = Duration::from_secs(10);

/// What one look has found so far.
struct Look {
    /// The newest spec, for the status.
    cluster: Arc<BrainyCluster>,
    now: Instant,
    desired: Arc<Desired>,
    observed: BTreeMap<InstanceId, Observation>,
    pods: InstancePods,
    plan: Plan,
    image: String,
    storage: Storage,
    /// Whether decisions may rest on the table.
    usable: bool,
    trouble: Vec<Trouble>,
}

impl Session {
    /// Works towards the spec.
    pub(super) async fn reconcile(
        &mut self,
        context: &Context,
        newest: &Arc<BrainyCluster>,
        now: Instant,
    ) -> Instant {
        let edit = u64::try_from(generation(newest)).unwrap_or_default();
        let due = self.retry.is_due(edit, now);
        let mut trouble = Vec::new();
        if due {
            self.failing = None;
        }
        let Some(cluster) = self.followed(newest, &mut trouble) else {
            return self.refuse(context, newest, &trouble, now).await;
        };
        let (references, missing) = self.dereference(context, &cluster, now, &mut trouble).await;
        let current = self.status.current(newest);
        let image = image(
            &cluster.spec.image,
            current.image.as_deref(),
            &context.default_image,
        );
        let resolved = references.as_ref().map(|references| Resolved {
            cluster: &cluster,
            references,
            image: &image,
        });
        let in_use = validate::prefix_in_use(newest, &context.index.clusters());
        let blocked = match (in_use, missing) {
            (Some(message), _) => Some(Storage::InUse(message)),
            (None, Some(message)) => Some(Storage::NoCredentials(message)),
            _ if cluster.spec.storage.bucket.is_none() => Some(Storage::NotConfigured),
            _ => None,
        };
        let touches = !matches!(blocked, Some(Storage::InUse(_) | Storage::NotConfigured));
        let reaches = touches && self.contact(context, resolved.as_ref(), now);
        let usable = reaches && self.storage == Storage::Verified;
        let desired = match self.desired(&cluster, resolved.as_ref()) {
            // A pod would come back as it was, and be replaced again.
            Ok(desired) if self.refused => Arc::new(Desired {
                max_unavailable: None,
                ..Desired::clone(&desired)
            }),
            Ok(desired) => desired,
            Err(error) => {
                trouble.push(Trouble::apply_failed(&error));
                return self.refuse(context, newest, &trouble, now).await;
            }
        };
        let (pods, observed) = self.observe(context, &cluster, now);
        // Without news from the bucket nothing is decided that would need its answer.
        let table = self.table.as_deref().map(|t| &t.body).filter(|_| usable);
        let plan = plan(&desired, &observed, table);
        let mut look = Look {
            cluster: Arc::clone(newest),
            now,
            desired,
            observed,
            pods,
            plan,
            image: image.clone(),
            storage: blocked.unwrap_or_else(|| self.storage.clone()),
            usable,
            trouble,
        };
        // Who has no data in the bucket has none to delete.
        if due && self.bucket.is_some() {
            self.keep_finalizer(context, newest, now).await;
        }
        // Pods would write before it is known whose prefix it is.
        let known = self.bucket.is_some() || self.has_statefulsets(context);
        let claimed = known && !matches!(self.storage, Storage::InUse(_));
        if let Some(resolved) = resolved.filter(|_| touches && claimed) {
            self.apply(context, &resolved, &mut look, due).await;
            let mut trouble = look.trouble.iter();
            self.refused = trouble.any(|t| t.reason == Reason::ApplyFailed);
            if due && !self.refused {
                self.act(context, &cluster, &look).await;
            }
        }
        if reaches {
            self.rebalance(&cluster, &look);
        }
        if due && self.failing.is_none() {
            self.retry.succeeded();
        }
        self.tell(context, &look, &current).await;
        self.next(now)
    }

    fn has_statefulsets(&self, context: &Context) -> bool {
        let owned = context.index.owned(&self.key);
        owned.into_keys().any(|(kind, _)| kind == "StatefulSet")
    }

    /// The spec to follow: the newest, or the last good one if that breaks a rule.
    fn followed(
        &mut self,
        newest: &Arc<BrainyCluster>,
        trouble: &mut Vec<Trouble>,
    ) -> Option<Arc<BrainyCluster>> {
        match validate::check(newest) {
            Ok(()) => self.good = Some(Arc::clone(newest)),
            Err(findings) => {
                let findings = validate::listed(&findings);
                let message = match &self.good {
                    Some(_) => format!("the last good spec is followed: {findings}"),
                    None => findings,
                };
                trouble.push(Trouble {
                    reason: Reason::InvalidSpec,
                    message,
                });
            }
        }
        self.good.clone()
    }

    /// Says why nothing is done.
    async fn refuse(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        trouble: &[Trouble],
        now: Instant,
    ) -> Instant {
        let messages: Vec<&str> = trouble.iter().map(|t| t.message.as_str()).collect();
        let previous = self.status.current(cluster);
        let next = status::refused(&previous, generation(cluster), &messages.join("; "));
        self.write(context, cluster, next).await;
        now + WAITING
    }

    async fn keep_finalizer(&mut self, context: &Context, cluster: &BrainyCluster, now: Instant) {
        let wanted = finalize::wanted(cluster).filter(|_| !cluster.spec.paused);
        let Some(wants) = wanted else { return };
        if let Err(error) = finalize::set(context, cluster, wants).await {
            self.failed(context, "finalize", cluster, &error, now);
        }
    }

    /// What the spec refers to, as far as it was ever complete, and what of the credentials is missing.
    async fn dereference(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        now: Instant,
        trouble: &mut Vec<Trouble>,
    ) -> (Option<References>, Option<String>) {
        let missing = match self.secrets.refresh(&context.client, cluster, now).await {
            Ok(missing) => missing,
            Err(error) => {
                context.metrics.failed("dereference");
                tracing::warn!(cluster = %self.key, "{error}");
                if error.is_refusal() {
                    trouble.push(Trouble {
                        reason: Reason::SecretNotFound,
                        message: error.to_string(),
                    });
                }
                Missing::default()
            }
        };
        if !missing.other.is_empty() {
            trouble.push(Trouble {
                reason: Reason::SecretNotFound,
                message: missing.other.join("; "),
            });
        }
        let storage = (!missing.storage.is_empty()).then(|| missing.storage.join("; "));
        (self.secrets.good().cloned(), storage)
    }

    /// Sees to it that the bucket is probed, and tells whether it may be asked.
    fn contact(
        &mut self,
        context: &Context,
        resolved: Option<&Resolved<'_>>,
        now: Instant,
    ) -> bool {
        let config = resolved.and_then(|r| s3_config(r.cluster, r.references, &context.connector));
        let Some(config) = config else { return false };
        let way = Way::of(&config);
        if self.bucket.as_ref().is_some_and(|bucket| bucket.way == way) {
            return true;
        }
        if self.job.is_none() && now >= self.next_look {
            let claimant = resolved.map(|r| Claimant::of(r.cluster));
            self.job = Some(Job::contact(context, config, claimant));
        }
        false
    }

    fn desired(
        &mut self,
        cluster: &BrainyCluster,
        resolved: Option<&Resolved<'_>>,
    ) -> Result<Arc<Desired>, StepError> {
        match resolved.filter(|_| cluster.spec.storage.bucket.is_some()) {
            Some(resolved) => self.prepared.desired(resolved),
            None => prepare::of(cluster, &BTreeMap::new()).map(Arc::new),
        }
    }

    fn observe(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        now: Instant,
    ) -> (InstancePods, BTreeMap<InstanceId, Observation>) {
        let pods: InstancePods = context
            .index
            .pods(&self.key)
            .into_iter()
            .filter(|(name, _)| place_of(cluster, name).is_some())
            .filter_map(|(name, pod)| Some((InstanceId::new(name).ok()?, pod)))
            .collect();
        let table = self.table.as_deref().map(|t| &t.body);
        let address = |id: &InstanceId, ip: &str| address(cluster, id, ip);
        let mut observed = observe(&mut self.clocks, &pods, table, address, now);
        complete(&mut observed, table);
        (pods, observed)
    }

    /// Steps 3 and 4: builds the objects and brings them to the API server.
    async fn apply(
        &mut self,
        context: &Context,
        resolved: &Resolved<'_>,
        look: &mut Look,
        due: bool,
    ) {
        let cluster = resolved.cluster;
        if look.desired.paused {
            return;
        }
        let kept = self.replicas(context, cluster, look);
        let built = match self.prepared.built(resolved, kept) {
            Ok(built) => built,
            Err(error) if due => return self.failed(context, "build", cluster, &error, look.now),
            Err(_) => return,
        };
        let uid = cluster.uid().unwrap_or_default();
        let memory = &mut self.applied;
        let report = apply::apply(context, &self.key, &uid, &built, memory, look.now).await;
        for (verb, objects) in [
            ("created", &report.created),
            ("updated", &report.updated),
            ("removed", &report.pruned),
        ] {
            if !objects.is_empty() {
                tracing::info!(cluster = %self.key, "{verb} {}", objects.join(", "));
            }
        }
        for Failure { message, fresh } in report.failures {
            if fresh {
                context.metrics.failed("apply");
                tracing::warn!(cluster = %self.key, "{message}");
            }
            look.trouble.push(Trouble {
                reason: Reason::ApplyFailed,
                message,
            });
        }
    }

    fn replicas(
        &self,
        context: &Context,
        cluster: &BrainyCluster,
        look: &Look,
    ) -> BTreeMap<Role, i32> {
        let owned = context.index.owned(&self.key);
        let current = Role::ALL.into_iter().filter_map(|role| {
            let name = ("StatefulSet".to_owned(), cluster.role_name(role));
            let owned = owned.get(&name).filter(|owned| !owned.deleting)?;
            Some((role, owned.replicas?))
        });
        let basis = Basis {
            desired: &look.desired,
            observed: &look.observed,
            plan: &look.plan,
            table_known: look.usable && self.table.is_some(),
            current: &current.collect(),
        };
        replicas(&basis, |role, ordinal| cluster.instance_name(role, ordinal))
    }

    /// Step 5: has the table looked at, and changed as planned.
    fn rebalance(&mut self, cluster: &BrainyCluster, look: &Look) {
        let config = shared_config(&cluster.spec);
        let to_publish =
            look.usable && !look.desired.paused && self.published.as_ref() != Some(&config);
        let due = look.now >= self.next_look || to_publish || !look.plan.members.is_empty();
        let Some(bucket) = self.bucket.as_ref().filter(|_| due && self.job.is_none()) else {
            return;
        };
        let publish = to_publish.then_some(config);
        self.publishing = publish.clone();
        let task = Task {
            desired: Desired::clone(&look.desired),
            members: look.plan.members.clone(),
            known: self.table.clone(),
            publish,
        };
        self.job = Some(Job::round(bucket, task));
    }

    /// Step 6: deletes the pods that are to be started anew.
    async fn act(&mut self, context: &Context, cluster: &BrainyCluster, look: &Look) {
        let strategy = &cluster.spec.update_strategy;
        let restarts = act::restarts(
            &look.desired,
            &look.plan,
            &look.pods,
            &self.clocks,
            strategy,
            look.now,
        );
        let deleted =
            act::delete(context, &self.key, &restarts, &look.pods, &mut self.deleted).await;
        match deleted {
            Ok(deleted) => {
                let on = reference(&cluster.metadata);
                for (id, why) in deleted {
                    let note = match why {
                        Why::NewSettings => format!("{id} starts again with new settings"),
                        Why::Stuck => format!(
                            "{id} did not come up and starts again with the newest settings"
                        ),
                    };
                    tracing::info!(cluster = %self.key, "{note}");
                    context
                        .events
                        .normal(&on, "PodRestarted", "DeletePod", note);
                }
            }
            Err(error) => self.failed(context, "act", cluster, &error, look.now),
        }
    }

    /// Step 7: the status.
    async fn tell(&mut self, context: &Context, look: &Look, previous: &BrainyClusterStatus) {
        // While the bucket does not answer, everything that is asked of it is in trouble.
        let damaged = match look.storage {
            Storage::Verified => self.damage.found(),
            _ => Vec::new(),
        };
        let facts = Facts {
            desired: &look.desired,
            observed: &look.observed,
            table: self.table.as_deref().map(|t| &t.body),
            storage: &look.storage,
            invalid_spec: self.invalid_config.as_deref(),
            damaged: &damaged,
        };
        let url = status::url(&look.cluster);
        let details = crate::reconcile::status::Context {
            generation: generation(&look.cluster),
            url: &url,
            table: self.table.as_deref(),
            config_version: self.config_version,
            now: &status::now(),
        };
        // What failed is still so until it was tried again.
        let trouble: Vec<Trouble> = look.trouble.iter().chain(&self.failing).cloned().collect();
        let extra = Extra {
            image: Some(&look.image),
            trouble: &trouble,
        };
        let next = status::next(previous, &look.cluster, &facts, &details, &extra);
        context.metrics.tell(&self.key, &next);
        let cluster = Arc::clone(&look.cluster);
        self.write(context, &cluster, next).await;
    }

    pub(super) async fn write(
        &mut self,
        context: &Context,
        cluster: &BrainyCluster,
        next: BrainyClusterStatus,
    ) {
        let memory = &mut self.status;
        let written = status::write(&context.client, &context.events, cluster, memory, next).await;
        if let Err(error) = written {
            context.metrics.failed("status");
            tracing::warn!(cluster = %self.key, "{error}");
        }
    }

    /// A step failed: it is reported, and tried again later.
    pub(super) fn failed(
        &mut self,
        context: &Context,
        step: &'static str,
        cluster: &BrainyCluster,
        error: &StepError,
        now: Instant,
    ) {
        context.metrics.failed(step);
        tracing::warn!(cluster = %self.key, "{error}");
        if self.failing.is_none() {
            let edit = u64::try_from(generation(cluster)).unwrap_or_default();
            self.retry.failed(edit, now);
            self.failing = Some(Trouble::apply_failed(error));
        }
    }

    /// When to look again.
    fn next(&self, now: Instant) -> Instant {
        let latest = now + WAITING;
        let look = match self.job {
            // Its end wakes us.
            Some(_) => latest,
            // What is due and has not begun waits for something else.
            None if self.next_look <= now => latest,
            None => self.next_look,
        };
        let retries = self.retry.at().into_iter().chain(self.applied.retry_at());
        let retry = retries.filter(|at| *at > now).min().unwrap_or(latest);
        look.min(retry)
    }

    /// A resource that does not fit its definition: it gets a condition, if the API server takes one, and an event.
    pub(super) async fn unreadable(&mut self, context: &Context, found: &Unreadable) -> Instant {
        let now = Instant::now();
        if self.told_unreadable.as_ref() == Some(&found.error) {
            return now + WAITING;
        }
        let message = format!(
            "the stored resource does not fit its definition: {}",
            found.error
        );
        tracing::error!(cluster = %self.key, "{message}");
        let on = reference(&found.metadata);
        context
            .events
            .warning(&on, Reason::InvalidSpec.as_str(), "Read", message.clone());
        let generation = found.metadata.generation.unwrap_or_default();
        let next = status::refused(&BrainyClusterStatus::default(), generation, &message);
        let written = status::write_unread(&context.client, &self.key, &next).await;
        if let Err(error) = written {
            tracing::debug!(cluster = %self.key, "{error}");
        }
        self.told_unreadable = Some(found.error.clone());
        now + WAITING
    }
}

fn generation(cluster: &BrainyCluster) -> i64 {
    cluster.metadata.generation.unwrap_or_default()
}
