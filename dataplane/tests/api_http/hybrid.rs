//! Sparse vectors with weighted terms, texts as vectors, and queries on the results of queries.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, assert_close, ids, scores};

/// A collection `c` with vectors `dense` (2, dot), `far` (2, Euclid) and sparse `words` (weighted) and `plain` (not), and four
/// points.
async fn server() -> Server {
    let server = Server::new(ApiConfig::default());
    let schema = json!({
        "vectors": {
            "dense": {"size": 2, "distance": "Dot"},
            "far": {"size": 2, "distance": "Euclid"},
        },
        "sparse_vectors": {"words": {"modifier": "idf"}, "plain": {}},
    });
    server.put("/collections/c", schema).await.result();
    let text = |text: &str| json!({"text": text, "model": "Qdrant/bm25"});
    let point = |id: u64, dense: [f32; 2], words: &str, kind: &str| {
        json!({
            "id": id,
            "vector": {
                "dense": dense,
                "far": dense,
                "words": text(words),
                "plain": {"indices": [1, id], "values": [id, 1]},
            },
            "payload": {"kind": kind},
        })
    };
    let points = json!({"points": [
        {"id": 1, "vector": {
            "dense": [1, 0], "far": [1, 0], "words": text("a red fox"), "plain": {"indices": [1], "values": [1]},
        }, "payload": {"kind": "x"}},
        point(2, [2.0, 0.0], "a red hen", "y"),
        point(3, [3.0, 0.0], "the blue fox runs", "x"),
        point(4, [4.0, 0.0], "red red sea", "y"),
    ]});
    server.put("/collections/c/points", points).await.result();
    server
}

async fn query(server: &Server, body: Value) -> Value {
    server
        .post("/collections/c/points/query", body)
        .await
        .result()["points"]
        .take()
}

/// Weight of a term that `having` of four vectors have.
fn idf(all: f64, having: f64) -> f64 {
    ((all - having + 0.5) / (having + 0.5) + 1.0).ln()
}

#[tokio::test]
async fn rare_terms_count_more_where_the_collection_says_so() {
    let server = server().await;
    let text =
        |text: &str| json!({"query": {"text": text, "model": "qdrant/BM25"}, "using": "words"});
    // Saturated frequency of a term that occurs once in a text of so many tokens, with k = 1.2, b = 0.75, 256 on average.
    let weight = |tf: f64, len: f64| tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len / 256.0));
    let hits = query(&server, text("foxes")).await;
    assert_eq!(
        ids(&hits),
        [1, 3],
        "stems agree, and the shorter text is first"
    );
    assert_close(
        &scores(&hits),
        &[
            idf(4.0, 2.0) * weight(1.0, 2.0),
            idf(4.0, 2.0) * weight(1.0, 3.0),
        ],
    );
    let hits = query(&server, text("The red hens")).await;
    assert_eq!(
        ids(&hits),
        [2, 4, 1],
        "'hen' is rarer than 'red', 'red red' more than 'red'"
    );
    let both = (idf(4.0, 3.0) + idf(4.0, 1.0)) * weight(1.0, 2.0);
    assert_close(&scores(&hits)[..1], &[both]);

    let vector = json!({"indices": [1, 4], "values": [1, 1]});
    let hits = query(&server, json!({"query": vector, "using": "plain"})).await;
    assert_close(&scores(&hits), &[5.0, 3.0, 2.0, 1.0]);

    // What is deleted or replaced does not count.
    let delete = json!({"points": [4]});
    server
        .post("/collections/c/points/delete", delete)
        .await
        .result();
    let hits = query(&server, text("red")).await;
    assert_eq!(ids(&hits), [1, 2]);
    let expected = idf(3.0, 2.0) * weight(1.0, 2.0);
    assert_close(&scores(&hits), &[expected, expected]);
}

