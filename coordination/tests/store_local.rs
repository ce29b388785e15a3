//! The simulated store and the directory store: the common suite, each other's model, crashes and neighbours.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod store_suite;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::dir::{DirStore, WriteCondition};
use brainy_coordination::store::sim::{FaultPlan, SimBucket};
use brainy_coordination::store::{ETag, ListPage, ObjectStore, StoreError};
use bytes::Bytes;
use proptest::prelude::*;
use store_suite::{Traits, count_exactly_once};

#[tokio::test(start_paused = true)]
async fn the_simulated_store_conforms() {
    let bucket = SimBucket::new(1);
    bucket.set_faults(FaultPlan::calm());
    store_suite::run(bucket.client("a"), Traits::default()).await;
}

#[tokio::test(start_paused = true)]
async fn counting_survives_every_simulated_fault() {
    for seed in 0..20 {
        eprintln!("seed {seed}");
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let clients = (0..6).map(|c| bucket.client(&format!("c{c}")) as Arc<dyn ObjectStore>);
        count_exactly_once(clients.collect(), 5).await;
    }
}

#[tokio::test]
async fn the_directory_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    store_suite::run(store.clone(), Traits::default()).await;
    let clients = (0..8).map(|_| Arc::clone(&store) as Arc<dyn ObjectStore>);
    count_exactly_once(clients.collect(), 10).await;
}

#[tokio::test]
async fn reopening_keeps_objects_and_drops_what_was_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let etag = store.put("a/b", Bytes::from_static(b"1")).await.unwrap();
    drop(store);
    fs::write(dir.path().join("tmp/77"), "half a wri").unwrap();

    let store = DirStore::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    let page = store.list("", None, 10).await.unwrap();
    assert_eq!(page.objects.len(), 1);
    assert_eq!(store.head("a/b").await.unwrap().etag, etag);
    let two = Bytes::from_static(b"2");
    store.put_if_match("a/b", two, &etag).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_upload_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let piece = Bytes::from(vec![7; 1 << 20]);
    let mut upload = store.upload();
    for _ in 0..3 {
        upload.write(piece.clone()).await.unwrap();
    }
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 1);
    drop(upload);
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);

    let mut upload = store.upload();
    for _ in 0..3 {
        upload.write(piece.clone()).await.unwrap();
    }
    upload.write(Bytes::from_static(b"end")).await.unwrap();
    let etag = upload.commit("k", WriteCondition::Absent).await.unwrap();
    let whole = store.get("k").await.unwrap();
    assert_eq!(whole.body.len(), 3 * (1 << 20) + 3);
    assert_eq!(whole.etag, etag);
    let mut late = store.upload();
    late.write(piece).await.unwrap();
    let lost = late.commit("k", WriteCondition::Absent).await;
    assert!(matches!(lost, Err(StoreError::PreconditionFailed { .. })));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let error = DirStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(store);
    DirStore::open(dir.path()).unwrap();
}

#[tokio::test]
async fn an_unknown_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT"), "brainy object directory 9\n").unwrap();
    let error = DirStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("brainy object directory 9"), "{error}");
}

#[tokio::test]
async fn an_object_and_a_folder_cannot_share_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let one = Bytes::from_static(b"1");
    store.put("x/y", one.clone()).await.unwrap();
    for bad in ["x", "x/y/z", "x/y/z/w"] {
        let error = store.put(bad, one.clone()).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Refused { .. }),
            "{bad}: {error}"
        );
        assert!(error.to_string().contains("x/"), "{error}");
    }
    let long = format!("x/{}", "ä".repeat(100));
    let error = store.put(&long, one.clone()).await.unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
    // The folder goes with its last object, and the name is free again.
    store.delete("x/y").await.unwrap();
    store.put("x", one.clone()).await.unwrap();
    store.delete("x").await.unwrap();
    fs::create_dir_all(dir.path().join("objects/x/empty/folders")).unwrap();
    store.put_if_absent("x", one).await.unwrap();
}

#[tokio::test]
async fn folders_that_come_and_go_do_not_disturb_writers() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    let busy = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = format!("deep/er/and/deeper/{writer}");
            for round in 0..20 {
                let body = Bytes::from(format!("{round}"));
                store.put_if_absent(&key, body.clone()).await.unwrap();
                assert_eq!(store.get(&key).await.unwrap().body, body);
                store.delete(&key).await.unwrap();
            }
        })
    });
    for done in futures::future::join_all(busy).await {
        done.unwrap();
    }
    assert!(!dir.path().join("objects/deep").exists());
}

/// One request of the model test; keys and bodies are small numbers so that they meet often.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Create(usize, u8),
    Swap(usize, u8, Tag),
    Delete(usize),
    Get(usize),
    GetIfChanged(usize, Tag),
    GetRange(usize, u64, u64),
    List(usize, Option<usize>, usize),
    Reopen,
}

/// Which tag a step names: the current one, or that of some other body.
#[derive(Clone, Copy, Debug)]
enum Tag {
    Current,
    OfBody(u8),
}

