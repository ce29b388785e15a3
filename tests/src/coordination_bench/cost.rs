//! Requests of a cluster, and what AWS asks for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use brainy_embedded_s3::traffic::{Counts, Kind};
use serde::Serialize;

use super::bucket::{BUCKET, Bucket};
use crate::HarnessError;
use crate::client::Point;
use crate::cluster::Setup;
use crate::figures::{say, short};
use crate::manifest::Manifest;

/// Instances of each role.
const EACH: u32 = 3;
const COLLECTION: &str = "things";
const DIMENSION: usize = 16;
/// Points of a write, and writes a second, of the busy cluster.
const BATCH: u64 = 20;
const WRITES_A_SECOND: f64 = 20.0;
/// What opening, loading and announcing take is over by then, and the silence after which looks are rare.
const SETTLE: Duration = Duration::from_secs(20);
/// Part of the time in which the busy cluster is counted.
const BUSY_PART: u32 = 2;

/// Dollars a thousand requests of S3 Standard in us-east-1.
const PUT_PRICE: f64 = 0.005;
const GET_PRICE: f64 = 0.0004;
const HOURS_A_MONTH: f64 = 730.0;
/// The proposal's limit for an idle cluster, dollars a month.
const IDLE_AIM: f64 = 5.0;

/// A cluster that was counted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    method: String,
    state: &'static str,
    seconds: f64,
    gets_per_hour: f64,
    puts_per_hour: f64,
    lists_per_hour: f64,
    dollars_per_hour: f64,
    dollars_per_month: f64,
    /// Requests an hour by kind and by what they are about, greatest first.
    by_area: Vec<(String, f64)>,
}

impl Row {
    fn new(method: &str, state: &'static str, took: Duration, counts: &Counts) -> Self {
        let hour = 3_600.0 / took.as_secs_f64();
        let of = |wanted: Kind| {
            let found = counts.iter().filter(|((kind, _), _)| *kind == wanted);
            found.map(|(_, n)| *n).sum::<u64>() as f64 * hour
        };
        let (gets, puts, lists) = (of(Kind::Get), of(Kind::Put), of(Kind::List));
        let dollars = (gets * GET_PRICE + (puts + lists) * PUT_PRICE) / 1_000.0;
        let mut by_area: Vec<(String, f64)> = counts
            .iter()
            .map(|((kind, about), n)| {
                (format!("{kind:?} {about}").to_lowercase(), *n as f64 * hour)
            })
            .collect();
        by_area.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self {
            method: method.to_owned(),
            state,
            seconds: took.as_secs_f64(),
            gets_per_hour: gets,
            puts_per_hour: puts,
            lists_per_hour: lists,
            dollars_per_hour: dollars,
            dollars_per_month: dollars * HOURS_A_MONTH,
            by_area,
        }
    }
}

/// What was asked between two looks.
fn between(before: &Counts, after: &Counts) -> Counts {
    let mut counts: Counts = BTreeMap::new();
    for (key, n) in after {
        let new = n - before.get(key).copied().unwrap_or(0);
        if new > 0 {
            counts.insert(key.clone(), new);
        }
    }
    counts
}

fn points(first: u64) -> Vec<Point> {
    let point = |id: u64| Point {
        id,
        vector: (0..DIMENSION as u64)
            .map(|i| ((id * 31 + i * 7) % 101) as f32)
            .collect(),
        payload: serde_json::json!({"n": id}),
    };
    (first..first + BATCH).map(point).collect()
}

/// Counts an idle cluster with `method` for `seconds`, and a busy one for half of them.
///
/// # Errors
/// The cluster does not start, or a request fails.
pub(super) async fn measure(method: &str, seconds: u64) -> Result<Vec<Row>, HarnessError> {
    let bucket = Bucket::start().await?;
    let mut manifest = Manifest::new(EACH, EACH)
        .with("spec.storage.bucket", BUCKET)
        .with("spec.storage.region", "us-east-1")
        .with("spec.storage.endpoint", bucket.endpoint())
        .with("spec.storage.pathStyle", true)
        .with("spec.coordination.method", method);
    // What the cluster would have without the suites' own choice.
    manifest.remove("spec.coordination.pollInterval");
    let mut setup = Setup::new(manifest);
    for (name, value) in bucket.environment() {
        setup = setup.with_env(&name, &value);
    }
    say(&format!(
        "cost: {EACH} writers and {EACH} readers, {method}"
    ));
    let cluster = setup.start().await?;
    let client = cluster.client();
    client
        .create_collection(COLLECTION, DIMENSION, None)
        .await?;
    // Nothing is written yet: a flush would be counted as if it came every minute.
    tokio::time::sleep(SETTLE).await;

    let period = Duration::from_secs(seconds);
    let mut rows = Vec::new();
    let mut counted = |state: &'static str, took: Duration, before: &Counts| {
        let row = Row::new(
            method,
            state,
            took,
            &between(before, &bucket.traffic().counts()),
        );
        say(&format!(
            "  {method}, {state}: {} GET, {} PUT, {} LIST an hour, ${} a month",
            short(row.gets_per_hour),
            short(row.puts_per_hour),
            short(row.lists_per_hour),
            short(row.dollars_per_month)
        ));
        rows.push(row);
    };
    let before = bucket.traffic().counts();
    let began = Instant::now();
    tokio::time::sleep(period).await;
    counted("idle", began.elapsed(), &before);

    let (period, mut written) = (period / BUSY_PART, 0);
    let before = bucket.traffic().counts();
    let began = Instant::now();
    let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / WRITES_A_SECOND));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < period {
        every.tick().await;
        written += BATCH;
        client.upsert(COLLECTION, &points(written)).await?;
    }
    counted("busy", began.elapsed(), &before);
    Ok(rows)
}

/// The table of the document.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| method | cluster | GET an hour | PUT an hour | LIST an hour | dollars an hour | dollars a month | aim | most of it |\n\
         |---|---|---:|---:|---:|---:|---:|---|---|\n",
    );
    for row in rows {
        let aim = match row.state {
            "idle" if row.dollars_per_month < IDLE_AIM => format!("< ${IDLE_AIM}: met"),
            "idle" => format!("< ${IDLE_AIM}: missed"),
            _ => String::new(),
        };
        let most: Vec<String> = row
            .by_area
            .iter()
            .take(4)
            .map(|(area, n)| format!("{area} {}", short(*n)))
            .collect();
        // Writing to a String does not fail.
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.4} | {:.2} | {aim} | {} |",
            row.method,
            row.state,
            short(row.gets_per_hour),
            short(row.puts_per_hour),
            short(row.lists_per_hour),
            row.dollars_per_hour,
            row.dollars_per_month,
            most.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_that_of_the_list() {
        let asked = |n: u64| {
            Counts::from([
                ((Kind::Get, "config".to_owned()), n),
                ((Kind::Put, "wal".to_owned()), n),
                ((Kind::List, "wal".to_owned()), n),
                ((Kind::Delete, "wal".to_owned()), n),
            ])
        };
        let counts = between(&asked(5), &asked(1_005));
        let row = Row::new("none", "idle", Duration::from_secs(1_800), &counts);
        // Two thousand of each an hour; deletions are free.
        assert!((row.dollars_per_hour - 2.0 * (0.0004 + 0.005 + 0.005)).abs() < 1e-9);
        assert!((row.dollars_per_month - row.dollars_per_hour * 730.0).abs() < 1e-9);
        assert!(table(&[row]).contains("missed"));
    }
}
