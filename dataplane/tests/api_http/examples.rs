//! Queries by examples: recommendations, discovery, context, feedback, variety; where examples come from; the older APIs.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, assert_close, ids, scores};

async fn expect(server: &Server, query: Value, expected: &[(u64, f64)]) {
    let hits = server.query(json!({"query": query})).await;
    let (wanted, values): (Vec<u64>, Vec<f64>) = expected.iter().copied().unzip();
    assert_eq!(ids(&hits), wanted, "{query}");
    assert_close(&scores(&hits), &values);
}

#[tokio::test]
async fn averages_of_examples_are_searched_for() {
    let server = Server::with_points().await;
    let recommend = |body: Value| json!({"recommend": body});
    expect(
        &server,
        recommend(json!({"positive": [1]})),
        &[(2, 0.0), (3, 0.0)],
    )
    .await;
    let away = json!({"positive": [[1, 1, 0]], "negative": [3], "strategy": "average_vector"});
    expect(&server, recommend(away), &[(2, 4.0), (1, 2.0)]).await;
    let two = json!({"positive": [1, [0, 0, 1]]});
    expect(&server, recommend(two), &[(3, 1.5), (2, 0.0)]).await;
}

#[tokio::test]
async fn every_example_is_compared() {
    let server = Server::with_points().await;
    let recommend = |positive: Value, negative: Value, strategy: &str| json!({"recommend": {"positive": positive, "negative": negative, "strategy": strategy}});
    let best = recommend(json!([[0, 1, 0]]), json!([[1, 0, 0]]), "best_score");
    expect(&server, best, &[(2, 5.0 / 6.0), (3, -0.5), (1, -0.75)]).await;
    let least = recommend(Value::Null, json!([[1, 0, 0]]), "best_score");
    expect(&server, least, &[(2, -0.5), (3, -0.5), (1, -0.75)]).await;
    let sum = recommend(
        json!([[0, 1, 0], [0, 0, 1]]),
        json!([[1, 0, 0]]),
        "sum_scores",
    );
    expect(&server, sum, &[(3, 3.0), (2, 2.0), (1, -1.0)]).await;
    let named = recommend(json!([1]), json!([3]), "sum_scores");
    expect(&server, named, &[(2, 0.0)]).await;
}

#[tokio::test]
async fn pairs_divide_what_there_is() {
    let server = Server::with_points().await;
    let pair = json!({"positive": [0, 1, 0], "negative": [1, 0, 0]});
    for context in [pair.clone(), json!([pair])] {
        let discover = json!({"discover": {"target": [0, 0, 1], "context": context}});
        expect(&server, discover, &[(2, 1.5), (3, 0.875), (1, -0.5)]).await;
        let context = json!({"context": context});
        expect(&server, context, &[(2, 0.0), (3, 0.0), (1, -0.5)]).await;
    }
    let target = json!({"discover": {"target": 3, "context": []}});
    expect(&server, target, &[(1, 0.5), (2, 0.5)]).await;
    let named = json!({"context": [{"positive": 2, "negative": 1}]});
    expect(&server, named, &[(3, 0.0)]).await;
}

#[tokio::test]
async fn feedback_corrects_a_search() {
    let server = Server::with_points().await;
    let feedback = |items: Value| {
        json!({"relevance_feedback": {
            "target": [1, 1, 1],
            "feedback": items,
            "strategy": {"naive": {"a": 2, "b": 1, "c": 0.5}},
        }})
    };
    let items = json!([{"example": [0, 1, 0], "score": 1}, {"example": [0, 0, 1], "score": 0.0}]);
    expect(&server, feedback(items), &[(2, 5.0), (3, 4.5), (1, 2.0)]).await;
    let items = json!([{"example": 3, "score": 1}]);
    expect(&server, feedback(items), &[(2, 4.0), (1, 2.0)]).await;
}

#[tokio::test]
async fn scores_by_examples_are_better_when_higher_whatever_the_distance() {
    for distance in ["Euclid", "Manhattan", "Cosine", "Dot"] {
        let server = Server::new(ApiConfig::default());
        let schema = json!({"vectors": {"size": 2, "distance": distance}});
        server.put("/collections/c", schema).await.result();
        let points = json!({"points": [
            {"id": 1, "vector": [1, 0]},
            {"id": 2, "vector": [0.8, 0.6]},
            {"id": 3, "vector": [0, 1]},
        ]});
        server.put("/collections/c/points", points).await.result();
        for query in [
            json!({"recommend": {"positive": [[1, 0]], "strategy": "best_score"}}),
            json!({"recommend": {"positive": [[1, 0]], "strategy": "sum_scores"}}),
            json!({"recommend": {"positive": [[1, 0]], "negative": [[0, 1]], "strategy": "best_score"}}),
            json!({"discover": {"target": [1, 0], "context": [{"positive": [1, 0], "negative": [0, 1]}]}}),
        ] {
            let hits = server.query(json!({"query": query})).await;
            assert_eq!(ids(&hits), [1, 2, 3], "{distance}: {query}");
            let least = scores(&hits)[1];
            let body = json!({"query": query, "score_threshold": least});
            assert_eq!(
                ids(&server.query(body).await),
                [1, 2],
                "{distance}: {query}"
            );
        }
        let fused = json!({
            "prefetch": [
                {"query": {"recommend": {"positive": [[1, 0]], "strategy": "best_score"}}},
                {"query": [1, 0]},
            ],
            "query": {"fusion": "dbsf"},
        });
        assert_eq!(ids(&server.query(fused).await), [1, 2, 3], "{distance}");
    }
}

