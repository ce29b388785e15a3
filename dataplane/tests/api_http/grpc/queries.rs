//! Reads have the answers of REST.

use super::*;

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
    let grouped = RecommendPointGroups {
        collection_name: name(),
        positive: vec![num(1)],
        group_by: "color".to_owned(),
        limit: 5,
        group_size: 1,
        ..RecommendPointGroups::default()
    };
    let groups: RecommendGroupsResponse = ask(&server, "Points/RecommendGroups", &grouped)
        .await
        .unwrap();
    let groups = groups.result.unwrap().groups;
    assert!(!groups.is_empty());
    assert!(groups.iter().all(|group| group.hits.len() == 1));
    let best = found(&groups[0].hits);
    assert_eq!(best, found(&hits.result)[..1]);
}
