//! What the HTTP API asks of a node.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use brainy_coordination::assignment::MemberState;
use brainy_coordination::document::DocumentError;
use brainy_coordination::events::{Event, Recorded};
use brainy_coordination::handoff::Local;
use brainy_coordination::manifest::{
    self, AliasChange, Collection, CollectionSpec, ManifestError, VectorSchema,
};
use brainy_coordination::rebalance;
use brainy_coordination::types::{LogPosition, Nonce, PartitionId};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Node;
use super::metrics::exposition;
use super::read::merge;
use super::rpc::{PartitionFigures, ReadAnswer, ReadQuery};
use crate::admission::BODY_COPIES;
use crate::error::ServiceError;
use crate::model::{
    CollectionChange, CountRequest, FacetCount, FacetRequest, ListRequest, PointId, PointVersions,
    ReadOptions, Record, RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest, SearchRequest,
    WriteOp, WriteOptions, WriteReceipt,
};
use crate::service::{
    ClusterState, CollectionInfo, CreateCollection, DataService, Limits, Placements,
};
use crate::snapshots::SnapshotService;

/// How long creating a collection waits for its partitions to be served.
const SERVING_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn from_document(error: DocumentError) -> ServiceError {
    ServiceError::Unavailable(error.to_string())
}

pub(super) fn from_manifest(error: ManifestError) -> ServiceError {
    match error {
        ManifestError::Document(e) => from_document(e),
        ManifestError::NotFound { name } => ServiceError::NoSuchCollection(name),
        ManifestError::NoSuchAlias { .. } => ServiceError::NotFound(error.to_string()),
        ManifestError::AlreadyExists { .. } => ServiceError::Conflict(error.to_string()),
        other => ServiceError::BadRequest(other.to_string()),
    }
}

#[async_trait]
impl DataService for Node {
    async fn create_collection(
        &self,
        name: &str,
        spec: CreateCollection,
    ) -> Result<(), ServiceError> {
        let spec = CollectionSpec {
            partitions: spec.partitions.unwrap_or(self.config().partitions),
            schema: spec.schema,
            extra: spec.settings.to_value(),
        };
        let created = Nonce::random();
        let collection = manifest::create_collection(self.store(), name, &spec, created)
            .await
            .map_err(from_manifest)?;
        rebalance::step(self.store(), |_| {})
            .await
            .map_err(from_document)?;
        self.view().refresh().await.map_err(from_document)?;
        self.context().events.publish(Event::CollectionCreated {
            collection: collection.uid.clone(),
        });
        self.context().sync_members().await;
        self.wait_until_serving(&collection).await;
        Ok(())
    }

    async fn drop_collection(&self, name: &str) -> Result<bool, ServiceError> {
        let dropped = manifest::drop_collection(self.store(), name)
            .await
            .map_err(from_manifest)?;
        rebalance::step(self.store(), |_| {})
            .await
            .map_err(from_document)?;
        self.view().refresh().await.map_err(from_document)?;
        if let Some(collection) = &dropped {
            self.context().events.publish(Event::CollectionDropped {
                collection: collection.clone(),
            });
        }
        self.context().sync_members().await;
        Ok(dropped.is_some())
    }

    async fn collections(&self) -> Result<Vec<String>, ServiceError> {
        let view = self.view().refresh().await.map_err(from_document)?;
        Ok(view
            .manifest
            .as_ref()
            .map(|m| m.collections.keys().cloned().collect())
            .unwrap_or_default())
    }

    async fn schema(&self, collection: &str) -> Result<Collection, ServiceError> {
        self.view().collection(collection).await
    }

    async fn info(&self, name: &str) -> Result<CollectionInfo, ServiceError> {
        let collection = self.view().collection(name).await?;
        let answers = self
            .route_read(
                collection.partitions().collect(),
                ReadOptions::default(),
                ReadQuery::Stats,
            )
            .await?;
        let merged = merge(&ReadQuery::Stats, &VectorSchema::default(), answers);
        let figures = match merged {
            ReadAnswer::Stats(figures) => figures,
            _ => PartitionFigures::default(),
        };
        Ok(CollectionInfo {
            all_serving: self.all_serving(&collection),
            collection,
            points: figures.points,
            indexed: figures.indexed,
            segments: figures.segments,
            indexed_fields: figures.indexed_fields,
        })
    }

