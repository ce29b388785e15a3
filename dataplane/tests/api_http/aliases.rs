//! Other names of collections.

use serde_json::{Value, json};

use crate::support::{Server, ids};

async fn change(server: &Server, actions: Value) -> crate::support::Answer {
    let body = json!({"actions": actions});
    server.post("/collections/aliases", body).await
}

#[tokio::test]
async fn an_alias_stands_for_its_collection() {
    let server = Server::with_points().await;
    let create = json!([{"create_alias": {"collection_name": "c", "alias_name": "other"}}]);
    assert_eq!(change(&server, create).await.result(), true);
    let one = json!({"aliases": [{"alias_name": "other", "collection_name": "c"}]});
    assert_eq!(server.get("/aliases").await.result(), one);
    for name in ["c", "other"] {
        let path = format!("/collections/{name}/aliases");
        assert_eq!(server.get(&path).await.result(), one);
    }

    let exists = server.get("/collections/other/exists").await.result();
    assert_eq!(exists, json!({"exists": true}));
    let info = server.get("/collections/other").await.result();
    assert_eq!(info["points_count"], 3);
    let point = json!({"points": [{"id": 4, "vector": [4, 0, 0]}]});
    server
        .put("/collections/other/points?wait=true", point)
        .await
        .result();
    let hits = server
        .post(
            "/collections/other/points/query",
            json!({"query": [1, 0, 0], "limit": 1}),
        )
        .await
        .result();
    assert_eq!(ids(&hits["points"]), [4]);
    let patch = json!({"metadata": {"owner": "us"}});
    server
        .call("PATCH", "/collections/other", &[], Some(&patch.to_string()))
        .await
        .result();
    let info = server.get("/collections/c").await.result();
    assert_eq!(info["config"]["metadata"], json!({"owner": "us"}));

    // Only its own name drops a collection, and its aliases with it.
    let drop = |name: &str| format!("/collections/{name}");
    let dropped = server.call("DELETE", &drop("other"), &[], None).await;
    assert_eq!(dropped.result(), false);
    let dropped = server.call("DELETE", &drop("c"), &[], None).await;
    assert_eq!(dropped.result(), true);
    assert_eq!(
        server.get("/aliases").await.result(),
        json!({"aliases": []})
    );
    server
        .get("/collections/other")
        .await
        .refused(404, &["other"]);
}

#[tokio::test]
async fn actions_that_cannot_be_read_are_refused() {
    let server = Server::with_points().await;
    for (actions, word) in [
        (
            json!([{"create_alias": {"alias_name": "a"}}]),
            "collection_name",
        ),
        (json!([{"make_alias": {}}]), "make_alias"),
        (json!([{"delete_alias": {"alias_name": "a", "x": 1}}]), "x"),
        (json!({}), "actions"),
    ] {
        change(&server, actions).await.refused(400, &[word]);
    }
    let rename = json!([{"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}]);
    change(&server, rename).await.refused(404, &["'a'"]);
    server
        .get("/collections/none/aliases")
        .await
        .refused(404, &["none"]);
}
