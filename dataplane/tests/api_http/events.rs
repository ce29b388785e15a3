//! `GET /coordinate/events`.

use serde_json::{Value, json};

use crate::support::Server;

fn numbers(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap();
    events
        .iter()
        .map(|e| e["sequence"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn events_are_listed_page_by_page_or_from_the_newest() {
    let server = Server::with_points().await;
    let newest = server.get("/coordinate/events?limit=2").await.json();
    assert_eq!(numbers(&newest), [2, 3]);
    assert_eq!(newest["last"], 3);
    assert_eq!(
        newest["events"][0]["event"],
        json!({"kind": "assignment_changed", "epoch": 2})
    );
    assert_eq!(newest["events"][1]["event"], json!({"kind": "unknown"}));
    let page = server
        .get("/coordinate/events?after=0&limit=1")
        .await
        .json();
    assert_eq!(numbers(&page), [1]);
    assert_eq!(page["events"][0]["instance"], "writer-0");
    let none = server.get("/coordinate/events?after=3").await.json();
    assert_eq!((numbers(&none), &none["last"]), (vec![], &json!(3)));
}

#[tokio::test]
async fn what_is_no_number_is_refused_by_name() {
    let server = Server::with_points().await;
    for (query, named) in [
        (
            "limit=0",
            "'limit' is '0', it must be a whole number from 1 to 1000",
        ),
        ("limit=1001", "'limit'"),
        ("after=-1", "'after' is '-1'"),
        ("after=x", "'after' is 'x'"),
    ] {
        let answer = server.get(&format!("/coordinate/events?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let text = answer.json()["status"]["error"].to_string();
        assert!(text.contains(named), "{text}");
    }
}
