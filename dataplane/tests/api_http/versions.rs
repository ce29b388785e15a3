//! Versions of points, contexts of writes, counters and sets: shapes, and what is refused by name. What they do where several instances
//! write is tested at the engine.

use serde_json::{Value, json};

use crate::support::{Answer, Server};

async fn with_context(
    server: &Server,
    method: &str,
    path: &str,
    context: &str,
    body: Value,
) -> Answer {
    let headers = [("brainy-context", context)];
    server
        .call(method, path, &headers, Some(&body.to_string()))
        .await
}

async fn context(server: &Server, id: u64) -> String {
    let path = format!("/collections/c/points/{id}/versions");
    let versions = server.get(&path).await.result();
    versions["context"].as_str().unwrap().to_owned()
}

fn upsert(ids: &[u64]) -> Value {
    let points = ids.iter().map(|id| json!({"id": id, "vector": [1, 2, 3]}));
    json!({"points": points.collect::<Vec<_>>()})
}

#[tokio::test]
async fn versions_show_the_point_its_siblings_and_a_context() {
    let server = Server::with_points().await;
    let shown = server.get("/collections/c/points/1").await.result();
    let versions = server
        .get("/collections/c/points/1/versions")
        .await
        .result();
    assert_eq!(versions["exists"], true);
    assert_eq!(versions["id"], 1);
    assert_eq!(versions["payload"], shown["payload"]);
    assert_eq!(versions["vector"], shown["vector"]);
    assert_eq!(versions["siblings"], json!([]));
    assert_ne!(context(&server, 1).await, context(&server, 2).await);
    let answer = server.get("/collections/c/points/4711/versions").await;
    answer.refused(404, &["4711"]);
    let answer = server.get("/collections/c/points/nonsense/versions").await;
    answer.refused(400, &["nonsense"]);
}

#[tokio::test]
async fn a_context_is_that_of_one_point_and_of_a_write() {
    let server = Server::with_points().await;
    let own = context(&server, 1).await;
    let points = "/collections/c/points";
    let answer = with_context(&server, "PUT", points, &own, upsert(&[1])).await;
    answer.refused(400, &["--multi-writer", "vector-clock"]);
    let answer = with_context(&server, "PUT", points, &own, upsert(&[2])).await;
    answer.refused(400, &["brainy-context", "another point"]);
    let changed = own.replacen('~', "0~", 1);
    let answer = with_context(&server, "PUT", points, &changed, upsert(&[1])).await;
    answer.refused(400, &["brainy-context", "was changed"]);
    let answer = with_context(&server, "PUT", points, "1.2", upsert(&[1])).await;
    answer.refused(400, &["brainy-context", "as it was returned"]);
    let answer = with_context(&server, "PUT", points, &own, upsert(&[1, 2])).await;
    answer.refused(400, &["brainy-context", "exactly one"]);
    let batch = json!({"operations": [{"upsert": upsert(&[1])}]});
    let path = "/collections/c/points/batch";
    let answer = with_context(&server, "POST", path, &own, batch).await;
    answer.refused(400, &["brainy-context", "by itself"]);
    let path = "/collections/c/points/count";
    let answer = with_context(&server, "POST", path, &own, json!({})).await;
    answer.refused(400, &["brainy-context", "only writes"]);
}

#[tokio::test]
async fn counters_and_sets_are_checked_and_need_fields_that_merge() {
    let server = Server::with_points().await;
    let path = "/collections/c/points/adjust";
    for (body, words) in [
        (json!({"points": [1]}), &["'increment'", "empty"][..]),
        (
            json!({"points": [1], "increment": {"n": 0.5}}),
            &["increment"],
        ),
        (
            json!({"points": [1], "increment": {"": 1}}),
            &["'increment'"],
        ),
        (json!({"increment": {"n": 1}}), &["points", "filter"]),
        (
            json!({"points": [1], "increment": {"n": 1}, "add": {"tags": ["x"]}}),
            &["--multi-writer", "crdt"],
        ),
    ] {
        server.post(path, body).await.refused(400, words);
    }
}
