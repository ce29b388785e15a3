//! The gRPC API: the same requests, checks, errors and answers as REST.

mod proto {
    #![allow(
        clippy::all,
        dead_code,
        missing_docs,
        unreachable_pub,
        reason = "generated; a test uses a few of the messages"
    )]

    include!(concat!(env!("OUT_DIR"), "/qdrant.rs"));
}

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use brainy_dataplane::api::{ApiConfig, ApiKeys, routers};
use brainy_dataplane::error::ServiceError;
use brainy_dataplane::model::Consistency;
use brainy_dataplane::service::Limits;
use http_body_util::BodyExt;
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceExt;

use crate::memory::Fault;
use crate::support::Server;
use proto::condition::ConditionOneOf;
use proto::r#match::MatchValue;
use proto::point_id::PointIdOptions;
use proto::points_selector::PointsSelectorOneOf;
use proto::value::Kind;
use proto::*;

#[derive(Debug)]
struct Refused {
    code: Code,
    message: String,
    metadata: HeaderMap,
}

struct Answered<A> {
    message: A,
    metadata: HeaderMap,
}

fn frame(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    frame
}

fn code(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}

/// Percent-encoded as the protocol says.
fn text(headers: &HeaderMap) -> String {
    let bytes = headers
        .get("grpc-message")
        .map_or(&[][..], |m| m.as_bytes());
    let mut text = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
            text.push(u8::from_str_radix(digits, 16).unwrap());
            at += 3;
        } else {
            text.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(text).unwrap()
}

async fn ask_with<A: Message + Default>(
    router: axum::Router,
    method: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Result<Answered<A>, Box<Refused>> {
    let mut request = Request::post(format!("/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(frame(message))).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (parts, body) = response.into_parts();
    let refused = |code, headers: &HeaderMap| {
        Err(Box::new(Refused {
            code,
            message: text(headers),
            metadata: headers.clone(),
        }))
    };
    if let Some(code) = code(&parts.headers) {
        return refused(code, &parts.headers);
    }
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    let code = code(&trailers).unwrap();
    if code != Code::Ok {
        return refused(code, &trailers);
    }
    let bytes: Bytes = collected.to_bytes();
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    assert_eq!((bytes[0], bytes.len()), (0, 5 + length));
    Ok(Answered {
        message: A::decode(&bytes[5..]).unwrap(),
        metadata: parts.headers,
    })
}

async fn ask<A: Message + Default>(
    server: &Server,
    method: &str,
    message: &impl Message,
) -> Result<A, Box<Refused>> {
    ask_with(
        server.router.clone(),
        &format!("qdrant.{method}"),
        &[],
        message,
    )
    .await
    .map(|answered| answered.message)
}

/// The code and text of a request that is refused.
async fn refusal(server: &Server, method: &str, message: &impl Message) -> (Code, String) {
    let refused = ask::<CountResponse>(server, method, message)
        .await
        .unwrap_err();
    (refused.code, refused.message)
}

fn num(n: u64) -> PointId {
    PointId {
        point_id_options: Some(PointIdOptions::Num(n)),
    }
}

fn dense(data: &[f32]) -> Vectors {
    let data = data.to_vec();
    Vectors {
        vectors_options: Some(vectors::VectorsOptions::Vector(Vector {
            vector: Some(vector::Vector::Dense(DenseVector { data })),
            ..Vector::default()
        })),
    }
}

fn payload(pairs: &[(&str, Kind)]) -> BTreeMap<String, proto::Value> {
    let value = |kind: &Kind| proto::Value {
        kind: Some(kind.clone()),
    };
    pairs
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), value(kind)))
        .collect()
}

fn name() -> String {
    "c".to_owned()
}

fn by_ids(ids: &[u64]) -> Option<PointsSelector> {
    Some(PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList {
            ids: ids.iter().map(|n| num(*n)).collect(),
        })),
    })
}

fn everything() -> Option<WithPayloadSelector> {
    Some(WithPayloadSelector {
        selector_options: Some(with_payload_selector::SelectorOptions::Enable(true)),
    })
}

fn field(key: &str) -> FieldCondition {
    FieldCondition {
        key: key.to_owned(),
        ..FieldCondition::default()
    }
}

fn only(condition: ConditionOneOf) -> Filter {
    Filter {
        must: vec![Condition {
            condition_one_of: Some(condition),
        }],
        ..Filter::default()
    }
}

fn matches(key: &str, test: MatchValue) -> Filter {
    only(ConditionOneOf::Field(FieldCondition {
        r#match: Some(Match {
            match_value: Some(test),
        }),
        ..field(key)
    }))
}

fn found(points: &[ScoredPoint]) -> Vec<PointId> {
    points.iter().filter_map(|p| p.id.clone()).collect()
}

