//! Formulas over what was prefetched.

use serde_json::{Value, json};

use crate::support::{Server, assert_close, ids, scores};

/// Points 1 to 3 with scores 1 to 3, and 1 and 2 with scores 10 and 0, ranked by a formula.
fn body(formula: Value) -> Value {
    json!({
        "prefetch": [
            {"query": [1, 1, 1]},
            {"query": [10, 0, 0], "limit": 2, "filter": {"must": [{"has_id": [1, 2]}]}},
        ],
        "query": formula,
    })
}

async fn server() -> Server {
    let server = Server::with_points().await;
    for (id, payload) in [
        (
            1,
            json!({"at": {"lon": 13.4050, "lat": 52.52}, "day": "2024-01-01T00:00:10Z"}),
        ),
        (
            2,
            json!({"at": [{"lon": -0.1278, "lat": 51.5074}], "day": "2024-01-01"}),
        ),
        (
            3,
            json!({"at": {"lon": 13.4050, "lat": 52.52}, "list": [1, 2]}),
        ),
    ] {
        let body = json!({"points": [id], "payload": payload});
        let answer = server.post("/collections/c/points/payload", body).await;
        answer.result();
    }
    server
}

/// The values of points 1, 2 and 3.
async fn values(server: &Server, formula: Value) -> Vec<f64> {
    let hits = server.query(body(formula.clone())).await;
    let order = scores(&hits);
    assert!(order.is_sorted_by(|a, b| a >= b), "{formula}: {order:?}");
    let mut values = vec![f64::NAN; 3];
    for (id, score) in ids(&hits).into_iter().zip(order) {
        values[id as usize - 1] = score;
    }
    values
}

