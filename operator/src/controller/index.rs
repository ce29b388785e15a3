//! What the watches have told, reduced to what decisions need: a few hundred bytes an object.
//!
//! Objects are kept by the cluster that their label names, so that one cluster's reconcile looks at its own only. A change that
//! nothing depends on, such as the status of a StatefulSet, wakes nobody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use brainy_crds::{BrainyCluster, CLUSTER_LABEL};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::observe::PodSeen;

/// The field manager of everything that the operator applies.
pub(super) const FIELD_MANAGER: &str = "brainy-operator";

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// The cluster that an object's label names.
    fn of_owner(meta: &ObjectMeta) -> Option<Self> {
        let name = meta.labels.as_ref()?.get(CLUSTER_LABEL)?.clone();
        let namespace = meta.namespace.clone().unwrap_or_default();
        Some(Self { namespace, name })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A BrainyCluster as it is stored.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// One that can be read.
    Valid(Arc<BrainyCluster>),
    /// One that an older or newer definition let in and that does not fit the types.
    Invalid(Arc<Unreadable>),
}

/// What is known of a BrainyCluster that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) metadata: ObjectMeta,
    /// What the parser said.
    pub(super) error: String,
}

/// Kind and name of an object within a cluster.
pub(super) type ObjectName = (String, String);

/// What is known of an object that belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) resource: Arc<ApiResource>,
    pub(super) uid: String,
    /// Uid of the owner that controls it.
    pub(super) controller: Option<String>,
    /// Digest of the fields that are ours; it changes when somebody else takes one over or undoes it.
    pub(super) fields: u64,
    pub(super) deleting: bool,
    /// Of a StatefulSet: how many pods it keeps.
    pub(super) replicas: Option<i32>,
}

impl Owned {
    /// What matters of an object.
    pub(super) fn new(meta: &ObjectMeta, resource: Arc<ApiResource>) -> Self {
        let owners = meta.owner_references.iter().flatten();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        Self {
            resource,
            uid: meta.uid.clone().unwrap_or_default(),
            controller: controllers.next().map(|owner| owner.uid.clone()),
            fields: our_fields(meta),
            deleting: meta.deletion_timestamp.is_some(),
            replicas: None,
        }
    }
}

/// Digest of the entry in `managedFields` that server-side apply keeps for us, without its time.
fn our_fields(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    let entries = meta.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    for entry in ours {
        entry.api_version.hash(&mut hasher);
        let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string());
        fields.hash(&mut hasher);
    }
    hasher.finish()
}

/// News for those who work on clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The cluster, or something of it, is not what it was.
    Changed(Key),
    /// The cluster is not there any more.
    Gone(Key),
}

/// The memory of all watches.
#[derive(Debug)]
pub(super) struct Index {
    inner: Mutex<Inner>,
    news: UnboundedSender<News>,
}

#[derive(Debug, Default)]
struct Inner {
    clusters: HashMap<Key, Stored>,
    pods: HashMap<Key, BTreeMap<String, Arc<PodSeen>>>,
    owned: HashMap<Key, BTreeMap<ObjectName, Owned>>,
}

impl Index {
    /// An empty index that sends its news to `news`.
    pub(super) fn new(news: UnboundedSender<News>) -> Self {
        Self {
            inner: Mutex::default(),
            news,
        }
    }

    pub(super) fn cluster(&self, key: &Key) -> Option<Stored> {
        self.inner.lock().clusters.get(key).cloned()
    }

    /// All clusters that can be read.
    pub(super) fn clusters(&self) -> Vec<Arc<BrainyCluster>> {
        let inner = self.inner.lock();
        let valid = inner.clusters.values().filter_map(|stored| match stored {
            Stored::Valid(cluster) => Some(Arc::clone(cluster)),
            Stored::Invalid(_) => None,
        });
        valid.collect()
    }

    /// The pods of a cluster, by name.
    pub(super) fn pods(&self, key: &Key) -> BTreeMap<String, Arc<PodSeen>> {
        self.inner.lock().pods.get(key).cloned().unwrap_or_default()
    }