#[tokio::test]
async fn a_collection_lives_its_whole_life_over_grpc() {
    let server = Server::new(ApiConfig::default());
    let params = VectorParams {
        size: 2,
        distance: Distance::Euclid.into(),
        hnsw_config: Some(HnswConfigDiff {
            m: Some(24),
            ..HnswConfigDiff::default()
        }),
        ..VectorParams::default()
    };
    let create = CreateCollection {
        collection_name: name(),
        vectors_config: Some(VectorsConfig {
            config: Some(vectors_config::Config::ParamsMap(VectorParamsMap {
                map: [("image".to_owned(), params)].into(),
            })),
        }),
        sparse_vectors_config: Some(SparseVectorConfig {
            map: [(
                "words".to_owned(),
                SparseVectorParams {
                    modifier: Some(Modifier::Idf.into()),
                    ..SparseVectorParams::default()
                },
            )]
            .into(),
        }),
        ..CreateCollection::default()
    };
    let made: CollectionOperationResponse =
        ask(&server, "Collections/Create", &create).await.unwrap();
    assert!(made.result);
    let twice = refusal(&server, "Collections/Create", &create).await;
    assert_eq!(twice.0, Code::AlreadyExists);
    let list: ListCollectionsResponse =
        ask(&server, "Collections/List", &ListCollectionsRequest {})
            .await
            .unwrap();
    assert_eq!(list.collections, [CollectionDescription { name: name() }]);
    let request = GetCollectionInfoRequest {
        collection_name: name(),
    };
    let info: GetCollectionInfoResponse = ask(&server, "Collections/Get", &request).await.unwrap();
    let info = info.result.unwrap();
    assert_eq!(info.status(), CollectionStatus::Green);
    let config = info.config.unwrap();
    let params = config.params.unwrap();
    let words = &params.sparse_vectors_config.unwrap().map["words"];
    assert_eq!(words.modifier(), Modifier::Idf);
    let Some(vectors_config::Config::ParamsMap(named)) = params.vectors_config.unwrap().config
    else {
        panic!("vectors by name");
    };
    assert_eq!(named.map["image"].distance(), Distance::Euclid);
    assert_eq!(named.map["image"].size, 2);
    let graph = named.map["image"].hnsw_config.as_ref();
    assert_eq!(graph.and_then(|g| g.m), Some(24));
    let exists = CollectionExistsRequest {
        collection_name: name(),
    };
    let there: CollectionExistsResponse = ask(&server, "Collections/CollectionExists", &exists)
        .await
        .unwrap();
    assert!(there.result.unwrap().exists);
    let drop = DeleteCollection {
        collection_name: name(),
        timeout: Some(5),
    };
    for existed in [true, false] {
        let dropped: CollectionOperationResponse =
            ask(&server, "Collections/Delete", &drop).await.unwrap();
        assert_eq!(dropped.result, existed);
    }
    let gone: CollectionExistsResponse = ask(&server, "Collections/CollectionExists", &exists)
        .await
        .unwrap();
    assert!(!gone.result.unwrap().exists);
}

#[tokio::test]
async fn what_grpc_writes_rest_reads_and_the_other_way_round() {
    let server = Server::with_points().await;
    let list = proto::Value {
        kind: Some(Kind::ListValue(ListValue {
            values: vec![proto::Value {
                kind: Some(Kind::DoubleValue(0.5)),
            }],
        })),
    };
    let uuid = "5f0dcf4e-9d3c-4b6f-8c1a-2b9f2b1d6a10";
    let upsert = UpsertPoints {
        collection_name: name(),
        wait: Some(true),
        points: vec![PointStruct {
            id: Some(PointId {
                point_id_options: Some(PointIdOptions::Uuid(uuid.to_owned())),
            }),
            vectors: Some(dense(&[1.0, 2.0, 3.0])),
            payload: [
                (
                    "n".to_owned(),
                    proto::Value {
                        kind: Some(Kind::IntegerValue(i64::MAX)),
                    },
                ),
                ("list".to_owned(), list),
            ]
            .into(),
        }],
        ..UpsertPoints::default()
    };
    let answered: Answered<PointsOperationResponse> =
        ask_with(server.router.clone(), "qdrant.Points/Upsert", &[], &upsert)
            .await
            .unwrap();
    let result = answered.message.result.unwrap();
    assert_eq!(result.status(), UpdateStatus::Completed);
    assert!(result.operation_id.is_some());
    assert!(answered.metadata.contains_key("brainy-token"));
    assert!(answered.metadata.contains_key("brainy-request-id"));
    let rest = server.get(&format!("/collections/c/points/{uuid}")).await;
    assert_eq!(
        rest.result(),
        json!({
            "id": uuid,
            "payload": {"n": i64::MAX, "list": [0.5]},
            "vector": [1.0, 2.0, 3.0],
        })
    );
    let get = GetPoints {
        collection_name: name(),
        ids: vec![num(3), num(99), num(1)],
        with_vectors: Some(WithVectorsSelector {
            selector_options: Some(with_vectors_selector::SelectorOptions::Enable(true)),
        }),
        ..GetPoints::default()
    };
    let points: GetResponse = ask(&server, "Points/Get", &get).await.unwrap();
    assert_eq!(points.result.len(), 2);
    let third = &points.result[0];
    assert_eq!(third.id, Some(num(3)));
    assert_eq!(
        third.payload,
        payload(&[
            ("color", Kind::StringValue("red".to_owned())),
            ("n", Kind::IntegerValue(3)),
        ])
    );
    let vectors = third.vectors.clone().unwrap().vectors_options;
    let Some(vectors_output::VectorsOptions::Vector(vector)) = vectors else {
        panic!("an unnamed vector is bare");
    };
    let data = vec![0.0, 0.0, 3.0];
    let dense = vector_output::Vector::Dense(DenseVector { data });
    assert_eq!(vector.vector, Some(dense));
}