#[tokio::test]
async fn varied_results_are_unlike_each_other() {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"v": {"size": 2, "distance": "Dot"}}});
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": {"v": [1, 0]}, "payload": {"n": 1}},
        {"id": 2, "vector": {"v": [0.99, 0.02]}, "payload": {"n": 2}},
        {"id": 3, "vector": {"v": [0, 1]}, "payload": {"n": 3}},
    ]});
    server.put("/collections/c/points", points).await.result();
    let query = |mmr: Value, limit: usize, offset: usize| {
        json!({
            "query": {"nearest": [1, 0.1], "mmr": mmr}, "using": "v", "limit": limit, "offset": offset,
            "with_payload": true, "with_vector": true,
        })
    };
    let varied = server
        .query(query(json!({"candidates_limit": 3}), 2, 0))
        .await;
    assert_eq!(ids(&varied), [1, 3]);
    assert_close(&scores(&varied), &[1.0, 0.1]);
    assert_eq!(varied[1]["payload"], json!({"n": 3}));
    assert_eq!(varied[1]["vector"], json!({"v": [0.0, 1.0]}));
    let relevant = json!({"diversity": 0, "candidates_limit": 3});
    assert_eq!(ids(&server.query(query(relevant, 2, 0)).await), [1, 2]);
    let second = json!({"diversity": 0.5, "candidates_limit": 3});
    assert_eq!(ids(&server.query(query(second, 1, 1)).await), [3]);
    assert_eq!(
        ids(&server.query(query(json!({}), 2, 0)).await),
        [1, 2],
        "as many candidates as results"
    );
    assert_eq!(ids(&server.query(query(Value::Null, 2, 0)).await), [1, 2]);
    for (mmr, words) in [
        (json!({"diversity": 1.5}), ["diversity", "0 to 1"]),
        (json!({"candidates_limit": 0}), ["candidates_limit", "1"]),
    ] {
        server
            .post("/collections/c/points/query", query(mmr, 2, 0))
            .await
            .refused(400, &words);
    }
}

#[tokio::test]
async fn vectors_of_examples_come_from_other_collections() {
    let server = Server::with_points().await;
    let schema = json!({"vectors": {"other": {"size": 3, "distance": "Euclid"}, "small": {"size": 2, "distance": "Dot"}}});
    server.put("/collections/d", schema).await.result();
    let points = json!({"points": [
        {"id": 2, "vector": {"other": [0, 0, 1]}},
        {"id": 7, "vector": {"other": [1, 0, 0], "small": [1, 0]}},
    ]});
    server.put("/collections/d/points", points).await.result();
    let query = |query: Value, from: Value| json!({"query": query, "lookup_from": from});
    let from = json!({"collection": "d", "vector": "other"});
    let hits = server.query(query(json!(2), from.clone())).await;
    assert_eq!(
        ids(&hits),
        [3, 1, 2],
        "point 2 of the other collection is not point 2"
    );
    let recommend = json!({"recommend": {"positive": [2, 7], "strategy": "sum_scores"}});
    assert_eq!(
        ids(&server.query(query(recommend, from.clone())).await),
        [3, 1, 2]
    );
    let own = json!({"collection": "c", "vector": ""});
    assert_eq!(ids(&server.query(query(json!(2), own)).await), [1, 3]);
    let prefetched = json!({
        "prefetch": [{"query": 2, "lookup_from": from, "limit": 1}],
        "query": 1,
    });
    assert_eq!(ids(&server.query(prefetched).await), [3]);
    for (body, code, words) in [
        (query(json!(9), from.clone()), 404, ["collection 'd'", "9"]),
        (
            query(json!(2), json!({"collection": "e"})),
            404,
            ["e", "exist"],
        ),
        (
            query(json!(7), json!({"collection": "d", "vector": "nope"})),
            400,
            ["lookup_from.vector", "nope"],
        ),
        (
            query(json!(7), json!({"collection": "d", "vector": "small"})),
            400,
            ["2 components", "3"],
        ),
        (
            query(json!(2), json!({"collection": "d", "vector": "small"})),
            400,
            ["id 2", "small"],
        ),
    ] {
        server
            .post("/collections/c/points/query", body)
            .await
            .refused(code, &words);
    }
}

