//! What the HTTP API needs from a node. The API parses, authenticates and validates; the service routes, reads and writes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use brainy_coordination::events::Recorded;
use brainy_coordination::manifest::{AliasChange, Collection, VectorSchema};
use brainy_coordination::types::InstanceId;

use crate::error::ServiceError;
use crate::model::{
    CollectionChange, CollectionSettings, CountRequest, FacetCount, FacetRequest, ListRequest,
    PointId, PointVersions, ReadOptions, Record, RetrieveRequest, ScoredPoint, ScrollPage,
    ScrollRequest, SearchRequest, WriteOp, WriteOptions, WriteReceipt,
};
use crate::snapshots::SnapshotService;

/// What a user chooses when creating a collection.
#[derive(Clone, Debug)]
pub struct CreateCollection {
    /// Its vectors.
    pub schema: VectorSchema,
    /// Partitions; the cluster's default when absent.
    pub partitions: Option<u32>,
    /// Settings; the schema has their effect already.
    pub settings: CollectionSettings,
}

/// The nodes of a cluster, as one of them knows them.
#[derive(Clone, Debug)]
pub struct ClusterState {
    /// The node that answers.
    pub me: InstanceId,
    /// Where each member listens, `host:port`; empty for a node that is by itself.
    pub members: BTreeMap<InstanceId, String>,
    /// Version of the assignment table.
    pub version: u64,
    /// Counts the changes of the ring.
    pub ring_epoch: u64,
    /// Partitions that are on their way to another owner, or will be.
    pub moving: usize,
}

/// One partition of a collection on one member.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Number of the partition.
    pub partition: u32,
    /// The member.
    pub member: InstanceId,
    /// Whether it answers requests; otherwise it is loading.
    pub serving: bool,
    /// Live points, where the member is the node that answers.
    pub points: Option<u64>,
}

/// Where the partitions of a collection are.
#[derive(Clone, Debug)]
pub struct Placements {
    /// The node that answers.
    pub me: InstanceId,
    /// Partitions of the collection.
    pub partitions: u32,
    /// Partition by partition, its owner before its readers.
    pub placements: Vec<Placement>,
    /// Moves under way: partition, from whom if anybody had it, to whom.
    pub moves: Vec<(u32, Option<InstanceId>, InstanceId)>,
}

/// A collection and what is known of its contents.
#[derive(Clone, Debug)]
pub struct CollectionInfo {
    /// Schema and partitions.
    pub collection: Collection,
    /// Live points, from the readers.
    pub points: u64,
    /// Points in segments with a graph.
    pub indexed: u64,
    /// Segments.
    pub segments: u64,
    /// For each indexed payload field, points in segments that have a value in its index; those that newer versions hide count
    /// until a merge.
    pub indexed_fields: BTreeMap<String, u64>,
    /// Whether every partition has an owner and a serving reader.
    pub all_serving: bool,
}