    async fn set_payload_index(
        &self,
        collection: &str,
        field: &str,
        schema: Option<Value>,
    ) -> Result<(), ServiceError> {
        let name = self.resolve(collection).await?;
        manifest::set_payload_index(self.store(), &name, field, schema.as_ref())
            .await
            .map_err(from_manifest)?;
        self.view().refresh().await.map_err(from_document)?;
        self.context().sync_members().await;
        Ok(())
    }

    async fn resolve(&self, name: &str) -> Result<String, ServiceError> {
        self.view().resolve(name).await.map(|(name, _)| name)
    }

    async fn aliases(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        self.list_aliases().await
    }

    async fn change_aliases(&self, changes: Vec<AliasChange>) -> Result<(), ServiceError> {
        self.set_aliases(&changes).await
    }

    async fn change_collection(
        &self,
        collection: &str,
        change: CollectionChange,
    ) -> Result<(), ServiceError> {
        self.change(collection, &change).await
    }

    async fn cluster(&self) -> Result<ClusterState, ServiceError> {
        self.cluster_state().await
    }

    async fn placements(&self, collection: &str) -> Result<Placements, ServiceError> {
        self.places(collection).await
    }

    async fn write(
        &self,
        collection: &str,
        op: WriteOp,
        options: WriteOptions,
    ) -> Result<WriteReceipt, ServiceError> {
        let collection = self.view().collection(collection).await?;
        self.route_write(&collection, op, options.request_id).await
    }

