//! Manifests, segments and their collection: paused owners, paused collectors, slow readers.

use std::sync::Arc;
use std::time::Duration;

use brainy_coordination::gc::{Collected, Collector};
use brainy_coordination::keys;
use brainy_coordination::partition::PublishError;
use brainy_coordination::types::LogPosition;
use tokio::sync::Semaphore;
use tokio::time::{advance, timeout};

use super::{Bench, GRACE, Step, contents};

#[tokio::test(start_paused = true)]
async fn a_paused_owner_cannot_publish_over_its_successor() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let b = bench.own("b").await;
    b.write(2).await;
    b.flush(1).await;
    let key = keys::partition_manifest(&bench.partition);
    let before = bench.bucket.snapshot()[&key].clone();
    let late = a.owner.publisher().publish(|m| {
        m.segments.clear();
        m.applied = LogPosition::new(9, 9);
    });
    let late = late.await;
    assert!(
        matches!(late, Err(PublishError::Deposed { theirs: 2, .. })),
        "{late:?}"
    );
    assert_eq!(bench.bucket.snapshot()[&key], before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_slower_than_the_collector_finds_the_newer_manifest() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    a.flush(1).await;
    let go_on = Arc::new(Semaphore::new(0));
    let signal = Arc::clone(&go_on);
    let store = bench.scripted("slow", move |_, key| {
        if key.starts_with("segments/") {
            return Step::Hold(Arc::clone(&signal));
        }
        Step::Go
    });
    let mut opening = std::pin::pin!(bench.replica(store));
    assert!(timeout(Duration::from_secs(1), &mut opening).await.is_err());

    a.write(2).await;
    a.flush(2).await;
    let epoch = a.owner.epoch();
    let mut collector = Collector::new(bench.store("a"), bench.partition.clone(), epoch, GRACE);
    collector.collect(&Default::default()).await.unwrap();
    advance(GRACE).await;
    let removed = collector.collect(&Default::default()).await.unwrap();
    assert_eq!(
        removed.segment_objects, 1,
        "the segment that the reader is about to load"
    );

    go_on.add_permits(100);
    let mut reader = opening.await;
    reader.catch_up().await.unwrap();
    assert_eq!(contents(reader.machine()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_stood_still_beyond_the_grace_period_misses_nothing() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    let mut follower = bench.follower("b").await;
    for n in 2..6 {
        a.write(n).await;
    }
    a.flush(1).await;
    let epoch = a.owner.epoch();
    let mut collector = Collector::new(bench.store("a"), bench.partition.clone(), epoch, GRACE);
    collector.collect(&Default::default()).await.unwrap();
    advance(GRACE).await;
    assert_eq!(
        collector.collect(&Default::default()).await.unwrap().slots,
        4
    );
    follower.catch_up().await.unwrap();
    assert_eq!(contents(follower.machine()), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn grace_counts_from_when_the_collector_knew_not_from_when_it_asked() {
    let bench = Bench::new();
    let a = bench.own("a").await;
    a.write(1).await;
    a.write(2).await;
    let answer = Arc::new(Semaphore::new(0));
    let (signal, key) = (
        Arc::clone(&answer),
        keys::partition_manifest(&bench.partition),
    );
    let mut first = true;
    let store = bench.scripted("collector", move |_, k| {
        if k == key && std::mem::take(&mut first) {
            return Step::Hold(Arc::clone(&signal));
        }
        Step::Go
    });
    let epoch = a.owner.epoch();
    let mut collector = Collector::new(store, bench.partition.clone(), epoch, GRACE);
    let nothing = Collected::default();
    {
        let building = Default::default();
        let mut slow = std::pin::pin!(collector.collect(&building));
        assert!(timeout(GRACE * 2, &mut slow).await.is_err());
        // The manifest passes the slots only now.
        a.flush(1).await;
        answer.add_permits(1);
        assert_eq!(slow.await.unwrap(), nothing);
    }
    assert_eq!(
        collector.collect(&Default::default()).await.unwrap(),
        nothing
    );
    advance(GRACE).await;
    assert_eq!(
        collector.collect(&Default::default()).await.unwrap().slots,
        1
    );
}
