//! How soon a write that one cluster acknowledged is seen in another that follows it, by poll interval.
//!
//! Two clusters of one node each, with an S3 server each, all processes of this machine. A client writes one point after another to the
//! first cluster, at moments that are in no step with the polls, and asks the second for it, again and again, as an `eventual` read, from
//! the moment of the answer on.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::RngExt;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::HarnessError;
use crate::client::{Client, Point, Read};
use crate::figures::{Quantiles, machine, say, short, write_rows, write_table};
use crate::two_clusters::{Options, TwoClusters};

const COLLECTION: &str = "far";
const PARTITIONS: u32 = 4;
const SIZE: usize = 8;
const WARM_UP: u32 = 10;
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(1);
/// Points of the cluster that is followed from nothing.
const BULK: u64 = 20_000;
const BATCH: u64 = 500;

/// Measures the exchange between two clusters. Build all programs of the same profile first: `make bench-exchange` does.
#[derive(Debug, Parser)]
#[command(name = "brainy-bench-exchange", version)]
pub struct Args {
    /// Poll intervals to measure, milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    poll_ms: Vec<u32>,
    /// Writes at each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    writes: u32,
    /// Write the table into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    poll_interval_ms: u32,
    /// From the answer of the write in one cluster to its sight in the other, milliseconds.
    visible_ms: Quantiles,
    /// Points a second that a cluster takes in that begins to follow.
    catch_up_points_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    rows: Vec<Row>,
}

/// Measures, prints a table and writes `bench/exchange.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    match measure(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("brainy-bench-exchange: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let mut report = Report {
        machine: machine(),
        rows: Vec::new(),
    };
    for poll_ms in &args.poll_ms {
        say(&format!("polling at {poll_ms} ms"));
        let row = one(*poll_ms, args.writes).await?;
        say(&format!(
            "  p50 {} ms, p99 {} ms, {:.0} points a second from nothing",
            short(row.visible_ms.p50),
            short(row.visible_ms.p99),
            row.catch_up_points_per_second
        ));
        report.rows.push(row);
    }
    let file = write_rows("exchange", &report)?;
    say(&format!("figures: {}", file.display()));
    let table = report.table();
    if args.write {
        write_table("exchange", &table)?;
    }
    print(&table);
    Ok(())
}

async fn one(poll_ms: u32, writes: u32) -> Result<Row, HarnessError> {
    let options = Options {
        poll_ms,
        ..Options::default()
    };
    let both = TwoClusters::start(options).await?;
    let (a, b) = (both.client(0)?, both.client(1)?);
    // The second cluster hears of nothing until all is written.
    both.sides[0].link.set_open(false);
    for cluster in [&a, &b] {
        cluster
            .create_collection(COLLECTION, SIZE, Some(PARTITIONS))
            .await?;
    }
    for first in (0..BULK).step_by(BATCH as usize) {
        let points: Vec<Point> = (first..first + BATCH).map(point).collect();
        a.upsert(COLLECTION, &points).await?;
    }
    both.sides[0].link.set_open(true);
    let mut began = None;
    let caught_up = loop {
        let found = b.count(COLLECTION, &Read::Eventual).await?;
        if found > 0 && began.is_none() {
            began = Some((Instant::now(), found));
        }
        if found >= BULK
            && let Some((began, first)) = began
        {
            break (BULK - first.min(BULK)) as f64 / began.elapsed().as_secs_f64();
        }
        sleep(Duration::from_millis(5)).await;
    };
    let longest = Duration::from_millis(poll_ms.into());
    let mut times = Vec::new();
    for n in 0..writes + WARM_UP {
        sleep(longest.mul_f64(rand::rng().random::<f64>())).await;
        let id = BULK + u64::from(n);
        a.upsert(COLLECTION, &[point(id)]).await?;
        let seen = seen(&b, id, Instant::now()).await?;
        if n >= WARM_UP {
            times.push(seen);
        }
    }
    Ok(Row {
        poll_interval_ms: poll_ms,
        visible_ms: Quantiles::of(&times),
        catch_up_points_per_second: caught_up,
    })
}

fn point(id: u64) -> Point {
    let mut vector = vec![1.0; SIZE];
    vector[0] = id as f32;
    Point {
        id,
        vector,
        payload: serde_json::json!({"id": id}),
    }
}

/// How long after `written` the other cluster answers with the point.
async fn seen(other: &Client, id: u64, written: Instant) -> Result<Duration, HarnessError> {
    loop {
        let found = other.retrieve(COLLECTION, &[id], &Read::Eventual).await?;
        let after = written.elapsed();
        if !found.is_empty() {
            return Ok(after);
        }
        if after > SEEN_WITHIN {
            return Err(HarnessError::Late {
                what: format!("point {id} is seen in the other cluster"),
                within: SEEN_WITHIN,
                seen: "no such point".to_owned(),
            });
        }
        sleep(ASK_EVERY).await;
    }
}

impl Report {
    fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{}; two nodes, two S3 servers and the client on this machine",
                self.machine
            ),
            String::new(),
            "| poll interval | seen in the other cluster: p50 | p99 | writes | catching up |"
                .to_owned(),
            "|---:|---:|---:|---:|---:|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let Quantiles { p50, p99, values } = row.visible_ms;
            format!(
                "| {} ms | {} ms | {} ms | {values} | {:.0} points/s |",
                row.poll_interval_ms,
                short(p50),
                short(p99),
                row.catch_up_points_per_second,
            )
        }));
        lines.join("\n") + "\n"
    }
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    print!("{text}");
}
