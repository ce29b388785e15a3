//! Clients that write and read a few points, each as a register, at every level of consistency and through any node, and remember
//! what they saw and when, for [`brainy_checker`].
//!
//! A client sends the token of its last answer with each request. It sends nothing twice: what it got no answer to may have
//! happened or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brainy_checker::{Action, History, Level, Nanos, Op};
use futures::future::join_all;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Client};

/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(5);

/// What clients saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What they did, by point.
    pub history: History<u64>,
    /// Answers that no fault explains, in words.
    pub wrong: Vec<String>,
}

/// Running clients.
#[derive(Debug)]
pub struct Registers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

/// What they do it to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The collection, whose points have vectors of two dimensions.
    pub collection: String,
    /// The points.
    pub ids: Vec<u64>,
    /// Clients at the same time.
    pub clients: u32,
    /// How old bounded reads may be.
    pub bound: Duration,
    /// Seed of all choices.
    pub seed: u64,
}

struct One {
    number: u32,
    nodes: Vec<Client>,
    plan: Plan,
    began: Instant,
    values: Arc<AtomicU64>,
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
    token: String,
    rng: ChaCha8Rng,
}

impl Registers {
    /// Starts clients that ask any of `nodes`.
    #[must_use]
    pub fn start(nodes: &[Client], plan: &Plan) -> Self {
        let stop = CancellationToken::new();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (began, values) = (Instant::now(), Arc::new(AtomicU64::new(1)));
        let tasks = (0..plan.clients).map(|number| {
            let one = One {
                number,
                nodes: nodes.to_vec(),
                plan: plan.clone(),
                began,
                values: values.clone(),
                stop: stop.clone(),
                seen: seen.clone(),
                token: "new".to_owned(),
                rng: ChaCha8Rng::seed_from_u64(plan.seed * 1000 + u64::from(number)),
            };
            tokio::spawn(one.run())
        });
        Self {
            tasks: tasks.collect(),
            stop,
            seen,
        }
    }

    /// Operations so far.
    pub async fn operations(&self) -> usize {
        self.seen.lock().await.history.len()
    }

    /// Lets requests under way finish, and ends.
    pub async fn stop(mut self) -> Seen {
        self.stop.cancel();
        for ended in join_all(std::mem::take(&mut self.tasks)).await {
            if let Err(error) = ended {
                let text = format!("a client ended badly: {error}");
                self.seen.lock().await.wrong.push(text);
            }
        }
        self.seen.lock().await.clone()
    }
}

/// Left alone, the clients would go on.
impl Drop for Registers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What an answer means for a write.
enum Outcome {
    Done,
    NotDone,
    Unknown,
}

impl One {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            // One that is gone for the moment or overloaded is asked again soon enough.
            tokio::time::sleep(PAUSE).await;
            let (Some(node), Some(id)) = (
                self.nodes.choose(&mut self.rng).cloned(),
                self.plan.ids.choose(&mut self.rng).copied(),
            ) else {
                return;
            };
            match self.rng.random_range(0..10) {
                0..4 => self.write(&node, id).await,
                4..7 => self.read(&node, id, Level::Strong).await,
                7 => {
                    let bound = nanos(self.plan.bound);
                    self.read(&node, id, Level::Bounded(bound)).await;
                }
                _ => self.read(&node, id, Level::Session).await,
            }
        }
    }

    fn now(&self) -> Nanos {
        nanos(self.began.elapsed())
    }

    async fn push(&self, id: u64, begin: Nanos, end: Option<Nanos>, action: Action) {
        let op = Op {
            client: self.number,
            begin,
            end,
            action,
        };
        self.seen.lock().await.history.push(id, op);
    }

    async fn wrong(&self, request: &str, answer: &Answer) {
        let text = format!("{request}: {}: {}", answer.status, answer.message());
        self.seen.lock().await.wrong.push(text);
    }

    /// Takes in the token of an answer, which every answer to it has.
    async fn saw(&mut self, request: &str, answer: &Answer) {
        if answer.token.is_empty() {
            self.wrong(&format!("{request} gave no token"), answer)
                .await;
        } else {
            self.token.clone_from(&answer.token);
        }
    }

    async fn write(&mut self, node: &Client, id: u64) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let point = json!({"id": id, "vector": [1.0, 0.5], "payload": {"value": value}});
        let body = json!({"points": [point]}).to_string().into_bytes();
        let headers = [("brainy-token", self.token.clone())];
        let path = format!("/collections/{}/points?wait=true", self.plan.collection);
        let begin = self.now();
        let sent = node.send(Method::PUT, &path, &headers, Some(body)).await;
        let end = self.now();
        let outcome = match &sent {
            Ok(answer) => match answer.status {
                200 => Outcome::Done,
                // These promise that nothing was written.
                429 | 503 => Outcome::NotDone,
                504 => Outcome::Unknown,
                _ => {
                    self.wrong("a write", answer).await;
                    Outcome::Unknown
                }
            },
            Err(_) => Outcome::Unknown,
        };
        if let (Outcome::Done, Ok(answer)) = (&outcome, &sent) {
            self.saw("a write", answer).await;
        }
        let end = match outcome {
            Outcome::Done => Some(end),
            Outcome::Unknown => None,
            Outcome::NotDone => return,
        };
        self.push(id, begin, end, Action::Write(Some(value))).await;
    }

    async fn read(&mut self, node: &Client, id: u64, level: Level) {
        let consistency = match level {
            Level::Strong => "strong".to_owned(),
            Level::Bounded(bound) => format!("bounded:{}", bound / 1_000_000),
            Level::Session | Level::Eventual => "eventual".to_owned(),
        };
        let headers = [
            ("brainy-consistency", consistency),
            ("brainy-token", self.token.clone()),
        ];
        let body = json!({"ids": [id], "with_payload": true});
        let path = format!("/collections/{}/points", self.plan.collection);
        let begin = self.now();
        let sent = node
            .send(
                Method::POST,
                &path,
                &headers,
                Some(body.to_string().into_bytes()),
            )
            .await;
        let end = self.now();
        let Ok(answer) = sent else { return };
        match answer.status {
            200 => {}
            429 | 503 | 504 => return,
            _ => return self.wrong("a read", &answer).await,
        }
        self.saw("a read", &answer).await;
        let parsed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let value = parsed["result"][0]["payload"]["value"].as_u64();
        self.push(id, begin, Some(end), Action::Read(level, value))
            .await;
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}
