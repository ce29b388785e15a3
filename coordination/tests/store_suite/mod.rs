//! What every object store must do, as one suite that each implementation passes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::store::retry::{Created, RetryPolicy, Store, Swapped};
use brainy_coordination::store::{ETag, ListPage, ObjectStore, StoreError};
use bytes::Bytes;
use futures::future::join_all;

/// What differs between stores without being wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// Writers that race for one key.
    pub(crate) contenders: usize,
    /// Whether listings are in the order of whole keys even around '/'; SeaweedFS lists folder by folder.
    pub(crate) whole_key_order: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            contenders: 32,
            whole_key_order: true,
        }
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn keys(page: &ListPage) -> Vec<&str> {
    page.objects.iter().map(|o| o.key.as_str()).collect()
}

#[track_caller]
fn assert_lost<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(
        matches!(outcome, Err(StoreError::PreconditionFailed { .. })),
        "{outcome:?}"
    );
}

#[track_caller]
fn assert_missing<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(
        matches!(outcome, Err(StoreError::NotFound { .. })),
        "{outcome:?}"
    );
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(
        matches!(outcome, Err(StoreError::Refused { .. })),
        "{outcome:?}"
    );
}

/// Runs the suite on an empty store.
pub(crate) async fn run(store: Arc<dyn ObjectStore>, traits: Traits) {
    conditions(&*store).await;
    reads(&*store).await;
    bodies_and_keys(&*store).await;
    listing(&*store, traits).await;
    refusals(&*store).await;
    races(&store, traits).await;
}

async fn conditions(store: &dyn ObjectStore) {
    let first = store.put_if_absent("c/k", bytes("1")).await.unwrap();
    assert_lost(store.put_if_absent("c/k", bytes("2")).await);
    let read = store.get("c/k").await.unwrap();
    assert_eq!((&read.body, &read.etag), (&bytes("1"), &first));

    let second = store.put_if_match("c/k", bytes("2"), &first).await.unwrap();
    assert_ne!(first, second);
    assert_lost(store.put_if_match("c/k", bytes("3"), &first).await);
    assert_eq!(store.get("c/k").await.unwrap().body, "2");

    let absent = store.put_if_match("c/absent", bytes("1"), &second).await;
    assert!(
        matches!(
            absent,
            Err(StoreError::NotFound { .. } | StoreError::PreconditionFailed { .. })
        ),
        "{absent:?}"
    );
    assert_missing(store.get("c/absent").await);

    let third = store.put("c/k", bytes("3")).await.unwrap();
    store.delete("c/k").await.unwrap();
    store.delete("c/k").await.unwrap();
    assert_missing(store.get("c/k").await);
    let gone = store.put_if_match("c/k", bytes("4"), &third).await;
    assert!(gone.is_err(), "{gone:?}");
    store.put_if_absent("c/k", bytes("5")).await.unwrap();
    assert_eq!(store.get("c/k").await.unwrap().body, "5");
}

async fn reads(store: &dyn ObjectStore) {
    let etag = store.put("r/k", bytes("0123456789")).await.unwrap();
    assert!(store.get_if_changed("r/k", &etag).await.unwrap().is_none());
    let other = ETag("\"00000000000000000000000000000000\"".to_owned());
    let changed = store.get_if_changed("r/k", &other).await.unwrap().unwrap();
    assert_eq!((changed.body, changed.etag), (bytes("0123456789"), etag));

    assert_eq!(store.get_range("r/k", 0..10).await.unwrap(), "0123456789");
    assert_eq!(store.get_range("r/k", 3..5).await.unwrap(), "34");
    for bad in [4..4, 9..11, 10..11, 90..99] {
        assert_refused(store.get_range("r/k", bad).await);
    }
    assert_missing(store.get("r/absent").await);
    assert_missing(store.get_range("r/absent", 0..1).await);
    assert_missing(store.get_if_changed("r/absent", &other).await);
}

async fn bodies_and_keys(store: &dyn ObjectStore) {
    let large: Vec<u8> = (0..3_500_000_u32).map(|i| (i % 251) as u8).collect();
    for body in [Bytes::new(), Bytes::from(vec![0; 100]), large.into()] {
        store.put("b/body", body.clone()).await.unwrap();
        let read = store.get("b/body").await.unwrap().body;
        assert_eq!(read.len(), body.len());
        assert!(read == body, "content differs");
    }
    let odd = [
        "b/a b",
        "b/ä",
        "b/1+1=2",
        "b/100%41",
        "b/~x_y-z.json",
        "b/(q)?*&#",
    ];
    for key in odd {
        store.put_if_absent(key, bytes(key)).await.unwrap();
        assert_eq!(store.get(key).await.unwrap().body, bytes(key), "{key}");
    }
    let page = store.list("b/", None, 1000).await.unwrap();
    let listed: BTreeSet<&str> = keys(&page).into_iter().collect();
    let mut expected = BTreeSet::from(odd);
    expected.insert("b/body");
    assert_eq!(listed, expected);
}