/// One cluster seen from any of its nodes.
#[async_trait]
pub trait DataService: Send + Sync + 'static {
    /// Creates a collection; `Conflict` when one of that name exists.
    async fn create_collection(
        &self,
        name: &str,
        spec: CreateCollection,
    ) -> Result<(), ServiceError>;
    /// Drops a collection; `false` when there was none.
    async fn drop_collection(&self, name: &str) -> Result<bool, ServiceError>;
    /// Names of all collections, ascending.
    async fn collections(&self) -> Result<Vec<String>, ServiceError>;
    /// Schema only; cheap (from the cached manifest, refreshed when the name is unknown).
    async fn schema(&self, collection: &str) -> Result<Collection, ServiceError>;
    /// Schema and contents.
    async fn info(&self, collection: &str) -> Result<CollectionInfo, ServiceError>;
    /// Says how a payload field is indexed (the API checked it), or that it no longer is. Returns when that is decided; nodes build
    /// the index after that. Answers are the same with and without.
    async fn set_payload_index(
        &self,
        collection: &str,
        field: &str,
        schema: Option<serde_json::Value>,
    ) -> Result<(), ServiceError>;
    /// The own name of the collection that `name` is the name or an alias of. Where other methods take a collection's name they
    /// take aliases too, except to create, change or drop one.
    async fn resolve(&self, name: &str) -> Result<String, ServiceError>;
    /// The collection's name by alias.
    async fn aliases(&self) -> Result<BTreeMap<String, String>, ServiceError>;
    /// Makes all of the changes or none, at once for all readers.
    async fn change_aliases(&self, changes: Vec<AliasChange>) -> Result<(), ServiceError>;
    /// Changes a collection, for what is written and built from now on.
    async fn change_collection(
        &self,
        collection: &str,
        change: CollectionChange,
    ) -> Result<(), ServiceError>;
    /// The nodes.
    async fn cluster(&self) -> Result<ClusterState, ServiceError>;
    /// Where a collection's partitions are.
    async fn placements(&self, collection: &str) -> Result<Placements, ServiceError>;
    /// Applies a write; returns when it is durable in every partition it touches.
    async fn write(
        &self,
        collection: &str,
        op: WriteOp,
        options: WriteOptions,
    ) -> Result<WriteReceipt, ServiceError>;
    /// Nearest neighbours for each request, best first.
    async fn search(
        &self,
        collection: &str,
        requests: Vec<SearchRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError>;
    /// Points by id, in the order asked; unknown ids are left out.
    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>, ServiceError>;
    /// Versions of points by id, where several instances write; unknown ids are left out.
    async fn versions(
        &self,
        _collection: &str,
        _ids: Vec<PointId>,
        _options: ReadOptions,
    ) -> Result<Vec<PointVersions>, ServiceError> {
        Err(ServiceError::Unsupported(
            "versions of points without --multi-writer".to_owned(),
        ))
    }
    /// One page in id order.
    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, ServiceError>;
    /// For each request the first points of its order.
    async fn list(
        &self,
        collection: &str,
        requests: Vec<ListRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, ServiceError>;
    /// In how many points each value of a field occurs, in no particular order.
    async fn facet(
        &self,
        collection: &str,
        request: FacetRequest,
        options: ReadOptions,
    ) -> Result<Vec<FacetCount>, ServiceError>;
    /// Exact count.
    async fn count(
        &self,
        collection: &str,
        request: CountRequest,
        options: ReadOptions,
    ) -> Result<u64, ServiceError>;

    /// Snapshots; `None` where nothing lasts that they could be made of.
    fn snapshots(&self) -> Option<&dyn SnapshotService> {
        None
    }

    /// `GET /health`: role, instance, partitions, figures.
    fn health(&self) -> serde_json::Value;
    /// Whether this node is to get requests: it has served all that was assigned to it at its start, and is not stopping. The
    /// text says what is missing. Partitions that come and go later do not change it: any node answers any request.
    fn ready(&self) -> Result<(), String>;
    /// `GET /coordinate/assignments`: the table as this node knows it, read afresh.
    async fn assignments(&self) -> Result<serde_json::Value, ServiceError>;
    /// `GET /coordinate/events`: at most `limit` events with a number above `after`, in order; without it the newest.
    async fn events(&self, after: Option<u64>, limit: usize)
    -> Result<Vec<Recorded>, ServiceError>;
    /// `GET /coordinate/exchange`: how the partitions that this node owns follow other clusters.
    fn exchange(&self) -> serde_json::Value;
    /// `POST /coordinate/rebalance`: plan now; reports what changed.
    async fn rebalance(&self) -> Result<serde_json::Value, ServiceError>;
    /// `POST /sync/config`: publishes a new shared configuration by compare-and-swap, or re-reads it when `body` is empty.
    async fn sync_config(
        &self,
        body: Option<serde_json::Value>,
    ) -> Result<serde_json::Value, ServiceError>;
    /// `GET /sync/config`: settings in force, where they are from, what is stored, and the versions before.
    async fn configuration(&self) -> Result<serde_json::Value, ServiceError>;
    /// Prometheus text exposition.
    fn metrics(&self) -> String;
    /// Limits in force; the API checks requests against them.
    fn limits(&self) -> Limits;
}

/// Request limits; hot-reloadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes.
    pub max_request_bytes: usize,
    /// Most points, ids or queries in one request.
    pub max_batch_points: usize,
    /// Largest `limit` (plus offset) of a search or scroll.
    pub max_search_limit: usize,
    /// Largest vector size of a collection.
    pub max_dimension: usize,
    /// A request is answered within this time.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 32 << 20,
            max_batch_points: 10_000,
            max_search_limit: 10_000,
            max_dimension: 65_536,
            timeout: Duration::from_secs(60),
        }
    }
}
