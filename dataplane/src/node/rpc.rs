//! Requests between the nodes of a cluster: one POST, MessagePack both ways.
//!
//! Not a public interface: both ends are of the same cluster. Every answer is a `Result`, so a node's refusal arrives
//! as what it was; a transport failure becomes `Unknown` for writes, because they may have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Request as AnyRequest, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, post};
use brainy_coordination::handover::Handover;
use brainy_coordination::types::{InstanceId, LogPosition, NameError, Nonce, PartitionId};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::api::body::discard;
use crate::error::ServiceError;
use crate::events::websocket;
use crate::model::{
    CountRequest, FacetCount, FacetRequest, ListRequest, PointId, PointVersions, ReadOptions,
    Record, RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest, SearchRequest, Token, WriteOp,
};
use crate::node::Node;
use crate::transport::{Answer, Call, ClientTls, HttpClient, TransportError};

/// Where requests between nodes arrive.
pub const PATH: &str = "/internal/rpc";
/// Where hints arrive.
pub const HINT_PATH: &str = "/internal/hint";
/// Largest request between nodes in bytes; the API's own limit is smaller.
const MAX_BODY: usize = 512 << 20;
/// Copies of a request that are in memory at a time: as it came, and decoded.
const COPIES: u64 = 2;

/// What one node asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Write to a partition that the asked node owns.
    Write {
        /// Which.
        partition: PartitionId,
        /// Identity of the request.
        request: Nonce,
        /// What.
        op: WriteOp,
    },
    /// Read from partitions that the asked node serves.
    Read {
        /// Which.
        partitions: Vec<PartitionId>,
        /// How fresh.
        options: ReadOptions,
        /// What.
        query: ReadQuery,
    },
    /// The successor `to` is warm: seal the partition and release its lease.
    Release {
        /// Which.
        partition: PartitionId,
        /// Who asks.
        to: InstanceId,
        /// Whether to tell what the successor would have to look up. Absent in requests of older nodes, which do not know the answer.
        #[serde(default)]
        tell: bool,
    },
    /// Plan now, if the asked node plans the cluster.
    Plan,
    /// Lanes of a partition that the asked node owns hold something new. A hint.
    MergeLanes {
        /// Which.
        partition: PartitionId,
        /// Whose lanes.
        lanes: BTreeSet<InstanceId>,
    },
    /// Bring the log of a partition that the asked node owns into segments.
    Flush {
        /// Which.
        partition: PartitionId,
    },
}

/// A read of several partitions at one node, which merges before it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ReadQuery {
    /// Nearest neighbours, several queries.
    Search(Vec<SearchRequest>),
    /// By id.
    Retrieve(RetrieveRequest),
    /// Versions by id.
    Versions(Vec<PointId>),
    /// In id order.
    Scroll(ScrollRequest),
    /// How many.
    Count(CountRequest),
    /// In other orders, several requests.
    List(Vec<ListRequest>),
    /// How often values occur.
    Facet(FacetRequest),
    /// Figures.
    Stats,
}

/// The answer to a [`ReadQuery`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ReadAnswer {
    /// Hits per query, best first.
    Search(Vec<Vec<ScoredPoint>>),
    /// Points.
    Retrieve(Vec<Record>),
    /// Versions.
    Versions(Vec<PointVersions>),
    /// A page.
    Scroll(ScrollPage),
    /// A number.
    Count(u64),
    /// Points per request, in its order.
    List(Vec<Vec<ScoredPoint>>),
    /// Values, each once.
    Facet(Vec<FacetCount>),
    /// Figures.
    Stats(PartitionFigures),
}

/// Figures of the partitions asked for, added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartitionFigures {
    /// Live points.
    pub points: u64,
    /// Points in segments with a graph.
    pub indexed: u64,
    /// Segments.
    pub segments: u64,
    /// Points in the index of each indexed payload field.
    #[serde(default)]
    pub indexed_fields: BTreeMap<String, u64>,
}

