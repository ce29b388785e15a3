//! A small service for tests of the HTTP layer: really stores points, in memory, in one partition of the engine per
//! collection.

use std::collections::BTreeMap;

use async_trait::async_trait;
use brainy_coordination::events::{Event, Recorded};
use brainy_coordination::manifest::{AliasChange, Collection, CollectionSpec};
use brainy_coordination::types::{CollectionUid, InstanceId, LogPosition, Nonce, PartitionId};
use brainy_dataplane::engine::payload_index::PayloadSchema;
use brainy_dataplane::engine::{EngineError, PartitionState, resolve};
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::*;
use brainy_dataplane::service::{
    ClusterState, CollectionInfo, CreateCollection, DataService, Limits, Placement, Placements,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What the next call of the service does instead of its work.
#[derive(Clone)]
pub(crate) enum Fault {
    Fail(ServiceError),
    Panic,
    Hang,
}

struct Stored {
    collection: Collection,
    points: PartitionState,
    log: u64,
    seen: Vec<Nonce>,
}

impl Stored {
    fn apply(&mut self, op: &WriteOp) -> Result<LogPosition, EngineError> {
        let changes = resolve(op, &self.points)?;
        self.log += 1;
        let position = LogPosition::new(1, self.log);
        self.points.apply(position, &changes)?;
        Ok(position)
    }
}

fn refused(error: EngineError) -> ServiceError {
    match &error {
        // Whether there are several writers is known where writes are resolved.
        EngineError::Invalid { reason, .. } if reason.contains("--multi-writer") => {
            ServiceError::BadRequest(error.to_string())
        }
        _ => ServiceError::Internal(format!("the API let this through: {error}")),
    }
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, Stored>,
    aliases: BTreeMap<String, String>,
    faults: BTreeMap<u64, Fault>,
    calls: u64,
    reads: Vec<ReadOptions>,
    searches: Vec<SearchRequest>,
    requests: Vec<Nonce>,
    not_ready: Option<String>,
}

pub(crate) struct Memory {
    state: Mutex<State>,
    limits: Mutex<Limits>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            limits: Mutex::new(Limits::default()),
        }
    }
}

impl Memory {
    /// The call after `skip` more calls of read, write or admin methods fails in this way.
    pub(crate) fn inject(&self, skip: u64, fault: Fault) {
        let mut state = self.state.lock();
        let at = state.calls + skip;
        state.faults.insert(at, fault);
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.lock() = limits;
    }

    pub(crate) fn set_not_ready(&self, missing: &str) {
        self.state.lock().not_ready = Some(missing.to_owned());
    }

    pub(crate) fn last_read(&self) -> ReadOptions {
        self.state.lock().reads.last().cloned().unwrap()
    }

    pub(crate) fn last_search(&self) -> SearchRequest {
        self.state.lock().searches.last().cloned().unwrap()
    }

    /// Identities of all writes that arrived.
    pub(crate) fn request_ids(&self) -> Vec<Nonce> {
        self.state.lock().requests.clone()
    }

    async fn enter(&self) -> Result<(), ServiceError> {
        let fault = {
            let mut state = self.state.lock();
            let call = state.calls;
            state.calls += 1;
            state.faults.remove(&call)
        };
        match fault {
            None => Ok(()),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Panic) => panic!("injected"),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    fn with<T>(&self, name: &str, f: impl FnOnce(&mut Stored) -> T) -> Result<T, ServiceError> {
        let mut state = self.state.lock();
        let name = state
            .aliases
            .get(name)
            .map_or(name, String::as_str)
            .to_owned();
        let stored = state.collections.get_mut(&name);
        stored.map(f).ok_or(ServiceError::NoSuchCollection(name))
    }
}

#[async_trait]
impl DataService for Memory {
    async fn create_collection(
        &self,
        name: &str,
        spec: CreateCollection,
    ) -> Result<(), ServiceError> {
        self.enter().await?;
        let mut state = self.state.lock();
        if state.collections.contains_key(name) {
            return Err(ServiceError::Conflict(format!(
                "collection `{name}` already exists"
            )));
        }
        let collection = Collection {
            uid: CollectionUid::new(format!("{name}-00000001")).unwrap(),
            created: Nonce::random(),
            spec: CollectionSpec {
                partitions: spec.partitions.unwrap_or(1),
                schema: spec.schema,
                extra: spec.settings.to_value(),
            },
            payload_indexes: BTreeMap::new(),
        };
        let stored = Stored {
            points: PartitionState::new(collection.spec.schema.clone()),
            collection,
            log: 0,
            seen: Vec::new(),
        };
        state.collections.insert(name.to_owned(), stored);
        Ok(())
    }

