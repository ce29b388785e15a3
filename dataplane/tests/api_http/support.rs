//! A server under test and what it answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use brainy_dataplane::api::{ApiConfig, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::memory::Memory;

pub(crate) struct Server {
    pub(crate) memory: Arc<Memory>,
    pub(crate) router: Router,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The result of a success in Qdrant's envelope.
    pub(crate) fn result(&self) -> Value {
        let mut document = self.json();
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(document["status"], "ok", "{}", self.text);
        assert!(
            document["time"].as_f64().is_some_and(|t| t >= 0.0),
            "{}",
            self.text
        );
        document["result"].take()
    }

    /// The text of an error, checked to have `status` and the form of errors.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let document = self.json();
        assert!(
            document["time"].as_f64().is_some_and(|t| t >= 0.0),
            "{}",
            self.text
        );
        assert_eq!(document["result"], Value::Null);
        assert_eq!(self.headers["content-type"], "application/json");
        document["status"]["error"].as_str().unwrap().to_owned()
    }

    /// As [`Self::error`], and the text contains all of `words`.
    pub(crate) fn refused(&self, status: u16, words: &[&str]) {
        let text = self.error(status);
        for word in words {
            assert!(text.contains(word), "'{word}' is not in '{text}'");
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }
}

impl Server {
    pub(crate) fn new(config: ApiConfig) -> Self {
        let memory = Arc::new(Memory::default());
        let router = router(memory.clone(), config);
        Self { memory, router }
    }

    /// A server with collection `c`: three dimensions, dot product, points 1 to 3 along the axes, point `n` `n` long.
    pub(crate) async fn with_points() -> Self {
        let server = Self::new(ApiConfig::default());
        let schema = json!({"vectors": {"size": 3, "distance": "Dot"}});
        server.put("/collections/c", schema).await.result();
        let points = json!({"points": [
            {"id": 1, "vector": [1, 0, 0], "payload": {"color": "red", "n": 1}},
            {"id": 2, "vector": [0, 2, 0], "payload": {"color": "blue", "n": 2}},
            {"id": 3, "vector": [0, 0, 3], "payload": {"color": "red", "n": 3}},
        ]});
        server
            .put("/collections/c/points?wait=true", points)
            .await
            .result();
        server
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(text) => {
                request = request.header("content-type", "application/json");
                Body::from(text.to_owned())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, &[], Some(&body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], Some(&body.to_string())).await
    }

    pub(crate) async fn count(&self) -> u64 {
        let result = self
            .post("/collections/c/points/count", json!({}))
            .await
            .result();
        result["count"].as_u64().unwrap()
    }
}

/// Ids in a list of points.
pub(crate) fn ids(points: &Value) -> Vec<u64> {
    points
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["id"].as_u64().unwrap())
        .collect()
}

/// Scores in a list of points.
pub(crate) fn scores(points: &Value) -> Vec<f64> {
    let points = points.as_array().unwrap().iter();
    points.map(|p| p["score"].as_f64().unwrap()).collect()
}

/// Fails unless the numbers are the same but for rounding.
pub(crate) fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?}, not {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5, "{found:?}, not {expected:?}");
    }
}

impl Server {
    /// The points that a query of collection `c` finds.
    pub(crate) async fn query(&self, body: Value) -> Value {
        let answer = self.post("/collections/c/points/query", body).await;
        answer.result()["points"].take()
    }
}