#[tokio::test]
async fn every_query_has_the_hits_of_rest() {
    let server = Server::with_points().await;
    let rest = server
        .post(
            "/collections/c/points/query",
            json!({"query": [1, 2, 3], "limit": 2, "with_payload": true}),
        )
        .await
        .result();
    let nearest = |data: &[f32]| {
        Some(Query {
            variant: Some(query::Variant::Nearest(VectorInput {
                variant: Some(vector_input::Variant::Dense(DenseVector {
                    data: data.to_vec(),
                })),
            })),
        })
    };
    let query = QueryPoints {
        collection_name: name(),
        query: nearest(&[1.0, 2.0, 3.0]),
        limit: Some(2),
        with_payload: everything(),
        ..QueryPoints::default()
    };
    let hits: QueryResponse = ask(&server, "Points/Query", &query).await.unwrap();
    for (hit, expected) in hits.result.iter().zip(rest["points"].as_array().unwrap()) {
        assert_eq!(hit.id, expected["id"].as_u64().map(num));
        assert_eq!(Some(f64::from(hit.score)), expected["score"].as_f64());
        assert_eq!(Some(hit.version), expected["version"].as_u64());
        let color = expected["payload"]["color"].as_str().unwrap().to_owned();
        assert_eq!(hit.payload["color"].kind, Some(Kind::StringValue(color)));
    }
    assert_eq!(found(&hits.result), [num(3), num(2)]);
    let search = SearchPoints {
        collection_name: name(),
        vector: vec![1.0, 2.0, 3.0],
        limit: 2,
        ..SearchPoints::default()
    };
    let hits: SearchResponse = ask(&server, "Points/Search", &search).await.unwrap();
    assert_eq!(found(&hits.result), [num(3), num(2)]);
    let batch = SearchBatchPoints {
        collection_name: name(),
        search_points: vec![
            search.clone(),
            SearchPoints {
                limit: 1,
                ..search.clone()
            },
        ],
        ..SearchBatchPoints::default()
    };
    let batches: SearchBatchResponse = ask(&server, "Points/SearchBatch", &batch).await.unwrap();
    let sizes: Vec<_> = batches.result.iter().map(|b| b.result.len()).collect();
    assert_eq!(sizes, [2, 1]);
    let other = SearchPoints {
        collection_name: "other".to_owned(),
        ..search
    };
    let mixed = SearchBatchPoints {
        search_points: vec![other],
        ..batch
    };
    let (code, text) = refusal(&server, "Points/SearchBatch", &mixed).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("search_points[0].collection_name"), "{text}");
    let fused = QueryPoints {
        prefetch: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
            .iter()
            .map(|data| PrefetchQuery {
                query: nearest(data),
                limit: Some(1),
                ..PrefetchQuery::default()
            })
            .collect(),
        query: Some(Query {
            variant: Some(query::Variant::Fusion(Fusion::Rrf.into())),
        }),
        ..query
    };
    let queries = QueryBatchPoints {
        collection_name: name(),
        query_points: vec![fused],
        ..QueryBatchPoints::default()
    };
    let fused: QueryBatchResponse = ask(&server, "Points/QueryBatch", &queries).await.unwrap();
    let mut ids = found(&fused.result[0].result);
    ids.sort_by_key(|id| format!("{id:?}"));
    assert_eq!(ids, [num(1), num(2)]);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let server = Server::with_points().await;
    let mut scroll = ScrollPoints {
        collection_name: name(),
        limit: Some(2),
        ..ScrollPoints::default()
    };
    let first: ScrollResponse = ask(&server, "Points/Scroll", &scroll).await.unwrap();
    assert_eq!(
        (first.result.len(), &first.next_page_offset),
        (2, &Some(num(3)))
    );
    scroll.offset = first.next_page_offset;
    let last: ScrollResponse = ask(&server, "Points/Scroll", &scroll).await.unwrap();
    assert_eq!((last.result.len(), last.next_page_offset), (1, None));
}

