//! Errors, limits, keys and ports.

use super::*;

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
