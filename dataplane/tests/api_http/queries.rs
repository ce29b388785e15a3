//! Queries, filters, scrolling, counting.

use brainy_dataplane::model::{CodeUse, SearchQuery};
use serde_json::{Value, json};

use crate::support::{Server, ids};

async fn query(server: &Server, body: Value) -> Value {
    server
        .post("/collections/c/points/query", body)
        .await
        .result()["points"]
        .take()
}

#[tokio::test]
async fn hits_have_the_shape_that_clients_parse() {
    let server = Server::with_points().await;
    let hits = query(&server, json!({"query": [0, 0, 1], "limit": 1})).await;
    assert_eq!(
        hits,
        json!([{"id": 3, "version": (1u64 << 32) + 1, "score": 3.0}])
    );
    let body = json!({"query": [0, 0, 1], "limit": 1, "with_payload": true, "with_vector": true});
    let hits = query(&server, body).await;
    assert_eq!(hits[0]["payload"], json!({"color": "red", "n": 3}));
    assert_eq!(hits[0]["vector"], json!([0.0, 0.0, 3.0]));
}

#[tokio::test]
async fn limit_offset_and_threshold() {
    let server = Server::with_points().await;
    let vector = json!([1, 1, 1]);
    assert_eq!(
        ids(&query(&server, json!({"query": vector})).await),
        [3, 2, 1]
    );
    assert_eq!(
        ids(&query(&server, json!({"query": vector, "offset": 1})).await),
        [2, 1]
    );
    assert_eq!(
        ids(&query(&server, json!({"query": vector, "offset": 1, "limit": 1})).await),
        [2]
    );
    assert_eq!(
        ids(&query(&server, json!({"query": vector, "score_threshold": 2})).await),
        [3, 2]
    );
    assert_eq!(server.memory.last_search().limit, 10);
}

#[tokio::test]
async fn search_parameters_reach_the_service() {
    let server = Server::with_points().await;
    let params = json!({"hnsw_ef": 77, "exact": true, "indexed_only": true, "quantization": {"ignore": true, "rescore": false, "oversampling": 2.5}});
    query(
        &server,
        json!({"query": {"nearest": [1, 0, 0]}, "params": params}),
    )
    .await;
    let seen = server.memory.last_search();
    assert_eq!(
        (seen.ef, seen.exact, seen.query),
        (
            Some(77),
            true,
            SearchQuery::Nearest(vec![1.0, 0.0, 0.0].into())
        )
    );
    let codes = CodeUse {
        ignore: true,
        rescore: Some(false),
        oversampling: Some(2.5),
    };
    assert_eq!(seen.codes, codes);
    let params = json!({"quantization": {"oversampling": 0.5}});
    let body = json!({"query": [1, 0, 0], "params": params});
    server
        .post("/collections/c/points/query", body)
        .await
        .refused(400, &["oversampling", "1 to 100"]);
}

#[tokio::test]
async fn a_point_as_query_is_not_its_own_answer() {
    let server = Server::with_points().await;
    for form in [json!(2), json!({"nearest": 2})] {
        let red = json!({"must": [{"key": "n", "range": {"gte": 1}}]});
        assert_eq!(
            ids(&query(&server, json!({"query": form.clone()})).await),
            [1, 3]
        );
        let hits = query(
            &server,
            json!({"query": form, "filter": red, "limit": 1, "offset": 1}),
        )
        .await;
        assert_eq!(ids(&hits), [3]);
        assert_eq!(
            server.memory.last_search().query,
            SearchQuery::Nearest(vec![0.0, 2.0, 0.0].into())
        );
    }
    let missing = server
        .post("/collections/c/points/query", json!({"query": 12}))
        .await;
    missing.refused(404, &["12"]);
}

#[tokio::test]
async fn batches_answer_in_order() {
    let server = Server::with_points().await;
    let searches = json!({"searches": [
        {"query": [0, 0, 1], "limit": 1},
        {"query": 3, "limit": 5},
        {"query": [1, 1, 1], "limit": 2, "offset": 1},
    ]});
    let result = server
        .post("/collections/c/points/query/batch", searches)
        .await
        .result();
    let lists: Vec<_> = result
        .as_array()
        .unwrap()
        .iter()
        .map(|r| ids(&r["points"]))
        .collect();
    assert_eq!(lists, [vec![3], vec![1, 2], vec![2, 1]]);
}

#[tokio::test]
async fn the_older_search_api() {
    let server = Server::with_points().await;
    let body =
        json!({"vector": {"name": "", "vector": [0, 1, 0]}, "limit": 1, "with_payload": ["n"]});
    let hits = server
        .post("/collections/c/points/search", body)
        .await
        .result();
    assert_eq!(hits[0]["payload"], json!({"n": 2}));
    let body =
        json!({"searches": [{"vector": [0, 1, 0], "limit": 1}, {"vector": [1, 0, 0], "limit": 1}]});
    let lists = server
        .post("/collections/c/points/search/batch", body)
        .await
        .result();
    assert_eq!((ids(&lists[0]), ids(&lists[1])), (vec![2], vec![1]));
    server
        .post("/collections/c/points/search", json!({"vector": [0, 1, 0]}))
        .await
        .refused(400, &["limit"]);
}

