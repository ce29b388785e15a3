//! Named vectors, lists of vectors, sparse vectors, and points that lack some.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, ids};

/// A collection `c` with vectors `title` (2, cosine), `pages` (2, dot, lists) and `terms` (sparse), and three points.
async fn server() -> Server {
    let server = Server::new(ApiConfig::default());
    let schema = json!({
        "vectors": {
            "title": {"size": 2, "distance": "Cosine"},
            "pages": {
                "size": 2,
                "distance": "Dot",
                "multivector_config": {"comparator": "max_sim"},
                "hnsw_config": {"m": 24},
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}},
            },
        },
        "sparse_vectors": {"terms": {}},
    });
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": {"title": [3, 4], "pages": [[1, 0], [0, 1]], "terms": {"indices": [9, 3], "values": [1, 2]}}},
        {"id": 2, "vector": {"title": [0, 1], "pages": [[5, 0]]}},
        {"id": 3, "vector": {"terms": {"indices": [3], "values": [3]}}},
    ]});
    server.put("/collections/c/points", points).await.result();
    server
}

async fn vector(server: &Server, id: u64) -> Value {
    server
        .get(&format!("/collections/c/points/{id}"))
        .await
        .result()["vector"]
        .take()
}

async fn query(server: &Server, body: Value) -> Value {
    server
        .post("/collections/c/points/query", body)
        .await
        .result()["points"]
        .take()
}

#[tokio::test]
async fn collections_tell_all_their_vectors() {
    let server = server().await;
    let config = server.get("/collections/c").await.result()["config"].take();
    assert_eq!(
        config["params"]["vectors"],
        json!({
            "pages": {
                "size": 2,
                "distance": "Dot",
                "multivector_config": {"comparator": "max_sim"},
                "hnsw_config": {"m": 24},
                "quantization_config": {"scalar": {"type": "int8"}},
            },
            "title": {
                "size": 2,
                "distance": "Cosine",
            },
        })
    );
    assert_eq!(
        config["params"]["sparse_vectors"],
        json!({"terms": {"modifier": "none"}})
    );
    assert_eq!(config["hnsw_config"]["m"], 16);
    assert_eq!(config["quantization_config"], Value::Null);
}

