//! Collections and points, written and read back.

use super::*;

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