/// The same filter in both forms counts the same points.
#[tokio::test]
async fn filters_mean_what_they_mean_in_json() {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"size": 1, "distance": "Dot"}});
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": [1], "payload": {"t": "red fish", "n": 1, "b": true, "at": "2024-05-01T12:00:00Z", "place": {"lon": 13.4, "lat": 52.5}}},
        {"id": 2, "vector": [1], "payload": {"t": "blue", "n": 2, "b": false, "at": "2025-05-01T12:00:00Z", "tags": ["a", "b", "c"]}},
        {"id": 3, "vector": [1], "payload": {"t": null, "n": 2.5, "inner": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}},
        {"id": 4, "vector": [1]},
    ]});
    server.put("/collections/c/points", points).await.result();
    let strings = |list: &[&str]| RepeatedStrings {
        strings: list.iter().map(|s| (*s).to_owned()).collect(),
    };
    let point = |lon, lat| Some(GeoPoint { lon, lat });
    let of = |condition: FieldCondition| only(ConditionOneOf::Field(condition));
    let inner = |key: &str, n| matches(key, MatchValue::Integer(n)).must.remove(0);
    let cases: Vec<(Filter, Value, u64)> = vec![
        (Filter::default(), json!({}), 4),
        (
            matches("t", MatchValue::Keyword("blue".to_owned())),
            json!({"must": {"key": "t", "match": {"value": "blue"}}}),
            1,
        ),
        (
            matches("n", MatchValue::Integer(2)),
            json!({"must": {"key": "n", "match": {"value": 2}}}),
            1,
        ),
        (
            matches("b", MatchValue::Boolean(true)),
            json!({"must": {"key": "b", "match": {"value": true}}}),
            1,
        ),
        (
            matches("t", MatchValue::Text("FISH".to_owned())),
            json!({"must": {"key": "t", "match": {"text": "FISH"}}}),
            1,
        ),
        (
            matches("tags", MatchValue::Keywords(strings(&["c", "d"]))),
            json!({"must": {"key": "tags", "match": {"any": ["c", "d"]}}}),
            1,
        ),
        (
            matches("t", MatchValue::ExceptKeywords(strings(&["blue"]))),
            json!({"must": {"key": "t", "match": {"except": ["blue"]}}}),
            1,
        ),
        (
            matches(
                "n",
                MatchValue::Integers(RepeatedIntegers {
                    integers: vec![1, 2],
                }),
            ),
            json!({"must": {"key": "n", "match": {"any": [1, 2]}}}),
            2,
        ),
        (
            of(FieldCondition {
                range: Some(Range {
                    gt: Some(1.0),
                    lte: Some(2.5),
                    ..Range::default()
                }),
                ..field("n")
            }),
            json!({"must": {"key": "n", "range": {"gt": 1, "lte": 2.5}}}),
            2,
        ),
        (
            of(FieldCondition {
                datetime_range: Some(DatetimeRange {
                    gte: Some(Timestamp {
                        seconds: 1_735_689_600,
                        nanos: 0,
                    }),
                    ..DatetimeRange::default()
                }),
                ..field("at")
            }),
            json!({"must": {"key": "at", "range": {"gte": "2025-01-01T00:00:00Z"}}}),
            1,
        ),
        (
            of(FieldCondition {
                geo_radius: Some(GeoRadius {
                    center: point(13.4, 52.5),
                    radius: 1000.0,
                }),
                ..field("place")
            }),
            json!({"must": {"key": "place", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 1000}}}),
            1,
        ),
        (
            of(FieldCondition {
                geo_bounding_box: Some(GeoBoundingBox {
                    top_left: point(0.0, 1.0),
                    bottom_right: point(1.0, 0.0),
                }),
                ..field("place")
            }),
            json!({"must": {"key": "place", "geo_bounding_box": {"top_left": {"lon": 0, "lat": 1}, "bottom_right": {"lon": 1, "lat": 0}}}}),
            0,
        ),
        (
            of(FieldCondition {
                values_count: Some(ValuesCount {
                    gte: Some(3),
                    ..ValuesCount::default()
                }),
                ..field("tags")
            }),
            json!({"must": {"key": "tags", "values_count": {"gte": 3}}}),
            1,
        ),
        (
            only(ConditionOneOf::IsEmpty(IsEmptyCondition {
                key: "t".to_owned(),
            })),
            json!({"must": {"is_empty": {"key": "t"}}}),
            2,
        ),
        (
            only(ConditionOneOf::IsNull(IsNullCondition {
                key: "t".to_owned(),
            })),
            json!({"must": {"is_null": {"key": "t"}}}),
            1,
        ),
        (
            only(ConditionOneOf::HasId(HasIdCondition {
                has_id: vec![num(1), num(4), num(9)],
            })),
            json!({"must": {"has_id": [1, 4, 9]}}),
            2,
        ),
        (
            only(ConditionOneOf::Nested(NestedCondition {
                key: "inner".to_owned(),
                filter: Some(Filter {
                    must: vec![inner("x", 1), inner("y", 2)],
                    ..Filter::default()
                }),
            })),
            json!({"must": {"nested": {"key": "inner", "filter": {"must": [
                {"key": "x", "match": {"value": 1}}, {"key": "y", "match": {"value": 2}}]}}}}),
            0,
        ),
        (
            Filter {
                must_not: vec![inner("n", 1)],
                min_should: Some(MinShould {
                    conditions: vec![inner("n", 2), inner("n", 1)],
                    min_count: 1,
                }),
                ..Filter::default()
            },
            json!({"must_not": {"key": "n", "match": {"value": 1}}, "min_should": {"min_count": 1, "conditions": [
                {"key": "n", "match": {"value": 2}}, {"key": "n", "match": {"value": 1}}]}}),
            1,
        ),
    ];
    for (filter, document, expected) in cases {
        let count = CountPoints {
            collection_name: name(),
            filter: Some(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let counted: CountResponse = ask(&server, "Points/Count", &count).await.unwrap();
        assert_eq!(counted.result.unwrap().count, expected, "{document}");
        let rest = server
            .post("/collections/c/points/count", json!({"filter": document}))
            .await
            .result();
        assert_eq!(rest["count"], expected, "{document}");
    }
}

#[tokio::test]
async fn payloads_vectors_and_points_change_one_by_one_and_in_a_batch() {
    let server = Server::with_points().await;
    let points = by_ids(&[1]);
    let set = SetPayloadPoints {
        collection_name: name(),
        payload: payload(&[("new", Kind::BoolValue(true))]),
        points_selector: points.clone(),
        ..SetPayloadPoints::default()
    };
    let done: PointsOperationResponse = ask(&server, "Points/SetPayload", &set).await.unwrap();
    assert_eq!(done.result.unwrap().status(), UpdateStatus::Acknowledged);
    let read = async |id: u64| {
        server
            .get(&format!("/collections/c/points/{id}"))
            .await
            .result()
    };
    assert_eq!(
        read(1).await["payload"],
        json!({"color": "red", "n": 1, "new": true})
    );
    let delete = DeletePayloadPoints {
        collection_name: name(),
        keys: vec!["n".to_owned()],
        points_selector: points.clone(),
        ..DeletePayloadPoints::default()
    };
    ask::<PointsOperationResponse>(&server, "Points/DeletePayload", &delete)
        .await
        .unwrap();
    assert_eq!(
        read(1).await["payload"],
        json!({"color": "red", "new": true})
    );
    ask::<PointsOperationResponse>(&server, "Points/OverwritePayload", &set)
        .await
        .unwrap();
    assert_eq!(read(1).await["payload"], json!({"new": true}));
    let update = UpdatePointVectors {
        collection_name: name(),
        points: vec![PointVectors {
            id: Some(num(1)),
            vectors: Some(dense(&[7.0, 0.0, 0.0])),
        }],
        ..UpdatePointVectors::default()
    };
    ask::<PointsOperationResponse>(&server, "Points/UpdateVectors", &update)
        .await
        .unwrap();
    assert_eq!(read(1).await["vector"], json!([7.0, 0.0, 0.0]));
    let clear = ClearPayloadPoints {
        collection_name: name(),
        points: points.clone(),
        ..ClearPayloadPoints::default()
    };
    ask::<PointsOperationResponse>(&server, "Points/ClearPayload", &clear)
        .await
        .unwrap();
    assert_eq!(read(1).await["payload"], json!({}));
    let operation = |operation| PointsUpdateOperation {
        operation: Some(operation),
    };
    use points_update_operation::{DeletePoints as Delete, Operation, PointStructList};
    let batch = UpdateBatchPoints {
        collection_name: name(),
        wait: Some(true),
        operations: vec![
            operation(Operation::DeletePoints(Delete {
                points: by_ids(&[1, 2]),
                ..Delete::default()
            })),
            operation(Operation::Upsert(PointStructList {
                points: vec![PointStruct {
                    id: Some(num(2)),
                    vectors: Some(dense(&[0.0, 1.0, 0.0])),
                    ..PointStruct::default()
                }],
                ..PointStructList::default()
            })),
        ],
        ..UpdateBatchPoints::default()
    };
    let done: UpdateBatchResponse = ask(&server, "Points/UpdateBatch", &batch).await.unwrap();
    assert_eq!(done.result.len(), 2);
    assert_eq!(server.count().await, 2);
    let delete = DeletePoints {
        collection_name: name(),
        points: Some(PointsSelector {
            points_selector_one_of: Some(PointsSelectorOneOf::Filter(Filter::default())),
        }),
        ..DeletePoints::default()
    };
    ask::<PointsOperationResponse>(&server, "Points/Delete", &delete)
        .await
        .unwrap();
    assert_eq!(server.count().await, 0);
}

#[tokio::test]
async fn wrong_requests_are_named_as_rest_names_them() {
    let server = Server::with_points().await;
    let search = SearchPoints {
        collection_name: name(),
        vector: vec![1.0],
        limit: 1,
        ..SearchPoints::default()
    };
    let (code, text) = refusal(&server, "Points/Search", &search).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("dimension is 1"), "{text}");
    let nowhere = SearchPoints {
        collection_name: "nowhere".to_owned(),
        ..search.clone()
    };
    let (code, text) = refusal(&server, "Points/Search", &nowhere).await;
    assert_eq!(code, Code::NotFound);
    assert_eq!(text, "Collection `nowhere` doesn't exist");
    let sharded = SearchPoints {
        shard_key_selector: Some(ShardKeySelector::default()),
        ..search
    };
    let (code, text) = refusal(&server, "Points/Search", &sharded).await;
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("shard_key"), "{text}");
    let nameless = UpsertPoints {
        collection_name: name(),
        points: vec![PointStruct {
            vectors: Some(dense(&[1.0, 1.0, 1.0])),
            ..PointStruct::default()
        }],
        ..UpsertPoints::default()
    };
    let (code, text) = refusal(&server, "Points/Upsert", &nameless).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        text.contains("points[0]") && text.contains("'id'"),
        "{text}"
    );
    let (code, _) = refusal(&server, "Points/Nothing", &nameless).await;
    assert_eq!(code, Code::Unimplemented);
    let impatient = CountPoints {
        collection_name: name(),
        timeout: Some(0),
        ..CountPoints::default()
    };
    let (code, text) = refusal(&server, "Points/Count", &impatient).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("'timeout'"), "{text}");
}