#[tokio::test]
async fn payload_selectors() {
    let server = Server::with_points().await;
    for (selector, expected) in [
        (json!(true), json!({"color": "red", "n": 1})),
        (json!(["n"]), json!({"n": 1})),
        (json!({"include": ["color"]}), json!({"color": "red"})),
        (json!({"exclude": ["color"]}), json!({"n": 1})),
        (json!(false), Value::Null),
    ] {
        let body = json!({"ids": [1], "with_payload": selector});
        assert_eq!(
            server.post("/collections/c/points", body).await.result()[0]["payload"],
            expected
        );
    }
    for selector in [
        json!({"include": [], "exclude": []}),
        json!({}),
        json!({"only": []}),
        json!(5),
    ] {
        let body = json!({"ids": [1], "with_payload": selector});
        server
            .post("/collections/c/points", body)
            .await
            .refused(400, &["with_payload"]);
    }
}

#[tokio::test]
async fn every_filter_condition_is_understood() {
    let server = Server::with_points().await;
    let more = json!({"points": [{"id": 4, "vector": [1, 1, 1], "payload": {
        "list": [1, 2], "nil": null, "ok": true, "at": "2024-05-01T12:00:00Z", "place": {"lon": 13.4, "lat": 52.5},
        "title": "The quick brown Fox", "parts": [{"size": 1, "kind": "a"}, {"size": 2, "kind": "b"}]
    }}]});
    server.put("/collections/c/points", more).await.result();
    for (filter, expected) in [
        (json!({}), vec![1, 2, 3, 4]),
        (
            json!({"must": [{"key": "color", "match": {"value": "red"}}]}),
            vec![1, 3],
        ),
        (
            json!({"must": {"key": "n", "match": {"value": 2}}}),
            vec![2],
        ),
        (
            json!({"must": [{"key": "ok", "match": {"value": true}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "n", "match": {"any": [1, 3]}}]}),
            vec![1, 3],
        ),
        (
            json!({"must": [{"key": "color", "match": {"except": ["red"]}}]}),
            vec![2],
        ),
        (
            json!({"must": [{"key": "n", "range": {"gt": 1, "lte": 3.5}}]}),
            vec![2, 3],
        ),
        (
            json!({"must": [{"key": "list", "values_count": {"gte": 2}}]}),
            vec![4],
        ),
        (json!({"must": [{"has_id": [4, 1]}]}), vec![1, 4]),
        (json!({"must": [{"is_empty": {"key": "color"}}]}), vec![4]),
        (
            json!({"must": [{"key": "color", "is_empty": true}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "color", "is_empty": false}]}),
            vec![1, 2, 3],
        ),
        (json!({"must": [{"is_null": {"key": "nil"}}]}), vec![4]),
        (
            json!({"must": [{"key": "nil", "is_null": false}]}),
            vec![1, 2, 3],
        ),
        (
            json!({"should": [{"has_id": [1]}, {"has_id": [2]}], "must_not": {"has_id": [2]}}),
            vec![1],
        ),
        (
            json!({"must": [{"should": [{"has_id": [1]}, {"must": [{"has_id": [3]}]}]}]}),
            vec![1, 3],
        ),
        (json!({"must": null, "should": []}), vec![1, 2, 3, 4]),
        (
            json!({"must": [{"key": "at", "range": {"gte": "2024-05-01 14:00:00+02:00", "lt": "2024-05-02"}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "at", "range": {"gt": "2024-05-01T12:00:00"}}]}),
            vec![],
        ),
        (
            json!({"must": [{"key": "place", "geo_radius": {"center": {"lon": 13.4, "lat": 52.6}, "radius": 12000}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "place", "geo_bounding_box": {
                "top_left": {"lon": 13, "lat": 53}, "bottom_right": {"lon": 14, "lat": 52}
            }}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "place", "geo_polygon": {
                "exterior": {"points": [
                    {"lon": 0, "lat": 50}, {"lon": 0, "lat": 60}, {"lon": 20, "lat": 55}, {"lon": 0, "lat": 50}
                ]},
                "interiors": [{"points": [
                    {"lon": 13, "lat": 52}, {"lon": 13, "lat": 53}, {"lon": 14, "lat": 53}, {"lon": 14, "lat": 52},
                    {"lon": 13, "lat": 52}
                ]}]
            }}]}),
            vec![],
        ),
        (
            json!({"must": [{"key": "title", "match": {"text": "fox the"}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "title", "match": {"text_any": "cat brown"}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"key": "title", "match": {"phrase": "brown quick"}}]}),
            vec![],
        ),
        (
            json!({"must": [{"key": "color", "match": {"prefix": "bl"}}]}),
            vec![2],
        ),
        (
            json!({"must": [{"key": "color", "match": {"substring": "e"}}]}),
            vec![1, 2, 3],
        ),
        (
            json!({"must": [{"nested": {"key": "parts", "filter": {"must": [
                {"key": "size", "match": {"value": 2}}, {"key": "kind", "match": {"value": "b"}}
            ]}}}]}),
            vec![4],
        ),
        (
            json!({"must": [{"nested": {"key": "parts[]", "filter": {"must": [
                {"key": "size", "match": {"value": 1}}, {"key": "kind", "match": {"value": "b"}}
            ]}}}]}),
            vec![],
        ),
        (
            json!({"min_should": {"min_count": 2, "conditions": [
                {"has_id": [1, 2]}, {"has_id": [2, 3]}, {"key": "color", "match": {"value": "red"}}
            ]}}),
            vec![1, 2, 3],
        ),
        (
            json!({"must": [{"min_should": {"min_count": 1, "conditions": []}}]}),
            vec![],
        ),
    ] {
        let page = server
            .post("/collections/c/points/scroll", json!({"filter": filter}))
            .await;
        assert_eq!(ids(&page.result()["points"]), expected, "{filter}");
        let count = server
            .post(
                "/collections/c/points/count",
                json!({"filter": filter, "exact": true}),
            )
            .await;
        assert_eq!(count.result()["count"], expected.len(), "{filter}");
    }
}

