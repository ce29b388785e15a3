//! Requests and answers of the data path, already validated and free of HTTP.

use brainy_conflict::VectorClock;
use brainy_coordination::types::{LogPosition, Nonce};
use serde::{Deserialize, Serialize};

use super::{
    Filter, OrderValue, Payload, Point, PointId, SearchQuery, Seen, Token, Vector, Vectors,
};

/// Which points an operation concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Selector {
    /// These ids.
    Ids(Vec<PointId>),
    /// All that match.
    Filter(Filter),
}

/// Which points an upsert writes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    /// All.
    #[default]
    Upsert,
    /// Those that do not exist.
    InsertOnly,
    /// Those that do.
    UpdateOnly,
}

/// A write as the user asked for it. Vectors are already checked and, in cosine collections, normalised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Insert or replace whole points.
    Upsert(Vec<Point>),
    /// Insert points, or replace those that match, one after the other; which is decided where the write is put in order
    /// with others.
    UpsertIf {
        /// The points.
        points: Vec<Point>,
        /// Which are written.
        mode: UpdateMode,
        /// Which of those that exist are replaced; all when absent.
        filter: Option<Filter>,
    },
    /// Remove points.
    Delete(Selector),
    /// Merge `payload` into the points' payloads, at `key` (dotted path) if given.
    SetPayload {
        /// Which points.
        selector: Selector,
        /// What to merge.
        payload: Payload,
        /// Where; the whole payload when absent.
        key: Option<String>,
    },
    /// Replace the points' payloads.
    OverwritePayload {
        /// Which points.
        selector: Selector,
        /// The new payload.
        payload: Payload,
    },
    /// Remove these keys (dotted paths).
    DeletePayload {
        /// Which points.
        selector: Selector,
        /// Keys to remove.
        keys: Vec<String>,
    },
    /// Empty the points' payloads.
    ClearPayload(Selector),
    /// Add or replace vectors of existing points by name; unknown ids are ignored.
    UpdateVectors(Vec<VectorUpdate>),
    /// The same of points that match.
    UpdateVectorsIf {
        /// The vectors.
        updates: Vec<VectorUpdate>,
        /// Which points are changed.
        filter: Filter,
    },
    /// Remove vectors by name; the points stay.
    DeleteVectors {
        /// Which points.
        selector: Selector,
        /// Names of vectors.
        names: Vec<String>,
    },
    /// Change counters and sets in payloads; where several instances write, with fields that merge.
    Adjust {
        /// Which points.
        selector: Selector,
        /// What to change, one after the other.
        ops: Vec<FieldChange>,
    },
    /// A write of one point by a client that says which versions of it it has seen; where several instances write and concurrent versions
    /// are kept.
    Seeing {
        /// What it has seen.
        context: VectorClock,
        /// The write.
        op: Box<WriteOp>,
    },
}

/// A change of a field that loses nothing to concurrent ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FieldChange {
    /// Add to a number.
    Increment {
        /// Dotted path.
        path: String,
        /// How much; below 0 to take away.
        by: i64,
    },
    /// Add elements to a list that is a set.
    Add {
        /// Dotted path.
        path: String,
        /// Texts, whole numbers, booleans.
        elements: Vec<serde_json::Value>,
    },
    /// Take elements out of a list that is a set.
    Remove {
        /// Dotted path.
        path: String,
        /// As they were added.
        elements: Vec<serde_json::Value>,
    },
}

impl WriteOp {
    /// Names of the vectors that it brings, as often as it brings them.
    #[must_use]
    pub fn vector_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        fn names(vectors: &Vectors) -> impl Iterator<Item = &str> {
            vectors.iter().map(|(name, _)| name)
        }
        match self {
            Self::Upsert(points) | Self::UpsertIf { points, .. } => {
                Box::new(points.iter().flat_map(|point| names(&point.vectors)))
            }
            Self::UpdateVectors(updates) | Self::UpdateVectorsIf { updates, .. } => {
                Box::new(updates.iter().flat_map(|update| names(&update.vectors)))
            }
            Self::Seeing { op, .. } => op.vector_names(),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// New vectors for an existing point, which keeps its others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorUpdate {
    /// Which point.
    pub id: PointId,
    /// The vectors, as [`Point::vectors`].
    pub vectors: Vectors,
}

/// How a write is to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Identity of the request: retries under the same id are applied once (design rule 6).
    pub request_id: Nonce,
}