    /// The other objects of a cluster.
    pub(super) fn owned(&self, key: &Key) -> BTreeMap<ObjectName, Owned> {
        self.inner
            .lock()
            .owned
            .get(key)
            .cloned()
            .unwrap_or_default()
    }

    /// Remembers what an answer of the API server told, ahead of the watch.
    pub(super) fn learn(&self, key: &Key, name: ObjectName, owned: Owned) {
        let mut inner = self.inner.lock();
        inner
            .owned
            .entry(key.clone())
            .or_default()
            .insert(name, owned);
    }

    /// Forgets an object that was deleted, ahead of the watch.
    pub(super) fn forget(&self, key: &Key, name: &ObjectName) {
        let mut inner = self.inner.lock();
        if let Some(owned) = inner.owned.get_mut(key) {
            owned.remove(name);
        }
    }

    fn tell(&self, news: News) {
        // Nobody listens any more only at the very end.
        let _ended = self.news.send(news);
    }
}

/// What a watch fills.
pub(super) trait Sink<K>: Send + Sync {
    /// An object is there, new or changed.
    fn put(&self, object: K);
    /// An object is not there any more.
    fn remove(&self, object: &K);
    /// Of all objects in `namespace`, or everywhere, only `seen` are there.
    fn keep_only(&self, namespace: Option<&str>, seen: &HashSet<Key>);
}

/// Takes up BrainyClusters.
pub(super) struct Clusters(pub(super) Arc<Index>);
/// Takes up pods.
pub(super) struct Pods(pub(super) Arc<Index>);
/// Takes up objects of one kind by their metadata.
pub(super) struct Objects {
    pub(super) index: Arc<Index>,
    pub(super) resource: Arc<ApiResource>,
}
/// Takes up StatefulSets.
pub(super) struct StatefulSets(pub(super) Objects);

fn in_scope(namespace: Option<&str>, key: &Key) -> bool {
    namespace.is_none_or(|namespace| namespace == key.namespace)
}

impl Sink<DeserializeGuard<BrainyCluster>> for Clusters {
    fn put(&self, DeserializeGuard(object): DeserializeGuard<BrainyCluster>) {
        let (key, stored) = match object {
            Ok(mut cluster) => {
                cluster.metadata.managed_fields = None;
                (Key::of(cluster.meta()), Stored::Valid(Arc::new(cluster)))
            }
            Err(invalid) => {
                let mut metadata = invalid.metadata;
                metadata.managed_fields = None;
                let (key, error) = (Key::of(&metadata), invalid.error);
                (
                    key,
                    Stored::Invalid(Arc::new(Unreadable { metadata, error })),
                )
            }
        };
        self.0.inner.lock().clusters.insert(key.clone(), stored);
        self.0.tell(News::Changed(key));
    }

    fn remove(&self, object: &DeserializeGuard<BrainyCluster>) {
        let key = Key::of(object.meta());
        self.0.inner.lock().clusters.remove(&key);
        self.0.tell(News::Gone(key));
    }

    fn keep_only(&self, namespace: Option<&str>, seen: &HashSet<Key>) {
        let mut gone = Vec::new();
        self.0.inner.lock().clusters.retain(|key, _| {
            let stays = !in_scope(namespace, key) || seen.contains(key);
            if !stays {
                gone.push(key.clone());
            }
            stays
        });
        gone.into_iter()
            .for_each(|key| self.0.tell(News::Gone(key)));
    }
}

impl Sink<Pod> for Pods {
    fn put(&self, pod: Pod) {
        let Some(key) = Key::of_owner(pod.meta()) else {
            return;
        };
        let name = pod.name_any();
        let seen = Arc::new(PodSeen::new(&pod));
        let mut inner = self.0.inner.lock();
        let pods = inner.pods.entry(key.clone()).or_default();
        let before = pods.insert(name, Arc::clone(&seen));
        drop(inner);
        if before.is_none_or(|before| !before.looks_like(&seen)) {
            self.0.tell(News::Changed(key));
        }
    }

