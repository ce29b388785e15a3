//! More requests than a server can take: writers and searchers that never pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use reqwest::StatusCode;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::history::{History, Row};

/// Requests of a flood that get no answer in this time hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// How a flood is made.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Tasks that write.
    pub writers: usize,
    /// Tasks that search.
    pub searchers: usize,
    /// Rows of one write.
    pub batch: usize,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What a flood met.
#[derive(Clone, Debug, Default)]
pub struct Met {
    /// Writes that were acknowledged.
    pub written: u64,
    /// Searches that were answered.
    pub searched: u64,
    /// Writes that were refused with 429 and a time to come back.
    pub writes_refused: u64,
    /// Searches that were refused so.
    pub searches_refused: u64,
    /// Every other answer, and requests without one, in words.
    pub wrong: Vec<String>,
    /// Longest time to an answer.
    pub slowest: Duration,
}

#[derive(Clone)]
struct Source {
    http: reqwest::Client,
    url: String,
    stop: CancellationToken,
    met: Arc<Mutex<Met>>,
}

enum Outcome {
    Done,
    Refused,
    Wrong,
}

impl Source {
    async fn send(&self, method: reqwest::Method, path: &str, body: String) -> Outcome {
        let began = Instant::now();
        let sent = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let wrong = match sent {
            Err(error) => format!("no answer: {error:?}"),
            Ok(answer) => {
                let status = answer.status();
                let retry = answer.headers().get("retry-after").cloned();
                let seconds = retry.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                let text = answer.text().await;
                let mut met = self.met.lock();
                met.slowest = met.slowest.max(began.elapsed());
                match (status, seconds) {
                    (StatusCode::OK, _) if text.is_ok() => return Outcome::Done,
                    (StatusCode::TOO_MANY_REQUESTS, Some(1..)) => return Outcome::Refused,
                    _ => format!("{status}, retry-after {seconds:?}: {text:?}"),
                }
            }
        };
        self.met.lock().wrong.push(wrong);
        Outcome::Wrong
    }

    async fn write(self, collection: String, history: History, own: Vec<Vec<Row>>) {
        let bodies: Vec<(Vec<u64>, Vec<String>)> = own
            .iter()
            .map(|rows| {
                let ids = rows.iter().map(|row| row.id).collect();
                let vectors = rows.iter().map(|row| format!("{:?}", row.vector)).collect();
                (ids, vectors)
            })
            .collect();
        let path = format!("/collections/{collection}/points?wait=true");
        for value in 1.. {
            for (ids, vectors) in &bodies {
                if self.stop.is_cancelled() {
                    return;
                }
                let points = ids.iter().zip(vectors).map(|(id, vector)| {
                    format!("{{\"id\":{id},\"vector\":{vector},\"payload\":{{\"value\":{value}}}}}")
                });
                let points: Vec<String> = points.collect();
                let body = format!("{{\"points\":[{}]}}", points.join(","));
                history.attempt(ids, value).await;
                match self.send(reqwest::Method::PUT, &path, body).await {
                    Outcome::Done => {
                        history.acknowledge(ids, value).await;
                        self.met.lock().written += 1;
                    }
                    Outcome::Refused => {
                        self.met.lock().writes_refused += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Outcome::Wrong => {}
                }
            }
        }
    }

    async fn search(self, collection: String, vectors: Vec<Vec<f32>>) {
        let path = format!("/collections/{collection}/points/query");
        for vector in vectors.iter().cycle() {
            if self.stop.is_cancelled() {
                return;
            }
            let body = format!("{{\"query\":{vector:?},\"params\":{{\"exact\":true}}}}");
            match self.send(reqwest::Method::POST, &path, body).await {
                Outcome::Done => self.met.lock().searched += 1,
                Outcome::Refused => {
                    self.met.lock().searches_refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Outcome::Wrong => {}
            }
        }
    }
}

/// Floods the server at `url`: each writer writes rows of its own, again and again with values that grow; the history keeps
/// account of them.
pub async fn flood(
    url: &str,
    collection: &str,
    history: &History,
    rows: &[Row],
    shape: &Shape,
) -> Met {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .unwrap_or_default();
    let source = Source {
        http,
        url: url.to_owned(),
        stop: CancellationToken::new(),
        met: Arc::default(),
    };
    let batches: Vec<Vec<Row>> = rows.chunks(shape.batch).map(<[Row]>::to_vec).collect();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for n in 0..shape.writers {
        let own = batches.iter().skip(n).step_by(shape.writers).cloned();
        let task = source
            .clone()
            .write(collection.to_owned(), history.clone(), own.collect());
        tasks.push(tokio::spawn(task));
    }
    for n in 0..shape.searchers {
        let vectors = rows.iter().skip(n).step_by(shape.searchers.max(1)).take(20);
        let vectors = vectors.map(|row| row.vector.clone()).collect();
        tasks.push(tokio::spawn(
            source.clone().search(collection.to_owned(), vectors),
        ));
    }
    tokio::time::sleep(shape.lasts).await;
    source.stop.cancel();
    for ended in join_all(tasks).await {
        if let Err(error) = ended {
            source
                .met
                .lock()
                .wrong
                .push(format!("a task ended badly: {error}"));
        }
    }
    source.met.lock().clone()
}