#[tokio::test]
async fn trouble_of_the_service_has_its_code_and_the_next_request_is_served() {
    let server = Server::with_points().await;
    let count = CountPoints {
        collection_name: name(),
        timeout: Some(1),
        ..CountPoints::default()
    };
    let overloaded = ServiceError::Overloaded {
        reason: "the queue".to_owned(),
        retry_after_ms: 2_500,
    };
    server.memory.inject(0, Fault::Fail(overloaded));
    let refused = ask::<CountResponse>(&server, "Points/Count", &count)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert_eq!(refused.metadata["retry-after"], "3");
    server.memory.inject(0, Fault::Panic);
    let (code, _) = refusal(&server, "Points/Count", &count).await;
    assert_eq!(code, Code::Internal);
    server.memory.inject(0, Fault::Hang);
    let (code, text) = refusal(&server, "Points/Count", &count).await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(text.contains("no answer within 1s"), "{text}");
    server.memory.inject(0, Fault::Hang);
    let hurried = [("grpc-timeout", "20m")];
    let router = server.router.clone();
    let hurried = ask_with::<CountResponse>(router, "qdrant.Points/Count", &hurried, &count);
    assert_eq!(hurried.await.err().unwrap().code, Code::DeadlineExceeded);
    let counted: CountResponse = ask(&server, "Points/Count", &count).await.unwrap();
    assert_eq!(counted.result.unwrap().count, 3);
}

