//! A small service for tests of the HTTP layer: really stores points, in memory, in one partition per
//! collection. Filters and payload paths are the engine's.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use async_trait::async_trait;
use brainy_coordination::manifest::{Collection, CollectionSpec, HnswParams};
use brainy_coordination::types::{CollectionUid, LogPosition, Nonce, PartitionId};
use brainy_dataplane::engine::filter::CompiledFilter;
use brainy_dataplane::engine::path::{self, Path};
use brainy_dataplane::engine::payload::Selection;
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::*;
use brainy_dataplane::service::{CollectionInfo, CreateCollection, DataService, Limits};
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
    points: BTreeMap<PointId, (Point, LogPosition)>,
    log: u64,
    seen: Vec<Nonce>,
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, Stored>,
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
        let stored = state.collections.get_mut(name);
        stored
            .map(f)
            .ok_or_else(|| ServiceError::NoSuchCollection(name.to_owned()))
    }
}

fn matches(filter: &Filter, point: &Point) -> bool {
    let filter = CompiledFilter::new(filter).unwrap();
    filter.matches(point.id, &point.payload)
}

fn record(point: &Point, payload: &PayloadSelector, vector: bool) -> Record {
    Record {
        id: point.id,
        payload: Selection::new(payload)
            .unwrap()
            .apply(point.payload.clone()),
        vector: vector.then(|| point.vector.clone()),
    }
}

fn score(distance: Distance, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    match distance {
        Distance::Cosine | Distance::Dot => pairs.map(|(x, y)| x * y).sum(),
        Distance::Euclid => pairs.map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt(),
        Distance::Manhattan => pairs.map(|(x, y)| (x - y).abs()).sum(),
    }
}

impl Stored {
    fn selected(&self, selector: &Selector) -> Vec<PointId> {
        let chosen = |p: &Point| match selector {
            Selector::Ids(ids) => ids.contains(&p.id),
            Selector::Filter(filter) => matches(filter, p),
        };
        self.points
            .values()
            .filter(|(p, _)| chosen(p))
            .map(|(p, _)| p.id)
            .collect()
    }

    fn each(&mut self, selector: &Selector, change: impl Fn(&mut Point)) {
        for id in self.selected(selector) {
            change(&mut self.points.get_mut(&id).unwrap().0);
        }
    }

    fn apply(&mut self, op: WriteOp) -> LogPosition {
        self.log += 1;
        let position = LogPosition::new(1, self.log);
        match op {
            WriteOp::Upsert(points) => {
                self.points
                    .extend(points.into_iter().map(|p| (p.id, (p, position))));
            }
            WriteOp::Delete(selector) => {
                for id in self.selected(&selector) {
                    self.points.remove(&id);
                }
            }
            WriteOp::SetPayload {
                selector,
                payload,
                key,
            } => self.each(&selector, |p| match &key {
                None => path::merge(&mut p.payload, &payload),
                Some(key) => Path::parse(key).unwrap().merge(&mut p.payload, &payload),
            }),
            WriteOp::OverwritePayload { selector, payload } => {
                self.each(&selector, |p| p.payload = payload.clone());
            }
            WriteOp::DeletePayload { selector, keys } => self.each(&selector, |p| {
                for key in &keys {
                    Path::parse(key).unwrap().remove(&mut p.payload);
                }
            }),
            WriteOp::ClearPayload(selector) => self.each(&selector, |p| p.payload.clear()),
            WriteOp::UpdateVectors(updates) => {
                for update in updates {
                    if let Some((point, at)) = self.points.get_mut(&update.id) {
                        point.vector = update.vector;
                        *at = position;
                    }
                }
            }
        }
        position
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
        let hnsw = HnswParams::default();
        let collection = Collection {
            uid: CollectionUid::new(format!("{name}-00000001")).unwrap(),
            created: Nonce::random(),
            spec: CollectionSpec {
                partitions: spec.partitions.unwrap_or(1),
                vector: spec.vector,
                hnsw: HnswParams {
                    m: spec.hnsw.0.unwrap_or(hnsw.m),
                    ef_construct: spec.hnsw.1.unwrap_or(hnsw.ef_construct),
                },
                extra: Value::Null,
            },
        };
        let stored = Stored {
            collection,
            points: BTreeMap::new(),
            log: 0,
            seen: Vec::new(),
        };
        state.collections.insert(name.to_owned(), stored);
        Ok(())
    }

    async fn drop_collection(&self, name: &str) -> Result<bool, ServiceError> {
        self.enter().await?;
        Ok(self.state.lock().collections.remove(name).is_some())
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
            points: s.points.len() as u64,
            indexed: 0,
            segments: 1,
            all_serving: true,
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
                    s.apply(op)
                }
            };
            let partition = PartitionId {
                collection: s.collection.uid.clone(),
                index: 0,
            };
            WriteReceipt {
                token: Token([(partition, position)].into()),
            }
        })
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
            let distance = s.collection.spec.vector.distance;
            let similarity = matches!(distance, Distance::Cosine | Distance::Dot);
            let search = |request: SearchRequest| {
                let mut hits: Vec<_> = s
                    .points
                    .values()
                    .filter(|(p, _)| request.filter.as_ref().is_none_or(|f| matches(f, p)))
                    .map(|(p, version)| ScoredPoint {
                        record: record(p, &request.with_payload, request.with_vector),
                        score: score(distance, &request.vector, &p.vector),
                        version: *version,
                    })
                    .filter(|hit| {
                        request.score_threshold.is_none_or(|t| {
                            if similarity {
                                hit.score >= t
                            } else {
                                hit.score <= t
                            }
                        })
                    })
                    .collect();
                hits.sort_by(|a, b| {
                    let order = a.score.partial_cmp(&b.score).unwrap_or(Ordering::Equal);
                    if similarity { order.reverse() } else { order }
                });
                hits.truncate(request.limit);
                hits
            };
            requests.into_iter().map(search).collect()
        })
    }

    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| {
            let found = request.ids.iter().filter_map(|id| s.points.get(id));
            found
                .map(|(p, _)| record(p, &request.with_payload, request.with_vector))
                .collect()
        })
    }

    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, ServiceError> {
        self.enter().await?;
        self.state.lock().reads.push(options);
        self.with(collection, |s| {
            let mut records: Vec<_> = s
                .points
                .values()
                .filter(|(p, _)| request.offset.is_none_or(|from| p.id >= from))
                .filter(|(p, _)| request.filter.as_ref().is_none_or(|f| matches(f, p)))
                .map(|(p, _)| record(p, &request.with_payload, request.with_vector))
                .take(request.limit + 1)
                .collect();
            let next = records.get(request.limit).map(|r| r.id);
            records.truncate(request.limit);
            ScrollPage { records, next }
        })
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
            let counted = |p: &Point| request.filter.as_ref().is_none_or(|f| matches(f, p));
            s.points.values().filter(|(p, _)| counted(p)).count() as u64
        })
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

    async fn rebalance(&self) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"moved": 0}))
    }

    async fn sync_config(&self, body: Option<Value>) -> Result<Value, ServiceError> {
        self.enter().await?;
        Ok(json!({"published": body}))
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn limits(&self) -> Limits {
        *self.limits.lock()
    }
}
