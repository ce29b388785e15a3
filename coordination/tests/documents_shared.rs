//! Shared configuration, event log and heartbeats on a simulated bucket.

mod cluster;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use brainy_coordination::assignment::Role;
use brainy_coordination::config::{
    ConfigError, ConfigStore, ConfigWatcher, Consistency, HISTORY, Polled, SharedConfig,
};
use brainy_coordination::document::DocumentError;
use brainy_coordination::events::{Event, EventLog};
use brainy_coordination::keys;
use brainy_coordination::lease::Identity;
use brainy_coordination::members::{
    Beat, Heartbeat, HeartbeatRecord, Liveness, LivenessObserver, Phase,
};
use brainy_coordination::store::sim::{FaultPlan, SimBucket};
use brainy_coordination::types::Nonce;
use bytes::Bytes;
use cluster::{id, seeded_store};
use tokio_util::sync::CancellationToken;

const SEEDS: std::ops::Range<u64> = 0..12;

fn flush_at(bytes: u64) -> SharedConfig {
    SharedConfig {
        flush_bytes: Some(bytes),
        ..SharedConfig::default()
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let bad = SharedConfig {
        log_level: Some("loud".to_owned()),
        default_consistency: Some("perfect".to_owned()),
        tail_poll_interval_ms: Some(1),
        flush_bytes: Some(1 << 30),
        ..SharedConfig::default()
    };
    let error = bad.resolve().unwrap_err().to_string();
    for part in [
        "log_level is 'loud', it must be one of off, error",
        "default_consistency is 'perfect'",
        "tail_poll_interval_ms is 1, it must be from 10 to 60000",
        "max_unflushed_bytes is 268435456, it must be at least flush_bytes, which is 1073741824",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn local_settings_lie_over_shared_ones_over_defaults() {
    let local = SharedConfig {
        default_consistency: Some("strong".to_owned()),
        ..SharedConfig::default()
    };
    let shared = SharedConfig {
        default_consistency: Some("eventual".to_owned()),
        max_batch_points: Some(5),
        ..SharedConfig::default()
    };
    let effective = local.over(&shared).resolve().unwrap();
    assert_eq!(effective.default_consistency, Consistency::Strong);
    assert_eq!(effective.max_batch_points, 5);
    assert_eq!(effective.log_level, "info");
}

#[tokio::test(start_paused = true)]
async fn of_competing_publishers_one_replaces_a_version() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        for expected in 0..3u64 {
            let publishers = (0..4u64).map(|n| {
                let store = ConfigStore::new(seeded_store(&bucket, &format!("n{n}"), seed + n));
                let config = flush_at(100_000 + 10 * expected + n);
                async move { store.publish_if_version(expected, &config).await }
            });
            let results = futures::future::join_all(publishers).await;
            let won = results
                .iter()
                .filter(|r| matches!(r, Ok(v) if *v == expected + 1));
            assert_eq!(won.count(), 1, "seed {seed}: {results:?}");
            let lost = results
                .iter()
                .filter(|r| matches!(r, Err(ConfigError::VersionConflict { .. })));
            assert_eq!(lost.count(), 3, "seed {seed}: {results:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_and_a_repeated_publication_recognises_itself() {
    let bucket = SimBucket::new(1);
    let config = ConfigStore::new(seeded_store(&bucket, "admin", 1));
    for version in 0..15 {
        let published = config
            .publish_if_version(version, &flush_at(100_000 + version))
            .await;
        assert_eq!(published.unwrap(), version + 1);
    }
    assert_eq!(
        config
            .publish_if_version(13, &flush_at(100_013))
            .await
            .unwrap(),
        14
    );
    let stored = config.load().await.unwrap().unwrap();
    let versions: Vec<u64> = stored.history.iter().map(|p| p.version).collect();
    assert_eq!(versions, (5..15).rev().collect::<Vec<_>>());
    assert_eq!(versions.len(), HISTORY);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_applies_what_is_good_and_keeps_it_when_the_store_holds_nonsense() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let local = SharedConfig {
        max_batch_points: Some(7),
        ..SharedConfig::default()
    };
    let watcher = ConfigWatcher::new(store.clone(), local).unwrap();
    let seen = watcher.subscribe();
    assert_eq!(watcher.poll_once().await.unwrap(), Polled::Unchanged);
    let config = ConfigStore::new(store.clone());
    let mut wanted = flush_at(100_000);
    wanted.max_batch_points = Some(9);
    config.publish_if_version(0, &wanted).await.unwrap();
    assert_eq!(watcher.poll_once().await.unwrap(), Polled::Applied(1));
    assert_eq!(watcher.poll_once().await.unwrap(), Polled::Unchanged);
    let good = seen.borrow().clone();
    assert_eq!((good.flush_bytes, good.max_batch_points), (100_000, 7));

    for nonsense in [
        r#"{"format":1,"version":2,"nonce":"1","config":{"flush_bytes":1}}"#,
        r#"{"format":1,"version":2,"nonce":"1","config":{"flush_bites":100000}}"#,
        r#"{"format":9,"version":2,"nonce":"1"}"#,
        "not json",
    ] {
        store
            .put(keys::CONFIG, Bytes::from(nonsense))
            .await
            .unwrap();
        let refusals = watcher.state().refusals;
        assert!(watcher.poll_once().await.is_err(), "{nonsense}");
        assert_eq!(
            watcher.poll_once().await.unwrap(),
            Polled::Unchanged,
            "reported once"
        );
        assert_eq!(*seen.borrow(), good);
        let state = watcher.state();
        assert_eq!((state.version, state.refusals), (1, refusals + 1));
        assert!(state.refused.is_some());
    }
    store.delete(keys::CONFIG).await.unwrap();
    assert!(watcher.poll_once().await.is_err());
    assert_eq!(watcher.poll_once().await.unwrap(), Polled::Unchanged);
    assert_eq!(*seen.borrow(), good);
    // What is published next is taken, and nothing is refused any more.
    config
        .publish_if_version(0, &flush_at(200_000))
        .await
        .unwrap();
    assert_eq!(watcher.poll_once().await.unwrap(), Polled::Applied(1));
    assert_eq!(seen.borrow().flush_bytes, 200_000);
    assert_eq!(watcher.state().refused, None);
}

#[tokio::test(start_paused = true)]
async fn local_settings_that_change_lie_over_what_is_shared_then() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let watcher = ConfigWatcher::new(store.clone(), flush_at(100_000)).unwrap();
    let seen = watcher.subscribe();
    ConfigStore::new(store)
        .publish_if_version(0, &flush_at(200_000))
        .await
        .unwrap();
    watcher.poll_once().await.unwrap();
    assert_eq!(seen.borrow().flush_bytes, 100_000);
    watcher.set_local(SharedConfig::default()).await.unwrap();
    assert_eq!(seen.borrow().flush_bytes, 200_000);
    assert!(watcher.set_local(flush_at(1)).await.is_err());
    assert_eq!(seen.borrow().flush_bytes, 200_000);
    assert!(watcher.state().refused_local.is_some());
    watcher.set_local(flush_at(300_000)).await.unwrap();
    assert_eq!(seen.borrow().flush_bytes, 300_000);
    assert_eq!(watcher.state().refused_local, None);
}

#[tokio::test(start_paused = true)]
async fn a_running_watcher_takes_up_a_new_interval_at_once_and_asks_once_a_look() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let config = ConfigStore::new(seeded_store(&bucket, "admin", 2));
    let watcher = ConfigWatcher::new(store.clone(), SharedConfig::default()).unwrap();
    let mut seen = watcher.subscribe();
    let every = |ms: u64| SharedConfig {
        config_poll_interval_ms: Some(ms),
        ..SharedConfig::default()
    };
    config
        .publish_if_version(0, &every(3_600_000))
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let settings = watcher.subscribe();
    let pause = move || Duration::from_millis(settings.borrow().config_poll_interval_ms);
    let (_awake, woken) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(watcher.clone().run(pause, woken, stop.clone()));
    seen.changed().await.unwrap();
    assert_eq!(seen.borrow_and_update().config_poll_interval_ms, 3_600_000);
    config.publish_if_version(1, &every(100)).await.unwrap();
    // Somebody hints.
    watcher.poll_once().await.unwrap();
    let before = store.counts().gets.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let looks = store.counts().gets.load(Ordering::Relaxed) - before;
    assert!((9..=11).contains(&looks), "{looks}");
    stop.cancel();
    running.await.unwrap();
}

fn event(n: u64) -> Event {
    Event::AssignmentChanged { epoch: n }
}

#[tokio::test(start_paused = true)]
async fn events_of_several_appenders_are_in_order_without_gaps_or_losses() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let appenders = (0..4usize).map(|n| {
            let log = EventLog::new(
                seeded_store(&bucket, &format!("n{n}"), seed + n as u64),
                id(n),
            );
            async move {
                let mut numbers = Vec::new();
                for i in 0..6 {
                    let number = log.append(event(10 * n as u64 + i)).await;
                    numbers.push(number.unwrap_or_else(|e| panic!("seed {seed}: {e}")));
                }
                assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
                numbers
            }
        });
        let numbers = futures::future::join_all(appenders).await.concat();
        bucket.deliver_late_writes();
        bucket.set_faults(FaultPlan::default());
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(distinct, (1..=24).collect(), "seed {seed}");

        let log = EventLog::new(seeded_store(&bucket, "reader", seed), id(9));
        let mut read = Vec::new();
        while let Some(page) =
            Some(log.read_after(read.len() as u64, 10).await.unwrap()).filter(|p| !p.is_empty())
        {
            read.extend(page);
        }
        assert!(read.iter().map(|r| r.sequence).eq(1..=24), "seed {seed}");
        let contents: BTreeSet<String> = read.iter().map(|r| format!("{:?}", r.event)).collect();
        assert_eq!(contents.len(), 24, "seed {seed}: an event appears twice");
    }
}

