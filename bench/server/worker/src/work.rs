//! What is timed.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::latency::summary;
use crate::npy::Rows;
use crate::protocol::{Answer, Open, Search};

/// Pause between two looks at the collection.
const LOOK: Duration = Duration::from_millis(100);

/// A point as it is sent.
#[derive(Serialize)]
struct Point<'a> {
    id: usize,
    vector: &'a [f32],
}

/// A collection that was created here.
pub(crate) struct Session {
    open: Open,
    points: usize,
}

impl Session {
    /// Creates the collection.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn open(open: Open) -> Result<Self, Error> {
        let body = json!({
            "vectors": {"size": open.dim, "distance": open.distance},
            "hnsw_config": {"m": open.m, "ef_construct": open.ef_construct},
        });
        let session = Self { open, points: 0 };
        let path = session.path("");
        let mut client = session.client().await?;
        client.send(Method::PUT, &path, encode(&body)?).await?;
        Ok(session)
    }

    fn path(&self, rest: &str) -> String {
        format!("/collections/{}{rest}", self.open.collection)
    }

    async fn client(&self) -> Result<Client, Error> {
        Client::connect(&self.open.address).await
    }

    /// Upserts all rows; see the protocol.
    ///
    /// # Errors
    /// The file's; the server's.
    pub(crate) async fn ingest(
        &mut self,
        base: &Path,
        batch: usize,
        writers: usize,
    ) -> Result<Answer, Error> {
        let rows = Rows::read(base)?;
        let points: Vec<Point> = rows
            .iter()
            .enumerate()
            .map(|(id, vector)| Point { id, vector })
            .collect();
        let bodies = points
            .chunks(batch.max(1))
            .map(|points| encode(&json!({"points": points})))
            .collect::<Result<Vec<_>, _>>()?;
        self.points = points.len();
        let path = self.path("/points?wait=true");
        let next = Cell::new(0);
        let begun = Instant::now();
        let each = try_join_all((0..writers.max(1)).map(|_| async {
            let mut client = self.client().await?;
            let mut each = Vec::new();
            while let Some(body) = bodies.get(next.replace(next.get() + 1)) {
                let sent = Instant::now();
                client.send(Method::PUT, &path, body.clone()).await?;
                each.push(sent.elapsed());
            }
            Ok::<_, Error>(each)
        }))
        .await?;
        Ok(summary(begun.elapsed(), each.concat()))
    }

    /// Waits until all points are in segments with a graph.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn ready(&mut self) -> Result<Answer, Error> {
        let begun = Instant::now();
        let mut client = self.client().await?;
        loop {
            let answer = client
                .send(Method::GET, &self.path(""), Bytes::new())
                .await?;
            let info: Value = serde_json::from_slice(&answer)?;
            let indexed = info["result"]["indexed_vectors_count"]
                .as_u64()
                .ok_or(Error::Answer("result.indexed_vectors_count"))?;
            if indexed >= self.points as u64 {
                return Ok(Answer::Waited {
                    wall: begun.elapsed().as_secs_f64(),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Searches; see the protocol.
    ///
    /// # Errors
    /// The file's; the server's.
    pub(crate) async fn search(&mut self, search: &Search) -> Result<Answer, Error> {
        let bodies = Rows::read(&search.queries)?
            .iter()
            .map(|vector| {
                encode(&json!({
                    "query": vector,
                    "limit": search.k,
                    "params": {"hnsw_ef": search.width},
                }))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let path = self.path("/points/query");
        if let Some(file) = &search.ids {
            return self.found(&bodies, &path, search.k, file).await;
        }
        let mut clients = Vec::new();
        for _ in 0..search.clients {
            clients.push(self.client().await?);
        }
        let next = Cell::new(0);
        let begun = Instant::now();
        let end = begun + Duration::from_secs_f64(search.seconds);
        let (bodies, next, path) = (&bodies, &next, &path);
        let each = try_join_all(clients.into_iter().map(|mut client| async move {
            let mut each = Vec::new();
            while Instant::now() < end {
                let body = bodies[next.replace(next.get() + 1) % bodies.len()].clone();
                let sent = Instant::now();
                client.send(Method::POST, path, body).await?;
                each.push(sent.elapsed());
            }
            Ok::<_, Error>(each)
        }))
        .await?;
        Ok(summary(begun.elapsed(), each.concat()))
    }

    /// Sends every query once and writes down what was found.
    async fn found(
        &self,
        bodies: &[Bytes],
        path: &str,
        k: usize,
        file: &Path,
    ) -> Result<Answer, Error> {
        let mut client = self.client().await?;
        let begun = Instant::now();
        let (mut each, mut ids) = (Vec::new(), Vec::new());
        for body in bodies {
            let sent = Instant::now();
            let answer = client.send(Method::POST, path, body.clone()).await?;
            each.push(sent.elapsed());
            let answer: Value = serde_json::from_slice(&answer)?;
            let points = answer["result"]["points"]
                .as_array()
                .ok_or(Error::Answer("result.points"))?;
            let found = points.iter().filter_map(|point| point["id"].as_i64());
            ids.extend(found.chain(std::iter::repeat(-1)).take(k));
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        std::fs::write(file, bytes)?;
        Ok(summary(begun.elapsed(), each))
    }
}

fn encode<T: Serialize>(body: &T) -> Result<Bytes, Error> {
    Ok(serde_json::to_vec(body)?.into())
}