#[tokio::test]
async fn without_a_query_points_are_listed() {
    let server = Server::with_points().await;
    let hits = server.query(json!({})).await;
    assert_eq!(ids(&hits), [1, 2, 3]);
    assert_close(&scores(&hits), &[1.0, 1.0, 1.0]);
    let red = json!({"must": [{"key": "color", "match": {"value": "red"}}]});
    let body = json!({"filter": red, "offset": 1, "limit": 1, "with_payload": ["n"]});
    let hits = server.query(body).await;
    assert_eq!(hits[0]["payload"], json!({"n": 3}));
    let body = json!({"prefetch": {"filter": red}, "query": [1, 1, 1]});
    assert_eq!(ids(&server.query(body).await), [3, 1]);
    server
        .post("/collections/c/points/query", json!({"prefetch": {}}))
        .await
        .refused(400, &["'query' is needed"]);
}

#[tokio::test]
async fn the_older_apis_for_examples() {
    let server = Server::with_points().await;
    let path = |end: &str| format!("/collections/c/points/{end}");
    let hits = server
        .post(
            &path("recommend"),
            json!({"positive": [1], "negative": [[0, 1, 0]], "limit": 5, "with_payload": true}),
        )
        .await
        .result();
    assert_eq!(ids(&hits), [3, 2]);
    assert_eq!(hits[0]["payload"]["n"], 3);
    let pair = json!({"positive": [0, 1, 0], "negative": [1, 0, 0]});
    let hits = server
        .post(
            &path("discover"),
            json!({"target": [0, 0, 1], "context": [pair], "limit": 2}),
        )
        .await
        .result();
    assert_eq!(ids(&hits), [2, 3]);
    let batch = json!({"searches": [
        {"context": [pair], "limit": 1, "offset": 1},
        {"target": 1, "limit": 1, "filter": {"must_not": [{"has_id": [2]}]}},
    ]});
    let lists = server.post(&path("discover/batch"), batch).await.result();
    assert_eq!((ids(&lists[0]), ids(&lists[1])), (vec![3], vec![3]));
    let batch = json!({"searches": [
        {"positive": [2], "strategy": "best_score", "limit": 1},
        {"negative": [2], "strategy": "sum_scores", "limit": 5, "score_threshold": -1},
    ]});
    let lists = server.post(&path("recommend/batch"), batch).await.result();
    assert_eq!((ids(&lists[0]), ids(&lists[1])), (vec![1], vec![1, 3]));
    for (end, body, words) in [
        (
            "recommend",
            json!({"limit": 5}),
            ["positive", "average_vector"],
        ),
        (
            "recommend",
            json!({"positive": [1], "limit": 0}),
            ["limit", "1"],
        ),
        ("discover", json!({"limit": 5}), ["context", "pair"]),
        (
            "discover",
            json!({"target": [1, 2], "limit": 5}),
            ["target", "dimension is 2"],
        ),
    ] {
        server.post(&path(end), body).await.refused(400, &words);
    }
}

#[tokio::test]
async fn examples_that_cannot_be_compared_are_named() {
    let server = Server::with_points().await;
    for (query, words) in [
        (
            json!({"recommend": {"positive": [1, [1, 2]]}}),
            ["positive[1]", "dimension is 2"],
        ),
        (
            json!({"recommend": {"strategy": "best_score"}}),
            ["positive", "at least one"],
        ),
        (
            json!({"recommend": {"negative": [1]}}),
            ["positive", "average_vector"],
        ),
        (
            json!({"recommend": {"positive": [1], "strategy": "worst"}}),
            ["strategy", "worst"],
        ),
        (
            json!({"discover": {"target": "x", "context": []}}),
            ["target", "neither"],
        ),
        (
            json!({"context": [{"positive": 1, "negative": {"indices": [1], "values": [1]}}]}),
            ["context[0].negative", "sparse"],
        ),
        (json!({"context": []}), ["context", "at least one pair"]),
        (
            json!({"nearest": [1, 0, 0], "fusion": "rrf"}),
            ["query", "one kind"],
        ),
        (
            json!({"recommend": {"positive": [1]}, "mmr": {}}),
            ["mmr", "nearest"],
        ),
        (json!({"nope": 1}), ["query", "nope"]),
    ] {
        server
            .post("/collections/c/points/query", json!({"query": query}))
            .await
            .refused(400, &words);
    }
    let missing = json!({"query": {"recommend": {"positive": [1, 12]}}});
    server
        .post("/collections/c/points/query", missing)
        .await
        .refused(404, &["12"]);
}
