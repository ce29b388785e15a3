//! What is timed.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::latency::summary;
use crate::npy::Rows;
use crate::protocol::{Answer, Open, Search};
use crate::wire::{Wire, json_body};

/// Pause between two looks at the collection.
const LOOK: Duration = Duration::from_millis(100);

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
        let mut client = session.client(Wire::Rest).await?;
        let path = session.collection();
        client.send(Method::PUT, &path, json_body(&body)?).await?;
        Ok(session)
    }

    fn collection(&self) -> String {
        format!("/collections/{}", self.open.collection)
    }

    async fn client(&self, wire: Wire) -> Result<Client, Error> {
        Client::connect(&self.open.address, wire).await
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
        let rows: Vec<&[f32]> = rows.iter().collect();
        let Open {
            wire, collection, ..
        } = &self.open;
        let batch = batch.max(1);
        let bodies = rows
            .chunks(batch)
            .enumerate()
            .map(|(i, rows)| wire.upsert(collection, i * batch, rows))
            .collect::<Result<Vec<_>, _>>()?;
        self.points = rows.len();
        let path = wire.upsert_path(collection);
        let method = match wire {
            Wire::Rest => Method::PUT,
            Wire::Grpc => Method::POST,
        };
        let next = Cell::new(0);
        let begun = Instant::now();
        let each = try_join_all((0..writers.max(1)).map(|_| async {
            let mut client = self.client(self.open.wire).await?;
            let mut each = Vec::new();
            while let Some(body) = bodies.get(next.replace(next.get() + 1)) {
                let sent = Instant::now();
                client.send(method.clone(), &path, body.clone()).await?;
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
        let mut client = self.client(Wire::Rest).await?;
        loop {
            let answer = client
                .send(Method::GET, &self.collection(), Bytes::new())
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
        let Open {
            wire, collection, ..
        } = &self.open;
        let bodies = Rows::read(&search.queries)?
            .iter()
            .map(|row| wire.query(collection, row, search.k, search.width))
            .collect::<Result<Vec<_>, _>>()?;
        let path = wire.query_path(collection);
        if let Some(file) = &search.ids {
            return self.found(&bodies, &path, search.k, file).await;
        }
        let mut clients = Vec::new();
        for _ in 0..search.clients {
            clients.push(self.client(*wire).await?);
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
        let mut client = self.client(self.open.wire).await?;
        let begun = Instant::now();
        let (mut each, mut ids) = (Vec::new(), Vec::new());
        for body in bodies {
            let sent = Instant::now();
            let answer = client.send(Method::POST, path, body.clone()).await?;
            each.push(sent.elapsed());
            let found = self.open.wire.hits(&answer)?.into_iter();
            ids.extend(found.chain(std::iter::repeat(-1)).take(k));
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        std::fs::write(file, bytes)?;
        Ok(summary(begun.elapsed(), each))
    }
}