#[tokio::test]
async fn codes_are_chosen_by_dimension_unless_the_user_says() {
    let server = Server::new(ApiConfig::default());
    for (i, (size, asked, expected)) in [
        (64, Value::Null, json!({"scalar": {"type": "int8"}})),
        (63, Value::Null, Value::Null),
        (64, json!("Disabled"), Value::Null),
        (
            8,
            json!({"scalar": {"type": "int4"}}),
            json!({"turbo": {"bits": "bits4"}}),
        ),
        (
            8,
            json!({"turbo": {"always_ram": true}}),
            json!({"turbo": {"bits": "bits4"}}),
        ),
        (
            8,
            json!({"binary": {"always_ram": true}}),
            json!({"binary": {"encoding": "one_bit"}}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/collections/c{i}");
        let schema = json!({
            "vectors": {"size": size, "distance": "Dot"},
            "quantization_config": asked,
        });
        server.put(&path, schema).await.result();
        let info = server.get(&path).await.result();
        assert_eq!(info["config"]["quantization_config"], expected);
    }
}

#[tokio::test]
async fn wrong_schemas_of_vectors_name_the_field() {
    let server = Server::new(ApiConfig::default());
    let dense = |extra: (&str, Value)| {
        let mut params = json!({"size": 2, "distance": "Manhattan"});
        params[extra.0] = extra.1;
        json!({"vectors": {"title": params}})
    };
    let both = json!({
        "vectors": {"a": {"size": 2, "distance": "Dot"}},
        "sparse_vectors": {"a": {}},
    });
    for (body, words) in [
        (dense(("size", json!(0))), &["vectors.title.size"][..]),
        (dense(("dim", json!(0))), &["vectors.title", "dim"]),
        (
            dense(("multivector_config", json!({"comparator": "min"}))),
            &["vectors.title", "max_sim"],
        ),
        (
            dense(("quantization_config", json!({"binary": {}}))),
            &["vectors.title.quantization", "Manhattan"],
        ),
        (
            dense(("quantization_config", json!({"scalar": {"type": "int2"}}))),
            &["vectors.title.quantization_config", "int2"],
        ),
        (dense(("quantization_config", json!({}))), &["'scalar'"]),
        (both, &["sparse_vectors", "'a'"]),
        (
            json!({"sparse_vectors": {"a": {"modifier": "tf"}}}),
            &["tf"],
        ),
        (
            json!({"vectors": {"a\u{7}": {"size": 2, "distance": "Dot"}}}),
            &["visible"],
        ),
    ] {
        server.put("/collections/c", body).await.refused(400, words);
    }
}

#[tokio::test]
async fn points_have_the_vectors_they_were_given() {
    let server = server().await;
    let one = vector(&server, 1).await;
    assert_eq!(one["title"], json!([0.6, 0.8]));
    assert_eq!(one["pages"], json!([[1.0, 0.0], [0.0, 1.0]]));
    assert_eq!(
        one["terms"],
        json!({"indices": [3, 9], "values": [2.0, 1.0]})
    );
    let two = vector(&server, 2).await;
    assert_eq!(two, json!({"pages": [[5.0, 0.0]], "title": [0.0, 1.0]}));
    let body = json!({"ids": [1, 3], "with_vector": ["title"]});
    let some = server.post("/collections/c/points", body).await.result();
    assert_eq!(some[0]["vector"], json!({"title": [0.6, 0.8]}));
    assert_eq!(some[1]["vector"], json!({}));
    let body = json!({"limit": 1, "with_vector": ["terms", "pages"]});
    let page = server
        .post("/collections/c/points/scroll", body)
        .await
        .result();
    let named = page["points"][0]["vector"].as_object().unwrap();
    assert_eq!(named.len(), 2);
}

#[tokio::test]
async fn columns_of_named_vectors_are_rows_of_points() {
    let server = server().await;
    let columns = json!({"batch": {"ids": [4, 5], "vectors": {
        "title": [[1, 0], [0, 2]],
        "pages": [[[1, 1]], [2, 2]],
    }}});
    server.put("/collections/c/points", columns).await.result();
    assert_eq!(
        vector(&server, 5).await,
        json!({"title": [0.0, 1.0], "pages": [[2.0, 2.0]]}),
        "a vector where lists are stored is a list of one"
    );
    let short = json!({"batch": {"ids": [4, 5], "vectors": {"title": [[1, 0]]}}});
    server
        .put("/collections/c/points", short)
        .await
        .refused(400, &["batch.vectors['title']", "1", "2"]);
}

#[tokio::test]
async fn searches_compare_the_vectors_that_they_name() {
    let server = server().await;
    let hits = query(&server, json!({"query": [0, 1], "using": "title"})).await;
    assert_eq!(ids(&hits), [2, 1], "point 3 has no title");
    // The best of each point's pages for each of the query's vectors, summed.
    let body = json!({"query": [[1, 0], [0, 2]], "using": "pages"});
    let hits = query(&server, body).await;
    assert_eq!(ids(&hits), [2, 1]);
    assert_eq!(hits[0]["score"], 5.0);
    assert_eq!(hits[1]["score"], 3.0);
    let hits = query(&server, json!({"query": [1, 1], "using": "pages"})).await;
    assert_eq!(hits[0]["score"], 5.0);
    let terms = json!({"indices": [3, 7], "values": [1, 1]});
    for form in [terms.clone(), json!({"nearest": terms.clone()})] {
        let hits = query(&server, json!({"query": form, "using": "terms"})).await;
        assert_eq!(ids(&hits), [3, 1], "point 2 shares no term");
        assert_eq!(hits[0]["score"], 3.0);
    }
    let like = json!({"query": 1, "using": "title", "with_vector": ["title"]});
    let hits = query(&server, like).await;
    assert_eq!(ids(&hits), [2]);
    assert_eq!(hits[0]["vector"], json!({"title": [0.0, 1.0]}));
    for vector in [
        json!({"name": "title", "vector": [0, 1]}),
        json!({"name": "pages", "vector": [5, 0]}),
        json!({"name": "terms", "vector": terms}),
    ] {
        let body = json!({"vector": vector, "limit": 1});
        let hits = server
            .post("/collections/c/points/search", body)
            .await
            .result();
        assert_eq!(hits.as_array().unwrap().len(), 1, "{vector}");
    }
}

#[tokio::test]
async fn vectors_are_replaced_and_deleted_by_name() {
    let server = server().await;
    let update = json!({"points": [
        {"id": 2, "vector": {"pages": [[0, 7], [7, 0]]}},
        {"id": 3, "vector": {"title": [1, 0]}},
        {"id": 99, "vector": {"title": [1, 0]}},
    ]});
    let path = "/collections/c/points/vectors";
    server.put(path, update).await.result();
    assert_eq!(
        vector(&server, 2).await,
        json!({"pages": [[0.0, 7.0], [7.0, 0.0]], "title": [0.0, 1.0]})
    );
    let three = vector(&server, 3).await;
    assert_eq!(three["title"], json!([1.0, 0.0]));
    assert_eq!(three["terms"]["indices"], json!([3]));
    assert_eq!(server.count().await, 3, "id 99 was not made");

    let path = "/collections/c/points/vectors/delete";
    let delete = json!({"points": [1, 2, 99], "vector": ["title", "terms"]});
    server.post(path, delete).await.result();
    assert_eq!(
        vector(&server, 2).await,
        json!({"pages": [[0.0, 7.0], [7.0, 0.0]]})
    );
    let hits = query(&server, json!({"query": [0, 1], "using": "title"})).await;
    assert_eq!(ids(&hits), [3]);
    let all = json!({"filter": {}, "vector": ["title", "terms", "pages"]});
    let operations = json!({"operations": [{"delete_vectors": all}]});
    server
        .post("/collections/c/points/batch", operations)
        .await
        .result();
    assert_eq!(vector(&server, 3).await, json!({}));
    assert_eq!(server.count().await, 3);
    for (body, words) in [
        (json!({"points": [1], "vector": []}), &["'vector'"][..]),
        (
            json!({"points": [1], "vector": ["x"]}),
            &["'x'", "'pages', 'title', 'terms'"],
        ),
        (json!({"vector": ["title"]}), &["'points'", "'filter'"]),
    ] {
        server.post(path, body).await.refused(400, words);
    }
}

#[tokio::test]
async fn vectors_that_do_not_fit_are_named() {
    let server = server().await;
    for (vector, words) in [
        (json!([1, 2]), &["no unnamed vector", "'title'"][..]),
        (
            json!({"x": [1, 2]}),
            &["no vector 'x'", "'pages', 'title', 'terms'"],
        ),
        (json!({"title": [1]}), &["['title']", "dimension is 1"]),
        (
            json!({"title": [[1, 2]]}),
            &["['title']", "one dense vector"],
        ),
        (
            json!({"title": {"indices": [1], "values": [1]}}),
            &["['title']", "dense"],
        ),
        (json!({"pages": []}), &["['pages']"]),
        (
            json!({"pages": [[1, 2], [1]]}),
            &["['pages'][1]", "dimension is 1"],
        ),
        (json!({"pages": [[1, 2], 3]}), &["points[0].vector"]),
        (json!({"terms": [1, 2]}), &["['terms']", "sparse"]),
        (
            json!({"terms": {"indices": [1, 1], "values": [1, 2]}}),
            &["['terms']", "index 1"],
        ),
        (
            json!({"terms": {"indices": [1], "values": []}}),
            &["['terms']", "1 indices"],
        ),
        (
            json!({"terms": {"indices": [-1], "values": [1]}}),
            &["points[0].vector"],
        ),
        (
            json!({"terms": {"indices": [1], "values": [1e39]}}),
            &["['terms']", "finite"],
        ),
        (json!({"terms": {"indices": [1]}}), &["values"]),
        (json!({"title": 5}), &["['title']", "an id"]),
        (json!({"title": "abc"}), &["['title']", "'abc'"]),
        (json!(5), &["an id"]),
    ] {
        let body = json!({"points": [{"id": 9, "vector": vector}]});
        server
            .put("/collections/c/points", body)
            .await
            .refused(400, words);
    }
    for (body, words) in [
        (json!({"query": [1, 2]}), &["using", "''", "'title'"][..]),
        (json!({"query": [1, 2], "using": "x"}), &["using", "'x'"]),
        (
            json!({"query": [1], "using": "title"}),
            &["query", "dimension is 1"],
        ),
        (
            json!({"query": [1, 2], "using": "terms"}),
            &["query", "sparse"],
        ),
        (
            json!({"query": [[1, 2]], "using": "title"}),
            &["query", "one dense vector"],
        ),
        (
            json!({"query": "abc", "using": "title"}),
            &["query", "'abc'"],
        ),
        (
            json!({"query": 3, "using": "title"}),
            &["3", "no vector 'title'"],
        ),
        (
            json!({"query": [1, 2], "using": "title", "with_vector": ["x"]}),
            &["with_vector", "'x'"],
        ),
        (
            json!({"query": {"nearest": [1, 2], "indices": [1]}, "using": "title"}),
            &["nearest"],
        ),
    ] {
        server
            .post("/collections/c/points/query", body)
            .await
            .refused(400, words);
    }
    assert_eq!(server.count().await, 3);
}

#[tokio::test]
async fn collections_need_no_dense_vector_and_points_none_at_all() {
    let server = Server::new(ApiConfig::default());
    for (name, schema) in [
        ("a", json!({"sparse_vectors": {"terms": {}}})),
        ("b", json!({"vectors": {}})),
        ("c", json!({"vectors": {"size": 2, "distance": "Dot"}})),
    ] {
        server
            .put(&format!("/collections/{name}"), schema)
            .await
            .result();
        let points = json!({"points": [{"id": 1, "vector": {}, "payload": {"a": 1}}]});
        server
            .put(&format!("/collections/{name}/points"), points)
            .await
            .result();
        let one = server
            .get(&format!("/collections/{name}/points/1"))
            .await
            .result();
        assert_eq!(one, json!({"id": 1, "payload": {"a": 1}, "vector": {}}));
        server.get(&format!("/collections/{name}")).await.result();
    }
}