    async fn search(
        &self,
        collection: &str,
        requests: Vec<SearchRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let query = ReadQuery::Search(requests);
        match self.read_all(&collection, options, query).await? {
            ReadAnswer::Search(hits) => Ok(hits),
            _ => Err(mismatch()),
        }
    }

    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let mut partitions: Vec<PartitionId> = request
            .ids
            .iter()
            .map(|id| collection.partition_of(&id.canonical_bytes()))
            .collect();
        partitions.sort();
        partitions.dedup();
        let query = ReadQuery::Retrieve(request);
        let answers = self.route_read(partitions, options, query.clone()).await?;
        match merge(&query, &collection.spec.schema, answers) {
            ReadAnswer::Retrieve(records) => Ok(records),
            _ => Err(mismatch()),
        }
    }

    async fn versions(
        &self,
        collection: &str,
        ids: Vec<PointId>,
        options: ReadOptions,
    ) -> Result<Vec<PointVersions>, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let partitions = ids.iter();
        let mut partitions: Vec<PartitionId> = partitions
            .map(|id| collection.partition_of(&id.canonical_bytes()))
            .collect();
        partitions.sort();
        partitions.dedup();
        let query = ReadQuery::Versions(ids);
        let answers = self.route_read(partitions, options, query.clone()).await?;
        match merge(&query, &collection.spec.schema, answers) {
            ReadAnswer::Versions(found) => Ok(found),
            _ => Err(mismatch()),
        }
    }

    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let query = ReadQuery::Scroll(request);
        match self.read_all(&collection, options, query).await? {
            ReadAnswer::Scroll(page) => Ok(page),
            _ => Err(mismatch()),
        }
    }

    async fn list(
        &self,
        collection: &str,
        requests: Vec<ListRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let query = ReadQuery::List(requests);
        match self.read_all(&collection, options, query).await? {
            ReadAnswer::List(lists) => Ok(lists),
            _ => Err(mismatch()),
        }
    }

    async fn facet(
        &self,
        collection: &str,
        request: FacetRequest,
        options: ReadOptions,
    ) -> Result<Vec<FacetCount>, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let query = ReadQuery::Facet(request);
        match self.read_all(&collection, options, query).await? {
            ReadAnswer::Facet(counts) => Ok(counts),
            _ => Err(mismatch()),
        }
    }

    async fn count(
        &self,
        collection: &str,
        request: CountRequest,
        options: ReadOptions,
    ) -> Result<u64, ServiceError> {
        let collection = self.view().collection(collection).await?;
        let query = ReadQuery::Count(request);
        match self.read_all(&collection, options, query).await? {
            ReadAnswer::Count(n) => Ok(n),
            _ => Err(mismatch()),
        }
    }

    fn snapshots(&self) -> Option<&dyn SnapshotService> {
        Some(self)
    }

    fn health(&self) -> Value {
        let role = self
            .config()
            .role
            .map_or_else(|| json!("standalone"), |r| json!(r));
        let mut partitions = serde_json::Map::new();
        let (mut owned, mut reading, mut troubled) = (0, 0, 0);
        for (partition, host) in self.hosts() {
            let status = host.status();
            let stats = host.machine().state().stats();
            owned += usize::from(status.epoch.is_some());
            reading += usize::from(matches!(status.local, Local::Warm | Local::Owning));
            troubled += usize::from(status.trouble.is_some());
            partitions.insert(
                partition.to_string(),
                json!({
                    "state": format!("{:?}", status.local).to_lowercase(),
                    "epoch": status.epoch,
                    "position": host.machine().state().position().to_string(),
                    "points": stats.points,
                    "segments": stats.segments,
                    "unflushedBytes": stats.unflushed_bytes,
                    "trouble": status.trouble,
                }),
            );
        }
        let table = self.view().get().table.clone();
        let member = table.as_ref().and_then(|table| self.membership(table));
        let draining = member.is_some_and(|m| m.state == MemberState::Draining);
        json!({
            "status": if troubled > 0 { "degraded" } else { "ok" },
            "instance": self.me().instance,
            "incarnation": self.me().incarnation,
            "role": role,
            "ready": self.ready().is_ok(),
            "waitingFor": self.serves_all().err(),
            "draining": draining,
            "member": member,
            "assignmentsVersion": table.as_ref().map(|t| t.version),
            "ringEpoch": table.as_ref().map(|t| t.epoch),
            "planner": self.planner(),
            "configuration": self.configuration().health(),
            "owned": owned,
            "loaded": reading,
            "partitions": partitions,
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.is_ready()
    }

    async fn assignments(&self) -> Result<Value, ServiceError> {
        let view = self.view().refresh().await.map_err(from_document)?;
        let Some(table) = &view.table else {
            return Err(ServiceError::Unavailable(
                "nobody has written an assignment table yet".to_owned(),
            ));
        };
        let me = &self.me().instance;
        let mine: Vec<String> = table.owned_by(me).map(ToString::to_string).collect();
        let read: Vec<String> = table.read_by(me).map(|(p, _)| p.to_string()).collect();
        Ok(json!({
            "version": table.version,
            "instance": me,
            "planner": self.planner(),
            "owned": mine,
            "read": read,
            "table": table.body,
            "status": describe(&rebalance::status(table)),
        }))
    }

    async fn events(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Recorded>, ServiceError> {
        self.list_events(after, limit).await
    }

    fn exchange(&self) -> Value {
        self.context().exchange.describe()
    }

    async fn rebalance(&self) -> Result<Value, ServiceError> {
        self.plan_now().await
    }

    async fn sync_config(&self, body: Option<Value>) -> Result<Value, ServiceError> {
        self.publish_config(body).await
    }

    async fn configuration(&self) -> Result<Value, ServiceError> {
        self.describe_config().await
    }

    fn metrics(&self) -> String {
        self.configuration().observe();
        self.context().exchange.observe();
        let figures = self.metrics();
        let (mut owned, mut reading, mut troubled) = (0, 0, 0);
        let (mut points, mut unflushed, mut memory) = (0, 0, 0);
        for (_, host) in self.hosts() {
            let status = host.status();
            let stats = host.machine().state().stats();
            owned += i64::from(status.epoch.is_some());
            reading += i64::from(matches!(status.local, Local::Warm | Local::Owning));
            troubled += i64::from(status.trouble.is_some());
            points += stats.points as i64;
            unflushed += stats.unflushed_bytes as i64;
            memory += stats.memory_bytes as i64;
        }
        figures.owned.set(owned);
        figures.reading.set(reading);
        figures.troubled.set(troubled);
        figures.points.set(points);
        figures.unflushed_bytes.set(unflushed);
        figures.partition_memory_bytes.set(memory);
        let context = self.context();
        context.admission.set(
            context.gate.running(),
            context.gate.waiting(),
            context.requests.used(),
            context.budget.queued.used(),
        );
        let counts = self.store().counts();
        figures
            .store_gets
            .set(counts.gets.load(Ordering::Relaxed) as i64);
        figures
            .store_puts
            .set(counts.puts.load(Ordering::Relaxed) as i64);
        figures
            .store_lists
            .set(counts.lists.load(Ordering::Relaxed) as i64);
        figures
            .store_retries
            .set(counts.retries.load(Ordering::Relaxed) as i64);
        exposition(&self.0.registry.lock())
    }

    fn limits(&self) -> Limits {
        let settings = self.settings();
        // A body that never fits into the memory for requests is too large, not early.
        let fits = self.context().requests.limit() / BODY_COPIES;
        Limits {
            max_request_bytes: settings.max_request_bytes.min(fits) as usize,
            timeout: Duration::from_millis(settings.request_timeout_ms),
            max_batch_points: settings.max_batch_points as usize,
            max_search_limit: settings.max_search_limit as usize,
            max_dimension: settings.max_dimension as usize,
        }
    }
}

pub(super) fn describe(status: &rebalance::RebalanceStatus) -> Value {
    json!({
        "partitions": status.partitions,
        "moving": status.moving,
        "waiting": status.waiting,
        "unassigned": status.unassigned,
        "warming": status.warming,
        "maxOverMean": status.max_over_mean,
        "settled": status.is_settled(),
    })
}

fn mismatch() -> ServiceError {
    ServiceError::Internal("an answer of another kind than the question".to_owned())
}

impl Node {
    async fn read_all(
        &self,
        collection: &Collection,
        options: ReadOptions,
        query: ReadQuery,
    ) -> Result<ReadAnswer, ServiceError> {
        let partitions = collection.partitions().collect();
        let answers = self.route_read(partitions, options, query.clone()).await?;
        Ok(merge(&query, &collection.spec.schema, answers))
    }

    /// Accepts the loss of a damaged or missing log slot, so that the partition goes on after it.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn accept_loss(
        &self,
        partition: &PartitionId,
        position: LogPosition,
    ) -> Result<(), ServiceError> {
        let view = self.view().refresh().await.map_err(from_document)?;
        if view.assignment(partition).is_none() {
            return Err(ServiceError::NotFound(format!(
                "there is no partition {partition}"
            )));
        }
        // Only what is damaged now: a mark set in advance would one day skip a slot that nobody looked at.
        let store = self.store();
        if !brainy_coordination::wal::is_damaged(store, partition, position)
            .await
            .map_err(|e| ServiceError::Unavailable(e.to_string()))?
        {
            return Err(ServiceError::Conflict(format!(
                "log slot {position} of {partition} is not damaged: take the position from the error of the partition"
            )));
        }
        let by = format!("accepted through {}", self.me().instance);
        brainy_coordination::wal::accept_loss(self.store(), partition, position, &by)
            .await
            .map_err(|e| ServiceError::Unavailable(e.to_string()))?;
        tracing::error!(%partition, %position, "the loss of a log slot was accepted by an administrator");
        self.context().hint_members();
        if let Some(host) = self.host(partition) {
            host.nudge();
        }
        Ok(())
    }

    fn all_serving(&self, collection: &Collection) -> bool {
        let view = self.view().get();
        collection.partitions().all(|p| {
            view.assignment(&p).is_some_and(|a| {
                // Where no member reads, the owner does.
                let read = a.readers.is_empty() || a.readers.iter().any(|slot| slot.state.serves());
                a.owner.is_some() && read
            })
        })
    }

    /// Waits, within reason, until a new collection answers: a program creates it and writes at once. Requests that come
    /// earlier wait by themselves.
    pub(super) async fn wait_until_serving(&self, collection: &Collection) {
        let until = Instant::now() + SERVING_WITHIN;
        let mut views = self.view().subscribe();
        while !self.all_serving(collection) && Instant::now() < until {
            let look = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return },
                () = look => self.view().hint(),
            }
        }
    }
}
