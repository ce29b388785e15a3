use super::*;
use crate::store::retry::{RetryPolicy, Store, Swapped};
use futures::future::join_all;

fn only(set: impl FnOnce(&mut FaultPlan)) -> FaultPlan {
    let mut plan = FaultPlan::default();
    set(&mut plan);
    plan
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn busy_and_conflict_change_nothing() {
    let bucket = SimBucket::new(1);
    let store = bucket.client("a");
    bucket.set_faults(only(|p| p.p_busy = 1.0));
    let error = store.put("k", bytes("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");

    bucket.set_faults(only(|p| p.p_conflict_409 = 1.0));
    let error = store.put_if_absent("k", bytes("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(bucket.snapshot().is_empty());
    // 409 is an answer to conditional writes only.
    store.put("k", bytes("1")).await.unwrap();
    store.get("k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn timeouts_take_virtual_time_and_differ_in_effect() {
    let bucket = SimBucket::new(2);
    let store = bucket.client("a");
    let start = Instant::now();

    bucket.set_faults(only(|p| p.p_timeout_before = 1.0));
    let error = store.put_if_absent("k", bytes("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    assert!(bucket.snapshot().is_empty());
    assert_eq!(start.elapsed(), FaultPlan::default().timeout);
    let error = store.get("k").await.unwrap_err();
    assert!(
        matches!(error, StoreError::Busy { .. }),
        "a read is never ambiguous: {error}"
    );

    bucket.set_faults(only(|p| p.p_timeout_after = 1.0));
    let error = store.put_if_absent("k", bytes("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    assert_eq!(bucket.snapshot()["k"], "1");
    let error = store.delete("k").await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    assert!(bucket.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_lands_later_only_if_its_condition_holds_then() {
    let bucket = SimBucket::new(3);
    let slow = bucket.client("slow");
    let fast = bucket.client("fast");
    let delayed = only(|p| {
        p.p_delayed_effect = 1.0;
        p.late_by = Duration::from_secs(3)..=Duration::from_secs(3);
    });

    bucket.set_faults(delayed.clone());
    let error = slow.put_if_absent("won", bytes("late")).await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    slow.put_if_absent("lost", bytes("late")).await.unwrap_err();
    bucket.set_faults(FaultPlan::default());
    fast.put_if_absent("lost", bytes("first")).await.unwrap();
    assert_eq!(bucket.in_flight(), 2);
    assert!(!bucket.snapshot().contains_key("won"));

    sleep(Duration::from_secs(4)).await;
    assert_eq!(bucket.in_flight(), 0);
    let now = bucket.snapshot();
    assert_eq!(now["won"], "late");
    assert_eq!(now["lost"], "first");

    bucket.set_faults(delayed);
    slow.delete("won").await.unwrap_err();
    bucket.deliver_late_writes();
    assert!(!bucket.snapshot().contains_key("won"));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_caller_hangs_before_or_after_its_effect_and_others_go_on() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..32 {
        let bucket = SimBucket::new(seed);
        let frozen = bucket.client("frozen");
        bucket.freeze("frozen");
        let request = tokio::spawn(async move { frozen.put_if_absent("k", bytes("1")).await });
        sleep(Duration::from_secs(60)).await;
        assert!(!request.is_finished());
        bucket
            .client("other")
            .put("other", bytes("2"))
            .await
            .unwrap();
        if bucket.snapshot().contains_key("k") {
            after += 1;
        } else {
            before += 1;
        }
        bucket.thaw("frozen");
        request.await.unwrap().unwrap();
        assert_eq!(bucket.snapshot()["k"], "1");
    }
    assert!(before > 0 && after > 0, "before {before}, after {after}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_caller_fails_and_recovers() {
    let bucket = SimBucket::new(4);
    let a = bucket.client("a");
    bucket.partition("a", true);
    let error = a.put("k", bytes("1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(bucket.snapshot().is_empty());
    bucket.client("b").put("k", bytes("2")).await.unwrap();
    bucket.partition("a", false);
    assert_eq!(a.get("k").await.unwrap().body, "2");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_write_may_still_arrive() {
    let mut arrived = 0;
    for seed in 0..32 {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(only(|p| {
            p.latency = Duration::from_secs(1)..=Duration::from_secs(1);
        }));
        let store = bucket.client("a");
        let write = store.put_if_absent("k", bytes("1"));
        let _ = tokio::time::timeout(Duration::from_millis(1), write).await;
        sleep(Duration::from_secs(10)).await;
        arrived += usize::from(bucket.snapshot().contains_key("k"));
    }
    assert!((4..32).contains(&arrived), "{arrived} of 32 arrived");
}

#[tokio::test(start_paused = true)]
async fn equal_bytes_have_equal_tags_so_the_aba_hole_shows() {
    let bucket = SimBucket::new(5);
    let store = bucket.client("a");
    let first = store.put("k", bytes("A")).await.unwrap();
    store.put("k", bytes("B")).await.unwrap();
    store.put("k", bytes("A")).await.unwrap();
    store.put_if_match("k", bytes("C"), &first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_is_an_object_or_a_folder() {
    let bucket = SimBucket::new(6);
    let store = bucket.client("a");
    store.put("a/b", bytes("1")).await.unwrap();
    store.put("a-b", bytes("1")).await.unwrap();
    for bad in ["a", "a/b/c"] {
        let error = store.put(bad, bytes("1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn corruption_is_seen_by_readers() {
    let bucket = SimBucket::new(7);
    let store = bucket.client("a");
    assert!(!bucket.corrupt("k", |b| b));
    let etag = store.put("k", bytes("whole")).await.unwrap();
    assert!(bucket.corrupt("k", |b| b.slice(..2)));
    let changed = store.get_if_changed("k", &etag).await.unwrap().unwrap();
    assert_eq!(changed.body, "wh");
}

/// Contended swaps under every fault; what took effect and how long it took.
async fn traffic(seed: u64) -> (Vec<Effect>, Duration) {
    let start = Instant::now();
    let bucket = SimBucket::new(seed);
    let policy = RetryPolicy {
        // Pauses are drawn from the thread's own randomness: none keeps the run a function of the seed.
        base_pause: Duration::ZERO,
        max_pause: Duration::ZERO,
        deadline: Duration::from_secs(3600),
    };
    let first = Store::new(bucket.client("setup"), policy);
    first.create("n", bytes("start")).await.unwrap();
    bucket.set_faults(FaultPlan::harsh());
    join_all((0..5).map(|caller| {
        let store = Store::new(bucket.client(&format!("c{caller}")), policy);
        async move {
            for turn in 0..6 {
                loop {
                    let now = store.get("n").await.unwrap().unwrap();
                    let body = Bytes::from(format!("{caller} {turn} after {}", now.etag));
                    if let Swapped::Ours(_) = store.swap("n", body, &now.etag).await.unwrap() {
                        break;
                    }
                }
            }
        }
    }))
    .await;
    bucket.deliver_late_writes();
    (bucket.history(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let first = traffic(11).await;
    assert!(first.0.len() > 30);
    assert_eq!(first, traffic(11).await);
    assert_ne!(first, traffic(12).await);
}