    fn remove(&self, pod: &Pod) {
        let Some(key) = Key::of_owner(pod.meta()) else {
            return;
        };
        let mut inner = self.0.inner.lock();
        remove_below(&mut inner.pods, &key, &pod.name_any());
        drop(inner);
        self.0.tell(News::Changed(key));
    }

    fn keep_only(&self, namespace: Option<&str>, seen: &HashSet<Key>) {
        let mut changed = Vec::new();
        self.0.inner.lock().pods.retain(|key, pods| {
            if in_scope(namespace, key) {
                let before = pods.len();
                pods.retain(|name, _| {
                    seen.contains(&Key {
                        namespace: key.namespace.clone(),
                        name: name.clone(),
                    })
                });
                if pods.len() != before {
                    changed.push(key.clone());
                }
            }
            !pods.is_empty()
        });
        changed
            .into_iter()
            .for_each(|key| self.0.tell(News::Changed(key)));
    }
}

/// Removes an entry, and its table when that was the last.
fn remove_below<K: Ord, V>(tables: &mut HashMap<Key, BTreeMap<K, V>>, key: &Key, name: &K) {
    if let Some(table) = tables.get_mut(key) {
        table.remove(name);
        if table.is_empty() {
            tables.remove(key);
        }
    }
}

impl Objects {
    fn name(&self, name: String) -> ObjectName {
        (self.resource.kind.clone(), name)
    }

    fn put_owned(&self, meta: &ObjectMeta, replicas: Option<i32>) {
        let Some(key) = Key::of_owner(meta) else {
            return;
        };
        let name = self.name(meta.name.clone().unwrap_or_default());
        let owned = Owned {
            replicas,
            ..Owned::new(meta, Arc::clone(&self.resource))
        };
        let mut inner = self.index.inner.lock();
        let objects = inner.owned.entry(key.clone()).or_default();
        let before = objects.insert(name, owned.clone());
        drop(inner);
        if before.is_none_or(|before| before != owned) {
            self.index.tell(News::Changed(key));
        }
    }

    fn remove_owned(&self, meta: &ObjectMeta) {
        let Some(key) = Key::of_owner(meta) else {
            return;
        };
        let name = self.name(meta.name.clone().unwrap_or_default());
        let mut inner = self.index.inner.lock();
        remove_below(&mut inner.owned, &key, &name);
        drop(inner);
        self.index.tell(News::Changed(key));
    }

    fn keep_only_owned(&self, namespace: Option<&str>, seen: &HashSet<Key>) {
        let mut changed = Vec::new();
        self.index.inner.lock().owned.retain(|key, objects| {
            if in_scope(namespace, key) {
                let before = objects.len();
                objects.retain(|(kind, name), _| {
                    *kind != self.resource.kind
                        || seen.contains(&Key {
                            namespace: key.namespace.clone(),
                            name: name.clone(),
                        })
                });
                if objects.len() != before {
                    changed.push(key.clone());
                }
            }
            !objects.is_empty()
        });
        changed
            .into_iter()
            .for_each(|key| self.index.tell(News::Changed(key)));
    }
}

impl Sink<PartialObjectMeta<DynamicObject>> for Objects {
    fn put(&self, object: PartialObjectMeta<DynamicObject>) {
        self.put_owned(&object.metadata, None);
    }

    fn remove(&self, object: &PartialObjectMeta<DynamicObject>) {
        self.remove_owned(&object.metadata);
    }

    fn keep_only(&self, namespace: Option<&str>, seen: &HashSet<Key>) {
        self.keep_only_owned(namespace, seen);
    }
}

impl Sink<StatefulSet> for StatefulSets {
    fn put(&self, object: StatefulSet) {
        let replicas = object.spec.as_ref().and_then(|spec| spec.replicas);
        self.0.put_owned(&object.metadata, replicas);
    }

    fn remove(&self, object: &StatefulSet) {
        self.0.remove_owned(&object.metadata);
    }

