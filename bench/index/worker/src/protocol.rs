//! What the driver says and hears, one JSON object per line. `../peers.py` speaks the same.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A command.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Maps the data: two npy files of little-endian float32, with rows of a multiple of 16 floats.
    Load {
        base: PathBuf,
        queries: PathBuf,
        measure: Metric,
    },
    /// Builds the index of what was loaded.
    Build {
        engine: Engine,
        m: usize,
        ef_construction: usize,
        threads: usize,
    },
    /// Searches for all queries, one after another, after `warmup` of them that do not count. The rows found go into the
    /// file `ids` as little-endian i64, queries x k, -1 where nothing was found.
    Search {
        k: usize,
        ef: usize,
        warmup: usize,
        ids: Option<PathBuf>,
    },
    /// How much memory the process holds.
    Memory {},
}

/// How vectors are compared; with cosine they are of unit length.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Metric {
    Cosine,
    Euclid,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Floats in memory.
    #[serde(rename = "native-f32")]
    NativeF32,
    /// 8-bit codes in memory, floats mapped from their file; so the next two with theirs.
    #[serde(rename = "native-int8")]
    NativeInt8,
    #[serde(rename = "native-int4")]
    NativeInt4,
    #[serde(rename = "native-binary")]
    NativeBinary,
    /// The crate, with its own graph and search.
    #[serde(rename = "hnsw_rs")]
    HnswRs,
}

/// An answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Loaded {
        rows: usize,
        dim: usize,
    },
    /// Seconds, by the clock and of the processor in all threads; memory around the build; what the index says it holds.
    Built {
        wall: f64,
        cpu: f64,
        before: Memory,
        after: Memory,
        exact_bytes: Option<u64>,
    },
    Searched {
        wall: f64,
        cpu: f64,
        queries: usize,
    },
    Memory(Memory),
    Error {
        error: String,
    },
}

/// Resident bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Anonymous: heap and stacks.
    pub(crate) anon: u64,
    /// Of mapped files, which the system can take back.
    pub(crate) file: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Command, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn commands_are_what_the_driver_writes() {
        let build =
            r#"{"op":"build","engine":"native-int4","m":16,"ef_construction":200,"threads":2}"#;
        assert!(matches!(
            command(build).unwrap(),
            Command::Build {
                engine: Engine::NativeInt4,
                m: 16,
                ef_construction: 200,
                threads: 2
            }
        ));
        let search = r#"{"op":"search","k":10,"ef":64,"warmup":100,"ids":null}"#;
        assert!(matches!(
            command(search).unwrap(),
            Command::Search { ids: None, .. }
        ));
        assert!(matches!(
            command(r#"{"op":"memory"}"#).unwrap(),
            Command::Memory {}
        ));
        assert!(command(r#"{"op":"memory","of":1}"#).is_err());
        assert!(command(r#"{"op":"stop"}"#).is_err());
    }

    #[test]
    fn answers_are_flat() {
        let answer = Answer::Memory(Memory { anon: 1, file: 2 });
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"anon":1,"file":2}"#
        );
    }
}