#[tokio::test]
async fn messages_have_the_limit_of_bodies() {
    let server = Server::with_points().await;
    server.memory.set_limits(Limits {
        max_request_bytes: 64,
        timeout: Duration::from_secs(5),
        ..Limits::default()
    });
    let get = GetPoints {
        collection_name: name(),
        ids: (0..100).map(num).collect(),
        ..GetPoints::default()
    };
    let (code, text) = refusal(&server, "Points/Get", &get).await;
    assert_eq!(code, Code::OutOfRange);
    assert!(text.contains("64 bytes"), "{text}");
}

#[tokio::test]
async fn freshness_is_asked_for_in_the_message_or_in_metadata() {
    let server = Server::with_points().await;
    let strong = Some(ReadConsistency {
        value: Some(read_consistency::Value::Type(
            ReadConsistencyType::Majority.into(),
        )),
    });
    let count = CountPoints {
        collection_name: name(),
        read_consistency: strong,
        ..CountPoints::default()
    };
    ask::<CountResponse>(&server, "Points/Count", &count)
        .await
        .unwrap();
    let read = server.memory.last_read();
    assert_eq!(read.consistency, Some(Consistency::Strong));
    let point = json!({"points": [{"id": 4, "vector": [1, 1, 1]}]});
    let written = server.put("/collections/c/points", point).await;
    let token = written.header("brainy-token");
    let metadata = [
        ("brainy-consistency", "bounded:250"),
        ("brainy-token", token),
    ];
    let router = server.router.clone();
    let counted = ask_with::<CountResponse>(router, "qdrant.Points/Count", &metadata, &count);
    counted.await.unwrap();
    let read = server.memory.last_read();
    assert_eq!(read.consistency, Some(Consistency::Bounded(250)));
    assert_eq!(read.token.unwrap().to_string(), token);
}

