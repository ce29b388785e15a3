//! A node that is asked for more than it can do.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brainy_tests::client::Read;
use brainy_tests::flood::{Shape, flood};
use brainy_tests::history::History;
use brainy_tests::load::random_rows;
use brainy_tests::standalone::Standalone;
use brainy_tests::wait::{holds, until};
use reqwest::Method;
use serde_json::json;

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 192 * MIB;
const DIMENSIONS: usize = 256;

/// A size of a process in bytes, by its name in /proc/<pid>/status.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_answered_with_429_within_the_memory_budget_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let budget = BUDGET.to_string();
    // One thread for graphs: segments are built slower than writes come.
    let arguments = [
        "--memory-budget-bytes",
        &budget,
        "--build-threads",
        "1",
        "--read-threads",
        "1",
    ];
    let mut brainyd = Standalone::start(dir.path(), &arguments, &[])
        .await
        .unwrap();
    let client = brainyd.client();
    let config = json!({"version": 0, "config": {
        "max_queued_reads": 8, "flush_bytes": 8 * MIB, "max_unflushed_bytes": 1024 * MIB,
        "config_poll_interval_ms": 100,
    }});
    let published = client
        .send(
            Method::POST,
            "/sync/config",
            &[],
            Some(config.to_string().into_bytes()),
        )
        .await
        .unwrap();
    assert_eq!(published.status, 200, "{}", published.body);
    client
        .create_collection("things", DIMENSIONS, Some(2))
        .await
        .unwrap();
    let history = History::default();
    let rows = random_rows(0, 20_000, DIMENSIONS, 77);

    let pid = brainyd.process.pid();
    let before = memory(pid, "RssAnon:");
    let (most, most_anonymous) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let sampler = tokio::spawn({
        let (most, most_anonymous) = (most.clone(), most_anonymous.clone());
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(50));
            loop {
                every.tick().await;
                most.fetch_max(memory(pid, "VmRSS:"), Ordering::Relaxed);
                most_anonymous.fetch_max(memory(pid, "RssAnon:"), Ordering::Relaxed);
            }
        }
    });
    let shape = Shape {
        writers: 24,
        searchers: 40,
        batch: 400,
        lasts: Duration::from_secs(20),
    };
    let met = flood(&brainyd.url(), "things", &history, &rows, &shape).await;
    sampler.abort();
    let most = most.load(Ordering::Relaxed);
    let anonymous = most_anonymous.load(Ordering::Relaxed);
    eprintln!(
        "budget {} MiB, before {} MiB, peak {} MiB ({} anonymous), after {} MiB; {met:?}",
        BUDGET / MIB,
        before / MIB,
        most / MIB,
        anonymous / MIB,
        memory(pid, "VmRSS:") / MIB,
    );
    brainyd.process.check().unwrap();
    assert_eq!(met.wrong, Vec::<String>::new());
    assert!(met.written > 0 && met.searched > 0, "{met:?}");
    assert!(met.searches_refused > 0, "the flood was too small: {met:?}");
    assert!(met.writes_refused > 0, "the flood was too small: {met:?}");
    // Mapped segments included, which count against the budget in full.
    let allowed = before + BUDGET + BUDGET / 10;
    assert!(most <= allowed, "{} MiB were taken", most / MIB);

    let verdict = history.verify(&client, "things").await.unwrap();
    assert!(verdict.is_clean() && verdict.distinct > 0, "{verdict:?}");

    // What waited is worked off, and the node is as it was.
    until(
        "searches are fast again",
        Duration::from_secs(60),
        async || {
            let began = Instant::now();
            for row in &rows[..5] {
                let found = client
                    .search("things", &row.vector, 1, &Read::Default)
                    .await;
                found.map_err(|e| e.to_string())?;
            }
            let point = rows[0].point(u64::MAX >> 20);
            let point = std::slice::from_ref(&point);
            let quick = client.clone().with_patience(Duration::ZERO);
            quick
                .upsert("things", point)
                .await
                .map_err(|e| e.to_string())?;
            let took = began.elapsed();
            holds(took < Duration::from_secs(2), || format!("{took:?}"))
        },
    )
    .await
    .unwrap();
    brainyd.process.interrupt().unwrap();
    let status = brainyd.process.exit(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", brainyd.process.output());
}
