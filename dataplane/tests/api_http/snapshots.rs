//! Snapshots over a real node: what comes back is what was there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use brainy_coordination::config::{ConfigWatcher, SharedConfig};
use brainy_coordination::lease::Identity;
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::retry::{RetryPolicy, Store};
use brainy_coordination::types::InstanceId;
use brainy_dataplane::api::{ApiConfig, ApiKeys, router};
use brainy_dataplane::engine::BuildOptions;
use brainy_dataplane::node::{Node, NodeConfig};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::{Answer, Server};

/// A standalone node in a directory of its own.
struct Alone {
    dir: TempDir,
    node: Node,
    router: Router,
}

impl Alone {
    async fn new() -> Self {
        Self::with_keys(ApiKeys::default()).await
    }

    async fn with_keys(api_keys: ApiKeys) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::open(dir.path().join("bucket")).unwrap();
        let store = Store::new(store, RetryPolicy::default());
        let config = NodeConfig {
            identity: Identity::new(InstanceId::new("alone").unwrap()),
            role: None,
            self_coordination: None,
            advertise: "localhost:1".to_owned(),
            data_dir: dir.path().join("data"),
            store: store.clone(),
            gc_grace: Duration::from_secs(600),
            partitions: 2,
            memory_budget: 256 << 20,
            disk_budget: None,
            read_threads: 2,
            multi_writer: false,
            conflict_resolution: Default::default(),
            exchange: Default::default(),
            build: BuildOptions::default(),
            cluster_key: None,
            coordination: Default::default(),
            tls: None,
        };
        let watcher = ConfigWatcher::new(store, SharedConfig::default()).unwrap();
        let node = Node::start(config, watcher, Default::default())
            .await
            .unwrap();
        let config = ApiConfig {
            api_keys,
            ..ApiConfig::default()
        };
        let router = router(Arc::new(node.clone()), config);
        Self { dir, node, router }
    }

    async fn raw(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, bytes.to_vec())
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (status, headers, bytes) = self.raw(request).await;
        Answer {
            status,
            headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
        };
        self.send(request.unwrap()).await
    }

    async fn upload(&self, path: &str, part: &str, file: &[u8]) -> Answer {
        let mut body = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{part}\"; filename=\"a\"\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        let request = Request::post(path)
            .header("content-type", "multipart/form-data; boundary=edge")
            .body(Body::from(body));
        self.send(request.unwrap()).await
    }

    async fn download(&self, path: &str) -> Vec<u8> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (status, headers, bytes) = self.raw(request).await;
        assert_eq!(
            status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        assert_eq!(headers["content-length"], bytes.len().to_string());
        assert_eq!(headers["content-type"], "application/octet-stream");
        bytes
    }

    /// Collection `name` with vectors of every kind, payload indexes and 60 points.
    async fn fill(&self, name: &str) {
        let config = json!({
            "vectors": {
                "a": {"size": 4, "distance": "Cosine"},
                "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
            },
            "sparse_vectors": {"s": {"modifier": "idf"}},
        });
        let path = format!("/collections/{name}");
        self.call("PUT", &path, Some(config)).await.result();
        let index = json!({"field_name": "color", "field_schema": "keyword"});
        self.call("PUT", &format!("{path}/index"), Some(index))
            .await
            .result();
        self.upsert(name, 0..60).await;
    }

    async fn upsert(&self, name: &str, ids: std::ops::Range<u64>) {
        let points: Vec<Value> = ids.map(point).collect();
        let path = format!("/collections/{name}/points?wait=true");
        self.call("PUT", &path, Some(json!({"points": points})))
            .await
            .result();
    }

    /// Everything that can be read of `name`.
    async fn contents(&self, name: &str) -> Value {
        let path = format!("/collections/{name}");
        let all = json!({"limit": 1000, "with_vector": true, "with_payload": true});
        let red = json!({"filter": {"must": [{"key": "color", "match": {"value": "red"}}]}});
        let dense = json!({"query": [1.0, 2.0, 0.5, 0.1], "using": "a", "limit": 7});
        let many = json!({"query": [[1.0, 0.5], [0.2, 0.9]], "using": "m", "limit": 7});
        let sparse =
            json!({"query": {"indices": [1, 3], "values": [0.5, 0.7]}, "using": "s", "limit": 7});
        let mut read = Vec::new();
        for (what, body) in [
            ("scroll", all),
            ("count", red),
            ("query", dense),
            ("query", many),
            ("query", sparse),
        ] {
            let path = format!("{path}/points/{what}");
            read.push(self.call("POST", &path, Some(body)).await.result());
        }
        let info = self.call("GET", &path, None).await.result();
        read.push(info["config"]["params"].clone());
        // Counts of indexed points are those of segments.
        read.push(info["payload_schema"]["color"]["data_type"].clone());
        json!(read)
    }

    async fn snapshot(&self, path: &str) -> Value {
        self.call("POST", path, None).await.result()
    }

    async fn recover(&self, name: &str, body: Value) -> Answer {
        let path = format!("/collections/{name}/snapshots/recover");
        self.call("PUT", &path, Some(body)).await
    }

    /// Serves the API until the runtime ends.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn assert_no_leftovers(&self) {
        let scratch = self.dir.path().join("data/scratch");
        let left = std::fs::read_dir(scratch).map_or(0, |entries| entries.count());
        assert_eq!(left, 0);
    }
}

