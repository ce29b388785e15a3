//! How soon a write that was acknowledged is seen by eventual reads at every reader, by method of coordination.
//!
//! A cluster of real processes over an S3 server of its own (`brainy-operator local`), three writers and two readers that both
//! serve every partition. A client writes one point after another through the endpoint, at moments that have nothing to do with
//! anybody's clock. From the moment of the answer two others ask one reader each for that point, again and again, as `eventual`
//! reads: what is measured is the later of the two first answers that have it, one request included.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rand::RngExt;
use serde::Serialize;
use tokio::time::Instant;

use crate::HarnessError;
use crate::client::{Client, Point, Read};
use crate::cluster::LocalCluster;
use crate::figures::{Quantiles, ended, machine, say, short, write_rows, write_table};
use crate::manifest::Manifest;
use crate::nats::NatsServer;

const COLLECTION: &str = "fresh";
const PARTITIONS: u32 = 6;
const SIZE: usize = 8;
/// Writes that are not counted: connections are made, caches filled.
const WARM_UP: u32 = 10;
/// A write that is not seen within this time is an error.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// Between two questions of one reader.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// Longest pause between two writes where nothing is polled often enough to be in step with.
const PAUSE: Duration = Duration::from_millis(50);
/// Most that a pushed write may take at p99.
const AIM_PUSHED_MS: f64 = 50.0;
/// A request to S3 and the answer of the read, added to the poll interval.
const ROUND_TRIP_MS: f64 = 50.0;

/// Measures freshness. Build all programs of the same profile first: `make bench-freshness` does.
#[derive(Debug, Parser)]
#[command(name = "brainy-bench-freshness", version)]
pub struct Args {
    /// What to measure; everything if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Case>,
    /// Writes of each.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    writes: u32,
    /// Write the table into docs/benchmarks.md, if everything was measured.
    #[arg(long)]
    write: bool,
}

/// A method of coordination with its poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// s3-polling at 500 ms.
    Polling500,
    /// s3-polling at 100 ms.
    Polling100,
    /// websocket, polling at 500 ms besides.
    Websocket,
    /// pubsub over NATS, polling at 500 ms besides.
    Pubsub,
}

impl Case {
    const ALL: [Self; 4] = [
        Self::Polling500,
        Self::Polling100,
        Self::Websocket,
        Self::Pubsub,
    ];