/// What the asked node answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// The write is durable here.
    Written(LogPosition),
    /// The read.
    Read(ReadAnswer),
    /// The read, where its options asked what was seen.
    Seen {
        /// What was read.
        answer: ReadAnswer,
        /// How far each partition was, at least, that was read.
        seen: Token,
    },
    /// The lease is released.
    Released,
    /// It is released, and this is what a successor needs.
    HandedOver(Box<Handover>),
    /// What was planned: the answer to `POST /coordinate/rebalance`, as JSON.
    Planned(String),
    /// The hint arrived.
    Noted,
    /// What was acknowledged before the request is in segments that the manifest names.
    Flushed,
}

/// The asking side.
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: HttpClient,
    key: Option<String>,
}

impl RpcClient {
    /// A client that presents `key` where the cluster has one, and asks over TLS where the cluster has that.
    #[must_use]
    pub fn new(key: Option<String>, tls: Option<ClientTls>) -> Self {
        let http = HttpClient::new(tls);
        Self { http, key }
    }

    /// Asks the node at `address` (`host:port`).
    ///
    /// # Errors
    /// What the node answered; `Unavailable` when it cannot be reached, `Unknown` when a write got no answer.
    pub async fn call(
        &self,
        address: &str,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, ServiceError> {
        let body = rmp_serde::to_vec_named(request)
            .map_err(|e| ServiceError::Internal(format!("request does not encode: {e}")))?;
        let sent = self.post(address, PATH, body, timeout).await;
        // Whatever is not an answer leaves open whether a write happened.
        let is_write = matches!(request, Request::Write { .. });
        let unanswered = |text: String| {
            let text = format!("node at {address}: {text}");
            if is_write {
                ServiceError::Unknown(text)
            } else {
                ServiceError::Unavailable(text)
            }
        };
        let answer = sent.map_err(|e| match e {
            TransportError::Connect(text) => {
                ServiceError::Unavailable(format!("node at {address}: {text}"))
            }
            TransportError::Unanswered(text) => unanswered(text),
        })?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                return Err(ServiceError::Unavailable(format!(
                    "node at {address} has another API key"
                )));
            }
            other => return Err(unanswered(format!("status {other}"))),
        }
        let answer: Result<Response, ServiceError> =
            rmp_serde::from_slice(&answer.body).map_err(|e| unanswered(e.to_string()))?;
        answer
    }

    /// Tells the node at `address` to look at the assignments. Best effort; says whether it has.
    pub async fn hint(&self, address: &str) -> bool {
        self.send_hint(address, b"{}".to_vec()).await
    }

    /// Tells the node at `address` that the shared configuration has this version. Best effort; says whether it heard.
    pub async fn hint_configuration(&self, address: &str, version: u64) -> bool {
        let body = format!("{{\"configuration\":{version}}}");
        self.send_hint(address, body.into_bytes()).await
    }

    /// Tells the node at `address` that the log of a partition that it follows is acknowledged up to `position`. Says whether it heard.
    pub(super) async fn hint_log(
        &self,
        address: &str,
        partition: &PartitionId,
        position: LogPosition,
    ) -> bool {
        let log = LogHint {
            partition: partition.clone(),
            position,
        };
        let body = serde_json::json!({ "log": log }).to_string();
        self.send_hint(address, body.into_bytes()).await
    }

    async fn send_hint(&self, address: &str, body: Vec<u8>) -> bool {
        let sent = self
            .post(address, HINT_PATH, body, Duration::from_secs(1))
            .await;
        match sent {
            Ok(answer) if answer.status.is_success() => return true,
            Ok(answer) => tracing::debug!(address, status = %answer.status, "hint not taken"),
            Err(error) => tracing::debug!(address, %error, "hint not delivered"),
        }
        false
    }

    async fn post(
        &self,
        address: &str,
        path: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer, TransportError> {
        let call = Call {
            method: Method::POST,
            address,
            path,
            key: self.key.as_deref(),
            body: body.into(),
            timeout,
        };
        self.http.send(call).await
    }
}