#[tokio::test]
async fn keys_open_what_they_open_over_rest() {
    let key = |text: &str| Some(text.to_owned());
    let server = Server::new(ApiConfig {
        api_keys: ApiKeys::new(key("admin"), key("write"), key("read")).unwrap(),
        ..ApiConfig::default()
    });
    let ask = async |method: &str, key: Option<&str>| {
        let headers: Vec<_> = key.map(|key| ("api-key", key)).into_iter().collect();
        // Empty messages of all these methods are alike.
        let message = CollectionExistsRequest::default();
        let method = format!("qdrant.{method}");
        let router = server.router.clone();
        let asked = ask_with::<CollectionExistsResponse>(router, &method, &headers, &message);
        asked.await.err().map_or(Code::Ok, |refused| refused.code)
    };
    let denied = Code::PermissionDenied;
    for (method, read, write) in [
        ("Collections/CollectionExists", true, true),
        ("Points/Delete", false, true),
        ("Collections/Delete", false, false),
    ] {
        assert_eq!(ask(method, None).await, Code::Unauthenticated, "{method}");
        assert_eq!(
            ask(method, Some("wrong")).await,
            Code::Unauthenticated,
            "{method}"
        );
        assert_eq!(ask(method, Some("read")).await == denied, !read, "{method}");
        assert_eq!(
            ask(method, Some("write")).await == denied,
            !write,
            "{method}"
        );
        assert_ne!(ask(method, Some("admin")).await, denied, "{method}");
    }
    let bearer = [("authorization", "Bearer read")];
    let message = ListCollectionsRequest {};
    let router = server.router.clone();
    let listed =
        ask_with::<ListCollectionsResponse>(router, "qdrant.Collections/List", &bearer, &message);
    assert!(listed.await.is_ok());
}

#[tokio::test]
async fn health_is_readiness_and_needs_no_key() {
    let server = Server::new(ApiConfig {
        api_keys: ApiKeys::new(Some("admin".to_owned()), None, None).unwrap(),
        ..ApiConfig::default()
    });
    let check = async |service: &str| {
        let message = HealthCheckRequest {
            service: service.to_owned(),
        };
        let router = server.router.clone();
        ask_with::<HealthCheckResponse>(router, "grpc.health.v1.Health/Check", &[], &message)
            .await
            .map(|answered| answered.message.status)
            .map_err(|refused| refused.code)
    };
    assert_eq!(check("").await, Ok(1));
    assert_eq!(check("qdrant.Points").await, Ok(1));
    assert_eq!(check("nobody").await, Err(Code::NotFound));
    server.memory.set_not_ready("a partition");
    assert_eq!(check("").await, Ok(2));
}

#[tokio::test]
async fn the_port_of_grpc_has_nothing_else_and_other_content_types_are_refused() {
    let server = Server::new(ApiConfig::default());
    let alone = routers(server.memory.clone(), ApiConfig::default()).grpc;
    let listed = ask_with::<ListCollectionsResponse>(
        alone.clone(),
        "qdrant.Collections/List",
        &[],
        &ListCollectionsRequest {},
    );
    assert!(listed.await.is_ok());
    let other =
        ask_with::<ListCollectionsResponse>(alone, "collections", &[], &ListCollectionsRequest {});
    assert_eq!(other.await.err().unwrap().code, Code::Unimplemented);
    let answer = server
        .call("POST", "/qdrant.Collections/List", &[], Some("{}"))
        .await;
    let code = answer.header("grpc-status").parse().map(Code::from_i32);
    assert_eq!(code, Ok(Code::InvalidArgument));
}