#[tokio::test]
async fn formulas_compute_what_they_say() {
    let server = server().await;
    let blue = json!({"key": "color", "match": {"value": "blue"}});
    for (formula, expected) in [
        (json!(7), [7.0, 7.0, 7.0]),
        (json!("$score"), [1.0, 2.0, 3.0]),
        (json!("$score[1]"), [10.0, 0.0, 0.0]),
        (json!("$score[9]"), [0.0, 0.0, 0.0]),
        (json!("n"), [1.0, 2.0, 3.0]),
        (json!("list[0]"), [5.0, 5.0, 1.0]),
        (blue.clone(), [0.0, 1.0, 0.0]),
        (json!({"must_not": [{"has_id": [1]}]}), [0.0, 1.0, 1.0]),
        (
            json!({"sum": ["$score", {"mult": [10, blue]}]}),
            [1.0, 12.0, 3.0],
        ),
        (json!({"mult": ["$score[1]", "day"]}), [f64::NAN, 0.0, 0.0]),
        (json!({"max": ["$score", "$score[1]"]}), [10.0, 2.0, 3.0]),
        (json!({"min": ["$score", "$score[1]"]}), [1.0, 0.0, 0.0]),
        (json!({"neg": "n"}), [-1.0, -2.0, -3.0]),
        (json!({"abs": {"neg": "n"}}), [1.0, 2.0, 3.0]),
        (
            json!({"div": {"left": "n", "right": "$score[1]", "by_zero_default": 9}}),
            [0.1, 9.0, 9.0],
        ),
        (json!({"sqrt": {"mult": ["n", "n"]}}), [1.0, 2.0, 3.0]),
        (
            json!({"pow": {"base": 2, "exponent": "n"}}),
            [2.0, 4.0, 8.0],
        ),
        (json!({"ln": {"exp": "n"}}), [1.0, 2.0, 3.0]),
        (
            json!({"log10": {"pow": {"base": 10, "exponent": "n"}}}),
            [1.0, 2.0, 3.0],
        ),
        (json!({"acosh": "n"}), [0.0, 2f64.acosh(), 3f64.acosh()]),
        (
            json!({"lin_decay": {"x": "n", "target": 1, "scale": 2, "midpoint": 0.5}}),
            [1.0, 0.75, 0.5],
        ),
        (json!({"lin_decay": {"x": "n"}}), [0.5, 0.0, 0.0]),
        (
            json!({"exp_decay": {"x": "n", "target": 3}}),
            [0.25, 0.5, 1.0],
        ),
        (
            json!({"gauss_decay": {"x": "n", "target": 3}}),
            [0.0625, 0.5, 1.0],
        ),
        (
            json!({"sum": [{"datetime_key": "day"}, {"neg": {"datetime": "2024-01-01T00:00:00+00:00"}}]}),
            [10.0, 0.0, 60.0],
        ),
        (
            json!({"exp_decay": {
                "x": {"geo_distance": {"origin": {"lon": 13.4050, "lat": 52.52}, "to": "at"}},
                "scale": 931_600,
            }}),
            [1.0, 0.5, 1.0],
        ),
    ] {
        if expected[0].is_nan() {
            let query = json!({"formula": formula});
            let answer = server
                .post("/collections/c/points/query", body(query))
                .await;
            answer.refused(400, &["'day'", "number", "id 1"]);
            continue;
        }
        let defaults = json!({"list[0]": 5, "day": "2024-01-01T00:01:00Z"});
        let query = json!({"formula": formula, "defaults": defaults});
        let found = values(&server, query).await;
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-3,
                "{formula}: {found}, not {expected}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_missing_has_a_default_or_is_an_error() {
    let server = server().await;
    let scores_too = json!({"formula": "$score[1]", "defaults": {"$score[1]": 4.5}});
    assert_eq!(values(&server, scores_too).await, [10.0, 0.0, 4.5]);
    let of_path = json!({"formula": "list[1]", "defaults": {"list[1]": [7]}});
    assert_eq!(values(&server, of_path).await, [7.0, 7.0, 2.0]);
    for (formula, words) in [
        (json!("list[1]"), ["'list[1]'", "no value"]),
        (json!("list"), ["'list'", "one value"]),
        (json!("color"), ["'color'", "a number"]),
        (json!({"datetime_key": "color"}), ["'color'", "date"]),
        (
            json!({"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "n"}}),
            ["'n'", "place"],
        ),
        (
            json!({"div": {"left": 1, "right": "$score[1]"}}),
            ["1 / 0", "finite"],
        ),
        (json!({"ln": {"neg": "n"}}), ["ln(-", "finite"]),
        (json!({"sqrt": {"neg": "n"}}), ["square root", "finite"]),
        (
            json!({"pow": {"base": 1e30, "exponent": 2}}),
            ["the result", "finite"],
        ),
    ] {
        let query = json!({"formula": formula, "defaults": {"list": [1, 2]}});
        server
            .post("/collections/c/points/query", body(query))
            .await
            .refused(400, &words);
    }
}

#[tokio::test]
async fn formulas_that_make_no_sense_are_refused() {
    let server = server().await;
    for (formula, words) in [
        (json!({"sum": "n"}), ["query", "sequence"]),
        (json!({"sum": [1], "mult": [2]}), ["query", "map"]),
        (json!({"max": []}), ["max", "at least one"]),
        (json!("$score[x]"), ["$score[x]", "no variable"]),
        (json!("a..b"), ["a..b", "empty key"]),
        (
            json!({"exp_decay": {"x": 1, "midpoint": 1}}),
            ["midpoint", "between 0 and 1"],
        ),
        (
            json!({"exp_decay": {"x": 1, "scale": 0}}),
            ["scale", "above 0"],
        ),
        (json!({"datetime": "soon"}), ["soon", "date"]),
        (
            json!({"geo_distance": {"origin": {"lon": 181, "lat": 0}, "to": "at"}}),
            ["origin", "181"],
        ),
        (json!({"key": "n"}), ["'key'", "match"]),
        (json!({"nope": 1}), ["nope", "query"]),
        (json!(true), ["query", "a number"]),
    ] {
        let query = json!({"formula": formula});
        server
            .post("/collections/c/points/query", body(query))
            .await
            .refused(400, &words);
    }
    let alone = json!({"query": {"formula": 1}});
    server
        .post("/collections/c/points/query", alone)
        .await
        .refused(400, &["formula", "prefetch"]);
    let defaults = json!({"query": {"nearest": [1, 1, 1], "defaults": {}}});
    server
        .post("/collections/c/points/query", defaults)
        .await
        .refused(400, &["defaults", "formula"]);
}

#[tokio::test]
async fn formulas_are_steps_like_others() {
    let server = server().await;
    let mut query = body(json!({"formula": {"neg": "$score"}}));
    query["limit"] = json!(1);
    query["offset"] = json!(1);
    query["with_payload"] = json!(["n"]);
    let hits = server.query(query).await;
    assert_eq!(ids(&hits), [2]);
    assert_eq!(hits[0]["payload"], json!({"n": 2}));
    let mut query = body(json!({"formula": "$score"}));
    query["score_threshold"] = json!(2);
    query["filter"] = json!({"must": [{"key": "color", "match": {"value": "red"}}]});
    assert_eq!(ids(&server.query(query).await), [3]);
    let inner = body(json!({"formula": {"neg": "$score"}}));
    let outer = json!({
        "prefetch": {"prefetch": inner["prefetch"], "query": inner["query"], "limit": 2},
        "query": [1, 1, 1],
    });
    let hits = server.query(outer).await;
    assert_eq!(ids(&hits), [2, 1]);
    assert_close(&scores(&hits), &[2.0, 1.0]);
}