/// The answering side.
pub fn router(node: Node) -> Router {
    let guard = axum::middleware::from_fn_with_state(node.clone(), need_key);
    Router::new()
        .route(PATH, post(answer))
        .route(HINT_PATH, post(hint))
        .route(websocket::PATH, get(events))
        .route(
            "/coordinate/quarantine/{collection}/{index}/{position}",
            post(accept_loss),
        )
        .route_layer(guard)
        .with_state(node)
}

async fn answer(State(node): State<Node>, call: AnyRequest) -> Result<Vec<u8>, StatusCode> {
    let size = call.body().size_hint().exact();
    let size = size.ok_or(StatusCode::LENGTH_REQUIRED)?;
    if size > MAX_BODY as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let answer = match node.context().calls.charge(size.saturating_mul(COPIES)) {
        Ok(_memory) => {
            let body = axum::body::to_bytes(call.into_body(), MAX_BODY).await;
            let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
            match rmp_serde::from_slice::<Request>(&body) {
                Ok(request) => node.answer(request).await,
                Err(e) => Err(ServiceError::BadRequest(format!(
                    "not a request between nodes of this version: {e}"
                ))),
            }
        }
        Err(error) => {
            discard(call.into_body(), MAX_BODY).await;
            Err(error)
        }
    };
    rmp_serde::to_vec_named(&answer).map_err(|error| {
        tracing::error!(%error, "an answer does not encode");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

/// Body of a hint.
#[derive(Debug, Default, Deserialize)]
struct Hint {
    /// There is this version of the shared configuration; absent: look at the assignments.
    configuration: Option<u64>,
    /// A log has grown; absent: look at the assignments.
    log: Option<LogHint>,
}

/// Up to where a log is acknowledged.
#[derive(Debug, Serialize, Deserialize)]
struct LogHint {
    partition: PartitionId,
    position: LogPosition,
}

/// Answers when it has looked, so that whoever waits for the answer knows that this node knows.
async fn hint(State(node): State<Node>, body: Bytes) -> StatusCode {
    // One of another version of Brainy may have another body: it means at least what the oldest ones mean.
    let hint: Hint = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(version) = hint.configuration {
        node.follow_configuration(version).await;
        return StatusCode::NO_CONTENT;
    }
    if let Some(log) = hint.log {
        node.log_advanced(&log.partition, log.position);
        return StatusCode::NO_CONTENT;
    }
    match node.view().refresh().await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(error) => {
            tracing::debug!(%error, "cannot follow a hint now");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// Another node connects to say what happens there.
async fn events(
    State(node): State<Node>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> HttpResponse {
    websocket::accept(node.context().inbound.clone(), &headers, upgrade)
}

/// An administrator's answer to a damaged log slot.
async fn accept_loss(
    State(node): State<Node>,
    Path((collection, index, position)): Path<(String, String, String)>,
) -> Result<StatusCode, (StatusCode, String)> {
    let bad = |what: String| (StatusCode::BAD_REQUEST, what);
    let partition: PartitionId = format!("{collection}/{index}")
        .parse()
        .map_err(|e: NameError| bad(e.to_string()))?;
    let position = position
        .split_once(':')
        .and_then(|(e, s)| Some(LogPosition::new(e.parse().ok()?, s.parse().ok()?)))
        .ok_or_else(|| {
            bad(format!(
                "'{position}' is not a position '{{epoch}}:{{seq}}'"
            ))
        })?;
    node.accept_loss(&partition, position)
        .await
        .map_err(|e| match e {
            ServiceError::Conflict(text) => (StatusCode::CONFLICT, text),
            ServiceError::NotFound(text) => (StatusCode::NOT_FOUND, text),
            other => (StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
        })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses before the body is read.
async fn need_key(State(node): State<Node>, request: AnyRequest, next: Next) -> HttpResponse {
    match check_key(&node, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(code) => (code, "the admin API key is needed").into_response(),
    }
}

fn check_key(node: &Node, headers: &HeaderMap) -> Result<(), StatusCode> {
    let Some(expected) = &node.config().cluster_key else {
        return Ok(());
    };
    let given = headers.get("api-key").map(|v| v.as_bytes());
    if given.is_some_and(|g| g.ct_eq(expected.as_bytes()).into()) {
        Ok(())
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}