/// What an acknowledged write reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteReceipt {
    /// Position of the write in each partition it touched.
    pub token: Token,
}

/// How fresh a read must be (design rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// What the reader has.
    Eventual,
    /// Not older than this many milliseconds.
    Bounded(u64),
    /// Everything that was acknowledged before the read began.
    Strong,
}

/// Freshness asked of one read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Overrides the cluster's default.
    pub consistency: Option<Consistency>,
    /// Positions that must be visible.
    pub token: Option<Token>,
    /// Where to note what was seen, if somebody wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// Which parts of payloads to return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PayloadSelector {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// Only these dotted paths.
    Include(Vec<String>),
    /// All but these dotted paths.
    Exclude(Vec<String>),
}

/// Which vectors to return.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorSelector {
    /// None.
    #[default]
    None,
    /// All that the point has.
    All,
    /// Those of these names that the point has.
    Names(Vec<String>),
}

impl VectorSelector {
    /// Whether the vector of this name is to be returned.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.iter().any(|n| n == name),
        }
    }

    /// Whether vectors are to be returned at all.
    #[must_use]
    pub fn wants_any(&self) -> bool {
        *self != Self::None
    }
}

/// How a search uses the codes of dense vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeUse {
    /// Compare full vectors although there are codes.
    pub ignore: bool,
    /// Whether full vectors rank what codes found; they do unless this is `Some(false)`.
    pub rescore: Option<bool>,
    /// How many times the limit codes are to find for full vectors to rank; chosen by the engine when absent.
    pub oversampling: Option<f32>,
}

/// The best points for a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// What is looked for; its vectors are checked and, where the distance is cosine, normalised.
    pub query: SearchQuery,
    /// Name of the vector of each point that the query is compared with; without meaning to formulas.
    pub using: String,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// Only these points, each given once; all when absent. Formulas need it.
    pub among: Option<Vec<PointId>>,
    /// The points by which the terms of a sparse query are weighed, where they are; all when absent.
    pub idf_corpus: Option<Filter>,
    /// How many of the best to return (offset already added).
    pub limit: usize,
    /// Width of the graph search; chosen by the engine when absent.
    pub ef: Option<usize>,
    /// Compare with every point instead of walking the graph.
    pub exact: bool,
    /// Use of codes.
    pub codes: CodeUse,
    /// Worse scores are left out.
    pub score_threshold: Option<f32>,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vector: VectorSelector,
}

impl SearchRequest {
    /// The `limit` points whose unnamed vectors are nearest to `vector`, their ids and scores only.
    #[must_use]
    pub fn new(vector: impl Into<Vector>, limit: usize) -> Self {
        Self {
            query: SearchQuery::Nearest(vector.into()),
            using: String::new(),
            filter: None,
            among: None,
            idf_corpus: None,
            limit,
            ef: None,
            exact: false,
            codes: CodeUse::default(),
            score_threshold: None,
            with_payload: PayloadSelector::None,
            with_vector: VectorSelector::None,
        }
    }
}

/// Points by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrieveRequest {
    /// Which.
    pub ids: Vec<PointId>,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vector: VectorSelector,
}

/// Points in id order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScrollRequest {
    /// Only points that match.
    pub filter: Option<Filter>,
    /// At most this many.
    pub limit: usize,
    /// Begin with this id (inclusive).
    pub offset: Option<PointId>,
    /// Payload to return.
    pub with_payload: PayloadSelector,
    /// Vectors to return.
    pub with_vector: VectorSelector,
}

/// How many points match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountRequest {
    /// Only points that match.
    pub filter: Option<Filter>,
}

/// A point as it is returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Identity.
    pub id: PointId,
    /// What [`PayloadSelector`] asked for.
    pub payload: Option<Payload>,
    /// What [`VectorSelector`] asked for, if it asked for any.
    pub vectors: Option<Vectors>,
    /// The value by which the point was put in order, if it was.
    #[serde(default)]
    pub order_value: Option<OrderValue>,
}

/// A search hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredPoint {
    /// The point.
    pub record: Record,
    /// Similarity (cosine, dot: higher is better) or distance (Euclid, Manhattan: lower is better) to a vector; of other queries
    /// than that, what they say (higher is better).
    pub score: f32,
    /// Log position of the write that made this version of the point.
    pub version: LogPosition,
}

/// One page of a scroll.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScrollPage {
    /// The points, in id order.
    pub records: Vec<Record>,
    /// Where the next page begins.
    pub next: Option<PointId>,
}
