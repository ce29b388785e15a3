//! What the driver says and hears, one JSON object per line. `../peers.py` speaks the same.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// A command.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Creates the collection.
    Open(Open),
    /// Upserts all rows in batches, each waited for by one of so many writers. Ids are the rows' numbers.
    Ingest {
        base: PathBuf,
        batch: usize,
        writers: usize,
    },
    /// Waits until all points are in segments.
    Ready {},
    /// Searches.
    Search(Search),
}

/// Where, and what for.
#[derive(Debug, Deserialize)]
pub(crate) struct Open {
    /// `host:port`.
    pub(crate) address: String,
    /// How points are written and searched.
    #[serde(default)]
    pub(crate) wire: Wire,
    /// Name of the collection.
    pub(crate) collection: String,
    /// Size of vectors.
    pub(crate) dim: usize,
    /// `Cosine` or `Euclid`.
    pub(crate) distance: String,
    /// Parameters of the graph.
    pub(crate) m: usize,
    /// Parameters of the graph.
    pub(crate) ef_construct: usize,
}

/// So many clients, each with one request under way at a time, for so long; or each query once where `ids` is given.
#[derive(Debug, Deserialize)]
pub(crate) struct Search {
    /// Query vectors.
    pub(crate) queries: PathBuf,
    /// Neighbours to find.
    pub(crate) k: usize,
    /// `params.hnsw_ef`.
    pub(crate) width: usize,
    /// Clients.
    pub(crate) clients: usize,
    /// How long.
    pub(crate) seconds: f64,
    /// Where the ids found go, little-endian i64, queries x k, -1 where nothing was found.
    pub(crate) ids: Option<PathBuf>,
}

/// An answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// How long it took, and how long single requests did, in seconds.
    Timed {
        wall: f64,
        requests: usize,
        p50: f64,
        p99: f64,
    },
    Waited {
        wall: f64,
    },
    Done {},
    Error {
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_the_driver_writes() {
        let search = r#"{"op":"search","queries":"q.npy","k":10,"width":64,"clients":4,"seconds":3.0,"ids":null}"#;
        assert!(matches!(
            serde_json::from_str(search).unwrap(),
            Command::Search(Search {
                k: 10,
                width: 64,
                clients: 4,
                ids: None,
                ..
            })
        ));
        let ingest = r#"{"op":"ingest","base":"b.npy","batch":1000,"writers":1}"#;
        assert!(matches!(
            serde_json::from_str(ingest).unwrap(),
            Command::Ingest { batch: 1000, .. }
        ));
        assert!(serde_json::from_str::<Command>(r#"{"op":"stop"}"#).is_err());
    }
}