#[tokio::test]
async fn texts_are_refused_where_they_cannot_be_vectors() {
    let server = server().await;
    let text =
        |model: &str, options: Value| json!({"text": "a", "model": model, "options": options});
    let body = |query: Value, using: &str| json!({"query": query, "using": using});
    let path = "/collections/c/points/query";
    let bm25 = "qdrant/bm25";
    for (body, status, words) in [
        (
            body(text("clip", json!({})), "words"),
            501,
            &["'clip'", "qdrant/bm25"][..],
        ),
        (
            body(text(bm25, json!({"k": -1})), "words"),
            400,
            &["query.options", "k is -1"],
        ),
        (
            body(text(bm25, Value::Null), "dense"),
            400,
            &["sparse", "'dense'"],
        ),
        (body(json!({"text": "a"}), "words"), 501, &["text queries"]),
        (
            body(json!({"image": "a", "model": bm25}), "words"),
            501,
            &["inference"],
        ),
    ] {
        server.post(path, body).await.refused(status, words);
    }
    let point = |vector: Value| json!({"points": [{"id": 9, "vector": vector}]});
    for (vector, status, word) in [
        (json!({"words": text("clip", json!({}))}), 501, "['words']"),
        (
            json!({"words": text(bm25, json!({"bm": 1}))}),
            400,
            "['words'].options",
        ),
        (json!({"dense": text(bm25, json!({}))}), 400, "['dense']"),
    ] {
        let answer = server.put("/collections/c/points", point(vector)).await;
        answer.refused(status, &[word]);
    }
    assert_eq!(server.count().await, 4);
}

#[tokio::test]
async fn ranks_of_several_searches_are_fused() {
    let server = server().await;
    let red = json!({"query": {"text": "red", "model": "qdrant/bm25"}, "using": "words"});
    let dense = json!({"query": [1, 0], "using": "dense"});
    let both = json!([red, dense]);
    // red: 4, 1, 2; dense: 4, 3, 2, 1.
    let hits = query(
        &server,
        json!({"prefetch": both, "query": {"fusion": "rrf"}}),
    )
    .await;
    assert_eq!(ids(&hits), [4, 1, 2, 3]);
    assert_close(
        &scores(&hits),
        &[1.0, 1.0 / 3.0 + 1.0 / 5.0, 1.0 / 4.0 + 1.0 / 4.0, 1.0 / 3.0],
    );
    let body = json!({
        "prefetch": both,
        "query": {"rrf": {"k": 60, "weights": [3.0, 0.0]}},
        "limit": 2,
        "offset": 1,
        "with_payload": ["kind"],
        "with_vector": ["dense"],
    });
    let hits = query(&server, body).await;
    assert_eq!(ids(&hits), [1, 2]);
    assert_close(&scores(&hits), &[1.0 / (2.0 / 3.0 + 59.0), 1.0 / 60.0]);
    assert_eq!(hits[0]["payload"], json!({"kind": "x"}));
    assert_eq!(hits[0]["vector"], json!({"dense": [1.0, 0.0]}));
    assert!(hits[0]["version"].as_u64().is_some_and(|v| v > 0));

    let body = json!({"prefetch": both, "query": {"fusion": "rrf"}, "score_threshold": 0.5});
    assert_eq!(ids(&query(&server, body).await), [4, 1, 2]);
    let filter = json!({"must": [{"key": "kind", "match": {"value": "y"}}]});
    let body = json!({"prefetch": both, "query": {"fusion": "rrf"}, "filter": filter});
    let hits = query(&server, body).await;
    assert_eq!(
        ids(&hits),
        [4, 2],
        "the filter holds for what is prefetched"
    );
    assert_close(&scores(&hits), &[1.0, 2.0 / 3.0]);
}

#[tokio::test]
async fn scores_of_several_searches_are_fused_also_where_low_is_good() {
    let server = server().await;
    let body = json!({
        "prefetch": [
            {"query": [1, 0], "using": "dense", "limit": 3},
            {"query": [4, 0], "using": "far", "limit": 3},
        ],
        "query": {"fusion": "dbsf"},
    });
    let hits = query(&server, body).await;
    assert_eq!(ids(&hits), [4, 3, 2]);
    // Both lists: best, middle, worst, one apart: 1 standard deviation of 6.
    assert_close(&scores(&hits), &[4.0 / 3.0, 1.0, 2.0 / 3.0]);
}

