//! Takeovers that stop anywhere, and successors that wake up late.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::gc::Collector;
use brainy_coordination::keys;
use brainy_coordination::owner::WriteError;
use brainy_coordination::takeover::TakeoverError;
use brainy_coordination::types::{LogPosition, Nonce};
use tokio::sync::Semaphore;
use tokio::time::{advance, timeout};

use super::{Bench, GRACE, Step, contents, who};

/// Stops `b`'s takeover at its `k`-th request, before or after the effect, and lets `c` finish the work. Returns whether
/// `b` got that far at all.
async fn interrupted(k: usize, after_effect: bool) -> bool {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    a.write(2).await;
    a.flush(1).await;
    a.write(3).await;
    let mut sent = 0;
    let store = bench.scripted("b", move |_, _| {
        sent += 1;
        match (sent > k, after_effect) {
            (true, true) => Step::HangAfter,
            (true, false) => Step::Hang,
            (false, _) => Step::Go,
        }
    });
    // Opening the replica is part of what may be interrupted.
    let takeover = timeout(Duration::from_secs(60), bench.own_over("b", store));
    let stopped = takeover.await.is_err();

    let c = bench.own("c").await;
    assert_eq!(contents(&c.machine), [1, 2, 3], "k = {k}");
    c.write(4).await;
    let zombie = a.owner.write(Nonce(5), 0).await;
    assert!(
        matches!(zombie, Err(WriteError::NotOwner)),
        "k = {k}: {zombie:?}"
    );
    assert!(!a.owner.still_owner().await.unwrap());
    let follower = bench.follower("d").await;
    assert_eq!(contents(follower.machine()), [1, 2, 3, 4], "k = {k}");
    stopped
}

#[tokio::test(start_paused = true)]
async fn a_takeover_that_stops_at_any_request_is_finished_by_another_process() {
    for after_effect in [false, true] {
        let mut k = 0;
        while interrupted(k, after_effect).await {
            k += 1;
        }
        assert!(
            k > 5,
            "a takeover takes lease, manifest, slots and fence, not {k} requests"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_arrives_in_a_collected_slot_misleads_nobody() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let mut slow = bench.follower("slow").await;

    // `b` has seen slot 1:2 absent; its fence is on the way for a long time.
    let arrive = Arc::new(Semaphore::new(0));
    let contested = keys::wal_slot(&bench.partition, LogPosition::new(1, 2));
    let (signal, slot) = (Arc::clone(&arrive), contested.clone());
    let store = bench.scripted("b", move |what, key| {
        if what == "put" && key == slot {
            return Step::Hold(Arc::clone(&signal));
        }
        Step::Go
    });
    let mut b = bench.replica(store).await;
    let me = who("b");
    let mut late = Box::pin(bench.take_over(&mut b, &me));
    assert!(timeout(Duration::from_secs(1), &mut late).await.is_err());

    // Meanwhile `a` fills the slot, `c` takes over, flushes and collects it.
    assert_eq!(a.write(2).await, LogPosition::new(1, 2));
    let c = bench.own("c").await;
    c.flush(1).await;
    let mut collector = Collector::new(
        bench.store("c"),
        bench.partition.clone(),
        c.owner.epoch(),
        GRACE,
    );
    collector.collect(&Default::default()).await.unwrap();
    advance(GRACE).await;
    assert_eq!(
        collector.collect(&Default::default()).await.unwrap().slots,
        2
    );
    assert!(!bench.exists(&contested));

    arrive.add_permits(1);
    let outcome = late.await;
    assert!(bench.exists(&contested), "the late fence did arrive");
    assert!(
        matches!(outcome, Err(TakeoverError::Deposed { .. })),
        "{outcome:?}"
    );
    b.catch_up().await.unwrap();
    assert_eq!(
        contents(b.machine()),
        [1, 2],
        "the successor that came late"
    );
    slow.catch_up().await.unwrap();
    assert_eq!(
        contents(slow.machine()),
        [1, 2],
        "the follower that came late"
    );
    c.write(3).await;
    slow.catch_up().await.unwrap();
    assert_eq!(contents(slow.machine()), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_finds_its_log_collected_was_deposed_and_reports_no_damage() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    a.write(2).await;

    // `b` stops before it reads the log.
    let go_on = Arc::new(Semaphore::new(0));
    let first = keys::wal_slot(&bench.partition, LogPosition::new(1, 1));
    let signal = Arc::clone(&go_on);
    let store = bench.scripted("b", move |_, key| {
        if key == first {
            return Step::Hold(Arc::clone(&signal));
        }
        Step::Go
    });
    let mut b = bench.replica(store).await;
    let me = who("b");
    let mut late = Box::pin(bench.take_over(&mut b, &me));
    assert!(timeout(Duration::from_secs(1), &mut late).await.is_err());

    let c = bench.own("c").await;
    c.flush(1).await;
    let mut collector = Collector::new(
        bench.store("c"),
        bench.partition.clone(),
        c.owner.epoch(),
        GRACE,
    );
    collector.collect(&Default::default()).await.unwrap();
    advance(GRACE).await;
    assert_eq!(
        collector.collect(&Default::default()).await.unwrap().slots,
        2
    );

    go_on.add_permits(100);
    let outcome = late.await;
    assert!(
        matches!(outcome, Err(TakeoverError::Deposed { .. })),
        "{outcome:?}"
    );
    b.catch_up().await.unwrap();
    assert_eq!(contents(b.machine()), [1, 2]);
}
