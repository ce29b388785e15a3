//! Settings of text indexes: which texts conditions on words find.

use brainy_dataplane::api::ApiConfig;
use serde_json::{Value, json};

use crate::support::{Server, ids};

async fn server() -> Server {
    let server = Server::new(ApiConfig::default());
    let schema = json!({"vectors": {"size": 1, "distance": "Dot"}});
    server.put("/collections/c", schema).await.result();
    let points = json!({"points": [
        {"id": 1, "vector": [1], "payload": {"t": "The Runners were running", "parts": [{"t": "Foxes"}]}},
        {"id": 2, "vector": [1], "payload": {"t": ["uma Ação", "well-known fox"]}},
        {"id": 3, "vector": [1], "payload": {"t": "a fox ran"}},
    ]});
    server.put("/collections/c/points", points).await.result();
    server
}

async fn index(server: &Server, field: &str, mut params: Value) {
    params["type"] = json!("text");
    let body = json!({"field_name": field, "field_schema": params});
    server.put("/collections/c/index", body).await.result();
}

async fn found(server: &Server, test: Value) -> Vec<u64> {
    let body = json!({"filter": {"must": [{"key": "t", "match": test}]}});
    let page = server.post("/collections/c/points/scroll", body).await;
    ids(&page.result()["points"])
}

#[tokio::test]
async fn an_index_says_what_words_are() {
    let server = server().await;
    let text = |text: &str| json!({"text": text});
    let cases = [
        (json!({}), text("RUNNING"), vec![1]),
        (json!({}), text("run"), vec![]),
        (json!({}), text("known"), vec![2]),
        (
            json!({"stemmer": {"type": "snowball", "language": "english"}}),
            text("runs"),
            vec![1],
        ),
        (
            json!({"stemmer": {"type": "snowball", "language": "english"}}),
            json!({"phrase": "foxes ran"}),
            vec![3],
        ),
        (
            json!({"stopwords": "english"}),
            text("the fox was a"),
            vec![2, 3],
        ),
        (
            json!({"stopwords": {"custom": ["FOX"]}}),
            text("fox"),
            vec![],
        ),
        (json!({"ascii_folding": true}), text("acao"), vec![2]),
        (json!({"lowercase": false}), text("runners"), vec![]),
        (json!({"lowercase": false}), text("Runners"), vec![1]),
        (json!({"tokenizer": "whitespace"}), text("known"), vec![]),
        (
            json!({"tokenizer": "whitespace"}),
            text("well-known"),
            vec![2],
        ),
        (json!({"tokenizer": "prefix"}), text("r"), vec![1, 3]),
        (
            json!({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 3}),
            text("runway"),
            vec![1],
        ),
        (json!({"min_token_len": 3}), text("a fox"), vec![2, 3]),
        (
            json!({"max_token_len": 3}),
            json!({"text_any": "running ran"}),
            vec![3],
        ),
    ];
    for (params, test, expected) in cases {
        index(&server, "t", params.clone()).await;
        assert_eq!(
            found(&server, test.clone()).await,
            expected,
            "{params} {test}"
        );
    }
    let dropped = server
        .call("DELETE", "/collections/c/index/t", &[], None)
        .await;
    dropped.result();
    assert_eq!(found(&server, text("running")).await, [1]);
}

#[tokio::test]
async fn an_index_inside_of_arrays_holds_for_nested_conditions() {
    let server = server().await;
    let nested = json!({"filter": {"must": [
        {"nested": {"key": "parts", "filter": {"must": [{"key": "t", "match": {"text": "fox"}}]}}}
    ]}});
    let count = async || {
        let answer = server
            .post("/collections/c/points/count", nested.clone())
            .await;
        answer.result()["count"].clone()
    };
    assert_eq!(count().await, 0);
    index(
        &server,
        "parts[].t",
        json!({"stemmer": {"type": "snowball", "language": "english"}}),
    )
    .await;
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn writes_find_what_reads_find() {
    let server = server().await;
    index(&server, "t", json!({"tokenizer": "prefix"})).await;
    let delete = json!({"filter": {"must": [{"key": "t", "match": {"text": "runn"}}]}});
    server
        .post("/collections/c/points/delete", delete)
        .await
        .result();
    assert_eq!(server.count().await, 2);
}

#[tokio::test]
async fn parameters_of_indexes_are_taken_or_named() {
    let server = server().await;
    for (kind, params) in [
        (
            "keyword",
            json!({"is_tenant": true, "on_disk": true, "prefix": true}),
        ),
        ("uuid", json!({"is_tenant": false, "enable_hnsw": true})),
        (
            "integer",
            json!({"lookup": true, "range": true, "is_principal": true}),
        ),
        ("float", json!({"is_principal": true})),
        ("datetime", json!({"is_principal": true, "memory": "cold"})),
        (
            "text",
            json!({"phrase_matching": true, "scoring": false, "stemmer": {"type": "none"}}),
        ),
        ("geo", json!({"on_disk": false})),
        ("bool", json!({})),
    ] {
        let mut schema = params;
        schema["type"] = json!(kind);
        let body = json!({"field_name": "x", "field_schema": schema});
        server.put("/collections/c/index", body).await.result();
    }
    for (status, schema, word) in [
        (
            400,
            json!({"type": "keyword", "tokenizer": "word"}),
            "tokenizer",
        ),
        (400, json!({"type": "float", "lookup": true}), "lookup"),
        (
            400,
            json!({"type": "text", "stemmer": {"type": "snowball"}}),
            "stemmer",
        ),
        (
            400,
            json!({"type": "text", "min_token_len": 9, "max_token_len": 2}),
            "max_token_len",
        ),
        (
            501,
            json!({"type": "text", "tokenizer": "multilingual"}),
            "multilingual",
        ),
        (
            501,
            json!({"type": "text", "stopwords": "french"}),
            "french",
        ),
        (501, json!({"type": "text", "scoring": true}), "scoring"),
        (501, json!({"type": "keyword", "nested": "parts"}), "nested"),
    ] {
        let body = json!({"field_name": "x", "field_schema": schema});
        let answer = server.put("/collections/c/index", body).await;
        answer.refused(status, &[word]);
    }
}