#[tokio::test]
async fn what_was_found_is_compared_by_another_vector() {
    let server = server().await;
    let red =
        json!({"query": {"text": "red", "model": "qdrant/bm25"}, "using": "words", "limit": 2});
    let body = json!({"prefetch": red, "query": [-1, 0], "using": "dense", "with_payload": true});
    let hits = query(&server, body).await;
    assert_eq!(
        ids(&hits),
        [1, 4],
        "only what was prefetched, in its own order"
    );
    assert_eq!(scores(&hits), [-1.0, -4.0]);
    assert_eq!(hits[0]["payload"], json!({"kind": "x"}));
    let mut asked = server.memory.last_search().among.unwrap();
    asked.sort_unstable();
    assert_eq!(asked.len(), 2);

    // A fusion inside, by id, under a filter; and a batch.
    let inner = json!({
        "prefetch": [{"query": 1, "using": "plain"}, {"query": [1, 0], "using": "dense"}],
        "query": {"fusion": "rrf"},
        "limit": 3,
    });
    let nested = json!({
        "prefetch": [inner, {"query": [0, 0], "using": "far", "limit": 1}],
        "query": [1, 0],
        "using": "far",
        "filter": {"must_not": [{"has_id": [4]}]},
    });
    let plain = json!({"query": [1, 0], "using": "dense", "limit": 1});
    let batch = json!({"searches": [nested, plain]});
    let answers = server
        .post("/collections/c/points/query/batch", batch)
        .await
        .result();
    assert_eq!(ids(&answers[0]["points"]), [1, 2, 3]);
    assert_eq!(ids(&answers[1]["points"]), [4]);

    let none = json!({"query": {"text": "ostrich", "model": "qdrant/bm25"}, "using": "words"});
    for query_ in [
        json!([1, 0]),
        json!({"fusion": "rrf"}),
        json!({"fusion": "dbsf"}),
    ] {
        let body =
            json!({"prefetch": none, "query": query_, "using": "dense", "with_payload": true});
        assert_eq!(query(&server, body).await, json!([]));
    }
}

#[tokio::test]
async fn wrong_trees_of_queries_name_the_place() {
    let server = server().await;
    let dense = json!({"query": [1, 0], "using": "dense"});
    let mut deep = dense.clone();
    for _ in 0..9 {
        deep = json!({"prefetch": deep, "query": [1, 0], "using": "dense"});
    }
    let rrf = |params: Value| json!({"prefetch": [dense, dense], "query": {"rrf": params}});
    for (body, words) in [
        (json!({"query": {"fusion": "rrf"}}), &["'prefetch'"][..]),
        (json!({"prefetch": dense}), &["'query' is needed"]),
        (
            json!({"prefetch": dense, "query": {"fusion": "sum"}}),
            &["sum"],
        ),
        (
            json!({"prefetch": dense, "query": {"fusion": "rrf", "nearest": [1, 0]}}),
            &["one kind"],
        ),
        (rrf(json!({"k": 0})), &["rrf.k"]),
        (rrf(json!({"weights": [1]})), &["weights", "1", "2"]),
        (rrf(json!({"weights": [1, -1]})), &["weights", "-1"]),
        (rrf(json!({"c": 1})), &["c"]),
        (deep, &["depth of 'prefetch'", "9", "8"]),
        (
            json!({"prefetch": vec![dense.clone(); 65], "query": {"fusion": "rrf"}}),
            &["'prefetch'", "65", "64"],
        ),
        (
            json!({"prefetch": [dense, {"prefetch": [{"query": [1], "using": "dense"}], "query": [1, 0], "using": "dense"}], "query": {"fusion": "rrf"}}),
            &["prefetch[1]: prefetch[0]: query", "dimension is 1"],
        ),
        (
            json!({"prefetch": [{"query": [1, 0], "using": "x"}], "query": {"fusion": "rrf"}}),
            &["prefetch[0]", "'x'"],
        ),
        (
            json!({"prefetch": [{"query": [1, 0], "using": "dense", "limit": 0}], "query": {"fusion": "rrf"}}),
            &["prefetch[0]", "limit"],
        ),
    ] {
        server
            .post("/collections/c/points/query", body)
            .await
            .refused(400, words);
    }
    let body = json!({"prefetch": {"query": 77, "using": "dense"}, "query": {"fusion": "rrf"}});
    server
        .post("/collections/c/points/query", body)
        .await
        .refused(404, &["77"]);
}
