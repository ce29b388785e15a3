//! The start-up probe passes honest stores and refuses, by name, those that are not.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use brainy_coordination::store::dir::DirStore;
use brainy_coordination::store::probe::{Check, ProbeError, ProbeOptions, probe};
use brainy_coordination::store::sim::{FaultPlan, SimBucket};
use brainy_coordination::store::{ETag, ListPage, Object, ObjectStore, StoreError};
use bytes::Bytes;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Conditions are dropped on the way, as rclone's and juicefs' gateways do.
    IgnoresConditions,
    /// Only If-Match is dropped.
    IgnoresIfMatch,
    /// Looks first and writes then, so that several contenders win, as s3s-fs does.
    ChecksThenWrites,
    /// The same for replacements only.
    ChecksThenReplaces,
    /// If-Match on nothing creates.
    CreatesOnIfMatch,
    /// Ranges are answered with something else.
    WrongRanges,
    /// Listings lag behind.
    ListsNothing,
    /// Reads come from an old copy.
    NeverChanges,
}

#[derive(Debug)]
struct Flawed {
    inner: Arc<dyn ObjectStore>,
    flaw: Flaw,
}

#[async_trait]
impl ObjectStore for Flawed {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.inner.get(key).await
    }

    async fn get_if_changed(&self, key: &str, known: &ETag) -> Result<Option<Object>, StoreError> {
        if self.flaw == Flaw::NeverChanges {
            return Ok(None);
        }
        self.inner.get_if_changed(key, known).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let shift = u64::from(self.flaw == Flaw::WrongRanges);
        let range = range.start - shift..range.end - shift;
        self.inner.get_range(key, range).await
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        self.inner.put(key, body).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<ETag, StoreError> {
        match self.flaw {
            Flaw::IgnoresConditions => self.inner.put(key, body).await,
            Flaw::ChecksThenWrites => match self.inner.get(key).await {
                Ok(_) => Err(StoreError::PreconditionFailed { key: key.into() }),
                Err(StoreError::NotFound { .. }) => self.inner.put(key, body).await,
                Err(e) => Err(e),
            },
            _ => self.inner.put_if_absent(key, body).await,
        }
    }

    async fn put_if_match(
        &self,
        key: &str,
        body: Bytes,
        current: &ETag,
    ) -> Result<ETag, StoreError> {
        match self.flaw {
            Flaw::IgnoresConditions | Flaw::IgnoresIfMatch => self.inner.put(key, body).await,
            Flaw::ChecksThenReplaces => {
                if self.inner.get(key).await?.etag == *current {
                    return self.inner.put(key, body).await;
                }
                Err(StoreError::PreconditionFailed { key: key.into() })
            }
            Flaw::CreatesOnIfMatch => match self.inner.get(key).await {
                Err(StoreError::NotFound { .. }) => self.inner.put_if_absent(key, body).await,
                _ => self.inner.put_if_match(key, body, current).await,
            },
            _ => self.inner.put_if_match(key, body, current).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        if self.flaw == Flaw::ListsNothing {
            return Ok(ListPage::default());
        }
        self.inner.list(prefix, start_after, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn each_flaw_is_found_and_named() {
    let table = [
        (Flaw::IgnoresConditions, Check::CreateTwice),
        (Flaw::IgnoresIfMatch, Check::StaleIfMatch),
        (Flaw::ChecksThenWrites, Check::CreateRace),
        (Flaw::ChecksThenReplaces, Check::SwapRace),
        (Flaw::CreatesOnIfMatch, Check::IfMatchOnMissing),
        (Flaw::WrongRanges, Check::RangeRead),
        (Flaw::ListsNothing, Check::ListAfterWrite),
        (Flaw::NeverChanges, Check::ConditionalRead),
    ];
    for (flaw, expected) in table {
        let bucket = SimBucket::new(7);
        bucket.set_faults(FaultPlan::calm());
        let store = Arc::new(Flawed {
            inner: bucket.client("a"),
            flaw,
        });
        let error = probe(store, ProbeOptions::default()).await.unwrap_err();
        let ProbeError::Unfit {
            check,
            ref observed,
        } = error
        else {
            panic!("{flaw:?}: {error}");
        };
        assert_eq!(check, expected, "{flaw:?}: {observed}");
        let text = error.to_string();
        assert!(
            text.contains("SeaweedFS 4.17") && text.contains(observed.as_str()),
            "{text}"
        );
        assert!(
            bucket.snapshot().is_empty(),
            "{flaw:?}: objects left behind"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_honest_store_passes_and_is_left_clean() {
    let bucket = SimBucket::new(1);
    bucket.set_faults(FaultPlan::calm());
    let report = probe(bucket.client("a"), ProbeOptions::default())
        .await
        .unwrap();
    assert_eq!(report.passed.len(), 11);
    assert!(!report.unquoted_if_match);
    assert!(bucket.snapshot().is_empty());
}

#[tokio::test]
async fn the_directory_store_passes() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    probe(store.clone(), ProbeOptions::default()).await.unwrap();
    assert!(store.list("", None, 10).await.unwrap().objects.is_empty());
}

/// An honest store in trouble may fail the probe, but is never called unfit.
#[tokio::test(start_paused = true)]
async fn trouble_is_not_taken_for_a_flaw() {
    let mut passed = 0;
    for seed in 0..40 {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan {
            // A write that arrives after its caller has looked cannot be told from a flaw.
            p_delayed_effect: 0.0,
            ..FaultPlan::harsh()
        });
        match probe(bucket.client("a"), ProbeOptions::default()).await {
            Ok(_) => passed += 1,
            Err(ProbeError::Unfit { check, observed }) => {
                panic!("seed {seed}: unfit by '{check}': {observed}")
            }
            Err(_) => {}
        }
    }
    assert!(passed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_ends_the_probe_in_time() {
    let bucket = SimBucket::new(1);
    bucket.freeze("a");
    let options = ProbeOptions {
        deadline: Duration::from_secs(5),
        ..ProbeOptions::default()
    };
    let error = probe(bucket.client("a"), options).await.unwrap_err();
    assert!(matches!(error, ProbeError::Late { .. }), "{error}");
}

/// Where nothing can be reached, whoever started the process is soon told.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_takes_anything_is_given_up_within_seconds() {
    let bucket = SimBucket::new(1);
    bucket.set_faults(FaultPlan {
        p_busy: 1.0,
        ..FaultPlan::default()
    });
    let began = tokio::time::Instant::now();
    let error = probe(bucket.client("a"), ProbeOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ProbeError::Store { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{error}");
}

/// A store whose credentials are refused is reported with the store's own words, at the first request.
#[derive(Debug, Default)]
struct Refusing {
    asked: AtomicUsize,
}

impl Refusing {
    fn refuse<T>(&self, what: &'static str, key: &str) -> Result<T, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err(StoreError::Refused {
            what,
            key: key.to_owned(),
            message: "403 InvalidAccessKeyId".to_owned(),
            remedy: "Correct the access key".to_owned(),
        })
    }
}

#[async_trait]
impl ObjectStore for Refusing {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.refuse("get", key)
    }
    async fn get_if_changed(&self, key: &str, _: &ETag) -> Result<Option<Object>, StoreError> {
        self.refuse("get-if-changed", key)
    }
    async fn get_range(&self, key: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        self.refuse("get-range", key)
    }
    async fn put(&self, key: &str, _: Bytes) -> Result<ETag, StoreError> {
        self.refuse("put", key)
    }
    async fn put_if_absent(&self, key: &str, _: Bytes) -> Result<ETag, StoreError> {
        self.refuse("put-if-absent", key)
    }
    async fn put_if_match(&self, key: &str, _: Bytes, _: &ETag) -> Result<ETag, StoreError> {
        self.refuse("put-if-match", key)
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.refuse("delete", key)
    }
    async fn list(&self, prefix: &str, _: Option<&str>, _: usize) -> Result<ListPage, StoreError> {
        self.refuse("list", prefix)
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on_with_its_remedy() {
    let store = Arc::new(Refusing::default());
    let error = probe(store.clone(), ProbeOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ProbeError::Store { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("InvalidAccessKeyId") && text.contains("Correct the access key"));
    let asked = store.asked.load(Ordering::Relaxed);
    assert!(asked < 10, "{asked} requests");
}