fn point(id: u64) -> Value {
    let x = id as f32;
    json!({
        "id": id,
        "vector": {
            "a": [x, 1.0, x % 7.0, 2.0],
            "m": [[x % 3.0, 1.0], [0.5, x % 5.0]],
            "s": {"indices": [id % 5, 5 + id % 3], "values": [1.0, 0.5]},
        },
        "payload": {"color": if id.is_multiple_of(2) { "red" } else { "blue" }, "n": id},
    })
}

fn sha256(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().map(|b| format!("{b:02x}")).collect()
}

fn name_of(snapshot: &Value) -> String {
    snapshot["name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_comes_back_as_it_was() {
    let alone = Alone::new().await;
    alone.fill("c").await;
    let before = alone.contents("c").await;
    let made = alone.snapshot("/collections/c/snapshots").await;
    let name = name_of(&made);
    assert!(
        name.starts_with("c-") && name.ends_with(".snapshot"),
        "{name}"
    );
    let listed = alone.call("GET", "/collections/c/snapshots", None).await;
    assert_eq!(listed.result(), json!([made]));
    let time = made["creation_time"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11]), (19, "T"));

    let alias = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "other-name"}}]});
    let path = "/collections/aliases";
    alone.call("POST", path, Some(alias)).await.result();
    let path = "/collections/other-name/snapshots";
    assert_eq!(alone.call("GET", path, None).await.result(), json!([made]));
    let here = json!({"location": format!("file:///{name}")});
    let answer = alone.recover("other-name", here).await;
    answer.refused(400, &["alias 'other-name'"]);

    let file = alone
        .download(&format!("/collections/c/snapshots/{name}"))
        .await;
    assert_eq!(made["size"], file.len());
    assert_eq!(made["checksum"], sha256(&file));

    // Later changes are undone, also under the same name.
    alone.upsert("c", 60..80).await;
    let delete = json!({"points": [1, 2, 3]});
    let path = "/collections/c/points/delete?wait=true";
    alone.call("POST", path, Some(delete)).await.result();
    assert_ne!(alone.contents("c").await, before);
    let here = json!({"location": format!("file:///qdrant/snapshots/c/{name}"), "priority": "snapshot",
        "checksum": made["checksum"]});
    assert_eq!(alone.recover("c", here.clone()).await.result(), true);
    assert_eq!(alone.contents("c").await, before);

    // What is written after that is newer than all of the snapshot.
    alone.upsert("c", 0..1).await;
    let change = json!({"points": [0], "payload": {"color": "green"}});
    let path = "/collections/c/points/payload?wait=true";
    alone.call("POST", path, Some(change)).await.result();
    let got = alone.call("GET", "/collections/c/points/0", None).await;
    assert_eq!(got.result()["payload"]["color"], "green");

    // And beside it, under another name.
    assert_eq!(alone.recover("other", here).await.result(), true);
    assert_eq!(alone.contents("other").await, before);
    alone.assert_no_leftovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_moves_to_another_cluster() {
    let keys = ApiKeys::new(Some("secret".to_owned()), None, None).unwrap();
    let from = Alone::new().await;
    from.fill("c").await;
    let before = from.contents("c").await;
    let made = from.snapshot("/collections/c/snapshots").await;
    let file = format!("/collections/c/snapshots/{}", name_of(&made));
    let bytes = from.download(&file).await;

    let to = Alone::new().await;
    let sum = made["checksum"].as_str().unwrap();
    let path = format!("/collections/moved/snapshots/upload?priority=snapshot&checksum={sum}");
    assert_eq!(to.upload(&path, "snapshot", &bytes).await.result(), true);
    assert_eq!(to.contents("moved").await, before);
    to.assert_no_leftovers();

    // The same from a server that wants a key.
    let guarded = Alone::with_keys(keys).await;
    let url = guarded.serve().await;
    let post = |path: &str| {
        Request::post(path.to_owned())
            .header("api-key", "secret")
            .body(Body::empty())
            .unwrap()
    };
    let create = Request::put("/collections/g")
        .header("api-key", "secret")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"vectors":{"size":2,"distance":"Dot"}}"#));
    guarded.send(create.unwrap()).await.result();
    let made = guarded
        .send(post("/collections/g/snapshots"))
        .await
        .result();
    let location = format!("{url}/collections/g/snapshots/{}", name_of(&made));
    let without = json!({"location": location});
    to.recover("g", without).await.refused(400, &["401"]);
    let with = json!({"location": location, "api_key": "secret", "checksum": made["checksum"]});
    assert_eq!(to.recover("g", with).await.result(), true);
    let count = to.call("POST", "/collections/g/points/count", Some(json!({})));
    assert_eq!(count.await.result()["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recovered_changes_nothing() {
    let alone = Alone::new().await;
    alone.fill("c").await;
    let before = alone.contents("c").await;
    let made = alone.snapshot("/collections/c/snapshots").await;
    let name = name_of(&made);
    let file = alone
        .download(&format!("/collections/c/snapshots/{name}"))
        .await;
    let path = "/collections/c/snapshots/upload";
    let mut damaged = file.clone();
    let at = damaged.windows(8).position(|w| w == b"BRNYROWS").unwrap() + 70;
    damaged[at] ^= 1;
    let answer = alone.upload(path, "snapshot", &damaged).await;
    answer.refused(400, &["damaged", "rows.bin"]);
    let cut = &file[..file.len() / 2];
    let answer = alone.upload(path, "snapshot", cut).await;
    answer.refused(400, &["damaged"]);
    let answer = alone
        .upload(path, "snapshot", b"PK\x03\x04 something else")
        .await;
    answer.refused(400, &["not a snapshot of Brainy"]);
    let answer = alone.upload(path, "file", &file).await;
    answer.refused(400, &["no part 'snapshot'"]);
    let zeros = "0".repeat(64);
    let wrong = format!("{path}?checksum={zeros}");
    let answer = alone.upload(&wrong, "snapshot", &file).await;
    answer.refused(400, &["SHA-256", &zeros]);
    let answer = alone.call("POST", path, Some(json!({}))).await;
    answer.refused(415, &["multipart/form-data"]);

    let refused = |body: Value, status, words: &'static [&'static str]| {
        let alone = &alone;
        async move { alone.recover("c", body).await.refused(status, words) }
    };
    let here = format!("file:///{name}");
    refused(
        json!({"location": here, "checksum": zeros}),
        400,
        &["SHA-256"],
    )
    .await;
    refused(
        json!({"location": here, "checksum": "ab"}),
        400,
        &["checksum"],
    )
    .await;
    refused(json!({"location": "file:///missing"}), 404, &["missing"]).await;
    refused(
        json!({"location": "ftp://x/y"}),
        400,
        &["location", "http://"],
    )
    .await;
    refused(
        json!({"location": "http://127.0.0.1:1/x"}),
        400,
        &["location"],
    )
    .await;
    refused(
        json!({"location": here, "priority": "best"}),
        400,
        &["priority"],
    )
    .await;
    refused(json!({}), 400, &["location"]).await;
    let other = json!({"vectors": {"size": 3, "distance": "Dot"}});
    alone
        .call("PUT", "/collections/d", Some(other))
        .await
        .result();
    let answer = alone.recover("d", json!({"location": here})).await;
    answer.refused(400, &["vectors", "'d'"]);
    let answer = alone.recover(".x", json!({"location": here})).await;
    answer.refused(400, &["collection name"]);

    assert_eq!(alone.contents("c").await, before);
    let names = alone.call("GET", "/collections", None).await.result();
    assert_eq!(names["collections"].as_array().unwrap().len(), 2);
    alone.assert_no_leftovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_deleted_by_name_and_outlive_their_collection() {
    let alone = Alone::new().await;
    let list = || async { alone.call("GET", "/collections/c/snapshots", None).await };
    list().await.refused(404, &["`c`"]);
    let missing = alone.call("POST", "/collections/c/snapshots", None).await;
    missing.refused(404, &["`c`"]);
    alone.fill("c").await;
    assert_eq!(list().await.result(), json!([]));
    let before = alone.contents("c").await;
    let first = name_of(&alone.snapshot("/collections/c/snapshots").await);
    let second = name_of(&alone.snapshot("/collections/c/snapshots").await);
    let path = |name: &str| format!("/collections/c/snapshots/{name}");
    let elsewhere = format!("/collections/d/snapshots/{first}");
    for (method, path) in [
        ("GET", path("nothing")),
        ("DELETE", path("nothing")),
        ("GET", elsewhere.clone()),
        ("DELETE", elsewhere),
        ("GET", format!("/snapshots/{first}")),
    ] {
        alone
            .call(method, &path, None)
            .await
            .refused(404, &["not found"]);
    }
    let gone = alone.call("DELETE", &path(&first), None).await;
    assert_eq!(gone.result(), true);
    alone.call("DELETE", "/collections/c", None).await.result();
    let left = list().await.result();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["name"], second);
    let here = json!({"location": format!("file://{second}")});
    assert_eq!(alone.recover("c", here).await.result(), true);
    assert_eq!(alone.contents("c").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_collections_are_one_snapshot() {
    let alone = Alone::new().await;
    let empty = alone.snapshot("/snapshots").await;
    alone.fill("c").await;
    let small = json!({"vectors": {"size": 2, "distance": "Dot"}});
    alone
        .call("PUT", "/collections/d", Some(small))
        .await
        .result();
    let before = alone.contents("c").await;
    let made = alone.snapshot("/snapshots").await;
    let name = name_of(&made);
    assert!(name.starts_with("full-snapshot-"), "{name}");
    let listed = alone.call("GET", "/snapshots", None).await.result();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let of_c = alone.call("GET", "/collections/c/snapshots", None).await;
    assert_eq!(of_c.result(), json!([]));
    let file = alone.download(&format!("/snapshots/{name}")).await;
    assert_eq!(made["checksum"], sha256(&file));

    let to = Alone::new().await;
    let path = "/collections/c/snapshots/upload";
    assert_eq!(to.upload(path, "snapshot", &file).await.result(), true);
    assert_eq!(to.contents("c").await, before);
    let path = "/collections/e/snapshots/upload";
    let answer = to.upload(path, "snapshot", &file).await;
    answer.refused(404, &["c, d", "'e'"]);

    let gone = format!("/snapshots/{}", name_of(&empty));
    assert_eq!(alone.call("DELETE", &gone, None).await.result(), true);
    alone
        .call("GET", &gone, None)
        .await
        .refused(404, &["not found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_is_told_that_it_began() {
    let alone = Alone::new().await;
    alone.fill("c").await;
    let path = "/collections/c/snapshots";
    let answer = alone
        .call("POST", &format!("{path}?wait=false"), None)
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json()["status"], "accepted");
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let made = loop {
        let listed = alone.call("GET", path, None).await.result();
        if let Some(made) = listed.get(0) {
            break made.clone();
        }
        assert!(tokio::time::Instant::now() < until);
        tokio::task::yield_now().await;
    };
    let file = alone.download(&format!("{path}/{}", name_of(&made))).await;
    let upload = "/collections/d/snapshots/upload?wait=false";
    let answer = alone.upload(upload, "snapshot", &file).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    loop {
        let exists = alone.call("GET", "/collections/d/exists", None).await;
        if exists.result()["exists"] == true {
            break;
        }
        assert!(tokio::time::Instant::now() < until);
        tokio::task::yield_now().await;
    }
    let bad = alone
        .call("POST", &format!("{path}?wait=perhaps"), None)
        .await;
    bad.refused(400, &["wait"]);
    alone.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_admin_key_moves_collections() {
    let key = |name: &str| Some(name.to_owned());
    let keys = ApiKeys::new(key("admin"), key("write"), key("read")).unwrap();
    let server = Server::new(ApiConfig {
        api_keys: keys,
        ..ApiConfig::default()
    });
    let call = async |method: &str, path: &str, key: &str| {
        let headers = [("api-key", key)];
        server
            .call(method, path, &headers, None)
            .await
            .status
            .as_u16()
    };
    for (method, path) in [
        ("POST", "/collections/c/snapshots"),
        ("GET", "/collections/c/snapshots/x"),
        ("DELETE", "/collections/c/snapshots/x"),
        ("PUT", "/collections/c/snapshots/recover"),
        ("POST", "/collections/c/snapshots/upload"),
        ("POST", "/snapshots"),
        ("GET", "/snapshots/x"),
        ("DELETE", "/snapshots/x"),
    ] {
        assert_eq!(call(method, path, "read").await, 403, "{method} {path}");
        assert_eq!(call(method, path, "write").await, 403, "{method} {path}");
        assert_ne!(call(method, path, "admin").await, 403, "{method} {path}");
    }
    assert_eq!(call("GET", "/snapshots", "read").await, 501);
    let shard = call("GET", "/collections/c/shards/0/snapshots", "admin");
    assert_eq!(shard.await, 501);
}
