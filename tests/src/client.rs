//! The part of Qdrant's REST API that suites and demo need, with Brainy's headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brainy_coordination::assignment::AssignmentTable;
use brainy_coordination::types::Nonce;
use brainy_dataplane::model::Token;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::HarnessError;

/// A request that takes longer got no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// First pause before a request is repeated; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Points of one page of a scroll.
const PAGE: usize = 500;

/// A client of one endpoint or node. Clones share connections and counters.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
    patience: Duration,
    repeated: Arc<AtomicU64>,
}

/// A point to write.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Its id.
    pub id: u64,
    /// Its vector.
    pub vector: Vec<f32>,
    /// Its payload.
    pub payload: Value,
}

/// A point as it is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: u64,
    /// Its payload.
    #[serde(default)]
    pub payload: Value,
}

/// A search hit.
#[derive(Clone, Debug, Deserialize)]
pub struct Hit {
    /// Its id.
    pub id: u64,
    /// Similarity or distance.
    pub score: f32,
    /// Its payload.
    #[serde(default)]
    pub payload: Value,
}

/// How fresh a read must be.
#[derive(Clone, Debug)]
pub enum Read {
    /// What the cluster does by default.
    Default,
    /// What is cached.
    Eventual,
    /// Everything that was acknowledged before.
    Strong,
    /// What is cached, but at least what this token's write made.
    After(String),
}

/// `GET /coordinate/assignments`.
#[derive(Clone, Debug, Deserialize)]
pub struct Assignments {
    /// Version of the table.
    pub version: u64,
    /// The table.
    pub table: AssignmentTable,
    /// How far it is from balance.
    pub status: Balance,
}

/// How far the table is from balance.
#[derive(Clone, Debug, Deserialize)]
pub struct Balance {
    /// Nothing moves, waits or warms.
    pub settled: bool,
}

/// Figures of a collection.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct CollectionFigures {
    /// Live points.
    #[serde(rename = "points_count")]
    pub points: u64,
    /// Points in segments with a graph.
    #[serde(rename = "indexed_vectors_count")]
    pub indexed: u64,
    /// Segments.
    #[serde(rename = "segments_count")]
    pub segments: u64,
}

/// Any answer, for tests of errors.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header `brainy-token`, empty if there is none.
    pub token: String,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The text of an error, or the whole body.
    #[must_use]
    pub fn message(&self) -> String {
        let parsed: Option<Value> = serde_json::from_str(&self.body).ok();
        let text = parsed.as_ref().and_then(|v| v["status"]["error"].as_str());
        text.unwrap_or(&self.body).to_owned()
    }
}