#[tokio::test]
async fn groups_and_matrices_are_those_of_rest() {
    let server = Server::with_points().await;
    let search = SearchPointGroups {
        collection_name: name(),
        vector: vec![1.0, 2.0, 3.0],
        group_by: "color".to_owned(),
        group_size: 2,
        limit: 2,
        ..SearchPointGroups::default()
    };
    let found_groups: SearchGroupsResponse =
        ask(&server, "Points/SearchGroups", &search).await.unwrap();
    let groups = found_groups.result.unwrap().groups;
    let named: Vec<_> = groups
        .iter()
        .map(|group| (group.id.clone().unwrap().kind.unwrap(), found(&group.hits)))
        .collect();
    let text = |text: &str| group_id::Kind::StringValue(text.to_owned());
    assert_eq!(
        named,
        [
            (text("red"), vec![num(3), num(1)]),
            (text("blue"), vec![num(2)]),
        ]
    );
    let matrix = SearchMatrixPoints {
        collection_name: name(),
        sample: Some(3),
        limit: Some(2),
        ..SearchMatrixPoints::default()
    };
    let pairs: SearchMatrixPairsResponse = ask(&server, "Points/SearchMatrixPairs", &matrix)
        .await
        .unwrap();
    assert_eq!(pairs.result.unwrap().pairs.len(), 6);
    let offsets: SearchMatrixOffsetsResponse = ask(&server, "Points/SearchMatrixOffsets", &matrix)
        .await
        .unwrap();
    let offsets = offsets.result.unwrap();
    assert_eq!((offsets.ids.len(), offsets.scores.len()), (3, 6));
}

#[tokio::test]
async fn queries_by_example_and_formulas_have_the_hits_of_rest() {
    let server = Server::with_points().await;
    let input = |id| VectorInput {
        variant: Some(vector_input::Variant::Id(num(id))),
    };
    let constant = |x| Expression {
        variant: Some(expression::Variant::Constant(x)),
    };
    let score = Expression {
        variant: Some(expression::Variant::Variable("$score".to_owned())),
    };
    let variable = Expression {
        variant: Some(expression::Variant::Variable("n".to_owned())),
    };
    let dense = |data: [f32; 3]| VectorInput {
        variant: Some(vector_input::Variant::Dense(DenseVector {
            data: data.to_vec(),
        })),
    };
    let cases = [
        (
            query::Variant::Recommend(RecommendInput {
                positive: vec![dense([0.0, 1.0, 1.0])],
                negative: vec![input(1)],
                strategy: Some(RecommendStrategy::BestScore.into()),
            }),
            json!({"recommend": {"positive": [[0, 1, 1]], "negative": [1], "strategy": "best_score"}}),
        ),
        (
            query::Variant::Discover(DiscoverInput {
                target: Some(dense([1.0, 1.0, 1.0])),
                context: Some(ContextInput {
                    pairs: vec![ContextInputPair {
                        positive: Some(input(3)),
                        negative: Some(input(1)),
                    }],
                }),
            }),
            json!({"discover": {"target": [1, 1, 1], "context": [{"positive": 3, "negative": 1}]}}),
        ),
        (
            query::Variant::Formula(Formula {
                expression: Some(Expression {
                    variant: Some(expression::Variant::Sum(SumExpression {
                        sum: vec![
                            score,
                            Expression {
                                variant: Some(expression::Variant::Mult(MultExpression {
                                    mult: vec![variable, constant(-10.0)],
                                })),
                            },
                        ],
                    })),
                }),
                defaults: BTreeMap::new(),
            }),
            json!({"formula": {"sum": ["$score", {"mult": ["n", -10]}]}}),
        ),
    ];
    for (variant, document) in cases {
        let formula = matches!(variant, query::Variant::Formula(_));
        let prefetch = PrefetchQuery {
            query: Some(Query {
                variant: Some(query::Variant::Nearest(dense([1.0, 1.0, 1.0]))),
            }),
            ..PrefetchQuery::default()
        };
        let asked = QueryPoints {
            collection_name: name(),
            query: Some(Query {
                variant: Some(variant),
            }),
            prefetch: Vec::from_iter(formula.then_some(prefetch)),
            ..QueryPoints::default()
        };
        let hits: QueryResponse = ask(&server, "Points/Query", &asked).await.unwrap();
        let mut body = json!({"query": document});
        if formula {
            body["prefetch"] = json!({"query": [1, 1, 1]});
        }
        let rest = server.post("/collections/c/points/query", body).await;
        let rest = rest.result();
        let points = rest["points"].as_array().unwrap();
        assert!(!points.is_empty());
        let expected: Vec<_> = points
            .iter()
            .map(|p| {
                (
                    p["id"].as_u64().map(num),
                    p["score"].as_f64().map(|x| x as f32),
                )
            })
            .collect();
        let found: Vec<_> = hits
            .result
            .into_iter()
            .map(|hit| (hit.id, Some(hit.score)))
            .collect();
        assert_eq!(found, expected, "{document}");
    }
    let older = RecommendPoints {
        collection_name: name(),
        positive: vec![num(1)],
        limit: 5,
        ..RecommendPoints::default()
    };
    let hits: RecommendResponse = ask(&server, "Points/Recommend", &older).await.unwrap();
    assert!(!found(&hits.result).contains(&num(1)));
    assert_eq!(hits.result.len(), 2);
}