async fn listing(store: &dyn ObjectStore, traits: Traits) {
    assert!(store.list("l/", None, 10).await.unwrap().objects.is_empty());
    let mut all: Vec<String> = (0..25).map(|i| format!("l/log/{i:012}")).collect();
    all.push("l/another/deep/er/one".to_owned());
    all.push("l/zero".to_owned());
    if traits.whole_key_order {
        for key in ["l/log-1", "l/log.json", "l/log0", "l/log!/x"] {
            all.push(key.to_owned());
        }
    }
    all.sort();
    for key in &all {
        store.put(key, bytes("xyz")).await.unwrap();
    }
    let page = store.list("l/", None, 1000).await.unwrap();
    assert_eq!(keys(&page), all);
    assert!(!page.truncated);
    assert!(page.objects.iter().all(|o| o.size == 3));

    for limit in [1, 7, 26] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let after = found.last().cloned();
            let page = store.list("l/", after.as_deref(), limit).await.unwrap();
            assert!(page.objects.len() <= limit);
            found.extend(page.objects.iter().map(|o| o.key.clone()));
            if !page.truncated {
                break;
            }
            assert!(!page.objects.is_empty());
        }
        assert_eq!(found, all, "in pages of {limit}");
    }
    let page = store
        .list("l/log/", Some("l/log/000000000022"), 10)
        .await
        .unwrap();
    assert_eq!(keys(&page), ["l/log/000000000023", "l/log/000000000024"]);
    // A position that is no key, one before the prefix, one behind it; a prefix that is not a folder.
    let page = store
        .list("l/log/", Some("l/log/00000000002"), 1)
        .await
        .unwrap();
    assert_eq!(keys(&page), ["l/log/000000000020"]);
    assert!(page.truncated);
    let page = store.list("l/log/", Some("a"), 1).await.unwrap();
    assert_eq!(keys(&page), ["l/log/000000000000"]);
    let page = store.list("l/log/", Some("l/z"), 1).await.unwrap();
    assert!(page.objects.is_empty() && !page.truncated);
    let page = store.list("l/log/00000000002", None, 100).await.unwrap();
    assert_eq!(page.objects.len(), 5);

    store.delete("l/log/000000000003").await.unwrap();
    let page = store.list("l/log/000000000003", None, 1).await.unwrap();
    assert!(page.objects.is_empty(), "a removed key is not listed");
}

async fn refusals(store: &dyn ObjectStore) {
    for bad in ["", "/x", "x/", "x//y", "x/../y", "x\0y"] {
        assert_refused(store.put(bad, bytes("1")).await);
        assert_refused(store.get(bad).await);
    }
}

/// Of many that create, or replace one version of, a key, exactly one wins, and its content is what is there.
async fn races(store: &Arc<dyn ObjectStore>, traits: Traits) {
    let race = |round: usize, condition: Option<ETag>| {
        let racers = (0..traits.contenders).map(move |racer| {
            let (store, condition) = (Arc::clone(store), condition.clone());
            tokio::spawn(async move {
                // Unique in all rounds: equal bytes have equal tags, and a swap from A to A lets a second one win.
                let body = Bytes::from(format!("round {round} racer {racer}"));
                let outcome = match condition {
                    None => store.put_if_absent("race/k", body).await,
                    Some(etag) => store.put_if_match("race/k", body, &etag).await,
                };
                match outcome {
                    Ok(_) => Some(racer),
                    Err(StoreError::PreconditionFailed { .. }) => None,
                    Err(e) => panic!("racer {racer}: {e}"),
                }
            })
        });
        async move {
            let winners: Vec<usize> = join_all(racers)
                .await
                .into_iter()
                .filter_map(Result::unwrap)
                .collect();
            assert_eq!(winners.len(), 1, "winners {winners:?}");
            let now = store.get("race/k").await.unwrap();
            assert_eq!(now.body, format!("round {round} racer {}", winners[0]));
            now.etag
        }
    };
    let created = race(0, None).await;
    store.delete("race/k").await.unwrap();
    let again = race(1, None).await;
    race(2, Some(again)).await;
    let stale = store.put_if_match("race/k", bytes("stale"), &created);
    assert_lost(stale.await);
}

/// Several callers count in one document, each step exactly once, whatever the store does to their requests.
///
/// The document names the steps that are in it: after a swap that was lost a caller looks whether its step is there
/// (it may have been, before somebody else's), as every protocol on top of [`Store`] does.
pub(crate) async fn count_exactly_once(clients: Vec<Arc<dyn ObjectStore>>, steps: usize) {
    let policy = RetryPolicy {
        base_pause: Duration::from_millis(2),
        max_pause: Duration::from_millis(200),
        deadline: Duration::from_secs(120),
    };
    let expected = clients.len() * steps;
    let last = Store::new(Arc::clone(&clients[0]), policy);
    let counting = clients.into_iter().enumerate().map(|(caller, client)| {
        let store = Store::new(client, policy);
        tokio::spawn(async move {
            for step in 0..steps {
                count(&store, &format!("{caller}.{step}")).await;
            }
        })
    });
    for done in join_all(counting).await {
        done.unwrap();
    }
    let text = read_text(&last).await.unwrap().0;
    let counted: Vec<&str> = text.split_whitespace().collect();
    let distinct: BTreeSet<&str> = counted.iter().copied().collect();
    assert_eq!(counted.len(), expected, "{text}");
    assert_eq!(distinct.len(), expected, "{text}");
}

async fn read_text(store: &Store) -> Option<(String, ETag)> {
    let object = store.get("count/doc").await.unwrap()?;
    Some((
        String::from_utf8(object.body.to_vec()).unwrap(),
        object.etag,
    ))
}

async fn count(store: &Store, step: &str) {
    loop {
        let ours = match read_text(store).await {
            None => {
                let body = Bytes::from(step.to_owned());
                matches!(
                    store.create("count/doc", body).await.unwrap(),
                    Created::Ours(_)
                )
            }
            Some((text, _)) if text.split_whitespace().any(|s| s == step) => true,
            Some((text, etag)) => {
                // Every body is unique: no two have the same steps in the same order.
                let body = Bytes::from(format!("{text} {step}"));
                matches!(
                    store.swap("count/doc", body, &etag).await.unwrap(),
                    Swapped::Ours(_)
                )
            }
        };
        if ours {
            return;
        }
    }
}