#[tokio::test]
async fn wrong_filters_are_refused() {
    let server = Server::with_points().await;
    for (filter, word) in [
        (json!({"mst": []}), "mst"),
        (
            json!({"must": [{"key": "a", "resembles": "b"}]}),
            "resembles",
        ),
        (json!({"must": [{"key": "a"}]}), "match"),
        (json!({"must": [{"key": "", "match": {"value": 1}}]}), "key"),
        (
            json!({"must": [{"key": "a[", "match": {"value": 1}}]}),
            "a[",
        ),
        (json!({"must": [{"match": {"value": 1}}]}), "key"),
        (json!({"must": [{"key": "a", "match": {}}]}), "match"),
        (
            json!({"must": [{"key": "a", "match": {"value": 1, "any": [2]}}]}),
            "match",
        ),
        (
            json!({"must": [{"key": "a", "match": {"value": 1.5}}]}),
            "range",
        ),
        (
            json!({"must": [{"key": "a", "match": {"value": 1}, "range": {"gt": 1}}]}),
            "exactly one",
        ),
        (
            json!({"must": [{"key": "a", "is_empty": {"key": "b"}}]}),
            "is_empty",
        ),
        (json!({"must": [{"is_null": true}]}), "is_null"),
        (json!({"must": [{"has_id": ["x"]}]}), "has_id"),
        (json!({"must": 5}), "must"),
        (
            json!({"min_should": {"conditions": [], "min_count": 0}}),
            "min_count",
        ),
        (
            json!({"must": [{"key": "a", "range": {"gt": "soon"}}]}),
            "soon",
        ),
        (
            json!({"must": [{"key": "a", "range": {"gt": "2024-01-01", "lt": 5}}]}),
            "dates",
        ),
        (
            json!({"must": [{"key": "a", "match": {"text": "a", "phrase": "b"}}]}),
            "exactly one",
        ),
        (
            json!({"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 91}, "radius": 1}}]}),
            "latitude",
        ),
        (
            json!({"must": [{"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": -1}}]}),
            "radius",
        ),
        (
            json!({"must": [{"key": "a", "geo_bounding_box": {
                "top_left": {"lon": 1, "lat": 1}, "bottom_right": {"lon": 2, "lat": 2}
            }}]}),
            "top",
        ),
        (
            json!({"must": [{"key": "a", "geo_polygon": {"exterior": {"points": [
                {"lon": 1, "lat": 1}, {"lon": 1, "lat": 2}, {"lon": 2, "lat": 2}, {"lon": 2, "lat": 1}
            ]}}}]}),
            "ring",
        ),
        (
            json!({"must": [{"nested": {"key": "a[", "filter": {}}}]}),
            "a[",
        ),
    ] {
        let body = json!({"filter": filter});
        server
            .post("/collections/c/points/count", body)
            .await
            .refused(400, &[word]);
    }
    let deep = "[{\"must\":".repeat(200) + &"}]".repeat(200);
    let body = format!("{{\"filter\": {{\"must\": {deep}}}}}");
    server
        .call("POST", "/collections/c/points/count", &[], Some(&body))
        .await
        .error(400);
}

#[tokio::test]
async fn scrolling_visits_every_point_once() {
    let server = Server::with_points().await;
    let mut seen = Vec::new();
    let mut offset = Value::Null;
    loop {
        let body = json!({"limit": 2, "offset": offset, "with_payload": false});
        let mut page = server
            .post("/collections/c/points/scroll", body)
            .await
            .result();
        seen.extend(ids(&page["points"]));
        offset = page["next_page_offset"].take();
        if offset.is_null() {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}
