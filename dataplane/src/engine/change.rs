//! The physical log entry: what a write did to single points. Replaying it needs no evaluation, so that every replica ends
//! up with the same state whatever its own state was when a filter was evaluated.
//!
//! Encoding: one byte format version, then MessagePack.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Point, PointId};

use super::error::EngineError;

/// Format version of log entries.
const FORMAT: u8 = 2;

/// What happened to one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// It is now this.
    Put(Point),
    /// It is gone.
    Delete(PointId),
}

impl Change {
    /// The point concerned.
    #[must_use]
    pub fn id(&self) -> PointId {
        match self {
            Change::Put(point) => point.id,
            Change::Delete(id) => *id,
        }
    }
}

/// Encodes the changes of one write.
///
/// # Errors
/// [`EngineError::Encode`].
pub fn encode(changes: &[Change]) -> Result<Bytes, EngineError> {
    let mut bytes = vec![FORMAT];
    rmp_serde::encode::write(&mut bytes, changes).map_err(|e| EngineError::Encode {
        what: "log entry",
        reason: e.to_string(),
    })?;
    Ok(bytes.into())
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`EngineError::UnknownFormat`] for other formats, [`EngineError::Decode`] for bytes that do not decode completely.
pub fn decode(bytes: &[u8]) -> Result<Vec<Change>, EngineError> {
    let error = |reason: String| EngineError::Decode {
        what: "log entry",
        reason,
    };
    let (format, body) = bytes
        .split_first()
        .ok_or_else(|| error("it is empty".into()))?;
    if *format != FORMAT {
        return Err(EngineError::UnknownFormat {
            what: "log entry".into(),
            found: u32::from(*format),
            supported: u32::from(FORMAT),
        });
    }
    let mut rest = body;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    let changes = Vec::deserialize(&mut deserializer).map_err(|e| error(e.to_string()))?;
    drop(deserializer);
    if !rest.is_empty() {
        return Err(error(format!("{} bytes follow its end", rest.len())));
    }
    Ok(changes)
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
        assert_eq!(decode(&encode(&sample()).unwrap()).unwrap(), sample());
        assert_eq!(decode(&encode(&[]).unwrap()).unwrap(), vec![]);
    }

    #[test]
    fn unknown_formats_are_refused_by_name() {
        let mut bytes = encode(&sample()).unwrap().to_vec();
        bytes[0] = 9;
        let text = decode(&bytes).unwrap_err().to_string();
        assert!(text.contains("format version 9"), "{text}");
    }

    #[test]
    fn cut_and_extended_entries_are_errors() {
        let bytes = encode(&sample()).unwrap();
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
                *first = FORMAT;
            }
            let _ = decode(&bytes);
        }
    }
}
