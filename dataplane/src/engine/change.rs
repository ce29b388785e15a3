//! The physical log entry: what a write did to single points. Replaying it needs no evaluation, so that every replica ends
//! up with the same state whatever its own state was when a filter was evaluated.
//!
//! Where several instances write to a partition at once, the log carries what each write adds to the state of a point instead.
//! Replicas merge it, so that all come to the same state whatever the order.
//!
//! Encoding: one byte format version, then MessagePack: the version of the collection's vectors that the changes were made with,
//! and the changes. Format 2 has no such version, which then is 0. Format 4 is that of entries with merges.

use brainy_conflict::{Blob, PointState};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Point, PointId};

use super::error::EngineError;

/// Format version of log entries.
const FORMAT: u8 = 3;
/// That of entries that are merged: a build that does not merge refuses them by name.
const MERGED: u8 = 4;
/// That of entries without a version of the schema.
const WITHOUT_SCHEMA: u8 = 2;

/// What happened to one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// It is now this.
    Put(Point),
    /// It is gone.
    Delete(PointId),
    /// This is merged into its state.
    Merge(PointId, Delta),
}

/// What a write adds to the state of a point, encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta(Blob);

impl Delta {
    /// Encodes a write.
    ///
    /// # Errors
    /// [`EngineError::Encode`].
    pub fn new(state: &PointState) -> Result<Self, EngineError> {
        let bytes = state.encode().map_err(|e| EngineError::Encode {
            what: "version of a point",
            reason: e.to_string(),
        })?;
        Ok(Self(Blob(bytes.into())))
    }

    /// Bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no write is empty")]
    pub fn len(&self) -> usize {
        self.0.0.len()
    }

    /// The write.
    ///
    /// # Errors
    /// [`EngineError::Decode`].
    pub fn decode(&self) -> Result<PointState, EngineError> {
        PointState::decode(&self.0.0).map_err(|e| EngineError::Decode {
            what: "version of a point",
            reason: e.to_string(),
        })
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Version of the collection's vectors that the owner knew: what was stored under a name that was dropped since, or is of
    /// another vector since, is left out when it is replayed.
    pub schema: u64,
    /// Its changes.
    pub changes: Vec<Change>,
}

impl Change {
    /// The point concerned.
    #[must_use]
    pub fn id(&self) -> PointId {
        match self {
            Change::Put(point) => point.id,
            Change::Delete(id) | Change::Merge(id, _) => *id,
        }
    }
}

/// Encodes the changes of one write, made with version `schema` of the collection's vectors.
///
/// # Errors
/// [`EngineError::Encode`].
pub fn encode(schema: u64, changes: &[Change]) -> Result<Bytes, EngineError> {
    let merged = changes.iter().any(|c| matches!(c, Change::Merge(..)));
    let mut bytes = vec![if merged { MERGED } else { FORMAT }];
    rmp_serde::encode::write(&mut bytes, &(schema, changes)).map_err(|e| EngineError::Encode {
        what: "log entry",
        reason: e.to_string(),
    })?;
    Ok(bytes.into())
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`EngineError::UnknownFormat`] for other formats, [`EngineError::Decode`] for bytes that do not decode completely.
pub fn decode(bytes: &[u8]) -> Result<LogEntry, EngineError> {
    let error = |reason: String| EngineError::Decode {
        what: "log entry",
        reason,
    };
    let (format, body) = bytes
        .split_first()
        .ok_or_else(|| error("it is empty".into()))?;
    if ![MERGED, FORMAT, WITHOUT_SCHEMA].contains(format) {
        return Err(EngineError::UnknownFormat {
            what: "log entry".into(),
            found: u32::from(*format),
            supported: u32::from(MERGED),
        });
    }
    let mut rest = body;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    let entry = if *format == WITHOUT_SCHEMA {
        let changes = Vec::deserialize(&mut deserializer);
        changes.map(|changes| LogEntry { schema: 0, changes })
    } else {
        let both = Deserialize::deserialize(&mut deserializer);
        both.map(|(schema, changes)| LogEntry { schema, changes })
    };
    let entry = entry.map_err(|e| error(e.to_string()))?;
    drop(deserializer);
    if !rest.is_empty() {
        return Err(error(format!("{} bytes follow its end", rest.len())));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MultiVector, SparseVector};
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    fn sample() -> Vec<Change> {
        vec![
            Change::Put(Point {
                id: PointId::Num(u64::MAX),
                vectors: [
                    (String::new(), vec![0.5, -0.0, f32::MIN_POSITIVE].into()),
                    (
                        "list".to_owned(),
                        MultiVector::from_flat(2, vec![1.0; 4]).unwrap().into(),
                    ),
                    (
                        "terms".to_owned(),
                        SparseVector::new(vec![3, 7], vec![1.0, 2.0])
                            .unwrap()
                            .into(),
                    ),
                ]
                .into_iter()
                .collect(),
                payload: json!({"a": [1, null, {"b": 2.5}]})
                    .as_object()
                    .unwrap()
                    .clone(),
            }),
            Change::Delete(PointId::Uuid(Uuid::from_u128(7))),
            Change::Delete(PointId::Num(0)),
        ]
    }

    #[test]
    fn entries_survive_encoding() {
        for (schema, changes) in [(0, sample()), (9, vec![]), (u64::MAX, sample())] {
            let bytes = encode(schema, &changes).unwrap();
            assert_eq!(decode(&bytes).unwrap(), LogEntry { schema, changes });
        }
    }

    #[test]
    fn entries_of_the_format_before_are_read() {
        let mut bytes = vec![WITHOUT_SCHEMA];
        rmp_serde::encode::write(&mut bytes, &sample()).unwrap();
        let entry = decode(&bytes).unwrap();
        assert_eq!((entry.schema, entry.changes), (0, sample()));
    }

    #[test]
    fn unknown_formats_are_refused_by_name() {
        let mut bytes = encode(1, &sample()).unwrap().to_vec();
        bytes[0] = 9;
        let text = decode(&bytes).unwrap_err().to_string();
        assert!(text.contains("format version 9"), "{text}");
    }

    #[test]
    fn cut_and_extended_entries_are_errors() {
        let bytes = encode(1, &sample()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT - *first % 2;
            }
            let _ = decode(&bytes);
        }
    }
}