    async fn drop_collection(&self, name: &str) -> Result<bool, ServiceError> {
        self.enter().await?;
        let mut state = self.state.lock();
        state.aliases.retain(|_, collection| collection != name);
        Ok(state.collections.remove(name).is_some())
    }

    async fn collections(&self) -> Result<Vec<String>, ServiceError> {
        self.enter().await?;
        Ok(self.state.lock().collections.keys().cloned().collect())
    }

    async fn schema(&self, collection: &str) -> Result<Collection, ServiceError> {
        self.with(collection, |s| s.collection.clone())
    }

    async fn info(&self, collection: &str) -> Result<CollectionInfo, ServiceError> {
        self.enter().await?;
        self.with(collection, |s| CollectionInfo {
            collection: s.collection.clone(),
            points: s.points.stats().points as u64,
            indexed: 0,
            segments: 1,
            indexed_fields: s
                .collection
                .payload_indexes
                .keys()
                .map(|field| (field.clone(), s.points.stats().points as u64))
                .collect(),
            all_serving: true,
        })
    }

    async fn set_payload_index(
        &self,
        collection: &str,
        field: &str,
        schema: Option<Value>,
    ) -> Result<(), ServiceError> {
        self.enter().await?;
        self.with(collection, |s| {
            let fields = &mut s.collection.payload_indexes;
            match schema {
                Some(schema) => fields.insert(field.to_owned(), schema),
                None => fields.remove(field),
            };
            let indexed = PayloadSchema::from_manifest(fields);
            s.points.set_payload_schema(indexed);
        })
    }

    async fn resolve(&self, name: &str) -> Result<String, ServiceError> {
        let aliased = self.state.lock().aliases.get(name).cloned();
        let own = aliased.unwrap_or_else(|| name.to_owned());
        self.with(&own, |_| own.clone())
    }

    async fn aliases(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        self.enter().await?;
        Ok(self.state.lock().aliases.clone())
    }

    async fn change_aliases(&self, changes: Vec<AliasChange>) -> Result<(), ServiceError> {
        self.enter().await?;
        let mut state = self.state.lock();
        for change in changes {
            match change {
                AliasChange::Create { collection, alias } => {
                    state.aliases.insert(alias, collection);
                }
                AliasChange::Delete { alias } => {
                    state.aliases.remove(&alias);
                }
                AliasChange::Rename { from, to } => {
                    let collection = state.aliases.remove(&from);
                    let missing = || ServiceError::NotFound(format!("there is no alias '{from}'"));
                    let collection = collection.ok_or_else(missing)?;
                    state.aliases.insert(to, collection);
                }
            }
        }
        Ok(())
    }

    async fn change_collection(
        &self,
        collection: &str,
        change: CollectionChange,
    ) -> Result<(), ServiceError> {
        self.enter().await?;
        self.with(collection, |s| {
            let before = s.collection.spec.schema.clone();
            change.apply(&mut s.collection)?;
            if s.collection.spec.schema != before {
                s.collection.spec.schema.version = before.version + 1;
            }
            let adopted = s.points.adopt_schema(&s.collection.spec.schema);
            adopted.map_err(refused)
        })?
    }

    async fn cluster(&self) -> Result<ClusterState, ServiceError> {
        self.enter().await?;
        let instance = |n| InstanceId::new(format!("node-{n}")).unwrap();
        let members = (0..2).map(|n| (instance(n), format!("host-{n}:6333")));
        Ok(ClusterState {
            me: instance(0),
            members: members.collect(),
            version: 7,
            ring_epoch: 3,
            moving: 1,
        })
    }