#[tokio::test(start_paused = true)]
async fn trimming_keeps_the_newest_and_numbers_go_on() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let log = EventLog::new(store.clone(), id(0));
    for n in 1..=7 {
        assert_eq!(log.append(event(n)).await.unwrap(), n);
    }
    assert_eq!(log.trim(3).await.unwrap(), 4);
    assert_eq!(log.trim(0).await.unwrap(), 2);
    let fresh = EventLog::new(store, id(1));
    assert_eq!(fresh.append(event(8)).await.unwrap(), 8);
    let left: Vec<u64> = fresh
        .read_after(0, 100)
        .await
        .unwrap()
        .iter()
        .map(|r| r.sequence)
        .collect();
    assert_eq!(left, [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kind_is_tolerated_and_an_unknown_format_is_not() {
    let bucket = SimBucket::new(1);
    let store = seeded_store(&bucket, "node", 1);
    let log = EventLog::new(store.clone(), id(0));
    let kind = r#"{"format":1,"nonce":"1","instance":"n","unix_ms":5,"event":{"kind":"moon_landing","crew":3}}"#;
    store.put(&keys::event(1), Bytes::from(kind)).await.unwrap();
    assert_eq!(
        log.read_after(0, 10).await.unwrap()[0].event,
        Event::Unknown
    );
    store
        .put(&keys::event(2), Bytes::from(r#"{"format":2}"#))
        .await
        .unwrap();
    let error = log.read_after(0, 10).await.unwrap_err();
    assert!(
        matches!(error, DocumentError::UnknownFormat { found: 2, .. }),
        "{error}"
    );
}

fn heartbeat(bucket: &std::sync::Arc<SimBucket>, name: &str, seed: u64) -> Heartbeat {
    let store = seeded_store(bucket, name, seed);
    Heartbeat::new(
        store,
        Identity::new(id(0)),
        Role::Writer,
        "h:1".to_owned(),
        Duration::from_secs(9),
    )
}

#[tokio::test(start_paused = true)]
async fn a_newer_life_supersedes_the_older_one() {
    for seed in SEEDS {
        let bucket = SimBucket::new(seed);
        bucket.set_faults(FaultPlan::harsh());
        let mut old = heartbeat(&bucket, "old", seed);
        for _ in 0..4 {
            assert_eq!(old.beat().await.unwrap(), Beat::Renewed, "seed {seed}");
        }
        let mut new = heartbeat(&bucket, "new", seed + 1);
        assert_eq!(new.beat().await.unwrap(), Beat::Renewed, "seed {seed}");
        let by = new.incarnation();
        for _ in 0..2 {
            assert_eq!(
                old.beat().await.unwrap(),
                Beat::Superseded { by },
                "seed {seed}"
            );
            assert_eq!(new.beat().await.unwrap(), Beat::Renewed, "seed {seed}");
        }
    }
}

#[test]
fn expiry_needs_the_whole_time_to_live_on_the_observers_clock() {
    let record = |incarnation, counter| HeartbeatRecord {
        instance: id(0),
        incarnation: Nonce(incarnation),
        role: Role::Writer,
        address: "h:1".to_owned(),
        counter,
        ttl_ms: 9_000,
        phase: Phase::Serving,
    };
    let at = Duration::from_millis;
    let mut observer = LivenessObserver::default();
    // The first look says nothing about how long it has stood still.
    assert_eq!(
        observer.observe(&record(1, 500), at(100_000)),
        Liveness::Alive
    );
    let since = at(100_000);
    assert_eq!(
        observer.observe(&record(1, 500), at(108_999)),
        Liveness::Suspect { since }
    );
    assert_eq!(
        observer.observe(&record(1, 500), at(109_000)),
        Liveness::Expired
    );
    // It was only slow: alive again, and a new span begins, also after the observer slept long.
    assert_eq!(
        observer.observe(&record(1, 501), at(500_000)),
        Liveness::Alive
    );
    assert_eq!(
        observer.observe(&record(1, 501), at(508_000)),
        Liveness::Suspect { since: at(500_000) }
    );
    // A new life may count from the start.
    assert_eq!(
        observer.observe(&record(2, 501), at(509_500)),
        Liveness::Alive
    );
    observer.retain(|_| false);
    assert_eq!(
        observer.observe(&record(2, 501), at(600_000)),
        Liveness::Alive
    );
}