    fn method(self) -> &'static str {
        match self {
            Self::Polling500 | Self::Polling100 => "s3-polling",
            Self::Websocket => "websocket",
            Self::Pubsub => "pubsub",
        }
    }

    fn poll_ms(self) -> u32 {
        if self == Self::Polling100 { 100 } else { 500 }
    }

    fn is_pushed(self) -> bool {
        matches!(self, Self::Websocket | Self::Pubsub)
    }

    /// What p99 is to stay below, in milliseconds.
    fn aim_ms(self) -> f64 {
        if self.is_pushed() {
            AIM_PUSHED_MS
        } else {
            f64::from(self.poll_ms()) + ROUND_TRIP_MS
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    method: &'static str,
    poll_interval_ms: u32,
    /// From the answer of the write to its sight at the last of the readers, milliseconds.
    visible_ms: Quantiles,
    aim_p99_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    rows: Vec<Row>,
}

/// Measures, prints a table and writes `bench/freshness.json` in the target directory.
pub async fn run(args: Args) -> ExitCode {
    ended("brainy-bench-freshness", measure(&args).await)
}

async fn measure(args: &Args) -> Result<(), HarnessError> {
    let mut report = Report {
        machine: machine(),
        rows: Vec::new(),
    };
    for case in Case::ALL {
        if !args.only.is_empty() && !args.only.contains(&case) {
            continue;
        }
        say(&format!(
            "{}, polling at {} ms",
            case.method(),
            case.poll_ms()
        ));
        let visible_ms = Quantiles::of(&times(case, args.writes).await?);
        say(&format!(
            "  p50 {} ms, p99 {} ms",
            short(visible_ms.p50),
            short(visible_ms.p99)
        ));
        report.rows.push(Row {
            method: case.method(),
            poll_interval_ms: case.poll_ms(),
            visible_ms,
            aim_p99_ms: case.aim_ms(),
        });
    }
    let file = write_rows("freshness", &report)?;
    say(&format!("figures: {}", file.display()));
    let table = report.table();
    if args.write && args.only.is_empty() {
        write_table("freshness", &table)?;
    }
    print(&table);
    Ok(())
}

/// Runs a cluster and measures so many writes.
async fn times(case: Case, writes: u32) -> Result<Vec<Duration>, HarnessError> {
    // Lives as long as the cluster that it serves.
    let nats = match case {
        Case::Pubsub => Some(NatsServer::start(&[]).await?),
        _ => None,
    };
    let mut manifest = Manifest::new(3, 2)
        .with("spec.coordination.method", case.method())
        .with(
            "spec.coordination.pollInterval",
            format!("{}ms", case.poll_ms()),
        )
        .with("spec.sharedConfig.tailPollIntervalMs", case.poll_ms());
    if let Some(nats) = &nats {
        manifest.set("spec.coordination.natsUrl", nats.url());
    }
    let mut cluster = LocalCluster::start(manifest).await?;
    let client = cluster.client();
    client
        .create_collection(COLLECTION, SIZE, Some(PARTITIONS))
        .await?;
    cluster.wait_settled().await?;
    let nodes = cluster.nodes().await?;
    let readers: Vec<Client> = nodes
        .into_iter()
        .filter(|(name, _)| name.starts_with("reader-"))
        .map(|(_, node)| node)
        .collect();
    // In no step with the polls.
    let longest = if case.is_pushed() {
        PAUSE
    } else {
        Duration::from_millis(case.poll_ms().into())
    };
    let mut times = Vec::new();
    for id in 0..writes + WARM_UP {
        let pause = longest.mul_f64(rand::rng().random::<f64>());
        tokio::time::sleep(pause).await;
        client.upsert(COLLECTION, &[point(id.into())]).await?;
        let written = Instant::now();
        let seen = readers
            .iter()
            .map(|reader| seen(reader, id.into(), written));
        let seen = futures::future::try_join_all(seen).await?;
        if id >= WARM_UP {
            times.extend(seen.into_iter().max());
        }
    }
    cluster.stop().await?;
    Ok(times)
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

/// How long after `written` a reader answers with the point.
async fn seen(reader: &Client, id: u64, written: Instant) -> Result<Duration, HarnessError> {
    loop {
        let found = reader.retrieve(COLLECTION, &[id], &Read::Eventual).await?;
        let after = written.elapsed();
        if !found.is_empty() {
            return Ok(after);
        }
        if after > SEEN_WITHIN {
            return Err(HarnessError::Late {
                what: format!("point {id} is seen"),
                within: SEEN_WITHIN,
                seen: "no such point".to_owned(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

impl Report {
    fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{}; 3 writers, 2 readers, S3 server and client on this machine",
                self.machine
            ),
            String::new(),
            "| method | poll interval | p50 | p99 | writes | aim (p99) |".to_owned(),
            "|---|---:|---:|---:|---:|---|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let Quantiles { p50, p99, values } = row.visible_ms;
            let met = if p99 <= row.aim_p99_ms {
                "met"
            } else {
                "missed"
            };
            format!(
                "| {} | {} ms | {} ms | {} ms | {values} | at most {} ms: {met} |",
                row.method,
                row.poll_interval_ms,
                short(p50),
                short(p99),
                short(row.aim_p99_ms),
            )
        }));
        lines.join("\n") + "\n"
    }
}

#[allow(clippy::print_stdout)]
fn print(text: &str) {
    print!("{text}");
}