/// A request before it is sent.
struct Call<'a> {
    method: Method,
    path: &'a str,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Client {
    /// A client of `url`, such as `http://127.0.0.1:6333`, that repeats what failed for the moment up to half a minute.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        // A builder without TLS and without a proxy has nothing that can fail.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .build()
            .unwrap_or_default();
        Self {
            http,
            url: url.into(),
            api_key: None,
            patience: Duration::from_secs(30),
            repeated: Arc::default(),
        }
    }

    /// With an API key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self
    }

    /// Repeats for this long.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How often a request was repeated so far.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Sends one request once; any status is an answer.
    ///
    /// # Errors
    /// [`HarnessError::NoAnswer`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, HarnessError> {
        let lost = |e: reqwest::Error| HarnessError::NoAnswer {
            request: format!("{method} {path}"),
            message: e.to_string(),
        };
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url))
            .timeout(ANSWER_WITHIN);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(key) = &self.api_key {
            request = request.header("api-key", key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let answer = request.send().await.map_err(lost)?;
        let token = answer.headers().get("brainy-token");
        Ok(Answer {
            status: answer.status().as_u16(),
            token: token
                .and_then(|t| t.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            body: answer.text().await.map_err(lost)?,
        })
    }

    /// Sends, and repeats while the failure is of the moment.
    async fn call(&self, call: Call<'_>) -> Result<Answer, HarnessError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        let body = call.body.as_ref().map(|b| b.to_string().into_bytes());
        loop {
            let sent = self.send(call.method.clone(), call.path, &call.headers, body.clone());
            let error = match sent.await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => HarnessError::Refused {
                    request: format!("{} {}", call.method, call.path),
                    status: answer.status,
                    message: answer.message(),
                },
                Err(error) => error,
            };
            if !error.is_temporary() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        freshness: &Read,
        body: Value,
    ) -> Result<T, HarnessError> {
        let headers = match freshness {
            Read::Default => vec![],
            Read::Eventual => vec![("brainy-consistency", "eventual".to_owned())],
            Read::Strong => vec![("brainy-consistency", "strong".to_owned())],
            Read::After(token) => vec![
                ("brainy-consistency", "eventual".to_owned()),
                ("brainy-token", token.clone()),
            ],
        };
        let call = Call {
            method: Method::POST,
            path,
            headers,
            body: Some(body),
        };
        let answer = self.call(call).await?;
        result(path, &answer)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HarnessError> {
        let answer = self.plain(Method::GET, path, None).await?;
        serde_json::from_str(&answer.body).map_err(|e| unexpected(path, &e.to_string()))
    }

    async fn plain(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, HarnessError> {
        let headers = Vec::new();
        self.call(Call {
            method,
            path,
            headers,
            body,
        })
        .await
    }

    /// Creates a collection of cosine distance.
    ///
    /// # Errors
    /// What the server said.
    pub async fn create_collection(
        &self,
        name: &str,
        size: usize,
        partitions: Option<u32>,
    ) -> Result<(), HarnessError> {
        let mut body = json!({"vectors": {"size": size, "distance": "Cosine"}});
        if let Some(partitions) = partitions {
            body["shard_number"] = partitions.into();
        }
        self.plain(Method::PUT, &format!("/collections/{name}"), Some(body))
            .await
            .map(drop)
    }

    /// Drops a collection.
    ///
    /// # Errors
    /// What the server said.
    pub async fn drop_collection(&self, name: &str) -> Result<(), HarnessError> {
        self.plain(Method::DELETE, &format!("/collections/{name}"), None)
            .await
            .map(drop)
    }

    /// Figures of a collection.
    ///
    /// # Errors
    /// What the server said.
    pub async fn collection(&self, name: &str) -> Result<CollectionFigures, HarnessError> {
        let path = format!("/collections/{name}");
        let answer = self.plain(Method::GET, &path, None).await?;
        result(&path, &answer)
    }

    /// Writes points and repeats under the same request id until the outcome is known. Gives the token.
    ///
    /// # Errors
    /// A refusal, or no final answer in time: then nobody knows whether the write happened.
    pub async fn upsert(&self, collection: &str, points: &[Point]) -> Result<String, HarnessError> {
        let path = format!("/collections/{collection}/points?wait=true");
        let call = Call {
            method: Method::PUT,
            path: &path,
            headers: vec![("brainy-request-id", Nonce::random().to_string())],
            body: Some(json!({"points": points})),
        };
        Ok(self.call(call).await?.token)
    }

    /// Nearest points with payload.
    ///
    /// # Errors
    /// What the server said.
    pub async fn search(
        &self,
        collection: &str,
        vector: &[f32],
        limit: usize,
        freshness: &Read,
    ) -> Result<Vec<Hit>, HarnessError> {
        #[derive(Deserialize)]
        struct Found {
            points: Vec<Hit>,
        }
        let body = json!({"query": vector, "limit": limit, "with_payload": true});
        let path = format!("/collections/{collection}/points/query");
        let found: Found = self.read(&path, freshness, body).await?;
        Ok(found.points)
    }

    /// Points by id, those that exist.
    ///
    /// # Errors
    /// What the server said.
    pub async fn retrieve(
        &self,
        collection: &str,
        ids: &[u64],
        freshness: &Read,
    ) -> Result<Vec<Record>, HarnessError> {
        let path = format!("/collections/{collection}/points");
        let body = json!({"ids": ids, "with_payload": true});
        self.read(&path, freshness, body).await
    }

    /// Every point, page after page, each as fresh as asked.
    ///
    /// # Errors
    /// What the server said.
    pub async fn scroll_all(
        &self,
        collection: &str,
        freshness: &Read,
    ) -> Result<Vec<Record>, HarnessError> {
        #[derive(Deserialize)]
        struct Page {
            points: Vec<Record>,
            next_page_offset: Option<Value>,
        }
        let path = format!("/collections/{collection}/points/scroll");
        let mut all = Vec::new();
        let mut body = json!({"limit": PAGE, "with_payload": true});
        loop {
            let page: Page = self.read(&path, freshness, body.clone()).await?;
            all.extend(page.points);
            match page.next_page_offset {
                Some(next) if !next.is_null() => body["offset"] = next,
                _ => return Ok(all),
            }
        }
    }

    /// How many points there are.
    ///
    /// # Errors
    /// What the server said.
    pub async fn count(&self, collection: &str, freshness: &Read) -> Result<u64, HarnessError> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let path = format!("/collections/{collection}/points/count");
        let found: Count = self.read(&path, freshness, json!({"exact": true})).await?;
        Ok(found.count)
    }

    /// The assignment table, read afresh by the node that answers.
    ///
    /// # Errors
    /// What the server said.
    pub async fn assignments(&self) -> Result<Assignments, HarnessError> {
        self.get("/coordinate/assignments").await
    }

    /// `GET /health`.
    ///
    /// # Errors
    /// What the server said.
    pub async fn health(&self) -> Result<Value, HarnessError> {
        self.get("/health").await
    }

    /// The value of a metric without labels, if the node has it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>, HarnessError> {
        let answer = self.plain(Method::GET, "/metrics", None).await?;
        let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        Ok(answer.body.lines().find_map(line))
    }
}

/// The positions that a token names.
///
/// # Errors
/// It is not a token.
pub fn token(text: &str) -> Result<Token, HarnessError> {
    text.parse::<Token>()
        .map_err(|e| unexpected("brainy-token", &e.to_string()))
}

fn result<T: DeserializeOwned>(path: &str, answer: &Answer) -> Result<T, HarnessError> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        result: T,
    }
    serde_json::from_str::<Envelope<T>>(&answer.body)
        .map(|e| e.result)
        .map_err(|e| unexpected(path, &e.to_string()))
}

fn unexpected(request: &str, message: &str) -> HarnessError {
    HarnessError::Unexpected {
        request: request.to_owned(),
        message: message.to_owned(),
    }
}
