//! How points and queries are said: JSON, or the messages of Qdrant's public gRPC protocol.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;

/// Bytes before a message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;

/// One of the protocols.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wire {
    /// JSON over HTTP/1.
    #[default]
    Rest,
    /// gRPC over HTTP/2.
    Grpc,
}

/// A point as JSON.
#[derive(Serialize)]
struct Point<'a> {
    id: usize,
    vector: &'a [f32],
}

impl Wire {
    /// Where points go.
    pub(crate) fn upsert_path(self, collection: &str) -> String {
        match self {
            Self::Rest => format!("/collections/{collection}/points?wait=true"),
            Self::Grpc => "/qdrant.Points/Upsert".to_owned(),
        }
    }

    /// Points whose ids count from `first`.
    pub(crate) fn upsert(
        self,
        collection: &str,
        first: usize,
        rows: &[&[f32]],
    ) -> Result<Bytes, Error> {
        let numbered = rows.iter().enumerate().map(|(i, row)| (first + i, *row));
        match self {
            Self::Rest => {
                let points: Vec<_> = numbered.map(|(id, vector)| Point { id, vector }).collect();
                json_body(&json!({"points": points}))
            }
            Self::Grpc => frame(&UpsertPoints {
                collection_name: collection.to_owned(),
                wait: Some(true),
                points: numbered
                    .map(|(id, row)| PointStruct {
                        id: Some(PointId {
                            num: Some(id as u64),
                        }),
                        vectors: Some(Vectors {
                            vector: Some(Vector {
                                dense: Some(DenseVector { data: row.to_vec() }),
                            }),
                        }),
                    })
                    .collect(),
            }),
        }
    }

    /// Where queries go.
    pub(crate) fn query_path(self, collection: &str) -> String {
        match self {
            Self::Rest => format!("/collections/{collection}/points/query"),
            Self::Grpc => "/qdrant.Points/Query".to_owned(),
        }
    }

    /// A search for the `k` nearest points.
    pub(crate) fn query(
        self,
        collection: &str,
        row: &[f32],
        k: usize,
        width: usize,
    ) -> Result<Bytes, Error> {
        match self {
            Self::Rest => json_body(&json!({
                "query": row,
                "limit": k,
                "params": {"hnsw_ef": width},
            })),
            Self::Grpc => frame(&QueryPoints {
                collection_name: collection.to_owned(),
                query: Some(Query {
                    nearest: Some(VectorInput {
                        dense: Some(DenseVector { data: row.to_vec() }),
                    }),
                }),
                params: Some(SearchParams {
                    hnsw_ef: Some(width as u64),
                }),
                limit: Some(k as u64),
            }),
        }
    }

    /// Ids that an answer has.
    ///
    /// # Errors
    /// Something else was answered.
    pub(crate) fn hits(self, answer: &[u8]) -> Result<Vec<i64>, Error> {
        match self {
            Self::Rest => {
                let answer: Value = serde_json::from_slice(answer)?;
                let points = answer["result"]["points"].as_array();
                let points = points.ok_or(Error::Answer("result.points"))?;
                Ok(points.iter().filter_map(|p| p["id"].as_i64()).collect())
            }
            Self::Grpc => {
                let message = answer.get(PREFIX..).ok_or(Error::Answer("a message"))?;
                let answer = QueryResponse::decode(message)?;
                let ids = answer.result.into_iter().filter_map(|hit| hit.id?.num);
                Ok(ids.map(|id| id as i64).collect())
            }
        }
    }
}

pub(crate) fn json_body<T: Serialize>(body: &T) -> Result<Bytes, Error> {
    Ok(serde_json::to_vec(body)?.into())
}

/// Length-prefixed, as gRPC sends messages.
fn frame<M: Message>(message: &M) -> Result<Bytes, Error> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).map_err(|_| Error::Large(length))?);
    message.encode(&mut bytes)?;
    Ok(bytes.freeze())
}

/// The fields that are used here; numbers and types as in the protocol. A field of a `oneof` is written like any other.
#[derive(Clone, PartialEq, Message)]
struct UpsertPoints {
    #[prost(string, tag = "1")]
    collection_name: String,
    #[prost(bool, optional, tag = "2")]
    wait: Option<bool>,
    #[prost(message, repeated, tag = "3")]
    points: Vec<PointStruct>,
}

#[derive(Clone, PartialEq, Message)]
struct PointStruct {
    #[prost(message, optional, tag = "1")]
    id: Option<PointId>,
    #[prost(message, optional, tag = "4")]
    vectors: Option<Vectors>,
}

#[derive(Clone, PartialEq, Message)]
struct PointId {
    #[prost(uint64, optional, tag = "1")]
    num: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Vectors {
    #[prost(message, optional, tag = "1")]
    vector: Option<Vector>,
}

#[derive(Clone, PartialEq, Message)]
struct Vector {
    #[prost(message, optional, tag = "101")]
    dense: Option<DenseVector>,
}

#[derive(Clone, PartialEq, Message)]
struct DenseVector {
    #[prost(float, repeated, tag = "1")]
    data: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryPoints {
    #[prost(string, tag = "1")]
    collection_name: String,
    #[prost(message, optional, tag = "3")]
    query: Option<Query>,
    #[prost(message, optional, tag = "6")]
    params: Option<SearchParams>,
    #[prost(uint64, optional, tag = "8")]
    limit: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(message, optional, tag = "1")]
    nearest: Option<VectorInput>,
}

#[derive(Clone, PartialEq, Message)]
struct VectorInput {
    #[prost(message, optional, tag = "2")]
    dense: Option<DenseVector>,
}

#[derive(Clone, PartialEq, Message)]
struct SearchParams {
    #[prost(uint64, optional, tag = "1")]
    hnsw_ef: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResponse {
    #[prost(message, repeated, tag = "1")]
    result: Vec<ScoredPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct ScoredPoint {
    #[prost(message, optional, tag = "1")]
    id: Option<PointId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_point_has_its_number_too() {
        let rows: Vec<&[f32]> = vec![&[0.5, 1.0]];
        let body = Wire::Grpc.upsert("c", 0, &rows).unwrap();
        let length = body.len() - PREFIX;
        assert_eq!(body[..PREFIX], [0, 0, 0, 0, length as u8]);
        // A oneof says which field it is by having it, also where it is 0.
        let id = PointId { num: Some(0) };
        assert_eq!(id.encode_to_vec(), [8, 0]);
        let read = UpsertPoints::decode(&body[PREFIX..]).unwrap();
        assert_eq!(read.points[0].id, Some(id));
    }

    #[test]
    fn hits_are_read_in_order() {
        let hit = |num| ScoredPoint {
            id: Some(PointId { num: Some(num) }),
        };
        let answer = QueryResponse {
            result: vec![hit(7), hit(0)],
        };
        let answer = frame(&answer).unwrap();
        assert_eq!(Wire::Grpc.hits(&answer).unwrap(), [7, 0]);
        let answer = br#"{"result":{"points":[{"id":7},{"id":0}]}}"#;
        assert_eq!(Wire::Rest.hits(answer).unwrap(), [7, 0]);
        assert!(Wire::Grpc.hits(b"").is_err());
        assert!(Wire::Rest.hits(b"{}").is_err());
    }
}