const KEYS: [&str; 9] = [
    "a", "a/b", "a/b/c", "a-b", "a/c d", "b/1", "b/10", "b/2", "ä/x",
];
const PREFIXES: [&str; 8] = ["", "a", "a/", "a/b", "b/", "b/1", "c/", "a//"];

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let body = 0..4_u8;
    let tag = prop_oneof![3 => Just(Tag::Current), 1 => (0..4_u8).prop_map(Tag::OfBody)];
    prop_oneof![
        4 => (key.clone(), body.clone()).prop_map(|(k, b)| Step::Put(k, b)),
        4 => (key.clone(), body.clone()).prop_map(|(k, b)| Step::Create(k, b)),
        6 => (key.clone(), body, tag.clone()).prop_map(|(k, b, t)| Step::Swap(k, b, t)),
        4 => key.clone().prop_map(Step::Delete),
        2 => key.clone().prop_map(Step::Get),
        2 => (key.clone(), tag).prop_map(|(k, t)| Step::GetIfChanged(k, t)),
        2 => (key.clone(), 0..6_u64, 0..6_u64).prop_map(|(k, s, e)| Step::GetRange(k, s, e)),
        4 => (0..PREFIXES.len(), proptest::option::of(key), 1..5_usize)
            .prop_map(|(p, a, l)| Step::List(p, a, l)),
        1 => Just(Step::Reopen),
    ]
}

fn body(number: u8) -> Bytes {
    Bytes::from("x".repeat(usize::from(number)))
}

/// What a store answered, without the words of its errors.
#[derive(Debug, PartialEq)]
enum Answer {
    Tag(ETag),
    Object(Option<(Bytes, ETag)>),
    Bytes(Bytes),
    Page(Vec<(String, u64)>, bool),
    Done,
    Error(std::mem::Discriminant<StoreError>),
}

fn answer<T>(outcome: Result<T, StoreError>, ok: impl FnOnce(T) -> Answer) -> Answer {
    match outcome {
        Ok(value) => ok(value),
        Err(error) => Answer::Error(std::mem::discriminant(&error)),
    }
}

fn page(page: ListPage) -> Answer {
    let rows = page.objects.into_iter().map(|o| (o.key, o.size));
    Answer::Page(rows.collect(), page.truncated)
}

async fn ask(store: &dyn ObjectStore, step: &Step) -> Answer {
    match *step {
        Step::Put(k, b) => answer(store.put(KEYS[k], body(b)).await, Answer::Tag),
        Step::Create(k, b) => answer(store.put_if_absent(KEYS[k], body(b)).await, Answer::Tag),
        Step::Swap(k, b, tag) => {
            let tag = resolve(store, k, tag).await;
            answer(
                store.put_if_match(KEYS[k], body(b), &tag).await,
                Answer::Tag,
            )
        }
        Step::Delete(k) => answer(store.delete(KEYS[k]).await, |()| Answer::Done),
        Step::Get(k) => answer(store.get(KEYS[k]).await, |o| {
            Answer::Object(Some((o.body, o.etag)))
        }),
        Step::GetIfChanged(k, tag) => {
            let tag = resolve(store, k, tag).await;
            let outcome = store.get_if_changed(KEYS[k], &tag).await;
            answer(outcome, |o| Answer::Object(o.map(|o| (o.body, o.etag))))
        }
        Step::GetRange(k, start, end) => {
            answer(store.get_range(KEYS[k], start..end).await, Answer::Bytes)
        }
        Step::List(p, after, limit) => {
            let after = after.map(|k| KEYS[k]);
            answer(store.list(PREFIXES[p], after, limit).await, page)
        }
        Step::Reopen => Answer::Done,
    }
}

async fn resolve(store: &dyn ObjectStore, key: usize, tag: Tag) -> ETag {
    let other = match tag {
        Tag::Current => match store.get(KEYS[key]).await {
            Ok(object) => return object.etag,
            Err(_) => 0,
        },
        Tag::OfBody(number) => number,
    };
    // A bucket of its own tells the tag of a body.
    let scratch = SimBucket::new(0).client("scratch");
    scratch.put("k", body(other)).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_alike(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let bucket = SimBucket::new(0);
            let model = bucket.client("model");
            let mut store = Some(DirStore::open(dir.path()).unwrap());
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(store.take());
                    store = Some(DirStore::open(dir.path()).unwrap());
                }
                let real = ask(&**store.as_ref().unwrap(), step).await;
                assert_eq!(real, ask(&*model, step).await, "{step:?}");
            }
        });
    }
}

#[tokio::test]
async fn a_reader_never_sees_a_listing_without_a_key_that_is_being_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    for i in 0..20 {
        store.put(&format!("k/{i:02}"), body(1)).await.unwrap();
    }
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..200 {
                store
                    .put(&format!("k/{:02}", i % 20), body(2))
                    .await
                    .unwrap();
            }
        })
    };
    let mut looks = 0;
    while !writer.is_finished() || looks == 0 {
        assert_eq!(store.list("k/", None, 100).await.unwrap().objects.len(), 20);
        looks += 1;
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    writer.await.unwrap();
}