    fn keep_only(&self, namespace: Option<&str>, seen: &HashSet<Key>) {
        self.0.keep_only_owned(namespace, seen);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn index() -> (Arc<Index>, UnboundedReceiver<News>) {
        let (sender, news) = unbounded_channel();
        (Arc::new(Index::new(sender)), news)
    }

    fn key(namespace: &str, name: &str) -> Key {
        Key {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn statefulset(namespace: &str, name: &str, status: i32) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {
                "namespace": namespace, "name": name, "uid": "u", "labels": {CLUSTER_LABEL: "search"},
                "managedFields": [{
                    "manager": FIELD_MANAGER, "operation": "Apply", "time": format!("2026-01-01T00:00:0{status}Z"),
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
                }],
            },
            "spec": {"replicas": 2, "selector": {}, "serviceName": "s", "template": {}},
            "status": {"replicas": status},
        }))
        .unwrap()
    }

    fn sink(index: &Arc<Index>) -> StatefulSets {
        StatefulSets(Objects {
            index: Arc::clone(index),
            resource: Arc::new(ApiResource::erase::<StatefulSet>(&())),
        })
    }

    #[test]
    fn what_nobody_depends_on_wakes_nobody() {
        let (index, mut news) = index();
        let sink = sink(&index);
        sink.put(statefulset("a", "search-writer", 1));
        assert_eq!(news.try_recv().unwrap(), News::Changed(key("a", "search")));
        sink.put(statefulset("a", "search-writer", 2));
        assert!(
            news.try_recv().is_err(),
            "only its status and a time differ"
        );
        let mut taken = statefulset("a", "search-writer", 2);
        taken.metadata.managed_fields.as_mut().unwrap()[0].manager =
            Some("kubectl-edit".to_owned());
        sink.put(taken);
        assert_eq!(news.try_recv().unwrap(), News::Changed(key("a", "search")));
    }

    #[test]
    fn a_list_anew_removes_what_is_gone_in_its_namespace_alone() {
        let (index, mut news) = index();
        let sink = sink(&index);
        for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "one")] {
            sink.put(statefulset(namespace, name, 1));
        }
        while news.try_recv().is_ok() {}
        sink.keep_only(Some("a"), &[key("a", "two")].into());
        assert_eq!(news.try_recv().unwrap(), News::Changed(key("a", "search")));
        assert!(news.try_recv().is_err());
        assert_eq!(index.owned(&key("a", "search")).len(), 1);
        assert_eq!(index.owned(&key("b", "search")).len(), 1);
    }

    #[test]
    fn a_cluster_that_cannot_be_read_is_kept_with_its_error() {
        let (index, mut news) = index();
        let sink = Clusters(Arc::clone(&index));
        let bad = json!({
            "apiVersion": "brainy.io/v1alpha1", "kind": "BrainyCluster",
            "metadata": {"namespace": "a", "name": "bad", "uid": "1"},
            "spec": {"writers": {"replicas": "many"}},
        });
        let good = json!({
            "apiVersion": "brainy.io/v1alpha1", "kind": "BrainyCluster",
            "metadata": {"namespace": "a", "name": "good", "uid": "2"}, "spec": {},
        });
        sink.put(serde_json::from_value(bad).unwrap());
        sink.put(serde_json::from_value(good).unwrap());
        assert!(matches!(
            index.cluster(&key("a", "good")),
            Some(Stored::Valid(_))
        ));
        let Some(Stored::Invalid(bad)) = index.cluster(&key("a", "bad")) else {
            panic!("kept as unreadable");
        };
        assert!(bad.error.contains("many"), "{}", bad.error);
        sink.keep_only(None, &[key("a", "good")].into());
        assert_eq!(news.try_recv().unwrap(), News::Changed(key("a", "bad")));
        assert_eq!(news.try_recv().unwrap(), News::Changed(key("a", "good")));
        assert_eq!(news.try_recv().unwrap(), News::Gone(key("a", "bad")));
    }
}