    async fn placements(&self, collection: &str) -> Result<Placements, ServiceError> {
        self.enter().await?;
        let instance = |n| InstanceId::new(format!("node-{n}")).unwrap();
        self.with(collection, |s| Placements {
            me: instance(0),
            partitions: s.collection.spec.partitions,
            placements: vec![
                Placement {
                    partition: 0,
                    member: instance(0),
                    serving: true,
                    points: Some(s.points.stats().points as u64),
                },
                Placement {
                    partition: 0,
                    member: instance(1),
                    serving: false,
                    points: None,
                },
            ],
            moves: vec![(0, Some(instance(0)), instance(1))],
        })
    }

    async fn write(
        &self,
        collection: &str,
        op: WriteOp,
        options: WriteOptions,
    ) -> Result<WriteReceipt, ServiceError> {
        self.enter().await?;
        self.state.lock().requests.push(options.request_id);
        self.with(collection, |s| {
            let position = match s.seen.iter().position(|n| *n == options.request_id) {
                Some(earlier) => LogPosition::new(1, earlier as u64 + 1),
                None => {
                    s.seen.push(options.request_id);
                    s.apply(&op).map_err(refused)?
                }
            };
            let partition = PartitionId::new(s.collection.uid.clone(), 0);
            Ok(WriteReceipt {
                token: Token([(partition, position)].into()),
            })
        })?
    }

    async fn search(
        &self,
        collection: &str,
        requests: Vec<SearchRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
        self.enter().await?;
        {
            let mut state = self.state.lock();
            state.reads.push(options);
            state.searches.extend(requests.iter().cloned());
        }
        self.with(collection, |s| {
            let searches = requests.iter().map(|request| {
                s.points.search(request).map_err(|e| match &request.query {
                    // Only points tell whether a formula has a value.
                    SearchQuery::Formula(_) => ServiceError::BadRequest(e.to_string()),
                    _ => refused(e),
                })
            });
            searches.collect::<Result<_, _>>()
        })?
    }

    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| s.points.retrieve(&request).map_err(refused))?
    }

    async fn versions(
        &self,
        collection: &str,
        ids: Vec<PointId>,
        options: ReadOptions,
    ) -> Result<Vec<PointVersions>, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| s.points.versions(&ids).map_err(refused))?
    }

    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| s.points.scroll(&request).map_err(refused))?
    }

    async fn list(
        &self,
        collection: &str,
        requests: Vec<ListRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| {
            let lists = requests.iter().map(|request| s.points.list(request));
            lists.collect::<Result<_, _>>().map_err(refused)
        })?
    }

    async fn facet(
        &self,
        collection: &str,
        request: FacetRequest,
        options: ReadOptions,
    ) -> Result<Vec<FacetCount>, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| s.points.facet(&request).map_err(refused))?
    }

    async fn count(
        &self,
        collection: &str,
        request: CountRequest,
        options: ReadOptions,
    ) -> Result<u64, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| {
            let count = s.points.count(&request).map_err(refused)?;
            Ok(count as u64)
        })?
    }

    fn health(&self) -> Value {
        json!({"role": "standalone"})
    }

    fn ready(&self) -> Result<(), String> {
        self.state.lock().not_ready.clone().map_or(Ok(()), Err)
    }

    async fn assignments(&self) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"epoch": 1}))
    }

    fn exchange(&self) -> Value {
        json!({"peers": []})
    }

    async fn events(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, ServiceError> {
        self.enter().await?;
        let all = [
            Event::MemberJoined {
                member: InstanceId::new("writer-0").unwrap(),
            },
            Event::AssignmentChanged { epoch: 2 },
            Event::Unknown,
        ];
        let recorded = all.into_iter().zip(1..).map(|(event, sequence)| Recorded {
            sequence,
            instance: InstanceId::new("writer-0").unwrap(),
            unix_ms: 1_700_000_000_000,
            event,
        });
        let wanted: Vec<Recorded> = match after {
            Some(after) => recorded
                .filter(|e| e.sequence > after)
                .take(limit)
                .collect(),
            None => recorded.skip(3_usize.saturating_sub(limit)).collect(),
        };
        Ok(wanted)
    }

    async fn rebalance(&self) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"moved": 0}))
    }

    async fn sync_config(&self, body: Option<Value>) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"published": body}))
    }

    async fn configuration(&self) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"inForce": 0}))
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn limits(&self) -> Limits {
        *self.limits.lock()
    }
}
