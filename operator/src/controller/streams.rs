//! The watches: one for each kind and namespace, each a task that fills the [index](super::index).
//!
//! A watch that breaks is resumed where it was, and begun anew with a list only when the API server has forgotten that place. An
//! object that cannot be read does not stop the watch of the others.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brainy_crds::{BrainyCluster, CLUSTER_LABEL};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::index::{Clusters, Index, Key, Objects, Pods, Sink, StatefulSets};
use super::metrics::Metrics;
use crate::resources::labels::MANAGED_BY;

/// The watches of one controller.
pub(super) struct Streams {
    client: Client,
    /// The namespaces that are watched; none stands for all.
    namespaces: Vec<String>,
    index: Arc<Index>,
    metrics: Arc<Metrics>,
    /// Kinds whose metadata is watched.
    kinds: Mutex<HashSet<String>>,
    tasks: Mutex<JoinSet<()>>,
    /// Watches that have not listed everything yet.
    pending: Arc<AtomicUsize>,
    synced: CancellationToken,
}

impl Streams {
    /// No watch yet.
    pub(super) fn new(
        client: Client,
        namespaces: Vec<String>,
        index: Arc<Index>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            namespaces,
            index,
            metrics,
            kinds: Mutex::default(),
            tasks: Mutex::default(),
            pending: Arc::default(),
            synced: CancellationToken::new(),
        }
    }

    /// Begins to watch BrainyClusters and everything that they become.
    pub(super) fn start(&self) {
        // Held until all have begun, so that the first that is done does not count as the last.
        self.pending.fetch_add(1, Ordering::AcqRel);
        let index = || Arc::clone(&self.index);
        self.watch::<DeserializeGuard<BrainyCluster>>(
            watcher::Config::default(),
            |namespace| api(&self.client, namespace),
            Arc::new(Clusters(index())),
        );
        self.watch::<Pod>(
            ours(),
            |namespace| api(&self.client, namespace),
            Arc::new(Pods(index())),
        );
        let sets = Objects {
            index: index(),
            resource: Arc::new(ApiResource::erase::<StatefulSet>(&())),
        };
        self.watch::<StatefulSet>(
            ours(),
            |namespace| api(&self.client, namespace),
            Arc::new(StatefulSets(sets)),
        );
        for resource in [
            ApiResource::erase::<ServiceAccount>(&()),
            ApiResource::erase::<Service>(&()),
            ApiResource::erase::<ConfigMap>(&()),
            ApiResource::erase::<NetworkPolicy>(&()),
            ApiResource::erase::<PodDisruptionBudget>(&()),
        ] {
            self.watch_metadata(&resource);
        }
        done(&self.pending, &self.synced);
    }

    /// Watches the metadata of another kind, if that is not done yet: some kinds are defined by add-ons.
    pub(super) fn watch_metadata(&self, resource: &ApiResource) {
        let is_known = resource.kind == StatefulSet::kind(&());
        if is_known || !self.kinds.lock().insert(resource.kind.clone()) {
            return;
        }
        let sink = Objects {
            index: Arc::clone(&self.index),
            resource: Arc::new(resource.clone()),
        };
        let api = |namespace: Option<&str>| match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        self.watch::<PartialObjectMeta<DynamicObject>>(ours(), api, Arc::new(sink));
    }

    /// Waits until every watch that was begun has listed what there is.
    pub(super) async fn synced(&self) {
        self.synced.cancelled().await;
    }

    fn watch<K>(
        &self,
        config: watcher::Config,
        api: impl Fn(Option<&str>) -> Api<K>,
        sink: Arc<dyn Sink<K>>,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let scopes: Vec<Option<String>> = match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        for namespace in scopes {
            let api = api(namespace.as_deref());
            self.pending.fetch_add(1, Ordering::AcqRel);
            let follow = Follow {
                what: api.resource_url().to_owned(),
                namespace,
                sink: Arc::clone(&sink),
                pending: Arc::clone(&self.pending),
                synced: self.synced.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            self.tasks.lock().spawn(follow.run(api, config.clone()));
        }
    }
}

/// Objects that carry our labels.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!(
        "{CLUSTER_LABEL},app.kubernetes.io/managed-by={MANAGED_BY}"
    ))
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn done(pending: &AtomicUsize, synced: &CancellationToken) {
    if pending.fetch_sub(1, Ordering::AcqRel) == 1 {
        synced.cancel();
    }
}

/// One watch.
struct Follow<K> {
    /// For people.
    what: String,
    namespace: Option<String>,
    sink: Arc<dyn Sink<K>>,
    pending: Arc<AtomicUsize>,
    synced: CancellationToken,
    metrics: Arc<Metrics>,
}

impl<K> Follow<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn run(self, api: Api<K>, config: watcher::Config) {
        let mut events = pin!(watcher(api, config).default_backoff());
        let mut seen = HashSet::new();
        let mut listed = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => seen.clear(),
                Ok(Event::InitApply(object)) => {
                    seen.insert(Key::of(object.meta()));
                    self.sink.put(object);
                }
                Ok(Event::InitDone) => {
                    let seen = std::mem::take(&mut seen);
                    self.sink.keep_only(self.namespace.as_deref(), &seen);
                    if !listed {
                        listed = true;
                        done(&self.pending, &self.synced);
                    }
                }
                Ok(Event::Apply(object)) => self.sink.put(object),
                Ok(Event::Delete(object)) => self.sink.remove(&object),
                Err(error) => {
                    self.metrics.watch_error();
                    tracing::warn!(%error, watch = %self.what, "a watch broke and is resumed");
                }
            }
        }
    }
}
