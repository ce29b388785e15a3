//! Requests and answers between nodes.

use std::fmt::Debug;

use brainy_coordination::types::{LogPosition, Nonce, PartitionId};
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::{
    Condition, CountRequest, FieldCondition, Filter, MatchValue, Point, PointId, ReadOptions,
    Scalar, SearchRequest, Selector, Vectors, WriteOp,
};
use brainy_dataplane::node::rpc::{ReadAnswer, ReadQuery, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Reads the bytes as a request and as an answer; what was read can be sent on.
pub fn run(bytes: &[u8]) {
    read::<Request>(bytes);
    read::<Result<Response, ServiceError>>(bytes);
}

fn read<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) {
    if let Ok(value) = rmp_serde::from_slice::<T>(bytes) {
        let sent = rmp_serde::to_vec_named(&value).unwrap();
        let arrived: T = rmp_serde::from_slice(&sent).unwrap();
        // Not the values: some are not equal to themselves.
        assert_eq!(sent, rmp_serde::to_vec_named(&arrived).unwrap());
    }
}

/// Writes, reads and answers.
pub fn seeds() -> Vec<Vec<u8>> {
    let partition: PartitionId = "c-00000001/0".parse().unwrap();
    let point = Point {
        id: PointId::Num(1),
        vectors: Vectors::unnamed(vec![1.0, 2.0]),
        payload: json!({"n": [1, null, 2.5]}).as_object().unwrap().clone(),
    };
    let red = Condition::Field(FieldCondition {
        key: "color".to_owned(),
        test: MatchValue::Value(Scalar::Text("red".to_owned())),
    });
    let filter = Filter {
        must: vec![red],
        ..Filter::default()
    };
    let mut deep = Filter::default();
    for _ in 0..40 {
        deep = Filter {
            must: vec![Condition::Filter(Box::new(deep))],
            ..Filter::default()
        };
    }
    let mut search = SearchRequest::new(vec![1.0, 0.5], 10);
    search.filter = Some(filter.clone());
    let write = |op| Request::Write {
        partition: partition.clone(),
        request: Nonce(7),
        op,
    };
    let read = |query| Request::Read {
        partitions: vec![partition.clone()],
        options: ReadOptions::default(),
        query,
    };
    let requests = [
        write(WriteOp::Upsert(vec![point])),
        write(WriteOp::Delete(Selector::Filter(deep))),
        read(ReadQuery::Search(vec![search])),
        read(ReadQuery::Count(CountRequest {
            filter: Some(filter),
        })),
    ];
    let answers: [Result<Response, ServiceError>; 3] = [
        Ok(Response::Written(LogPosition::new(1, 2))),
        Ok(Response::Read(ReadAnswer::Count(3))),
        Err(ServiceError::Conflict("so".to_owned())),
    ];
    let requests = requests.iter().map(rmp_serde::to_vec_named);
    let answers = answers.iter().map(rmp_serde::to_vec_named);
    requests.chain(answers).map(Result::unwrap).collect()
}
